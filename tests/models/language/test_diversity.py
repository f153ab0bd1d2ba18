"""How much responses repeat one another and themselves, by hand."""

import pytest

from models.language.diversity import distinct_2, repetition


def test_distinct_2_by_hand() -> None:
    # Pairs: a-b, b-a, a-b, and c-d: three different ones of four.
    assert distinct_2(["a b a b", "c d", "e", ""]) == 0.75
    assert distinct_2(["one", ""]) == 0


def test_repetition_by_hand() -> None:
    # 1 2 1 2 1 2 1 has the runs 1212, 2121, 1212, 2121: two different ones of four. 5 5 5 5 5 has one of two. Three tokens have none.
    assert repetition([[1, 2, 1, 2, 1, 2, 1]]) == 0.5
    assert repetition([[1, 2, 1, 2, 1, 2, 1], [5] * 5, [1, 2, 3], [1, 2, 3, 4, 5]]) == pytest.approx((0.5 + 0.5 + 0 + 0) / 4)
    assert repetition([]) == 0
