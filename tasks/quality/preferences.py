"""Preferences: the current judgments of each comparison become one preference, and each prompt gets its split.

A comparison's probability is the share of its judgments for the chosen response, a tie counting half. Its weight is its number of
judgments, divided by the number of pairs of the ranking that it was taken from, if any, so that a ranking of K responses counts as
one comparison and not as K·(K−1)/2 (Ouyang et al., 2022); and then by the mean weight of the split, so that a split's weights have
mean 1 and adding data to one split leaves the others as they are. The split depends on the name of the prompt's group of
near-duplicates and on the salt alone: data that is added moves a prompt only where it shows that two groups are one. Prompts that
stand in a held-out evaluation set are left out of every split but test, from which nothing learns.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
from pydantic import Field, model_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import IntegrityError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments, views_version
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_records, write_table
from data_contracts.records import IDENTICAL, NEAR_IDENTICAL, PREFERENCE, PROMPT, SPLITS
from tasks.quality.votes import votes_that_count
from tasks.stage import StageConfig, stage

EXCLUDED_SCHEMA = pa.schema([pa.field("comparison_id", pa.string(), nullable=False), pa.field("reason", pa.string(), nullable=False)])


class PreferencesConfig(StageConfig):
    """How judgments become preferences and splits."""

    train: float = Field(default=0.6, ge=0, le=1, description="share of prompt groups that the reward model and the policy learn from")
    validation: float = Field(default=0.1, ge=0, le=1, description="share of prompt groups that choose among updates")
    test: float = Field(default=0.15, ge=0, le=1, description="share of prompt groups that the policy is evaluated on")
    judge: float = Field(default=0.15, ge=0, le=1, description="share of prompt groups that only the held-out judge learns from")
    salt: str = Field(default="", description="text that is hashed with each prompt group; another salt gives other splits")
    annotators: tuple[Literal["human", "model"], ...] = Field(default=("human",), description="whose judgments count")
    exclude_near_identical: bool = Field(default=False, description="leave out comparisons whose responses are nearly the same")

    @model_validator(mode="after")
    def _shares_add_up(self) -> "PreferencesConfig":
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"the shares of {', '.join(SPLITS)} must add up to 1, not {sum(self.shares.values()):g}")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split, in the order of the splits."""
        return {split: getattr(self, split) for split in SPLITS}


def build_preferences(home: Home, config: PreferencesConfig, *, snapshot: Artifact, duplicates: Artifact) -> Made:
    """Aggregate a snapshot's current judgments and split its prompts, with what is known of its duplicates."""
    identity = Identity(
        kind="preferences",
        code_version=f"{code_version('tasks.quality.preferences')}-{views_version()}",
        libraries=library_versions(("duckdb", "polars", "pyarrow")),
        config=dict(pinned_config(config)),
        inputs=(snapshot.manifest.as_input("snapshot"), duplicates.manifest.as_input("duplicates")),
    )
    return home.artifacts.make(identity, lambda directory: _write_preferences(directory, config, home, snapshot, duplicates))


def _write_preferences(directory: Path, config: PreferencesConfig, home: Home, snapshot: Artifact, duplicates: Artifact) -> Headline:
    pinned = FeedbackLake(home.lake).pinned(snapshot)
    judgments = votes_that_count(pl.DataFrame(current_judgments(*pinned)), config.annotators)
    comparisons = with_splits(with_duplicates(pl.DataFrame(current_comparisons(*pinned)), duplicates), config)
    counted = count_votes(judgments, comparisons, exclude_near_identical=config.exclude_near_identical)
    preferences = aggregate(counted.filter(pl.col("reason").is_null()))
    excluded = counted.filter(pl.col("reason").is_not_null()).select("comparison_id", "reason").sort("comparison_id")
    known = distinct_prompts(comparisons)
    prompts = known.filter(~pl.col("contaminated"))
    if preferences.height + excluded.height != comparisons.height:
        raise IntegrityError(f"{comparisons.height} comparisons gave {preferences.height} preferences and {excluded.height} excluded")
    write_records(PREFERENCE, preferences.to_arrow(), directory / "preferences.parquet")
    write_records(PROMPT, prompts.to_arrow(), directory / "prompts.parquet")
    write_table(excluded.to_arrow().cast(EXCLUDED_SCHEMA), directory / "excluded.parquet")
    pairs = {f"{split}_pairs": preferences.filter(pl.col("split") == split).height for split in SPLITS}
    held_out = known.height - prompts.height
    return {"pairs": preferences.height, **pairs, "prompts": prompts.height, "excluded": excluded.height, "prompts_held_out": held_out}


