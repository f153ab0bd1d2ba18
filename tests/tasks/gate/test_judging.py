"""How rules are judged: verdicts by hand, the widened intervals by the binomial distribution."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from tasks.gate.judging import FAIL, NOT_JUDGED, PASS, UNSURE, WARN, Judged, judge_rule, overall, widened
from tasks.gate.message import remedy
from tasks.gate.rules import GateRule
from tasks.rules import Figure

WIN = "win_rate_reference"


def rule(**settings: object) -> GateRule:
    bounds = {} if {"at_most", "at_least"} & settings.keys() else {"above": 0.5}
    return GateRule.model_validate({"name": "rule", "figure": WIN, **bounds, **settings})


def judged(figure: Figure | None, /, **settings: object) -> Judged:
    of = rule(**settings)
    (row,) = judge_rule(of, {} if figure is None else {("evaluation", "all", of.figure): figure}, {})
    return row


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [(0.7, 0.6, 0.8, PASS), (0.3, 0.2, 0.4, FAIL), (0.55, 0.45, 0.65, UNSURE), (None, None, None, UNSURE), (math.nan, 0.6, 0.8, UNSURE)],
)
def test_the_whole_interval_has_to_lie_on_one_side(value: float | None, low: float | None, high: float | None, verdict: str) -> None:
    assert judged(Figure(value, low, high, 100)).verdict == verdict


def test_a_policy_that_is_as_good_is_not_better() -> None:
    """All ties: the interval has no width, and equal is not above."""
    row = judged(Figure(0.5, 0.5, 0.5, 100))
    assert row.verdict == UNSURE
    assert "too near" in row.reason
    assert judged(Figure(0.5, 0.5, 0.5, 100), at_least=0.5).verdict == PASS


def test_of_a_tie_it_is_not_said_that_more_prompts_would_tell() -> None:
    assert "no number of prompts" in remedy(judged(Figure(0.5, 0.5, 0.5, 100)))
    assert "bring more prompts" in remedy(judged(Figure(0.5, 0.4, 0.6, 100)))


def test_of_a_slice_that_grew_long_the_longest_are_shown() -> None:
    row = replace(judged(Figure(1.6, 1.5, 1.7, 50), figure="length_ratio_champion", at_most=1.3), slice="ads")
    assert "o.model = $$champion$$ and p.slice = $$ads$$ order by p.n_tokens - o.n_tokens desc" in remedy(row)


def test_not_enough_evidence_says_how_much_would_be() -> None:
    """An interval of half width 0.1 at 0.05 from the threshold must be halved: four times the prompts."""
    assert "about 400 prompts instead of 100" in judged(Figure(0.55, 0.45, 0.65, 100)).reason


def test_what_the_judges_members_leave_open_more_prompts_do_not_decide() -> None:
    """By hand: half widths of 0.06 over prompts and 0.08 between members make 0.1. At 0.09 from the bound 0.0036 / (0.0081 - 0.0064) = 2.12
    times the prompts would do; at 0.07 none would, since 0.08 stays."""
    row = judged(Figure(0.59, 0.49, 0.69, 100, 0.08))
    assert "about 212 prompts instead of 100" in row.reason
    assert row.remedy == ""
    assert "preferences.test" in remedy(row)
    row = judged(Figure(0.57, 0.47, 0.67, 100, 0.08))
    assert "more prompts alone would hardly decide it, as the held-out judge's members leave ± 0.080 open" in row.reason
    assert "judge.members" in row.remedy
    few = judged(Figure(0.57, 0.47, 0.67, 29, 0.08), min_n=30)
    assert few.remedy == ""
    assert "preferences.test" in remedy(few)
    assert widened(Figure(0.5, 0.4, 0.6, 50, 0.08), 2).judge_half_width == pytest.approx(0.08 * 2.2414 / 1.96, abs=1e-4)


@pytest.mark.parametrize("figure", [Figure(0.839, 0.499, 1.0, 45, 0.3), Figure(0.7, 0.45, 1.0, 53, 0.19), Figure(0.6, 0.4, 0.8, 30, 0.05)])
def test_what_would_decide_is_more_than_there_is(figure: Figure) -> None:
    """Also where the other end of the interval is cut off at 1."""
    (found,) = re.findall(r"about (-?\d+) prompts instead of", judged(figure).reason)
    assert int(found) > figure.n


def test_a_win_rate_of_a_slice_stays_between_0_and_1() -> None:
    """Widened for two slices, 0.05 and 0.95 to each side of a half would be -0.015 and 1.015."""
    surely = rule(slices="each", at_least=0.5, end="better", min_n=20)
    (row, _) = judge_rule(surely, slices(a=Figure(0.5, 0.05, 0.95, 50), b=Figure(0.5, 0.4, 0.6, 50)), {})
    assert (row.low, row.high) == (0, 1)


def test_few_prompts_are_not_enough_whatever_they_say() -> None:
    row = judged(Figure(0.9, 0.8, 1.0, 29), min_n=30)
    assert (row.verdict, row.reason) == (UNSURE, "it rests on 29 where 30 are asked for")
    assert judged(Figure(0.9, 0.8, 1.0, 30), min_n=30).verdict == PASS


@pytest.mark.parametrize(("low", "high", "verdict"), [(4.0, 9.9, PASS), (8.0, 10.1, UNSURE), (10.1, 13.0, FAIL)])
def test_a_budget_is_held_by_the_upper_end(low: float, high: float, verdict: str) -> None:
    assert judged(Figure((low + high) / 2, low, high, 50), figure="kl_k1", at_most=10.0).verdict == verdict


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.1, 0.49, FAIL), (0.1, 0.51, PASS), (0.6, 0.7, PASS)])
def test_the_better_end_breaks_only_what_is_surely_beyond(low: float, high: float, verdict: str) -> None:
    assert judged(Figure((low + high) / 2, low, high, 50), at_least=0.5, end="better").verdict == verdict


def test_a_rule_that_warns_never_fails_and_a_remedy_of_its_own_is_told() -> None:
    row = judged(Figure(0.3, 0.2, 0.4, 100), severity="warn", remedy="ask Kim")
    assert (row.verdict, row.remedy) == (WARN, "ask Kim")
    assert judged(Figure(0.55, 0.45, 0.65, 100), severity="warn").verdict == WARN
    assert judged(Figure(0.9, 0.8, 1.0, 29), severity="warn", min_n=30).verdict == WARN
    assert judged(Figure(None, None, None, 100), severity="warn").verdict == WARN


def test_one_failure_fails_and_one_doubt_leaves_it_open() -> None:
    assert overall([PASS, WARN, NOT_JUDGED]) == PASS
    assert overall([PASS, UNSURE]) == UNSURE
    assert overall([UNSURE, FAIL, PASS]) == FAIL


# By slice.


def slices(**found: Figure) -> dict[tuple[str, str, str], Figure]:
    return {("evaluation", part, WIN): figure for part, figure in found.items()}


def test_each_slice_is_judged_by_a_wider_interval() -> None:
    """Bonferroni for two slices: the 98.75th percentile of the normal distribution, 2.2414 for 1.96 (from tables)."""
    wider = widened(Figure(0.4, 0.3, 0.48, 50), 2)
    assert (wider.low, wider.high) == pytest.approx((0.4 - 0.1 * 2.2414 / 1.96, 0.4 + 0.08 * 2.2414 / 1.96), abs=1e-4)
    surely = rule(slices="each", at_least=0.5, end="better", min_n=20)
    figures = slices(all=Figure(0.6, 0.5, 0.7, 200), a=Figure(0.4, 0.3, 0.48, 50), b=Figure(0.3, 0.2, 0.4, 50), few=Figure(0, 0, 0, 4))
    found = {row.slice: row.verdict for row in judge_rule(surely, figures, {})}
    assert found == {"a": FAIL, "b": FAIL, "few": NOT_JUDGED}
    just = slices(a=Figure(0.4, 0.3, 0.49, 50), b=Figure(0.3, 0.2, 0.4, 50))  # 0.49 is below 0.5, and 0.503 is not
    assert {row.slice: row.verdict for row in judge_rule(surely, just, {})} == {"a": PASS, "b": FAIL}


def test_of_each_slice_one_without_the_figure_is_not_judged() -> None:
    """As one with too few prompts is not: a slice may be too small for what is told from few prompts."""
    figures = slices(a=Figure(0.9, 0.8, 1, 50)) | {("evaluation", "b", "length"): Figure(5, 4, 6, 3)}
    found = {row.slice: row.verdict for row in judge_rule(rule(slices="each"), figures, {})}
    assert found == {"a": PASS, "b": NOT_JUDGED}


def test_a_slice_that_nobody_has_is_never_passed_over() -> None:
    row = judge_rule(rule(slices=["medical"]), slices(all=Figure(0.9, 0.8, 1, 99), code=Figure(0.9, 0.8, 1, 99)), {})[0]
    assert row.verdict == UNSURE
    assert "nothing belongs to the slice 'medical'; there are code" in row.reason
    few = judge_rule(rule(slices=["code"], min_n=20), slices(code=Figure(0.9, 0.8, 1, 4)), {})[0]
    assert few.verdict == UNSURE


def test_what_cannot_be_there_says_why_and_what_should_be_is_missed() -> None:
    assert [row.verdict for row in judge_rule(rule(), {}, {})] == [UNSURE]
    (row,) = judge_rule(rule(), {}, {WIN: "there is no champion"})
    assert (row.verdict, row.reason) == (NOT_JUDGED, "there is no champion")


def test_chance_alone_breaks_the_rule_on_slices_about_as_seldom_as_it_says() -> None:
    """A policy as good as its opponent, six slices of 20 to 60 prompts: exactly, by the binomial distribution, which is also what the
    bootstrap of k wins of n draws from. One side of an interval of 95 % is looked at, so 2.5 % of nights may fail, if intervals of
    proportions were exact; they are a little too narrow, and steps of whole wins do the rest."""
    surely, passes = rule(slices="each", at_least=0.5, end="better", min_n=20), 1.0
    for n in (20, 25, 30, 40, 50, 60):
        wins = np.arange(n + 1)
        low, high = (binom.ppf(level, n, wins / n) / n for level in (0.025, 0.975))
        fails = []
        for k in wins:
            figures = {("evaluation", str(part), WIN): Figure(0.5, 0.4, 0.6, 50) for part in range(5)}
            figures["evaluation", "tried", WIN] = Figure(k / n, float(low[k]), float(high[k]), n)
            fails.append(any(row.verdict == FAIL for row in judge_rule(surely, figures, {})))
        passes *= 1 - binom.pmf(wins, n, 0.5)[fails].sum()
    assert 0.01 < 1 - passes < 0.05
