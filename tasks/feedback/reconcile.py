"""What of a delivery is new to the lake: identities, canonical orientation, corrections, repeats and redeliveries.

A comparison is known by the source's own id, and then keeps the source's orientation; without one it is known by its prompt and
its two responses, whose order is decided by their hashes, so that a pair that arrives both ways round is one comparison.

A judgment is known by the source's own id; or by annotator, comparison and event time; or else by its content and its
occurrence number within the file. So true repeats stay, anonymous annotators are not merged, and a file that is delivered
again, perhaps grown, adds only what it has more. A known judgment with content that it never had is its next revision;
content that it once had is a redelivery, so an old export undoes neither a correction nor a retraction.

Rows are matched with the lake as sets: nothing here loops over the lake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.errors import IntegrityError
from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.manifest import content_hash
from data_contracts.records import COMPARISON, JUDGMENT, QUARANTINE, RecordKind
from tasks.sources.rows import BadRow, Pair, Row, Vote

ID_DIGITS = 32
CONTENT = [
    "comparison_id",
    "annotator_id",
    "annotator_kind",
    "verdict",
    "tie_reason",
    "preference_strength",
    "presented_first",
    "event_time",
]
CONTENT += ["seconds_spent"]
"""What a judgment says; a revision differs from the one before in one of these or in its op."""
FILLED = ["prompt_id", "prompt", "response_a", "response_b", "model_a", "model_b", "gold_verdict"]
"""Columns of a comparison that a later delivery may fill in where they were unknown."""
SIDES = {"response_a": "response_b", "response_b": "response_a", "model_a": "model_b", "model_b": "model_a"}


@dataclass(frozen=True)
class SourceRow:
    """A row of a delivery and where it stood."""

    source: str
    file: str
    row: Row


@dataclass(frozen=True)
class Reconciled:
    """A delivery, divided: the records that are new, and what became of every row."""

    comparisons: pl.DataFrame
    judgments: pl.DataFrame
    quarantine: pl.DataFrame
    fates: Sequence[str]
    """What became of each row of the delivery: accepted, quarantined or known."""


def reconcile(rows: Sequence[SourceRow], batches: Sequence[Path]) -> Reconciled:
    """Divide the rows of a delivery into what is new, what is known and what cannot be accepted.

    Args:
        rows: every row of every source, in the order of delivery.
        batches: directories of the lake's batches that brought rows.

    Raises:
        IntegrityError: a row was lost or counted twice.
    """
    pairs, votes = _candidates(rows)
    known_pairs = _merged(_from_lake(COMPARISON, COMPARISONS, batches, pairs.select("comparison_id")))
    pairs, differing = _oriented(pairs, known_pairs)
    votes = _identified(_turned(votes.join(differing, on="row", how="anti"), pairs))

    known_votes = _from_lake(JUDGMENT, JUDGMENTS, batches, votes.select("judgment_id"))
    votes, dangling = _with_retracted_content(votes, known_votes)
    rejected = pl.concat([differing, dangling, _revision_conflicts(votes, known_votes)]).unique("row", keep="first", maintain_order=True)
    votes = votes.join(rejected, on="row", how="anti")
    new_votes = _revised(_unknown(votes, known_votes), known_votes)
    new_pairs = _completed(pairs.join(rejected, on="row", how="anti"), known_pairs)

    accepted, met = {*new_votes["row"], *new_pairs["row"]}, {*votes["row"]}
    return Reconciled(
        comparisons=new_pairs.sort("comparison_id").select(COMPARISON.schema.names),
        judgments=new_votes.sort("judgment_id", "revision").select(JUDGMENT.schema.names),
        quarantine=_quarantine(rows, rejected),
        fates=_fates(rows, accepted, met, {*rejected["row"]}),
    )


def _fates(rows: Sequence[SourceRow], accepted: set[int], met: set[int], rejected: set[int]) -> list[str]:
    """What became of each row; every row must have exactly one fate."""
    bad = {number for number, delivered in enumerate(rows) if isinstance(delivered.row, BadRow)}
    fates = {"accepted": accepted, "quarantined": bad | rejected, "known": met - accepted}
    found = {number: fate for fate, numbers in fates.items() for number in numbers}
    if len(found) != sum(map(len, fates.values())) or found.keys() != set(range(len(rows))):
        counts = ", ".join(f"{len(numbers)} {fate}" for fate, numbers in fates.items())
        raise IntegrityError(f"{len(rows)} source rows were read, but {counts}", remedy="nothing was stored; please report this")
    return [found[number] for number in range(len(rows))]


def _quarantine(rows: Sequence[SourceRow], rejected: pl.DataFrame) -> pl.DataFrame:
    """The rows that were not accepted, as they were read."""
    reasons = {number: (reason, detail) for number, reason, detail in rejected.iter_rows()}
    reasons |= {n: (d.row.reason, d.row.detail) for n, d in enumerate(rows) if isinstance(d.row, BadRow)}
    records = [
        (rows[number].source, rows[number].file, rows[number].row.number, reason, detail, rows[number].row.raw)
        for number, (reason, detail) in sorted(reasons.items())
    ]
    return pl.DataFrame(records, schema=_schema(QUARANTINE), orient="row")


# --- the delivery and what the lake knows of it, as frames ---


def _schema(kind: RecordKind) -> dict[str, pl.DataType]:
    return dict(pl.DataFrame(kind.schema.empty_table()).schema)


PAIRS = {"row": pl.Int64(), "pair": pl.Int64(), "hash_swaps": pl.Boolean(), **_schema(COMPARISON)}
VOTES = {"row": pl.Int64(), "pair": pl.Int64(), "place": pl.Int64(), "own_revision": pl.Int64(), **_schema(JUDGMENT)}


def _candidates(rows: Sequence[SourceRow]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs and the votes of the good rows; `row` counts the delivery's rows from 0, `pair` its pairs, `place` its votes."""
    pairs: list[dict[str, Any]] = []
    votes: list[dict[str, Any]] = []
    for number, delivered in enumerate(rows):
        row = delivered.row
        if isinstance(row, BadRow):
            continue
        where = {"row": number, "source": delivered.source, "source_file": delivered.file, "source_row": row.number}
        for judged in row.judged:
            pair = {"pair": len(pairs)} | _pair_record(delivered.source, judged.pair) if judged.pair else {}
            if pair:
                pairs.append(where | pair)
            told = {"pair": pair.get("pair"), **where}
            for vote in judged.votes:
                votes.append({"place": len(votes)} | told | _vote_record(delivered.source, vote, pair.get("comparison_id")))
    return pl.DataFrame(pairs, schema=PAIRS), pl.DataFrame(votes, schema=VOTES)


