"""Ensembles. Oracles: numpy by hand, the Poisson distribution, what a bootstrap has to be as properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare, poisson

from data_contracts.errors import InputError
from models.configs import RewardModelConfig
from models.reward.ensemble import combine, disagreement, resample_weights

scores = st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=1, max_size=5)


@given(rows=scores, price=st.floats(0, 5))
def test_combinations_by_numpy(rows: list[list[float]], price: float) -> None:
    members, x = torch.tensor(rows, dtype=torch.float64), np.array(rows)
    assert combine(members, "mean", price).tolist() == pytest.approx(x.mean(1).tolist())
    assert combine(members, "worst_case", price).tolist() == x.min(1).tolist()
    variance = (x**2).mean(1) - x.mean(1) ** 2
    assert combine(members, "uncertainty_weighted", price).tolist() == pytest.approx((x.mean(1) - price * variance).tolist(), abs=1e-8)
    assert disagreement(members).tolist() == pytest.approx(x.std(1).tolist(), abs=1e-9)


@pytest.mark.parametrize("combination", ["mean", "worst_case", "uncertainty_weighted"])
def test_one_member_has_its_own_score_and_no_disagreement(combination: str) -> None:
    members = torch.tensor([[1.5], [-2.0]])
    assert combine(members, combination, 3.0).tolist() == [1.5, -2.0]  # type: ignore[arg-type]
    assert disagreement(members).tolist() == [0, 0]


def test_draws_are_poisson_variables_of_mean_1() -> None:
    weights = np.array(list(resample_weights([f"p{i}" for i in range(4000)], 5, seed=0).values()))
    counts = np.bincount(weights.astype(int).ravel(), minlength=5)
    expected = poisson.pmf(np.arange(5), 1.0)
    observed = [*counts[:4], counts[4:].sum()]
    assert chisquare(observed, 20_000 * np.array([*expected[:4], 1 - expected[:4].sum()])).pvalue > 0.001
    assert np.abs(np.corrcoef(weights.T) - np.eye(5)).max() < 0.06  # members draw apart from each other


def test_a_prompt_that_is_added_changes_no_other_draw() -> None:
    few, more = (resample_weights([f"p{i}" for i in range(n)], 3, seed=7) for n in (50, 60))
    assert all(more[name] == weights for name, weights in few.items())
    assert resample_weights(["p3", "p3", "p1"] + [f"p{i}" for i in range(50)], 3, seed=7) == few
    assert resample_weights([f"p{i}" for i in range(50)], 3, seed=8) != few
    assert resample_weights(["p1", "p2"], 1, seed=0) == {"p1": [1.0], "p2": [1.0]}


def test_too_few_prompts_for_an_ensemble() -> None:
    with pytest.raises(InputError, match=r"1 prompts are too few for 9 resamples.*members"):
        resample_weights(["only"], 9, seed=0)


def test_a_combination_needs_members() -> None:
    with pytest.raises(ValidationError, match="needs an ensemble"):
        RewardModelConfig(combination="worst_case")
