"""Preferences as a reward model reads them: one split of `preferences.parquet`, as tokens, in batches of similar length."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import InputError
from data_contracts.records import PREFERENCE
from models.language.text import EncodedPair
from models.reward.reward_model import RewardModel

FILE_NAME = "preferences.parquet"
COLUMNS = ("comparison_id", "prompt_id", "split", "slice", "prompt", "chosen", "rejected", "probability", "weight")


class Preference(NamedTuple):
    """One preference, encoded."""

    prompt_id: str
    slice: str
    chosen: EncodedPair
    rejected: EncodedPair
    probability: float
    """That an annotator prefers `chosen`, from 0.5 to 1."""
    weight: float

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


def read_preferences(path: Path) -> list[dict[str, Any]]:
    """The rows of a preferences file, ordered by comparison id.

    Raises:
        InputError: a column is missing.
    """
    missing = set(COLUMNS) - set(pq.read_schema(path).names)
    if missing:
        raise InputError(f"the preferences have no column {', '.join(sorted(missing))}", where=str(path), remedy="make them anew")
    table: pa.Table = pq.read_table(path, columns=list(COLUMNS)).sort_by(PREFERENCE.key[0])
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def encode_split(rows: Sequence[dict[str, Any]], split: str, model: RewardModel) -> list[Preference]:
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


def _encode(row: dict[str, Any], model: RewardModel) -> Preference:
    chosen, rejected = (model.encode(row["prompt"], row[side]) for side in ("chosen", "rejected"))
    return Preference(row["prompt_id"], row["slice"], chosen, rejected, row["probability"], row["weight"])


def truncation_counts(preferences: Sequence[Preference]) -> dict[str, int]:
    """How many preferences lost a prompt's start, and how many responses their end, to the length limit."""
    return {
        "prompts_cut": sum(p.chosen.prompt_cut or p.rejected.prompt_cut for p in preferences),
        "responses_cut": sum(p.chosen.response_cut + p.rejected.response_cut for p in preferences),
    }
