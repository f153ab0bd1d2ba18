"""Consistency by hand, and by brute force over pairs and triads in Python."""

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.deliveries import row, swapped
from tests.tasks.quality.measuring import figures, measured, vote


def pair(one: str, other: str, verdict: str, prompt: str, who: str | None = None, number: int = 0) -> dict[str, Any]:
    """A judgment of two texts; the comparison is known by its content."""
    comparison = hash((prompt, one, other, number)) % 2**40
    return row(verdict, prompt=prompt, response_a=one, response_b=other, annotator_id=who, comparison_id=comparison)


def test_a_cycle_is_counted_once_and_an_undecided_pair_makes_no_triad() -> None:
    cycle = [pair("x", "y", "a", "p"), pair("y", "z", "a", "p"), pair("z", "x", "a", "p")]
    order = [pair("x", "y", "a", "q"), pair("y", "z", "a", "q"), pair("z", "x", "b", "q")]
    undecided = [pair("x", "y", "a", "r"), pair("y", "z", "tie", "r"), pair("z", "x", "a", "r")]
    again = [row | {"prompt": "s", "comparison_id": row["comparison_id"] + 1} for row in order]
    triads = figures(measured([*cycle, *order, *undecided, *again]))["cyclic_triad_share"]
    assert (triads["value"], triads["n"]) == (1 / 3, 3)


@given(
    st.lists(
        st.tuples(st.sampled_from(["kim", "lee"]), st.sampled_from("ab"), st.permutations("wxyz"), st.sampled_from(["p", "q"])),
        min_size=6,
        max_size=24,
    )
)
@settings(max_examples=6)
def test_triads_by_brute_force(judged: list[tuple[str, str, list[str], str]]) -> None:
    rows = [pair(order[0], order[1], verdict, prompt, who) for who, verdict, order, prompt in judged]
    rows = list({(r["annotator_id"], r["comparison_id"]): r for r in rows}.values())
    quality = measured(rows)

    def triads(votes: list[dict[str, Any]]) -> tuple[int, int]:
        margin: dict[tuple[str, str, str], int] = {}
        for r in votes:
            sign = 1 if r["verdict"] == "a" else -1
            for one, other, s in ((r["response_a"], r["response_b"], sign), (r["response_b"], r["response_a"], -sign)):
                margin[r["prompt"], one, other] = margin.get((r["prompt"], one, other), 0) + s
        wins = {key for key, value in margin.items() if value > 0}
        total = cyclic = 0
        for prompt, three in itertools.product("pq", itertools.combinations("wxyz", 3)):
            edges = [(one, other) for one, other in itertools.permutations(three, 2) if (prompt, one, other) in wins]
            total += len(edges) == 3
            cyclic += len(edges) == 3 and len({one for one, _ in edges}) == 3
        return cyclic, total

    cyclic, total = triads(rows)
    found = figures(quality)
    assert found["cyclic_triad_share"]["n"] == total
    assert found["cyclic_triad_share"]["value"] == (pytest.approx(cyclic / total) if total else None)
    for person in quality.annotators.iter_rows(named=True):
        own = triads([r for r in rows if r["annotator_id"] == person["annotator_id"]])
        assert (person["cyclic_triads"], person["n_triads"]) == own


def test_self_agreement_by_brute_force_over_pairs() -> None:
    """The same two texts under several ids and in both orders, and the same comparison twice."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        one = vote(str(rng.choice(["a", "b", "tie"])), str(rng.choice(["kim", "lee"])), 0)
        text, number = int(rng.integers(12)), int(rng.integers(3))
        one |= {"response_a": f"x{text}", "response_b": f"y{text}", "presented_first": rng.choice(["a", "b", None])}
        one["comparison_id"] = 10 * text + number
        rows.append(swapped(one) if number == 2 else one)
    found = figures(measured(rows))

    def told(r: dict[str, Any]) -> tuple[str, str | None]:
        """Verdict and what stood first, by text."""
        names = {"a": r["response_a"], "b": r["response_b"], "tie": "tie", None: None}
        return names[r["verdict"]] or "", names[r["presented_first"]]

    pairs: dict[str, list[bool]] = {"self_agreement": [], "self_agreement_same_order": [], "self_agreement_swapped_order": []}
    for one, other in itertools.combinations(rows, 2):
        same_texts = {one["response_a"], one["response_b"]} == {other["response_a"], other["response_b"]}
        if one["annotator_id"] != other["annotator_id"] or not same_texts:
            continue
        (verdict, first), (other_verdict, other_first) = told(one), told(other)
        pairs["self_agreement"].append(verdict == other_verdict)
        if first and other_first:
            name = "self_agreement_same_order" if first == other_first else "self_agreement_swapped_order"
            pairs[name].append(verdict == other_verdict)
    for name, agreeing in pairs.items():
        assert (found[name]["value"], found[name]["n"]) == pytest.approx((np.mean(agreeing), len(agreeing)), abs=1e-12), name
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


def test_what_one_said_of_unknown_texts_is_compared_by_the_comparison() -> None:
    unknown = {"response_a": None, "response_b": None}
    rows = [
        vote("a", "kim", 1, **unknown),
        vote("a", "kim", 1, **unknown),
        vote("b", "kim", 2, **unknown),
        vote("a", None, 3),
        vote("b", None, 3),
    ]
    found = figures(measured(rows))["self_agreement"]
    assert (found["value"], found["n"]) == (1, 1)


def test_gold_contradictions_and_near_identical_responses_by_hand() -> None:
    rows = [
        vote("a", "kim", 1, gold_verdict="a", preference_strength=1),
        vote("b", "lee", 1, gold_verdict="a", preference_strength=0),  # contradicts, and fails
        vote("tie", "kim", 2, gold_verdict="tie", preference_strength=2),  # contradicts
        vote("tie", "lee", 2, gold_verdict="tie", preference_strength=0),
        vote("a", "kim", 3, preference_strength=3, slice="other"),  # strong: the median of 1, 0, 3, 1 is 1
        vote("b", "lee", 3, preference_strength=1, slice="other"),
        vote("tie", "max", 3, slice="other"),
    ]
    quality = measured(rows, near_pairs=[3])
    found = {name: (row["value"], row["n"]) for name, row in figures(quality).items()}
    assert found["gold_passed_share"] == (3 / 4, 4)
    assert found["contradiction_share"] == (2 / 6, 6)
    assert found["near_identical_decided_share"] == (2 / 3, 3)
    assert found["near_identical_strong_share"] == (1 / 2, 2)
    people = {row["annotator_id"]: row for row in quality.annotators.to_dicts()}
    assert [(people[who]["gold_passed_share"], people[who]["n_gold"]) for who in ("kim", "lee", "max")] == [(1, 2), (0.5, 2), (None, 0)]
    assert [people[who]["contradiction_share"] for who in ("kim", "lee", "max")] == [1 / 3, 1 / 3, None]
    assert figures(quality, "domain", "other")["near_identical_decided_share"]["n"] == 3
    assert "gold_passed_share" not in figures(quality, "domain", "other"), "a slice has no row for what it has nothing of"
    assert quality.annotators.schema["flags"] == pl.List(pl.String)
