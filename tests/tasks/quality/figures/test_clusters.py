"""Resampled annotators against the binomial distribution and the exact variance of a ratio."""

import math

import numpy as np
import pytest
from scipy import sparse

from tasks.quality.figures.agreement import interval, ratio
from tasks.quality.figures.clusters import BLOCK, clustered_ratio, resampled_counts, resampled_sums


def test_a_clustered_ratio_resamples_clusters() -> None:
    # Four annotators of 100 votes each, two always for the first side: both ends are reached when one kind is drawn alone.
    told = clustered_ratio(np.array([100.0, 100, 0, 0]), np.full(4, 100.0), np.random.default_rng(0), 4000)
    assert told == (0.5, 0.0, 1.0)


def test_the_spread_is_that_of_annotators_and_not_of_their_judgments() -> None:
    """400 annotators of 50 judgments whose shares have the standard deviation s: that of the mean is s / 20."""
    shares = np.random.default_rng(0).beta(5, 5, 400)
    value, low, high = clustered_ratio(50 * shares, np.full(400, 50.0), np.random.default_rng(1), 4000)
    assert value == pytest.approx(shares.mean())
    assert (high - low) / (2 * 1.96) == pytest.approx(shares.std() / 20, rel=0.05)


def test_unknown_annotators_are_one_each() -> None:
    """900 judgments of nobody known, 600 for the first side: the share is binomial."""
    top, bottom = resampled_counts(600, 300, np.random.default_rng(0), 20_000)
    low, high = interval(ratio(top, bottom))
    half = 1.96 * math.sqrt(2 / 9 / 900)
    assert (low, high) == pytest.approx((2 / 3 - half, 2 / 3 + half), abs=0.003)


def test_one_annotator_has_no_interval_and_none_no_value() -> None:
    value, low, high = clustered_ratio(np.array([3.0, 0.0]), np.array([4.0, 0.0]), np.random.default_rng(0), 100)
    assert (value, math.isnan(low), math.isnan(high)) == (0.75, True, True)
    assert all(map(math.isnan, clustered_ratio(np.zeros(0), np.zeros(0), np.random.default_rng(0), 100)))


def test_sums_are_the_same_in_blocks_and_have_the_poisson_mean_and_variance() -> None:
    values = np.random.default_rng(0).random(3 * BLOCK // 2)
    sums = resampled_sums(sparse.csr_array(values[:, None]), np.random.default_rng(1), 2000)[:, 0]
    assert sums.mean() == pytest.approx(values.sum(), rel=0.002)
    assert sums.var() == pytest.approx((values**2).sum(), rel=0.1)