def _pair_record(source: str, pair: Pair) -> dict[str, Any]:
    """A pair as it stands in its row, and whether the hashes of its responses turn it round."""
    record = {name: getattr(pair, name) for name in FILLED if name != "prompt_id"}
    record["prompt_id"] = content_hash(pair.prompt)[:ID_DIGITS] if pair.prompt else None
    record |= {"slice": pair.slice or source, "ranking_id": f"{source}/{pair.ranking_id}" if pair.ranking_id is not None else None}
    if pair.key is not None:
        return record | {"comparison_id": f"{source}/{pair.key}", "hash_swaps": False}
    responses = [pair.response_a, pair.response_b]
    ordered = sorted(responses, key=content_hash)
    return record | {"comparison_id": content_hash([pair.prompt, *ordered])[:ID_DIGITS], "hash_swaps": ordered != responses}


def _vote_record(source: str, vote: Vote, comparison_id: str | None) -> dict[str, Any]:
    own = {name: getattr(vote, name) for name in (*CONTENT[1:], "op")}
    judgment_id = f"{source}/{vote.key}" if vote.key is not None else None
    return own | {"judgment_id": judgment_id, "own_revision": vote.revision, "comparison_id": comparison_id}


def _from_lake(kind: RecordKind, file: str, batches: Sequence[Path], met: pl.DataFrame) -> pl.DataFrame:
    """The lake's records of a kind with one of the ids in `met`, a frame of one column."""
    if not batches:
        return pl.DataFrame(schema=_schema(kind))
    records = pl.scan_parquet(files_of(batches, file), hive_partitioning=False)
    return records.join(met.lazy().unique(), on=met.columns, how="semi").collect()


