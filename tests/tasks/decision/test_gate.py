"""The gate's verdicts, by hand."""

import math

import pytest

from tasks.decision.gate import FAIL, PASS, UNSURE, Rule, above, enough_prompts, overall, within_budget


@pytest.mark.parametrize(
    ("figure", "interval", "verdict"),
    [
        (0.7, (0.6, 0.8), PASS),
        (0.3, (0.2, 0.4), FAIL),
        (0.55, (0.45, 0.65), UNSURE),
        (None, (None, None), UNSURE),
        (math.nan, (0.6, 0.8), UNSURE),
    ],
)
def test_the_whole_interval_has_to_lie_on_one_side(figure: float | None, interval: tuple[float | None, float | None], verdict: str) -> None:
    assert above("win_rate", figure, interval, 0.5, 100).verdict == verdict


def test_not_enough_evidence_says_how_much_would_be() -> None:
    """An interval of half width 0.1 at 0.05 from the threshold must be halved: four times the prompts."""
    assert "about 400 units instead of 100" in above("win_rate", 0.55, (0.45, 0.65), 0.5, 100).reason
    assert "too near" in above("win_rate", 0.5, (0.4, 0.6), 0.5, 100).reason
    assert "too near" in above("win_rate", 0.5, (0.5, 0.5), 0.5, 100).reason


def test_few_prompts_are_not_enough_whatever_they_say() -> None:
    assert enough_prompts("rule", 29, 30).verdict == UNSURE
    assert enough_prompts("rule", 30, 30).verdict == PASS


def test_the_kl_budget_is_held_by_the_upper_end() -> None:
    assert within_budget(5.0, 9.9, 10.0).verdict == PASS
    assert within_budget(5.0, 10.1, 10.0).verdict == FAIL


def test_one_failure_fails_and_one_doubt_leaves_it_open() -> None:
    def rules(*verdicts: str) -> list[Rule]:
        return [Rule("r", verdict, None, None, None, 0.0, "") for verdict in verdicts]  # type: ignore[arg-type]

    assert overall(rules(PASS, PASS)) == PASS
    assert overall(rules(PASS, UNSURE)) == UNSURE
    assert overall(rules(UNSURE, FAIL, PASS)) == FAIL
