"""Duplicates: prompts that are nearly the same, responses that are, and prompts that stand in held-out evaluation sets.

Prompts are compared by the words of their messages without the system's, which a product's prompts often share. Nearly equal
prompts make a group, and splits are dealt out by group. Groups grow with the lake, batch after batch: new prompts that are nearly
equal to each other go together, and join the group of the known prompts that they are nearly equal to. Where those belong to several
groups the new ones join the one that the lake has known longest and name the others, which stay as they are: nobody who was known
ever changes the group. A group is named by its first prompt (by id within a batch).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.feedback_lake import COMPARISONS, FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, views_version
from data_contracts.manifest import Identity, InputRef, file_hash, library_versions
from data_contracts.parquet import write_records
from data_contracts.records import (
    CONTAMINATION,
    EVALUATION_SET,
    EXACT,
    IDENTICAL,
    NEAR,
    NEAR_IDENTICAL,
    PROMPT_GROUP,
    RESPONSE_PAIR,
)
from data_contracts.texts import normalised
from tasks.duplicates.evaluation_sets import EvaluationSetConfig, read_prompts
from tasks.duplicates.near_pairs import TextIndex
from tasks.duplicates.similarity import jaccard
from tasks.sources.rows import Message
from tasks.sources.streams import reading
from tasks.stage import StageConfig, stage


class DuplicatesConfig(StageConfig):
    """What counts as nearly the same, and which evaluation sets are held out."""

    ngram_words: int = Field(default=3, ge=1, description="words per n-gram; texts are compared by their sets of word n-grams")
    prompt_similarity: float = Field(default=0.8, gt=0, le=1, description="Jaccard similarity from which two prompts are nearly the same")
    response_similarity: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity from which the two responses of a comparison are nearly the same"
    )
    evaluation_sets: tuple[EvaluationSetConfig, ...] = Field(
        default=(), description="held-out evaluation sets: nothing is trained, and no update chosen, on a prompt that stands in one"
    )

    @field_validator("evaluation_sets")
    @classmethod
    def _names_differ(cls, sets: tuple[EvaluationSetConfig, ...]) -> tuple[EvaluationSetConfig, ...]:
        if len({one.name for one in sets}) < len(sets):
            raise ValueError("each evaluation set needs a name of its own")
        return sets


def find_duplicates(home: Home, config: DuplicatesConfig, *, snapshot: Artifact) -> Made:
    """Group a snapshot's prompts, mark its response pairs, and look its prompts up in the evaluation sets."""
    identity = Identity(
        kind="duplicates",
        code_version=f"{code_version('tasks.duplicates.duplicates')}-{views_version()}",
        libraries=library_versions(("duckdb", "numpy", "polars", "pyarrow", "rensa", "scipy")),
        config=config.model_dump(mode="json", exclude={"evaluation_sets"}),
        inputs=(snapshot.manifest.as_input("snapshot"), *map(_file_ref, config.evaluation_sets)),
    )
    return home.artifacts.make(identity, lambda directory: _write_duplicates(directory, config, home, snapshot))


def _file_ref(one: EvaluationSetConfig) -> InputRef:
    path = Path(one.path)
    with reading(path):
        return InputRef(role=f"evaluation set {one.name}", kind="file", id=path.name, digest=file_hash(path))