# --- comparisons ---


def _oriented(pairs: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs in canonical orientation, with `swapped` telling which were turned; and the rows that contradict what is known.

    Canonical is how the lake has the comparison, or else how the delivery's first row has it.
    """
    pairs = _swap_pairs(pairs, "hash_swaps")
    texts = ["prompt_id", "response_a", "response_b"]
    said = pl.concat([known.select("comparison_id", *texts), pairs.select("comparison_id", *texts)])
    first = said.unique("comparison_id", keep="first", maintain_order=True).rename({name: f"first_{name}" for name in texts})
    pairs = pairs.join(first, on="comparison_id", how="left", maintain_order="left")

    same = _same("prompt_id", "first_prompt_id")
    straight = same & _same("response_a", "first_response_a") & _same("response_b", "first_response_b")
    crossed = same & _same("response_a", "first_response_b") & _same("response_b", "first_response_a")
    pairs = pairs.with_columns(fits=straight | crossed, source_swaps=crossed & ~straight)
    pairs = pairs.with_columns(swapped=pl.col("hash_swaps") != pl.col("source_swaps"))

    detail = pl.format("comparison {} is known with another prompt or other responses", "comparison_id")
    differing = pairs.filter(~pl.col("fits")).select("row", reason=pl.lit("comparison_differs"), detail=detail)
    oriented = _swap_pairs(pairs.filter("fits"), "source_swaps")
    return oriented.select("row", "pair", "swapped", *COMPARISON.schema.names), differing


def _same(left: str, right: str) -> pl.Expr:
    """Equal, as far as both are known."""
    return (pl.col(left) == pl.col(right)).fill_null(value=True)


def _swap_pairs(pairs: pl.DataFrame, flag: str) -> pl.DataFrame:
    """Turn the flagged pairs round."""
    turned = {name: _if_flagged(flag, other, name) for name, other in SIDES.items()}
    return pairs.with_columns(**turned, gold_verdict=_other_side("gold_verdict", flag))


def _if_flagged(flag: str, yes: str, no: str) -> pl.Expr:
    return pl.when(flag).then(pl.col(yes)).otherwise(pl.col(no))


def _other_side(column: str, flag: str) -> pl.Expr:
    """`a` becomes `b` and the reverse where the flag is set; a tie and an unknown stay."""
    return pl.when(flag).then(pl.col(column).replace({"a": "b", "b": "a"})).otherwise(pl.col(column))


def _merged(pairs: pl.DataFrame) -> pl.DataFrame:
    """One row per comparison: the first one's columns, and of those that can be filled in the first known value."""
    fixed = [name for name in pairs.columns if name not in (*FILLED, "comparison_id")]
    columns = [*(pl.col(name).first() for name in fixed), *(pl.col(name).drop_nulls().first() for name in FILLED)]
    return pairs.group_by("comparison_id", maintain_order=True).agg(columns)


def _completed(pairs: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The comparisons that are new, and the known ones of which the delivery tells more, with all that is known of them."""
    known = known.with_columns(known=True)
    both = _merged(pairs).join(known, on="comparison_id", how="left", suffix="_known", maintain_order="left")
    is_new = pl.col("known").is_null()
    tells_more = pl.any_horizontal(pl.col(f"{name}_known").is_null() & pl.col(name).is_not_null() for name in FILLED)
    coalesced = [pl.coalesce(f"{name}_known", name).alias(name) for name in (*FILLED, "slice", "ranking_id")]
    return both.filter(is_new | tells_more).with_columns(coalesced)


# --- judgments ---


def _turned(votes: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The votes in their pair's canonical orientation."""
    votes = votes.join(pairs.select("pair", "swapped"), on="pair", how="left", maintain_order="left")
    return votes.with_columns(_other_side(column, "swapped") for column in ("verdict", "presented_first"))


def _identified(votes: pl.DataFrame) -> pl.DataFrame:
    """The votes with the ids of those that have none of their own."""
    occurrence = pl.int_range(pl.len()).over("source", "source_file", "judgment_id", *CONTENT)
    unnamed = votes.select("source", "judgment_id", *CONTENT, occurrence=occurrence).iter_rows(named=True)
    return votes.with_columns(judgment_id=pl.Series([vote["judgment_id"] or _judgment_id(vote) for vote in unnamed], dtype=pl.String))


def _judgment_id(vote: dict[str, Any]) -> str:
    """By annotator, comparison and event time where all are told, else by content and occurrence number in the file."""
    by_time = ["annotator_id", "comparison_id", "event_time"]
    names = by_time if all(vote[name] is not None for name in by_time) else [*CONTENT, "occurrence"]
    values = [vote[name].isoformat() if isinstance(vote[name], datetime) else vote[name] for name in names]
    return content_hash([vote["source"], *values])[:ID_DIGITS]


def _with_retracted_content(votes: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The votes with each retraction saying what it takes back; and the rows that take back what was never said."""
    latest = known.sort("revision").unique("judgment_id", keep="last").with_columns(place=pl.lit(-1, pl.Int64))
    asserts = pl.col("op") == "assert"
    said = pl.concat([latest.select("judgment_id", "place", *CONTENT), votes.filter(asserts).select("judgment_id", "place", *CONTENT)])
    retractions = votes.filter(~asserts).rename({"event_time": "own_time"}).drop(set(CONTENT) - {"event_time"})
    retractions = retractions.join_asof(said.sort("place"), on="place", by="judgment_id", check_sortedness=False)
    retractions = retractions.with_columns(event_time=pl.coalesce("own_time", "event_time"))

    detail = pl.format("judgment {} is taken back but was never delivered", "judgment_id")
    dangling = pl.col("comparison_id").is_null()
    rejected = retractions.filter(dangling).select("row", reason=pl.lit("unknown_judgment"), detail=detail)
    grounded = retractions.filter(~dangling).select(votes.columns)
    return pl.concat([votes.filter(asserts), grounded]).sort("place"), rejected


SAYS = ["judgment_id", "op", *CONTENT]


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
    numbered = numbered.unique([*SAYS, "revision"], keep="first", maintain_order=True).with_columns(own_revision="revision")
    said = pl.concat([known.select(SAYS), numbered.select(SAYS)])
    others = votes.filter(pl.col("own_revision").is_null()).join(said, on=SAYS, how="anti", nulls_equal=True)
    return pl.concat([numbered, others.unique(SAYS, keep="first", maintain_order=True)])


def _revised(votes: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The new votes with their revision numbers: their own, or the next ones after all that are known."""
    numbers = pl.concat([known.select("judgment_id", "revision"), _numbered(votes).select("judgment_id", "revision")])
    top = numbers.group_by("judgment_id").agg(top=pl.col("revision").max())
    votes = votes.join(top, on="judgment_id", how="left").sort("place")
    next_ones = pl.col("top").fill_null(-1) + pl.col("own_revision").is_null().cum_sum().over("judgment_id")
    return votes.with_columns(revision=pl.coalesce("own_revision", next_ones))


def _numbered(votes: pl.DataFrame) -> pl.DataFrame:
    """The votes that bring their own revision number."""
    return votes.filter(pl.col("own_revision").is_not_null()).with_columns(revision="own_revision")
