"""Preferences: what the judgments of each comparison say together becomes one preference, and each prompt gets its split.

A preference carries the aggregation's probabilities; in the split `judge` those of the judge's own annotators, where it has some.
Its weight is that of its judgments, divided by the number of pairs of the ranking that it was taken from, if any, so that a ranking
of K responses counts as one comparison and not as K·(K−1)/2 (Ouyang et al., 2022); and then by the mean weight of the split, so that
a split's weights have mean 1 and adding data to one split leaves the others as they are. The split depends on the name of the
prompt's group of near-duplicates and on the salt alone, and a group never changes its name: data that is added moves no prompt. A
prompt that is nearly the same as known ones of several splits is left out of all of them. Prompts that stand in a held-out
evaluation set are left out of every split but test, from which nothing learns.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from pydantic import Field, model_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import IntegrityError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, views_version
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_records
from data_contracts.records import AGGREGATED_FOR_JUDGE_FILE, EXCLUDED, IDENTICAL, NEAR_IDENTICAL, PREFERENCE, PROMPT, SPLITS
from tasks.stage import StageConfig, stage

EVEN = 1e-9
"""Probabilities of a and b that are nearer than this are equal but for rounding."""


class PreferencesConfig(StageConfig):
    """How judgments become preferences and splits."""

    train: float = Field(default=0.6, ge=0, le=1, description="share of prompt groups that the reward model and the policy learn from")
    validation: float = Field(default=0.1, ge=0, le=1, description="share of prompt groups that choose among updates")
    test: float = Field(default=0.15, ge=0, le=1, description="share of prompt groups that the policy is evaluated on")
    judge: float = Field(default=0.15, ge=0, le=1, description="share of prompt groups that only the held-out judge learns from")
    salt: str = Field(default="", description="text that is hashed with each prompt group; another salt gives other splits")
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


def build_preferences(home: Home, config: PreferencesConfig, *, snapshot: Artifact, duplicates: Artifact, aggregation: Artifact) -> Made:
    """Make preferences of a snapshot's aggregated comparisons and split its prompts, with what is known of its duplicates."""
    inputs = {"snapshot": snapshot, "duplicates": duplicates, "aggregation": aggregation}
    identity = Identity(
        kind="preferences",
        code_version=f"{code_version('tasks.quality.preferences')}-{views_version()}",
        libraries=library_versions(("duckdb", "polars", "pyarrow")),
        config=dict(pinned_config(config)),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items()),
    )
    return home.artifacts.make(identity, lambda directory: _write_preferences(directory, config, home, snapshot, duplicates, aggregation))


def _write_preferences(
    directory: Path, config: PreferencesConfig, home: Home, snapshot: Artifact, duplicates: Artifact, aggregation: Artifact
) -> Headline:
    pinned = FeedbackLake(home.lake).pinned(snapshot)
    comparisons = with_splits(with_duplicates(pl.DataFrame(current_comparisons(*pinned)), duplicates), config)
    judged = with_reasons(with_aggregated(comparisons, aggregation), config)
    preferences = weighted(judged.filter(pl.col("reason").is_null()))
    excluded = judged.filter(pl.col("reason").is_not_null()).select("comparison_id", "reason").sort("comparison_id")
    known = distinct_prompts(comparisons)
    prompts = known.filter(~pl.col("contaminated") & ~pl.col("bridges_splits"))
    if preferences.height + excluded.height != comparisons.height:
        raise IntegrityError(f"{comparisons.height} comparisons gave {preferences.height} preferences and {excluded.height} excluded")
    write_records(PREFERENCE, preferences.to_arrow(), directory / "preferences.parquet")
    write_records(PROMPT, prompts.to_arrow(), directory / "prompts.parquet")
    write_records(EXCLUDED, excluded.to_arrow(), directory / "excluded.parquet")
    pairs = {f"{split}_pairs": preferences.filter(pl.col("split") == split).height for split in SPLITS}
    left_out = {
        "prompts_held_out": known.filter("contaminated").height,
        "prompts_bridging_splits": known.filter("bridges_splits").height,
    }
    return {"pairs": preferences.height, **pairs, "prompts": prompts.height, "excluded": excluded.height, **left_out}


