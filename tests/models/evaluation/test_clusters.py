"""Intervals over prompts with several rows. Oracles: the binomial distribution, the normal one, resampling rows by hand."""

import math

import numpy as np
import pytest

from models.evaluation.clusters import Figure, Sums, estimates


def mean(sums: Sums) -> np.ndarray:  # type: ignore[type-arg]
    return np.divide(sums["x"], sums["n"])


def of(values: np.ndarray, prompts: list[str], figure: Figure = mean) -> tuple[float | None, float | None, float | None]:  # type: ignore[type-arg]
    return estimates({"x": values, "n": np.ones(len(values))}, {"mean": figure}, prompts)["mean"]


def test_one_value_per_prompt_is_near_the_binomial_interval() -> None:
    n, successes = 400, 240
    found = of(np.array([1.0] * successes + [0.0] * (n - successes)), [f"p{i}" for i in range(n)])
    half = 1.96 * math.sqrt(0.6 * 0.4 / n)
    assert found == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=0.006)


def test_interval_is_wider_when_prompts_answer_as_one() -> None:
    # 40 prompts with 10 equal values each are worth 40 values, not 400.
    found = of(np.repeat([1.0] * 24 + [0.0] * 16, 10), [f"p{i // 10}" for i in range(400)])
    half = 1.96 * math.sqrt(0.6 * 0.4 / 40)
    assert found == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=0.03)


def test_prompts_of_different_sizes_are_drawn_whole() -> None:
    """The oracle draws prompts one by one and takes the mean of all their rows."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, 60)
    prompts = [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]
    values = random.normal(size=len(prompts)) + np.repeat(random.normal(size=60), sizes)
    rows = [values[[name == f"p{i}" for name in prompts]] for i in range(60)]
    drawn = [np.concatenate([rows[i] for i in random.integers(60, size=60)]).mean() for _ in range(4000)]
    assert of(values, prompts) == pytest.approx((values.mean(), *np.quantile(drawn, [0.025, 0.975])), abs=0.03)


def test_what_is_undefined_is_none() -> None:
    assert of(np.array([1.0, 0.0]), ["p", "p"]) == (0.5, None, None)
    nothing = estimates({"x": np.ones(3), "n": np.zeros(3)}, {"mean": mean}, ["p", "q", "r"])["mean"]
    assert nothing == (None, None, None)


def test_resamples_without_a_value_are_left_out() -> None:
    """One row of fifty counts, and a third of the resamples lack it: the figure is 1 in all others."""
    counts = np.array([1.0] + [0.0] * 49)
    assert estimates({"x": counts, "n": counts}, {"mean": mean}, [f"p{i}" for i in range(50)])["mean"] == (1, 1, 1)