def _write_duplicates(directory: Path, config: DuplicatesConfig, home: Home, snapshot: Artifact) -> Headline:
    pinned = FeedbackLake(home.lake).pinned(snapshot)
    comparisons = pl.DataFrame(current_comparisons(*pinned))
    prompts = prompts_by_age(comparisons, pinned.batches)
    pairs = mark_responses(comparisons, config)
    held_out = {one.name: read_prompts(Path(one.path)) for one in config.evaluation_sets}
    index = _indexed(prompts, config)
    groups = group_prompts(prompts, index)
    bridging = groups.filter(pl.col("other_groups").list.len() > 0)
    contaminated = find_contaminated(prompts, index, held_out, config)
    sets = count_matches(contaminated, {name: len(rows) for name, rows in held_out.items()})
    write_records(PROMPT_GROUP, groups.to_arrow(), directory / "prompt_groups.parquet")
    write_records(RESPONSE_PAIR, pairs.to_arrow(), directory / "response_pairs.parquet")
    write_records(CONTAMINATION, contaminated.to_arrow(), directory / "contamination.parquet")
    write_records(EVALUATION_SET, sets.to_arrow(), directory / "evaluation_sets.parquet")
    return {
        "prompts": groups.height,
        "prompt_groups": groups["group_id"].n_unique(),
        "largest_group": max(groups["group_size"], default=0),
        "prompts_between_groups": bridging.height,
        "identical_responses": pairs.filter(pl.col("mark") == IDENTICAL).height,
        "near_identical_responses": pairs.filter(pl.col("mark") == NEAR_IDENTICAL).height,
        "contaminated_prompts": contaminated["prompt_id"].n_unique(),
    }


def prompts_by_age(comparisons: pl.DataFrame, batches: Sequence[Path]) -> pl.DataFrame:
    """The prompts whose text is known, from the one that the lake has known longest; those of one batch by id."""
    each = [pl.read_parquet(path / COMPARISONS, columns=["prompt_id"]).with_columns(batch=number) for number, path in enumerate(batches)]
    first = pl.concat(each).group_by("prompt_id").agg(pl.col("batch").min())
    known = comparisons.filter(pl.col("prompt").is_not_null()).unique("prompt_id", keep="any").select("prompt_id", "prompt")
    return known.join(first, on="prompt_id").sort("batch", "prompt_id")


def _indexed(prompts: pl.DataFrame, config: DuplicatesConfig) -> TextIndex:
    return TextIndex.of(_texts(prompts["prompt"]), config.ngram_words, config.prompt_similarity)


def _texts(prompts: pl.Series) -> pl.Series:
    """The text that a prompt is compared by: all messages but the system's; of a prompt that has no others, those."""
    message = pl.element().struct
    others = pl.col("prompt").list.eval(pl.element().filter(message.field("role") != "system").struct.field("content"))
    every = pl.col("prompt").list.eval(message.field("content"))
    chosen = pl.when(others.list.len() > 0).then(others).otherwise(every)
    return prompts.to_frame("prompt").select(text=chosen.list.join("\n"))["text"]


def group_prompts(prompts: pl.DataFrame, index: TextIndex) -> pl.DataFrame:
    """One row per prompt, by id: its groups, how like the first one's representative it is, and how many prompts that one has.

    Args:
        prompts: what `prompts_by_age` gives.
        index: their texts.
    """
    here, batches = np.arange(prompts.height), prompts["batch"].to_numpy()
    representative, others = index.growing_groups(batches)
    ids = prompts["prompt_id"]
    named = pl.Series([ids.gather(others.get(text, [])).sort().to_list() for text in here.tolist()], dtype=pl.List(pl.String))
    grouped = prompts.select(
        "prompt_id",
        group_id=ids.gather(representative),
        other_groups=named,
        similarity=pl.Series(index.similarities(here, representative)),
    )
    return grouped.with_columns(group_size=pl.len().over("group_id").cast(pl.Int64)).sort("prompt_id")


def mark_responses(comparisons: pl.DataFrame, config: DuplicatesConfig) -> pl.DataFrame:
    """One row per comparison whose responses are the same text or nearly, by comparison id."""
    known = comparisons.select("comparison_id", "response_a", "response_b").drop_nulls().sort("comparison_id")
    rows: list[tuple[str, float, str]] = []
    for comparison_id, one, other in known.iter_rows():
        similarity = 1.0 if one == other else jaccard(one, other, config.ngram_words)
        if similarity >= config.response_similarity:
            rows.append((comparison_id, similarity, IDENTICAL if one == other else NEAR_IDENTICAL))
    return pl.DataFrame(rows, {"comparison_id": pl.String, "similarity": pl.Float64, "mark": pl.String}, orient="row")