def with_duplicates(comparisons: pl.DataFrame, duplicates: Artifact) -> pl.DataFrame:
    """The comparisons with their prompt's groups, whether it stands in an evaluation set, and the mark of their responses."""
    groups = pl.read_parquet(duplicates.file("prompt_groups.parquet"), columns=["prompt_id", "group_id", "other_groups"])
    marks = pl.read_parquet(duplicates.file("response_pairs.parquet"), columns=["comparison_id", "mark"])
    found = pl.read_parquet(duplicates.file("contamination.parquet"), columns=["prompt_id"])
    in_set = pl.col("prompt_id").is_in(found["prompt_id"].implode()).fill_null(False)
    joined = comparisons.join(groups, on="prompt_id", how="left").join(marks, on="comparison_id", how="left")
    return joined.with_columns(in_evaluation_set=in_set)


def with_splits(comparisons: pl.DataFrame, config: PreferencesConfig) -> pl.DataFrame:
    """The comparisons with their split, and whether they have to stay out of it.

    `contaminated`: the prompt is in an evaluation set, and not in the test split. `bridges_splits`: it is near to known prompts of
    another split, too.
    """
    groups = pl.concat([comparisons["group_id"], comparisons["other_groups"].explode()]).drop_nulls().unique()
    splits = {group: split_of(group, config.salt, config.shares) for group in groups}
    others = pl.col("other_groups").list.eval(pl.element().replace_strict(splits, return_dtype=pl.String))
    dealt = comparisons.with_columns(split=pl.col("group_id").replace_strict(splits, return_dtype=pl.String), others=others)
    return dealt.with_columns(
        contaminated=pl.col("in_evaluation_set") & (pl.col("split") != "test").fill_null(False),
        bridges_splits=(pl.col("others").list.set_difference(pl.concat_list("split")).list.len() > 0).fill_null(False),
    )


def with_aggregated(comparisons: pl.DataFrame, aggregation: Artifact) -> pl.DataFrame:
    """The comparisons with what annotators say of each: in the split `judge` its own annotators, where the recipe names some."""
    aggregated = pl.read_parquet(aggregation.file("aggregated.parquet"))
    if not aggregation.has(AGGREGATED_FOR_JUDGE_FILE):
        return comparisons.join(aggregated, on="comparison_id", how="left")
    for_judge = (pl.col("split") == "judge").fill_null(False)
    parts = ((~for_judge, aggregated), (for_judge, pl.read_parquet(aggregation.file(AGGREGATED_FOR_JUDGE_FILE))))
    return pl.concat([comparisons.filter(chosen).join(said, on="comparison_id", how="left") for chosen, said in parts])


def with_reasons(comparisons: pl.DataFrame, config: PreferencesConfig) -> pl.DataFrame:
    """The aggregated comparisons with the reason why one gives no preference, else null."""
    reasons = {
        "no_judgments": pl.col("n_judgments").is_null(),
        "annotators_excluded": pl.col("n_judgments") == 0,
        "unknown_prompt": pl.col("prompt").is_null(),
        "bridges_splits": pl.col("bridges_splits"),
        "contaminated": pl.col("contaminated"),
        "unknown_response": pl.col("response_a").is_null() | pl.col("response_b").is_null(),
        "identical_responses": pl.col("mark") == IDENTICAL,
        "near_identical_responses": (pl.col("mark") == NEAR_IDENTICAL) & config.exclude_near_identical,
        "undecided": (pl.col("probability_a") - pl.col("probability_b")).abs() < EVEN,
    }
    return comparisons.with_columns(reason=pl.coalesce(pl.when(applies).then(pl.lit(reason)) for reason, applies in reasons.items()))


def weighted(decided: pl.DataFrame) -> pl.DataFrame:
    """One preference per decided comparison, by comparison id."""
    a_wins = pl.col("probability_a") > pl.col("probability_b")
    of_ranking = pl.when(pl.col("ranking_id").is_null()).then(1).otherwise(pl.len().over("ranking_id"))
    weight = pl.col("weight") / of_ranking
    return decided.with_columns(
        chosen=pl.when(a_wins).then("response_a").otherwise("response_b"),
        rejected=pl.when(a_wins).then("response_b").otherwise("response_a"),
        probability=pl.max_horizontal("probability_a", "probability_b") + pl.col("probability_tie") / 2,
        tie_probability=pl.col("probability_tie"),
        n_chosen=pl.when(a_wins).then("n_a").otherwise("n_b"),
        n_rejected=pl.when(a_wins).then("n_b").otherwise("n_a"),
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


preferences_stage = stage("preferences")(build_preferences)
