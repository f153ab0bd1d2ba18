"""Agreement figures against reference values, three libraries, the textbook, and definitions written out."""

import csv
import itertools
import math
from typing import Any

import evalica
import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from tasks.quality.figures.agreement import (
    CountTable,
    cohen_kappa_errors,
    cohen_kappas,
    fleiss_kappa,
    gwet_coefficient,
    interval,
    krippendorff_alpha,
    leave_one_out_agreement,
    macro_agreement,
    ordinal_agreement,
    pairwise_agreement,
)
from tests.tasks.deliveries import SHARED, needs_textbook

METRICS = ("nominal", "ordinal", "interval")
RATINGS = arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(2, 8)), elements=st.integers(-1, 2))
"""Coders by units; -1 is missing, 0 to 2 are a, tie, b."""


def counts_of(ratings: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Units by categories, from coders by units; units nobody coded are left out."""
    counts = np.stack([(ratings == category).sum(axis=0) for category in range(3)], axis=1)
    return counts[counts.sum(axis=1) > 0].astype(float)


@needs_textbook
@pytest.mark.parametrize(("metric", "expected"), [("nominal", 904 / 1216), ("ordinal", 0.815388), ("interval", 0.849107)])
def test_alpha_of_the_textbook_table(metric: Any, expected: float) -> None:
    coders = list(csv.reader((SHARED / "krippendorff_textbook/codings.csv").read_text().splitlines()))
    counts = np.array([[sum(coder[unit] == str(c) for coder in coders) for c in range(1, 6)] for unit in range(12)], float)
    table = CountTable.of(counts)
    assert krippendorff_alpha(table.counts, table.weights, metric) == pytest.approx(expected, abs=1e-6)


@given(RATINGS)
@settings(max_examples=60)
def test_alpha_equals_the_krippendorff_and_evalica_libraries(ratings: np.ndarray[Any, Any]) -> None:
    counts = counts_of(ratings)
    paired = counts[counts.sum(axis=1) >= 2]
    values = {category for category in range(3) if paired[:, category].any()} if paired.size else set()
    table = CountTable.of(counts) if counts.size else CountTable(np.zeros((1, 3)), np.ones(1))
    for metric in METRICS:
        ours = float(krippendorff_alpha(table.counts, table.weights, metric))
        if len(values) < 2:
            assert math.isnan(ours)  # 0/0 is undefined
            continue
        theirs = krippendorff.alpha(value_counts=paired, value_domain=[0, 1, 2], level_of_measurement=metric)
        assert ours == pytest.approx(theirs, abs=1e-9)
        frame = pd.DataFrame(np.where(ratings < 0, np.nan, ratings.astype(float)))
        assert ours == pytest.approx(evalica.alpha(frame, distance=metric).alpha, abs=1e-9)


@given(RATINGS)
@settings(max_examples=60)
def test_pair_figures_equal_their_definitions_written_out(ratings: np.ndarray[Any, Any]) -> None:
    counts = counts_of(ratings)
    if not counts.size:
        return
    table = CountTable.of(counts)
    units = [[int(r) for r in unit if r >= 0] for unit in ratings.T]
    units = [unit for unit in units if unit]
    pairs = [pair for unit in units for pair in itertools.combinations(unit, 2)]
    expected = np.mean([x == y for x, y in pairs]) if pairs else math.nan
    assert float(pairwise_agreement(table.counts, table.weights)) == pytest.approx(expected, abs=1e-12, nan_ok=True)

    paired = [unit for unit in units if len(unit) >= 2]
    each = [np.mean([x == y for x, y in itertools.combinations(unit, 2)]) for unit in paired]
    expected = np.mean(each) if each else math.nan
    assert float(macro_agreement(table.counts, table.weights)) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    shares = np.mean([[unit.count(k) / len(unit) for k in range(3)] for unit in units], axis=0)
    for weights in (np.eye(3), ordinal_agreement(3)):
        each = [np.mean([weights[x, y] for x, y in itertools.permutations(unit, 2)]) for unit in paired]
        observed = np.mean(each) if each else math.nan
        by_chance = weights.sum() / 6 * sum(p * (1 - p) for p in shares)
        expected = (observed - by_chance) / (1 - by_chance)
        assert float(gwet_coefficient(table.counts, table.weights, weights)) == pytest.approx(expected, abs=1e-9, nan_ok=True)

    agreeing = compared = 0
    for unit in units:
        for place, own in enumerate(unit):
            others = unit[:place] + unit[place + 1 :]
            margin = others.count(0) - others.count(2)
            compared += own != 1 and margin != 0
            agreeing += own != 1 and margin != 0 and (margin > 0) == (own == 0)
    expected = agreeing / compared if compared else math.nan
    assert float(leave_one_out_agreement(table.counts, table.weights)) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_ordinal_weights_by_hand() -> None:
    assert ordinal_agreement(3) == pytest.approx(np.array([[1, 2 / 3, 0], [2 / 3, 1, 2 / 3], [0, 2 / 3, 1]]))


def test_high_raw_agreement_on_a_rare_class_by_hand() -> None:
    # 95 comparisons of two who both say a, 5 where one says b: alpha = 1 - 199·10/(2·195·5) = -0.0205; AC1 over two categories .9448.
    table = CountTable.of(np.array([[2, 0]] * 95 + [[1, 1]] * 5, float))
    assert float(pairwise_agreement(table.counts, table.weights)) == pytest.approx(0.95)
    assert float(krippendorff_alpha(table.counts, table.weights, "nominal")) == pytest.approx(1 - 199 * 10 / (2 * 195 * 5))
    chance = 2 * 0.975 * 0.025
    assert float(gwet_coefficient(table.counts, table.weights, np.eye(2))) == pytest.approx((0.95 - chance) / (1 - chance))
    by_chance = 0.975**2 + 0.025**2
    assert float(fleiss_kappa(table.counts, table.weights)) == pytest.approx((0.95 - by_chance) / (1 - by_chance))


@given(arrays(np.int64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.integers(0, 2)))
@settings(max_examples=60)
def test_kappa_equals_scikit_learn(ratings: np.ndarray[Any, Any]) -> None:
    table = np.zeros((3, 3))
    np.add.at(table, (ratings[:, 0], ratings[:, 1]), 1)
    if len(set(ratings.ravel())) == 1:
        assert math.isnan(cohen_kappas(table))
    else:
        assert float(cohen_kappas(table)) == pytest.approx(cohen_kappa_score(ratings[:, 0], ratings[:, 1]), abs=1e-9)


def test_the_bootstrap_of_a_share_is_the_binomial_one() -> None:
    # 400 comparisons of two annotators, 100 of them in disagreement: the resampled share is binomial(400, 3/4)/400.
    table = CountTable.of(np.array([[2, 0, 0]] * 300 + [[1, 0, 1]] * 100))
    low, high = interval(pairwise_agreement(table.counts, table.resampled(np.random.default_rng(0), 20_000)))
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.004)


def test_the_error_of_kappa_is_its_spread_over_samples() -> None:
    """A thousand samples of 400 comparisons from one contingency table: the spread of their kappas, and the asymptotic error."""
    shares = np.array([[0.30, 0.05, 0.05], [0.05, 0.15, 0.05], [0.05, 0.05, 0.25]])
    samples = np.random.default_rng(0).multinomial(400, shares.ravel(), size=4000).reshape(-1, 3, 3).astype(float)
    assert float(cohen_kappa_errors(400 * shares)) == pytest.approx(cohen_kappas(samples).std(), rel=0.05)
