"""The gate's verdicts, by hand."""

import math
from pathlib import Path

import pytest

from data_contracts.home import Home
from tasks.decision.gate import FAIL, PASS, UNSURE, GateConfig, Rule, above, data_rules, enough_prompts, overall, within_budget
from tests.tasks.deliveries import deliver, row
from tests.tasks.quality.measuring import measured_quality


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
    assert within_budget(5.0, 4.0, 9.9, 10.0).verdict == PASS
    assert within_budget(9.0, 8.0, 10.1, 10.0).verdict == UNSURE
    assert within_budget(12.0, 10.1, 13.0, 10.0).verdict == FAIL


def test_agreement_of_single_judgments_is_done_without_by_a_threshold_of_minus_one(tmp_path: Path) -> None:
    """One judgment per comparison leaves alpha undefined."""
    home = Home(tmp_path)
    deliver(home, [row(annotator_id="kim", response_a=f"answer {i}") for i in range(4)])
    quality = measured_quality(home)
    assert [rule.verdict for rule in data_rules(GateConfig(), quality)] == [UNSURE]
    assert [rule.verdict for rule in data_rules(GateConfig(min_krippendorff_alpha=-1), quality)] == [PASS]


def test_one_failure_fails_and_one_doubt_leaves_it_open() -> None:
    def rules(*verdicts: str) -> list[Rule]:
        return [Rule("r", verdict, None, None, None, 0.0, "") for verdict in verdicts]  # type: ignore[arg-type]

    assert overall(rules(PASS, PASS)) == PASS
    assert overall(rules(PASS, UNSURE)) == UNSURE
    assert overall(rules(UNSURE, FAIL, PASS)) == FAIL
