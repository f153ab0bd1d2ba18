"""The figures of a judge, from its verdicts in both orders: how often the policy wins, and how far the judge can be relied on.

A response wins a pair where it is preferred in both orders; a disagreement between the orders is a tie (Zheng et al., 2023). A pair
without a verdict in one of the orders is left out, and counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_contracts.records import ALL_SLICES
from models.evaluation.clusters import Figure, estimates

Pair = dict[str, Any]
POLICY, OPPONENT = "policy", "opponent"
FIGURES: Mapping[str, Figure] = {
    "win_rate": lambda sums: sums["win"] / sums["answered"],
    "tie_share": lambda sums: sums["tie"] / sums["answered"],
    "position_inconsistent_share": lambda sums: sums["inconsistent"] / sums["answered"],
    "first_preferred_share": lambda sums: sums["first"] / sums["decided"],
    "unanswered_share": lambda sums: (sums["pairs"] - sums["answered"]) / sums["pairs"],
}


def judge_figures(rows: Sequence[Mapping[str, Any]], judge: str) -> list[dict[str, object]]:
    """Rows of the record `figure`, over all prompts and by slice, from rows of the record `verdict` of one judge."""
    found, pairs = [], pairs_of(rows)
    for opponent in sorted({pair["opponent"] for pair in pairs}):
        own = [pair for pair in pairs if pair["opponent"] == opponent]
        for part in [ALL_SLICES, *sorted({pair["slice"] for pair in own})]:
            chosen = [pair for pair in own if part in (ALL_SLICES, pair["slice"])]
            found += [{"slice": part, "figure": f"{name}_{opponent}_by_{judge}", **row} for name, row in _figures(chosen)]
    return found


def _figures(pairs: Sequence[Pair]) -> Iterator[tuple[str, dict[str, object]]]:
    names = ("win", "tie", "inconsistent", "first", "decided", "answered", "pairs")
    columns = {name: np.array([pair[name] for pair in pairs], dtype=np.float64) for name in names}
    for name, one in estimates(columns, FIGURES, [pair["prompt_id"] for pair in pairs]).items():
        if one.value is not None:
            yield name, {**one._asdict(), "n": len(pairs) if name == "unanswered_share" else int(columns["answered"].sum())}


def pairs_of(rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """What both orders say together, pair by pair."""
    orders: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        orders.setdefault((row["opponent"], row["prompt_id"]), []).append(row)
    return [_together(both) for both in orders.values()]


def _together(both: Sequence[Mapping[str, Any]]) -> Pair:
    verdicts = [row["verdict"] for row in both]
    answered, decided = None not in verdicts, [row for row in both if row["verdict"] in (POLICY, OPPONENT)]
    won, lost = (answered and set(verdicts) == {side} for side in (POLICY, OPPONENT))
    return {
        **{name: both[0][name] for name in ("prompt_id", "slice", "opponent")},
        "pairs": 1,
        "answered": answered,
        "win": won + 0.5 * (answered and not won and not lost),
        "tie": answered and not won and not lost,
        "inconsistent": set(verdicts) == {POLICY, OPPONENT},
        "decided": len(decided),
        "first": sum(row["verdict"] == row["presented_first"] for row in decided),
    }
