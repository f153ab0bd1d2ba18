"""What holds for every aggregator: swapped sides, order, single judgments, ties only, one annotator, nobody in common, weights."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.quality.aggregation.bradley_terry import bradley_terry
from tasks.quality.aggregation.dawid_skene import dawid_skene
from tasks.quality.aggregation.majority import majority
from tasks.quality.aggregation.paired_likelihood import Models
from tasks.quality.aggregation.verdicts import Aggregated, Verdicts

AGGREGATORS: dict[str, Callable[[Verdicts], Aggregated]] = {
    "majority": majority,
    "dawid_skene": dawid_skene,
    "bradley_terry": lambda verdicts: bradley_terry(verdicts, Models.unknown(verdicts.n_comparisons)),
}
every = pytest.mark.parametrize("aggregate", AGGREGATORS.values(), ids=list(AGGREGATORS))
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2), st.sampled_from([-1, 0, 1])), min_size=1, max_size=25)


def of(rows: list[tuple[int, int, int, int]]) -> Verdicts:
    return Verdicts.of(*np.array(rows).T, n_comparisons=6, n_annotators=4)


@every
@settings(max_examples=25)
@given(rows=ROWS, turned=st.lists(st.booleans(), min_size=6, max_size=6))
def test_turning_any_comparison_round_turns_its_probabilities_and_nothing_else(
    aggregate: Callable[[Verdicts], Aggregated], rows: list[tuple[int, int, int, int]], turned: list[bool]
) -> None:
    other = [(i, k, 2 - v, -s) if turned[i] else (i, k, v, s) for i, k, v, s in rows]
    one, two = aggregate(of(rows)), aggregate(of(other))
    for i in range(6):
        expected = one.probabilities[i, ::-1] if turned[i] else one.probabilities[i]
        np.testing.assert_allclose(two.probabilities[i], expected, atol=2e-4)
    np.testing.assert_allclose(two.reliability.value, one.reliability.value, atol=2e-4)


@every
def test_the_order_of_the_verdicts_and_the_annotators_names_do_not_matter(aggregate: Callable[[Verdicts], Aggregated]) -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(6, size=24), rng.integers(4, size=24), rng.integers(3, size=24), rng.choice([-1, 1], 24)], axis=1)
    one, two = aggregate(of(rows.tolist())), aggregate(of(rng.permutation(rows).tolist()))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    names = np.array([2, 0, 3, 1])
    renamed = rows.copy()
    renamed[:, 1] = names[rows[:, 1]]
    three = aggregate(of(renamed.tolist()))
    np.testing.assert_allclose(three.probabilities, one.probabilities, atol=1e-4)
    np.testing.assert_allclose(three.reliability.value[names], one.reliability.value, atol=1e-4)


@every
@settings(max_examples=25)
@given(rows=ROWS)
def test_probabilities_are_probabilities_and_intervals_hold_the_value(
    aggregate: Callable[[Verdicts], Aggregated], rows: list[tuple[int, int, int, int]]
) -> None:
    found = aggregate(of(rows))
    assert (found.probabilities >= -1e-12).all()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    value, error, low, high = found.reliability
    assert ((low < value) & (value < high) & (error > 0) & (low > 0) & (high < 1)).all()


@every
def test_ties_only_say_tie_and_nothing_of_a_or_b(aggregate: Callable[[Verdicts], Aggregated]) -> None:
    found = aggregate(of([(i, k, 1, 1) for i in range(6) for k in range(2)]))
    assert (found.probabilities[:, 1] > found.probabilities[:, 0]).all()
    np.testing.assert_allclose(found.probabilities[:, 0], found.probabilities[:, 2], atol=1e-9)


@every
def test_one_annotator_alone_is_believed(aggregate: Callable[[Verdicts], Aggregated]) -> None:
    found = aggregate(Verdicts.of(range(6), [0] * 6, [0, 2, 0, 2, 1, 0]))
    assert found.probabilities[:, [0, 2]].argmax(axis=1)[[0, 1, 2, 3, 5]].tolist() == [0, 1, 0, 1, 0]
    assert found.reliability.low[0] < 0.75, "alone nobody is proved reliable"


@every
def test_nobody_in_common_leaves_every_reliability_at_its_prior(aggregate: Callable[[Verdicts], Aggregated]) -> None:
    found = aggregate(Verdicts.of(range(8), range(8), [0, 2] * 4))
    np.testing.assert_allclose(found.reliability.value, found.reliability.value[0], atol=1e-3)
    assert (found.probabilities[::2, 0] > found.probabilities[::2, 2]).all()


@every
def test_an_annotator_without_verdicts_and_a_comparison_without_any_have_the_prior(aggregate: Callable[[Verdicts], Aggregated]) -> None:
    found = aggregate(Verdicts.of([0, 0], [0, 1], [0, 0], n_comparisons=2, n_annotators=3))
    assert found.probabilities[1, 0] == pytest.approx(found.probabilities[1, 2])
    assert 0.5 <= found.reliability.value[2] < 1
    nothing = aggregate(Verdicts.of([], [], [], n_comparisons=0, n_annotators=2))
    assert nothing.probabilities.shape == (0, 3)


@every
def test_a_weight_of_two_is_the_verdict_said_twice_and_zero_is_silence(aggregate: Callable[[Verdicts], Aggregated]) -> None:
    """Of the probabilities; reliabilities differ, since the majority leaves one's own verdict out."""
    rows = [(i, k, (i * k + i) % 3, 1) for i in range(6) for k in range(4)]
    base = of(rows)
    silent = aggregate(base.weighted(np.array([1.0, 1, 1, 0])))
    without = aggregate(of([row for row in rows if row[1] != 3]))
    np.testing.assert_allclose(silent.probabilities, without.probabilities, atol=1e-9)
    doubled = aggregate(base.weighted(np.array([2.0, 1, 1, 1])))
    twice = aggregate(of([*rows, *(row for row in rows if row[1] == 0)]))
    np.testing.assert_allclose(doubled.probabilities, twice.probabilities, atol=1e-4)


def test_the_majority_by_hand() -> None:
    """Comparison 0: a, a, b; comparison 1: a, tie. Leave-one-out: annotator 0 and 1 face a tie and say nothing, 2 is against both."""
    found = majority(Verdicts.of([0, 0, 0, 1, 1], [0, 1, 2, 0, 1], [0, 0, 2, 0, 1]))
    np.testing.assert_allclose(found.probabilities, [[2 / 3, 0, 1 / 3], [1 / 2, 1 / 2, 0]])
    np.testing.assert_allclose(found.reliability.value, [1 / 2, 1 / 2, 1 / 3])
    np.testing.assert_allclose(found.reliability.standard_error[2], np.sqrt(1 * 2 / (3**2 * 4)))  # Beta(1, 2)
