"""Batches of similar length. Oracle: what a batching must be, as properties."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.batching import epoch_batches, token_batches

some_lengths = st.lists(st.integers(1, 50), max_size=40)


@given(lengths=some_lengths, budget=st.integers(1, 200))
def test_token_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in batches)


@given(rows=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 6)), max_size=40), budget=st.integers(1, 400))
def test_a_row_of_several_sequences_counts_as_so_many(rows: list[tuple[int, int]], budget: int) -> None:
    lengths, counts = [length for length, _ in rows], [count for _, count in rows]
    batches = token_batches(lengths, budget, counts)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    assert all(len(batch) == 1 or sum(counts[i] for i in batch) * max(lengths[i] for i in batch) <= budget for batch in batches)


@given(lengths=some_lengths, size=st.integers(1, 9), seed=st.integers(0, 99))
def test_epoch_batches_hold_each_row_once_beside_rows_of_similar_length(lengths: list[int], size: int, seed: int) -> None:
    batches = epoch_batches(lengths, size, seed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert sorted(map(len, batches), reverse=True)[: len(lengths) // size] == [size] * (len(lengths) // size)
    spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in batches)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert batches == epoch_batches(lengths, size, seed)


def test_epochs_differ_in_order() -> None:
    assert epoch_batches([5] * 40, 4, 0, "order", 0) != epoch_batches([5] * 40, 4, 0, "order", 1)
