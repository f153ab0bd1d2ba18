"""Bootstrap intervals against hand calculation, the exact bootstrap distribution, and the normal approximation; judges' own error by hand
and by simulated judges whose truth is known."""

import itertools

import numpy as np
import pytest

from models.evaluation.intervals import Interval, between_members, bootstrap_interval, of_a_share, win_shares


def test_win_shares_by_hand_with_ties_half() -> None:
    assert win_shares([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]).tolist() == [0, 0.5, 1]


def test_interval_of_three_values_is_the_exact_bootstrap_distribution() -> None:
    # All 27 equally likely resamples of three prompts, enumerated.
    values = [0.0, 1.0, 5.0]
    exact = sorted(np.mean(draw) for draw in itertools.product(values, repeat=3))
    interval = bootstrap_interval(values, resamples=50_000, seed=1)
    assert interval.mean == 2
    assert interval.low == pytest.approx(np.quantile(exact, 0.025, method="inverted_cdf"), abs=1e-9)
    assert interval.high == pytest.approx(np.quantile(exact, 0.975, method="inverted_cdf"), abs=1e-9)


def test_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=2_000)
    interval = bootstrap_interval(values, resamples=4_000, seed=1)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_is_a_function_of_values_and_seed() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values, resamples=500, seed=3) == bootstrap_interval(values, resamples=500, seed=3)
    assert bootstrap_interval(values, resamples=500, seed=3) != bootstrap_interval(values, resamples=500, seed=4)


def test_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([], resamples=100, seed=0)


def test_what_members_differ_by_is_added_as_an_independent_error() -> None:
    """By hand: 0.4 ± 0.1 has the standard deviation 0.1 around three members; Student's t at 2 degrees of freedom is 4.3027 (tables)."""
    found = between_members(Interval(0.4, 0.37, 0.44), [0.3, 0.4, 0.5])
    half = 4.3027 * 0.1
    assert found.mean == 0.4
    assert found.judge_half_width == pytest.approx(half, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((0.4 - np.hypot(0.03, half), 0.4 + np.hypot(0.04, half)), abs=1e-5)
    assert (of_a_share(found).low, of_a_share(found).high) == (0.0, found.high)


def test_one_member_tells_nothing_of_its_own_error() -> None:
    assert between_members(Interval(0.4, 0.3, 0.5), [0.4]) == Interval(0.4, 0.3, 0.5, None)


@pytest.mark.parametrize("members", [2, 4, 8])
def test_judges_that_err_cover_the_truth_as_often_as_the_interval_says(members: int) -> None:
    """Judges whose errors are normal around the true share 0.55, and prompts that vary: 95 % of the intervals hold it, and far fewer
    of those over prompts alone do. Of the mean of so many members a part of the error is gone, so the intervals are wide enough at least.
    """
    random, prompts, truth = np.random.default_rng(members), 200, 0.55
    held = held_by_prompts_alone = 0
    for _ in range(400):
        drawn_with_all = random.normal(0, 0.08)  # what the people who were asked happened to say: no member is without it
        rates = np.clip(truth + drawn_with_all + random.normal(0, 0.08, members), 0, 1)
        wins = (random.random((prompts, members)) < rates).astype(float)
        alone = bootstrap_interval(wins.mean(1), resamples=200, seed=0)
        both = between_members(alone, wins.mean(0))
        held += both.low <= truth <= both.high
        held_by_prompts_alone += alone.low <= truth <= alone.high
    assert held >= 0.93 * 400
    assert held_by_prompts_alone < 0.6 * 400
