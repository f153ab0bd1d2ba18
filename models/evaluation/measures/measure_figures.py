"""The figures of a measure, from its values: each model's mean, and what the policy gained over every other, prompt by prompt."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_contracts.records import ALL_SLICES
from models.evaluation.clusters import estimates

POLICY = "policy"
Known = Mapping[str, float]
"""The values of one model's responses that have one, by prompt id."""


def measure_figures(rows: Sequence[Mapping[str, Any]], *, by: str = "") -> list[dict[str, object]]:
    """Rows of the record `figure`, over all prompts and by slice, from rows of the record `measurement`.

    `NAME` is the policy's mean, `NAME_reference` the base model's, and `NAME_gain_reference` the mean of the policy's value less the
    base model's, over the prompts on which both have one; the same with `champion`. `by` ends every name.
    """
    found: list[dict[str, object]] = []
    for figure in sorted({row["figure"] for row in rows}):
        own = [row for row in rows if row["figure"] == figure]
        for part in [ALL_SLICES, *sorted({row["slice"] for row in own})]:
            chosen = [row for row in own if part in (ALL_SLICES, row["slice"])]
            found += [{"slice": part, "figure": name + by, **row} for name, row in _figures(figure, chosen)]
    return found


def _figures(figure: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, object]]]:
    known: dict[str, dict[str, float]] = {row["model"]: {} for row in rows}
    for row in rows:
        if row["value"] is not None:
            known[row["model"]][row["prompt_id"]] = row["value"]
    for model in sorted(known):
        yield from _mean(figure if model == POLICY else f"{figure}_{model}", known[model])
    for other in sorted(known.keys() - {POLICY}):
        both = known[POLICY].keys() & known[other].keys()
        yield from _mean(f"{figure}_gain_{other}", {prompt: known[POLICY][prompt] - known[other][prompt] for prompt in sorted(both)})


def _mean(name: str, values: Known) -> Iterator[tuple[str, dict[str, object]]]:
    """The mean with its interval over prompts; nothing where there is no value."""
    if values:
        columns = {"sum": np.array(list(values.values()), dtype=np.float64), "n": np.ones(len(values))}
        (estimate,) = estimates(columns, {name: lambda sums: sums["sum"] / sums["n"]}, list(values)).values()
        yield name, {**estimate._asdict(), "n": len(values)}
