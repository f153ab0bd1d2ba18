"""How good a reward model is on preferences that it did not learn from: the rows of the record `reward figure`, part by part."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_contracts.records import ALL_SLICES
from models.evaluation.clusters import Estimate, estimates
from models.reward.evaluation.baselines import LengthOnly
from models.reward.evaluation.calibration import bins, confidence
from models.reward.evaluation.reward_figures import FIGURES, Scores, columns_of, probabilities_of, ratio
from models.reward.preference_data import Preference, truncation_counts

OVERALL, SLICE, MARGIN, ANNOTATORS, RELIABILITY = "all", "slice", "margin", "annotators", "reliability"
QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
"""Of the pairs by how sure the model is of them."""
UNANIMOUS, CONTESTED, SINGLE = "unanimous", "contested", "single judgment"

Rows = list[dict[str, Any]]


def evaluate_scores(preferences: Sequence[Preference], scores: Scores, length_only: LengthOnly) -> Rows:
    """Rows of the record `reward figure`, but for their split.

    Parts: all pairs, each slice, quarters of the pairs by the model's certainty, and pairs on which annotators were of one mind or
    not. Under the grouping `reliability` each bin of similar confidence has what was predicted and what was observed.
    """
    rows: Rows = []
    for grouping, part, places in _parts(preferences, scores):
        own, own_scores = [preferences[i] for i in places], Scores(*(column[places] for column in scores))
        found = estimates(columns_of(own, own_scores, length_only), FIGURES, [p.prompt_id for p in own])
        counts = {name: Estimate(float(count)) for name, count in truncation_counts(own).items()}
        rows += _rows(grouping, part, own, {**found, **counts})
    return rows + _reliability(preferences, scores)


def as_json(rows: Rows) -> dict[str, Any]:
    """The rows of one split as one object: the figures of all pairs, and under each grouping those of its parts."""
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        part = parts.setdefault(row["grouping"], {}).setdefault(row["part"], {"n_pairs": row["n_pairs"], "n_prompts": row["n_prompts"]})
        part[row["figure"]] = row["value"]
        if row["figure"] in FIGURES or row["low"] is not None:
            part |= {f"{row['figure']}_low": row["low"], f"{row['figure']}_high": row["high"]}
    groupings = {SLICE: "slices", MARGIN: "margins", ANNOTATORS: "annotators", RELIABILITY: "reliability"}
    return {**parts[OVERALL][ALL_SLICES], **{name: parts.get(grouping, {}) for grouping, name in groupings.items()}}


def _parts(preferences: Sequence[Preference], scores: Scores) -> Iterator[tuple[str, str, list[int]]]:
    """Each part with the places of its pairs."""
    everything = range(len(preferences))
    yield OVERALL, ALL_SLICES, list(everything)
    for name in sorted({p.slice for p in preferences}):
        yield SLICE, name, [i for i in everything if preferences[i].slice == name]
    order = np.argsort(np.abs(scores.log_odds), kind="stable")
    for name, places in zip(QUARTERS, np.array_split(order, len(QUARTERS)), strict=True):
        if len(places):
            yield MARGIN, name, places.tolist()
    minds = [_mind(p) for p in preferences]
    for name in (UNANIMOUS, CONTESTED, SINGLE):
        if name in minds:
            yield ANNOTATORS, name, [i for i in everything if minds[i] == name]


def _mind(preference: Preference) -> str:
    """Whether the annotators of a pair were of one mind; a tie beside another verdict is not."""
    if preference.n_judgments < 2:
        return SINGLE
    return UNANIMOUS if preference.n_judgments in (preference.n_chosen, preference.n_rejected) else CONTESTED


def _reliability(preferences: Sequence[Preference], scores: Scores) -> Rows:
    seen = confidence(scores.log_odds, probabilities_of(preferences))
    places, rows = bins(seen.predicted), []
    for number, place in enumerate(np.unique(places).tolist(), 1):
        inside = np.flatnonzero(places == place).tolist()
        own, weights = [preferences[i] for i in inside], np.array([preferences[i].weight for i in inside])
        columns = {"weight": weights, "predicted": weights * seen.predicted[inside], "observed": weights * seen.observed[inside]}
        figures = {name: ratio(name, "weight") for name in ("predicted", "observed")}
        rows += _rows(RELIABILITY, f"bin {number}", own, estimates(columns, figures, [p.prompt_id for p in own]))
    return rows


def _rows(grouping: str, part: str, preferences: Sequence[Preference], found: Mapping[str, Estimate]) -> Rows:
    counts = {"n_pairs": len(preferences), "n_prompts": len({p.prompt_id for p in preferences})}
    return [{"grouping": grouping, "part": part, "figure": name, **estimate._asdict(), **counts} for name, estimate in found.items()]
