"""Preferences as a reward model reads them: one split of `preferences.parquet`, as tokens, the pairs of a ranking together."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import InputError, examples
from data_contracts.records import PREFERENCE
from models.configs import Together
from models.language.text import EncodedPair
from models.reward.scoring import Scoring

FILE_NAME = "preferences.parquet"
COLUMNS = (
    *("comparison_id", "prompt_id", "split", "slice", "prompt", "chosen", "rejected"),
    *("probability", "weight", "n_judgments", "n_chosen", "n_rejected", "tie_probability", "ranking_id", "preference_strength"),
)
ROUNDING = 1e-6
"""How far the shares of a row's judgments may be from adding up."""


class Preference(NamedTuple):
    """One preference, encoded."""

    prompt_id: str
    slice: str
    chosen: EncodedPair
    rejected: EncodedPair
    probability: float
    """That an annotator prefers `chosen`, from 0.5 to 1, a tie counting half."""
    weight: float
    tie_probability: float = 0.0
    n_judgments: int = 1
    n_chosen: int = 1
    """Judgments for `chosen`; ties are what `n_chosen` and `n_rejected` leave."""
    n_rejected: int = 0
    ranking_id: str | None = None
    """The ranking of several responses that the pair was taken from."""
    strength: float | None = None
    """Mean strength of the preference, above 0 where it is for `chosen`; None where nobody said."""

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


class Group(NamedTuple):
    """Pairs that are learned from in one forward pass: those of a ranking or of a prompt, or one pair by itself."""

    pairs: list[Preference]

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return max(pair.length for pair in self.pairs)

    @property
    def n_sequences(self) -> int:
        """Different sequences, each of which is encoded once."""
        return len(distinct_sequences(self.pairs)[0])


def read_preferences(path: Path) -> list[dict[str, Any]]:
    """The rows of a preferences file, ordered by comparison id.

    Raises:
        InputError: a column is missing, or a row's shares of judgments do not add up.
    """
    if missing := set(COLUMNS) - set(pq.read_schema(path).names):
        raise InputError(f"the preferences have no column {', '.join(sorted(missing))}", where=str(path), remedy="make them anew")
    table: pa.Table = pq.read_table(path, columns=list(COLUMNS)).sort_by(PREFERENCE.key[0])
    rows: list[dict[str, Any]] = table.to_pylist()
    if wrong := [row["comparison_id"] for row in rows if not _adds_up(row)]:
        raise InputError(f"the shares of judgments do not add up: {examples(wrong)}", where=str(path), remedy="make the preferences anew")
    return rows


def _adds_up(row: dict[str, Any]) -> bool:
    """Whether the shares for `chosen` and `rejected`, probability and 1 − probability less half the ties, are both 0 or more."""
    half = row["tie_probability"] / 2
    return bool(half >= 0 and half - ROUNDING <= row["probability"] <= 1 - half + ROUNDING)


def encode_split(rows: Sequence[dict[str, Any]], split: str, model: Scoring) -> list[Preference]:
    """The preferences of one split, as the model's tokens.

    Raises:
        InputError: the split has no preference with a weight; the message says how many prompts there are.
    """
    own = [row for row in rows if row["split"] == split and row["weight"] > 0]
    if not own:
        prompts = Counter(name for name, _ in {(row["split"], row["prompt_id"]) for row in rows})
        found = ", ".join(f"{name} {count}" for name, count in sorted(prompts.items())) or "none"
        raise InputError(
            f"the split {split!r} has no preferences; prompts by split: {found}",
            where=FILE_NAME,
            remedy="raise this split's fraction in the recipe, or bring judgments of more prompts",
        )
    return [_encode(row, model) for row in own]


def _encode(row: dict[str, Any], model: Scoring) -> Preference:
    chosen, rejected = (model.encode(row["prompt"], row[side]) for side in ("chosen", "rejected"))
    return Preference(
        prompt_id=row["prompt_id"],
        slice=row["slice"],
        chosen=chosen,
        rejected=rejected,
        probability=row["probability"],
        weight=row["weight"],
        tie_probability=row["tie_probability"],
        n_judgments=row["n_judgments"],
        n_chosen=row["n_chosen"],
        n_rejected=row["n_rejected"],
        ranking_id=row["ranking_id"],
        strength=row["preference_strength"],
    )


def in_groups(preferences: Sequence[Preference], together: Together = "rankings") -> list[Group]:
    """The pairs of each ranking (Ouyang et al., 2022) or prompt as one group, others by themselves; in the order of their first pairs."""
    groups: dict[object, list[Preference]] = {}
    for place, preference in enumerate(preferences):
        own = place if preference.ranking_id is None else (preference.prompt_id, preference.ranking_id)
        groups.setdefault(preference.prompt_id if together == "prompts" else own, []).append(preference)
    return [Group(pairs) for pairs in groups.values()]


def distinct_sequences(pairs: Sequence[Preference]) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
    """The different sequences of pairs, so that each is encoded once, and where each pair's `chosen` and `rejected` stand in them."""
    sides = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
    places: dict[tuple[int, ...], int] = {}
    found = [places.setdefault(tuple(side.ids), len(places)) for side in sides]
    return list(places), found[: len(pairs)], found[len(pairs) :]


def truncation_counts(preferences: Sequence[Preference]) -> dict[str, int]:
    """How many preferences lost a prompt's start, and how many responses their end, to the length limit."""
    return {
        "prompts_cut": sum(p.chosen.prompt_cut or p.rejected.prompt_cut for p in preferences),
        "responses_cut": sum(p.chosen.response_cut + p.rejected.response_cut for p in preferences),
    }
