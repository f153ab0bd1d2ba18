"""Advantages without a value model: by hand, by brute force over groups, and by theorems."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ppo.group_advantages import group_normalised, leave_one_out, less_batch_mean

groups_of_four = st.lists(st.lists(st.floats(-9, 9), min_size=4, max_size=4), min_size=1, max_size=4)


def flat(groups: list[list[float]]) -> torch.Tensor:
    return torch.tensor(groups, dtype=torch.float64).flatten()


def test_by_hand() -> None:
    # Two prompts with three responses each: the others' means are 2.5, 2, 1.5 and 4, 4, 10; deviations √(2/3) and √8.
    returns = flat([[1, 2, 3], [10, 10, 4]])[:6]
    assert less_batch_mean(returns).tolist() == [-4, -3, -2, 5, 5, -1]
    assert leave_one_out(returns, 3).tolist() == [-1.5, 0, 1.5, 3, 3, -6]
    expected = [-(1.5**0.5), 0, 1.5**0.5, 0.5**0.5, 0.5**0.5, -(2**0.5)]
    assert group_normalised(returns, 3).tolist() == pytest.approx(expected, abs=2e-4)


@given(groups_of_four)
@settings(max_examples=30)
def test_by_brute_force(groups: list[list[float]]) -> None:
    alone, normalised = [], []
    for group in groups:
        for place, value in enumerate(group):
            alone.append(value - statistics.fmean(group[:place] + group[place + 1 :]))
            normalised.append((value - statistics.fmean(group)) / (statistics.pstdev(group) + 1e-4))
    assert leave_one_out(flat(groups), 4).tolist() == pytest.approx(alone, abs=1e-9)
    assert group_normalised(flat(groups), 4).tolist() == pytest.approx(normalised, abs=1e-6)


@given(groups_of_four)
@settings(max_examples=20)
def test_leaving_one_out_is_the_groups_mean_scaled(groups: list[list[float]]) -> None:
    # Theorem: R − mean of the other k − 1 = k/(k − 1) · (R − mean of all k).
    expected = [4 / 3 * (value - statistics.fmean(group)) for group in groups for value in group]
    assert leave_one_out(flat(groups), 4).tolist() == pytest.approx(expected, abs=1e-9)


def test_a_group_of_equal_scores_teaches_nothing() -> None:
    assert group_normalised(torch.full((4,), 7.0), 4).tolist() == [0] * 4
    assert leave_one_out(torch.full((4,), 7.0), 4).tolist() == [0] * 4