def with_duplicates(comparisons: pl.DataFrame, duplicates: Artifact) -> pl.DataFrame:
    """The comparisons with their prompt's group_id, whether it stands in an evaluation set, and the mark of their responses."""
    groups = pl.read_parquet(duplicates.file("prompt_groups.parquet"), columns=["prompt_id", "group_id"])
    marks = pl.read_parquet(duplicates.file("response_pairs.parquet"), columns=["comparison_id", "mark"])
    found = pl.read_parquet(duplicates.file("contamination.parquet"), columns=["prompt_id"])
    in_set = pl.col("prompt_id").is_in(found["prompt_id"].implode()).fill_null(False)
    joined = comparisons.join(groups, on="prompt_id", how="left").join(marks, on="comparison_id", how="left")
    return joined.with_columns(in_evaluation_set=in_set)


def with_splits(comparisons: pl.DataFrame, config: PreferencesConfig) -> pl.DataFrame:
    """The comparisons with their split, and whether they are contaminated there: in an evaluation set, and not in the test split."""
    split = _splits(comparisons["group_id"], config)
    return comparisons.with_columns(split=split).with_columns(
        contaminated=pl.col("in_evaluation_set") & (pl.col("split") != "test").fill_null(False)
    )


def count_votes(judgments: pl.DataFrame, comparisons: pl.DataFrame, *, exclude_near_identical: bool = False) -> pl.DataFrame:
    """The comparisons with their votes, n_a, n_b, n_judgments and strength_a, and the reason why one gives no preference, else null.

    strength_a is the mean strength of the votes that have one, above 0 where it is for response a, a tie being 0.
    """
    direction = pl.col("verdict").replace_strict({"a": 1.0, "b": -1.0, "tie": 0.0}, return_dtype=pl.Float64)
    n_a, n_b = ((pl.col("verdict") == side).sum().cast(pl.Int64) for side in ("a", "b"))
    strength_a = (direction * pl.col("preference_strength")).mean()
    votes = judgments.group_by("comparison_id").agg(n_a=n_a, n_b=n_b, n_judgments=pl.len().cast(pl.Int64), strength_a=strength_a)
    counted = comparisons.join(votes, on="comparison_id", how="left").with_columns(pl.col("n_a", "n_b", "n_judgments").fill_null(0))
    reasons = {
        "no_judgments": pl.col("n_judgments") == 0,
        "unknown_prompt": pl.col("prompt").is_null(),
        "contaminated": pl.col("contaminated"),
        "unknown_response": pl.col("response_a").is_null() | pl.col("response_b").is_null(),
        "identical_responses": pl.col("mark") == IDENTICAL,
        "near_identical_responses": (pl.col("mark") == NEAR_IDENTICAL) & exclude_near_identical,
        "undecided": pl.col("n_a") == pl.col("n_b"),
    }
    return counted.with_columns(reason=pl.coalesce(pl.when(applies).then(pl.lit(reason)) for reason, applies in reasons.items()))


def aggregate(counted: pl.DataFrame) -> pl.DataFrame:
    """One preference per decided comparison, by comparison id."""
    a_wins = pl.col("n_a") > pl.col("n_b")
    n = pl.col("n_judgments")
    of_ranking = pl.when(pl.col("ranking_id").is_null()).then(1).otherwise(pl.len().over("ranking_id"))
    weight = n / of_ranking
    n_ties = n - pl.col("n_a") - pl.col("n_b")
    return counted.with_columns(
        chosen=pl.when(a_wins).then("response_a").otherwise("response_b"),
        rejected=pl.when(a_wins).then("response_b").otherwise("response_a"),
        probability=(pl.max_horizontal("n_a", "n_b") + n_ties / 2) / n,
        tie_probability=n_ties / n,
        preference_strength=pl.when(a_wins).then("strength_a").otherwise(-pl.col("strength_a")),
        weight=weight / weight.mean().over("split"),
    ).sort("comparison_id")


def distinct_prompts(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Every prompt whose text is known, by id; one that stands in several slices belongs to the first by name."""
    known = comparisons.filter(pl.col("prompt").is_not_null()).sort("prompt_id", "slice", "comparison_id")
    return known.unique("prompt_id", keep="first", maintain_order=True)


def split_of(group_id: str, salt: str, shares: Mapping[str, float]) -> str:
    """The split of a prompt group: where the hash of salt and group falls among the shares."""
    place = int.from_bytes(hashlib.sha256(f"{salt}/{group_id}".encode()).digest()[:8]) / 2**64
    end = 0.0
    for split, share in shares.items():
        end += share
        if place < end:
            return split
    return [split for split, share in shares.items() if share][-1]  # rounding of the shares can leave a gap at the end


def _splits(group_ids: pl.Series, config: PreferencesConfig) -> pl.Series:
    splits = {group_id: split_of(group_id, config.salt, config.shares) for group_id in group_ids.drop_nulls().unique()}
    return group_ids.replace_strict(splits, return_dtype=pl.String)


preferences_stage = stage("preferences")(build_preferences)