def find_contaminated(
    prompts: pl.DataFrame, index: TextIndex, held_out: Mapping[str, Sequence[list[Message]]], config: DuplicatesConfig
) -> pl.DataFrame:
    """One row per prompt and evaluation set that it stands in, by both, with the most similar of the set's prompts.

    A prompt's messages are looked up together and, where there are several, each of the user's by itself.
    """
    if not held_out:
        return pl.DataFrame(CONTAMINATION.table([]))
    sets = pl.DataFrame(
        [(name, row, messages) for name, rows in held_out.items() for row, messages in enumerate(rows, 1)],
        {"evaluation_set": pl.String, "evaluation_row": pl.Int64, "prompt": prompts.schema["prompt"]},
        orient="row",
    )
    theirs = sets.with_columns(held_out=_texts(sets["prompt"])).drop("prompt")
    indexed = TextIndex.of(theirs["held_out"], config.ngram_words, config.prompt_similarity)
    whole = prompts.select("prompt_id", text=_texts(prompts["prompt"]))
    parts = _user_messages(prompts)
    parts_index = TextIndex.of(parts["text"], config.ngram_words, config.prompt_similarity)
    matches = [_matches(whole, index, theirs, indexed), _matches(parts, parts_index, theirs, indexed)]
    exact = pl.struct("text", "held_out").map_elements(lambda one: normalised(one["text"]) == normalised(one["held_out"]), pl.Boolean)
    found = pl.concat(matches).with_columns(match=pl.when(exact).then(pl.lit(EXACT)).otherwise(pl.lit(NEAR)))
    keys = ["prompt_id", "evaluation_set"]
    best = found.sort(*keys, "match", -pl.col("similarity"), "evaluation_row").unique(keys, keep="first", maintain_order=True)
    return best.drop("text", "held_out")


def _user_messages(prompts: pl.DataFrame) -> pl.DataFrame:
    """The user's messages one by one, of prompts that have several messages."""
    several = prompts.filter(pl.col("prompt").list.len() > 1).explode("prompt").unnest("prompt")
    return several.filter(pl.col("role") == "user").select("prompt_id", text="content")


def _matches(ours: pl.DataFrame, ours_index: TextIndex, theirs: pl.DataFrame, theirs_index: TextIndex) -> pl.DataFrame:
    """Our texts that are near one of theirs, with both texts and the similarity."""
    schema = {"entry": pl.Int64, "their_entry": pl.Int64, "similarity": pl.Float64}
    pairs = pl.concat([pl.DataFrame(schema=schema), *(pl.DataFrame(found, schema) for found in ours_index.near(theirs_index))]).unique()
    ours = ours.with_columns(entry=pl.Series(ours_index.entry))
    theirs = theirs.with_columns(their_entry=pl.Series(theirs_index.entry))
    return pairs.join(ours, on="entry").join(theirs, on="their_entry").drop("entry", "their_entry")


def count_matches(contaminated: pl.DataFrame, sizes: Mapping[str, int]) -> pl.DataFrame:
    """One row per evaluation set, by name: how many prompts it has, and how many of the snapshot's stand in it."""
    sets = pl.DataFrame(
        {"evaluation_set": list(sizes), "n_prompts": list(sizes.values())}, {"evaluation_set": pl.String, "n_prompts": pl.Int64}
    )
    counts = [(pl.col("match") == match).sum().cast(pl.Int64).alias(f"n_{match}") for match in (EXACT, NEAR)]
    found = contaminated.group_by("evaluation_set").agg(counts)
    return sets.join(found, on="evaluation_set", how="left").with_columns(pl.col("n_exact", "n_near").fill_null(0)).sort("evaluation_set")


duplicates_stage = stage("duplicates")(find_duplicates)
