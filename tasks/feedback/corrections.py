"""Judgments that need a second look: repeats of one id, corrections, retractions, and whatever the lake knows with other content.

A known judgment with content that it never had is its next revision; content that it once had is a redelivery, so an old export
undoes neither a correction nor a retraction.
"""

from typing import NamedTuple

import polars as pl

CONTENT = ["comparison_id", "annotator_id", "annotator_kind", "verdict", "tie_reason", "preference_strength", "presented_first"]
CONTENT += ["event_time", "seconds_spent"]
"""What a judgment says; a revision differs from the one before in one of these or in its op."""
SAYS = ["judgment_id", "op", *CONTENT]


class Corrected(NamedTuple):
    """What became of the votes."""

    new: pl.DataFrame
    """The votes that say something new, with their revision numbers; a retraction says what it takes back."""
    rejected: pl.DataFrame
    """Rows that cannot be accepted: row, reason, detail."""


def correct(votes: pl.DataFrame, known: pl.DataFrame) -> Corrected:
    """Number the revisions of votes against what the lake knows of the same judgments.

    Args:
        votes: in the order of delivery (`place`), with `row`, `own_revision` and what they say; every vote of a judgment or none.
        known: every revision in the lake of these judgments.
    """
    votes = votes.with_columns(order="place")
    votes, dangling = _with_retracted_content(_originals_numbered(votes, known), known)
    rejected = pl.concat([dangling, _revision_conflicts(votes, known)]).unique("row", keep="first", maintain_order=True)
    votes = votes.join(rejected, on="row", how="anti")
    return Corrected(_revised(_unknown(votes, known), known), rejected)


def _originals_numbered(votes: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The votes, with revision 0 for an original without a number whose corrections, after it, have numbers of their own.

    Without this it would count as the latest: a vote without a number is the next one after all that are known.
    """
    corrected = votes.filter(pl.col("own_revision") > 0).select("judgment_id").unique()
    original = pl.col("place") == pl.col("place").min().over("judgment_id")
    unnumbered = pl.col("own_revision").is_null() & pl.col("judgment_id").is_in(corrected["judgment_id"].implode())
    new = ~pl.col("judgment_id").is_in(known["judgment_id"].implode())
    return votes.with_columns(own_revision=pl.when(unnumbered & original & new).then(0).otherwise("own_revision"))


def _with_retracted_content(votes: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The votes with each retraction saying what it takes back; and the rows that take back what was never said."""
    latest = known.sort("revision").unique("judgment_id", keep="last").with_columns(place=pl.lit(-1, pl.Int64))
    asserts = pl.col("op") == "assert"
    said = pl.concat([latest.select("judgment_id", "place", *CONTENT), votes.filter(asserts).select("judgment_id", "place", *CONTENT)])
    said = said.sort("place").with_columns(said_place="place")
    bare = votes.filter(~asserts).rename({"event_time": "own_time"}).drop(set(CONTENT) - {"event_time"}).sort("place")
    before = bare.join_asof(said, on="place", by="judgment_id", check_sortedness=False)
    # A retraction that is read before what it takes back, in another file perhaps, comes after it all the same.
    early = before.filter(pl.col("said_place").is_null()).select(bare.columns)
    after = early.join_asof(said, on="place", by="judgment_id", strategy="forward", check_sortedness=False)
    after = after.with_columns(order=pl.col("said_place") + 1)
    retractions = pl.concat([before.filter(pl.col("said_place").is_not_null()), after]).sort("place")
    retractions = _as_taken_back_before(retractions, votes.filter(asserts), known)
    retractions = retractions.with_columns(event_time=pl.coalesce("own_time", "event_time"))

    detail = pl.format("judgment {} is taken back but was never delivered", "judgment_id")
    dangling = pl.col("comparison_id").is_null()
    rejected = retractions.filter(dangling).select("row", reason=pl.lit("unknown_judgment"), detail=detail)
    grounded = retractions.filter(~dangling).select(votes.columns)
    return pl.concat([votes.filter(asserts), grounded]).sort("place"), rejected


def _as_taken_back_before(retractions: pl.DataFrame, asserted: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The retractions; one that the lake has already, and that follows nothing new, says what it said then and so is known."""
    earlier = known.filter(pl.col("op") == "retract").sort("revision").unique("judgment_id", keep="last")
    earlier = earlier.select("judgment_id", *(pl.col(name).alias(f"{name}_then") for name in CONTENT))
    new = asserted.join(known, on=SAYS, how="anti", nulls_equal=True).group_by("judgment_id").agg(first_new=pl.col("place").min())
    found = retractions.join(earlier, on="judgment_id", how="left", maintain_order="left").join(
        new, on="judgment_id", how="left", maintain_order="left"
    )
    same_time = pl.col("own_time").is_null() | (pl.col("own_time") == pl.col("event_time_then"))
    again = (
        pl.col("comparison_id_then").is_not_null() & same_time & (pl.col("first_new").is_null() | (pl.col("first_new") > pl.col("place")))
    )
    again &= pl.col("own_revision").is_null()
    found = found.with_columns(pl.when(again).then(f"{name}_then").otherwise(name).alias(name) for name in CONTENT)
    return found.select(retractions.columns)


def _revision_conflicts(votes: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The rows whose own revision number is known with other content."""
    numbered = _numbered(votes)
    first = pl.concat([known.select(*SAYS, "revision"), numbered.select(*SAYS, "revision")])
    first = first.unique(["judgment_id", "revision"], keep="first", maintain_order=True)
    other = numbered.join(first, on=[*SAYS, "revision"], how="anti", nulls_equal=True)
    detail = pl.format("judgment {} is known with other content under revision {}", "judgment_id", "revision")
    return other.select("row", reason=pl.lit("revision_conflict"), detail=detail)


def _unknown(votes: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The votes that say something new: an own revision number is new by itself, other votes by what they say."""
    numbered = _numbered(votes).join(known, on=[*SAYS, "revision"], how="anti", nulls_equal=True)
    numbered = numbered.unique([*SAYS, "revision"], keep="first", maintain_order=True)
    said = pl.concat([known.select(SAYS), numbered.select(SAYS)])
    others = votes.filter(pl.col("own_revision").is_null()).join(said, on=SAYS, how="anti", nulls_equal=True)
    return pl.concat([numbered, others.unique(SAYS, keep="first", maintain_order=True)])


def _revised(votes: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The new votes with their revision numbers: their own, or the next ones after all that are known."""
    numbers = pl.concat([known.select("judgment_id", "revision"), _numbered(votes).select("judgment_id", "revision")])
    top = numbers.group_by("judgment_id").agg(top=pl.col("revision").max())
    votes = votes.join(top, on="judgment_id", how="left").sort("order", "place")
    next_ones = pl.col("top").fill_null(-1) + pl.col("own_revision").is_null().cum_sum().over("judgment_id")
    return votes.with_columns(revision=pl.coalesce("own_revision", next_ones))


def _numbered(votes: pl.DataFrame) -> pl.DataFrame:
    """The votes that bring their own revision number."""
    return votes.filter(pl.col("own_revision").is_not_null()).with_columns(revision="own_revision")
