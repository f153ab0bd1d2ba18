"""What of a delivery is new to the lake: identities, canonical orientation, corrections, repeats and redeliveries.

A comparison is known by the source's own id, and then keeps the source's orientation; without one it is known by its prompt and
its two responses, whose order is decided by their hashes, so that a pair that arrives both ways round is one comparison.

A judgment is known by the source's own id; or by annotator, comparison and event time; or else by its content and its
occurrence number within the file. So true repeats stay, anonymous annotators are not merged, and a file that is delivered
again, perhaps grown, adds only what it has more.

Everything is done to sets, by DuckDB, which goes to disk where memory does not suffice. What is simple (a judgment that nothing
else names, or one that the lake has word for word) is settled there; the rest goes to `corrections`. Sets are of places and ids: what
is wide is met when records are written, and only for the places that are new.
"""

from pathlib import Path

import duckdb
import polars as pl

from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.records import COMPARISON, JUDGMENT
from data_contracts.sql_text import parquet
from tasks.feedback.candidates import FILLED, ID_DIGITS, PLACE_BITS, CandidateFiles, digest, other_side
from tasks.feedback.corrections import CONTENT, SAYS, correct

SAYS_SQL = ", ".join(SAYS)
TEXT_IDS = "prompt_id, text_a, text_b"


def reconcile(candidates: CandidateFiles, batches: list[Path], connection: duckdb.DuckDBPyConnection) -> None:
    """Divide candidates into what is new, what is known and what cannot be accepted.

    Leaves in the connection's database the tables `settled_votes` and `settled_pairs`, the places of what is new, the macros
    `new_votes(low, high)` and `new_pairs(low, high)`, the records at those of these places that are at least `low` and less than `high`,
    and the table `rejected` (row, reason, detail). A row that is in none of them and was read brought nothing new.

    Args:
        candidates: what was read, see `tasks.feedback.candidates`.
        batches: directories of the lake's batches that brought rows.
        connection: a database of its own for this delivery.
    """
    connection.execute(f"create view candidates as select * from {parquet(candidates.rows)}")
    connection.execute(f"create view texts as select * from {parquet(candidates.texts)}")
    _view_lake(connection, batches)
    connection.execute(ORIENTATION)
    connection.execute(VOTES)
    connection.execute(SORTED_OUT)
    _correct(connection)
    connection.execute(NEW_VOTES)
    connection.execute(NEW_PAIRS)


def _view_lake(connection: duckdb.DuckDBPyConnection, batches: list[Path]) -> None:
    """The lake's records under the names `lake_comparisons` and `lake_judgments`."""
    for name, kind, file in (("lake_comparisons", COMPARISON, COMPARISONS), ("lake_judgments", JUDGMENT, JUDGMENTS)):
        if batches:
            connection.execute(f"create view {name} as select * from {parquet(*files_of(batches, file))}")
        else:
            connection.register("no_records", kind.schema.empty_table())
            connection.execute(f"create table {name} as from no_records")
            connection.unregister("no_records")


def _correct(connection: duckdb.DuckDBPyConnection) -> None:
    """Settle the votes that are not simple; leaves `corrected` (place, revision and what the vote says) and adds to `rejected`."""
    votes = connection.sql(
        f"select place, row, own_revision, {SAYS_SQL} from votes semi join unclear using (judgment_id) order by place"
    ).pl()
    known = connection.sql(f"select revision, {SAYS_SQL} from lake_judgments semi join unclear using (judgment_id)").pl()
    found = correct(votes.with_columns(revision=pl.lit(None, pl.Int64)), known)
    connection.register("found_new", found.new.select("place", "revision", *CONTENT, "op").to_arrow())
    connection.register("found_rejected", found.rejected.to_arrow())
    connection.execute("create table corrected as from found_new; insert into rejected from found_rejected")
    connection.unregister("found_new")
    connection.unregister("found_rejected")


def _content_id() -> str:
    """SQL for the id of a judgment that is known by what it says and by how often its file says it."""
    return digest("source", *(f"{name}::varchar" for name in (*CONTENT, "occurrence")))


ORIENTATION = f"""
-- How the lake has each comparison with an id of its own, completed by the first of the delivery's rows that tell most; unknown texts
-- are null.
create table canonical as
with in_lake as (
    select comparison_id, max(prompt_id) as prompt_id, max(sha256(response_a)[:{ID_DIGITS}]) as text_a,
        max(sha256(response_b)[:{ID_DIGITS}]) as text_b
    from lake_comparisons semi join (from candidates where own_key) using (comparison_id)
    group by all
),
best as (
    select distinct on (comparison_id) comparison_id, {TEXT_IDS} from candidates where own_key
    order by comparison_id, (text_a is null)::int + (text_b is null)::int + (prompt_id is null)::int, place
),
both_told as (
    select comparison_id, coalesce(k.prompt_id, c.prompt_id) as prompt_id,
        k.text_a as known_a, k.text_b as known_b, c.text_a as told_a, c.text_b as told_b,
        coalesce(told_a = known_a, true) and coalesce(told_b = known_b, true) as straight,
        coalesce(told_a = known_b, true) and coalesce(told_b = known_a, true) as crossed
    from best as c left join in_lake as k using (comparison_id)
)
select comparison_id, prompt_id,
    case when straight then coalesce(known_a, told_a) when crossed then coalesce(known_a, told_b) else known_a end as text_a,
    case when straight then coalesce(known_b, told_b) when crossed then coalesce(known_b, told_a) else known_b end as text_b
from both_told;

-- Two texts fit as far as both are known.
create table turned as
select place, row, comparison_id,
    coalesce(c.prompt_id = k.prompt_id, true) as same_prompt,
    same_prompt and coalesce(c.text_a = k.text_a, true) and coalesce(c.text_b = k.text_b, true) as straight,
    same_prompt and coalesce(c.text_a = k.text_b, true) and coalesce(c.text_b = k.text_a, true) as crossed
from candidates as c join canonical as k using (comparison_id)
where own_key and ({" or ".join(f"c.{name} is distinct from k.{name}" for name in ("prompt_id", "text_a", "text_b"))});

create table rejected as
select distinct on (row) row, 'comparison_differs' as reason,
    'comparison ' || comparison_id || ' is known with another prompt or other responses' as detail
from turned
where not straight and not crossed
order by row, place;

delete from turned where straight or not crossed;
"""

VOTES = f"""
create view turned_votes as
select c.place, c.row, source, source_file, source_row, own_revision, judgment_id, op, {
    ", ".join(
        f"{other_side(name, '(t.place is not null)')} as {name}" if name in ("verdict", "presented_first") else f"c.{name}"
        for name in CONTENT
    )
}
from candidates as c left join (select place from turned) as t using (place) anti join rejected using (row)
where op is not null;

-- Judgments that are known by what they say.
create table counted as
select place, {_content_id()} as judgment_id
from (
    select *, row_number() over (partition by source, source_file, {", ".join(CONTENT)} order by place) as occurrence
    from turned_votes where judgment_id is null
);

create view votes as
select v.* replace (coalesce(v.judgment_id, counted.judgment_id) as judgment_id) from turned_votes as v left join counted using (place);
"""

SORTED_OUT = f"""
-- Votes on judgments that the lake has; `again` where it has them word for word.
create table met as
select v.place, any_value(judgment_id) as judgment_id,
    bool_or(v.own_revision is null and {" and ".join(f"v.{name} is not distinct from k.{name}" for name in ("op", *CONTENT))}) as again
from (from votes where op = 'assert') as v join lake_judgments as k using (judgment_id)
group by v.place;

-- Judgments that several rows name are found by a hash of 8 bytes, a third of what their ids take; two that share one are looked at
-- closely for nothing.
create table unclear as
select distinct judgment_id from (
    select judgment_id from votes
    semi join (select hash(judgment_id) as h from votes group by all having count(*) > 1) as several on hash(judgment_id) = h
    union all
    select judgment_id from votes where own_revision is not null or op <> 'assert'
    union all
    select judgment_id from met where not again
);
"""

NEW_VOTES = f"""
create table settled_votes as
select place, 0::bigint as revision from votes anti join unclear using (judgment_id) anti join met using (place)
union all
select place, revision from corrected;

create macro new_votes(low, high) as table
select place, row, judgment_id, revision, {", ".join(f"if(c.place is null, v.{name}, c.{name}) as {name}" for name in ("op", *CONTENT))},
    source, source_file, source_row
from votes as v join (from settled_votes where place >= low and place < high) using (place)
left join (select * exclude (revision) from corrected) as c using (place);

-- A row that is rejected brings nothing at all.
delete from settled_votes where place >> {2 * PLACE_BITS} in (select row from rejected);
"""

PARTS = {"prompt": "prompt_id", "response_a": "text_a", "response_b": "text_b"}
"""The ids that tell, without the texts, whether these are known."""
TEXTS = ("prompt", "response_a", "response_b")
NARROW = tuple(name for name in FILLED if name not in TEXTS)


def _parts(*names: str) -> str:
    """SQL: which of the columns that can be filled in are known, as bits."""
    return " + ".join(f"({name} is not null)::int * {2**place}" for place, name in enumerate(names))


def _turned(column: str) -> str:
    """SQL for a column of a pair in canonical orientation."""
    if column == "gold_verdict":
        return f"{other_side(column, '(t.place is not null)')} as {column}"
    if column[-2:] in ("_a", "_b"):
        return f"if(t.place is null, {column}, {_across(column)}) as {column}"
    return column


def _across(column: str) -> str:
    """The same column of the other response."""
    return column[:-1] + ("b" if column.endswith("a") else "a")


def _with_texts(pairs: str) -> str:
    """SQL: pairs with their texts, in canonical orientation."""
    sides = ", ".join(f"if(exchanged, {_across(name)}, {name}) as {name}" for name in ("response_a", "response_b"))
    return f"select place, row, comparison_id, prompt, {sides}, {', '.join((*NARROW, *OTHERS))} from {pairs} join texts using (texts_place)"


OTHERS = ("slice", "ranking_id", "source", "source_file", "source_row")
NEW_PAIRS = f"""
create view pairs as
select c.place, c.row, comparison_id, {", ".join(_turned(name) for name in ("text_a", "text_b", *NARROW))}, {", ".join(OTHERS)},
    texts_place, swapped or t.place is not null as exchanged, {_parts(*(PARTS.get(name, name) for name in FILLED))} as parts
from candidates as c left join (select place from turned) as t using (place) anti join rejected using (row)
where leads;

create table met_pairs as
select comparison_id, min(place) as place, arg_min(parts, place) as first_parts, bit_or(parts) as parts from pairs group by all;

create table known_pairs as
select comparison_id, bit_or({_parts(*FILLED)}) as parts from lake_comparisons semi join met_pairs using (comparison_id) group by all;

-- Comparisons that are new, `in_pieces` where several rows tell them together; and those that the lake has and that are told more of,
-- under the first row that does.
create table settled_pairs as
select comparison_id, place, parts <> first_parts as in_pieces from met_pairs anti join known_pairs using (comparison_id)
union all
select comparison_id, min(p.place), true
from pairs as p
join (select k.* from known_pairs as k join met_pairs as m using (comparison_id) where m.parts & ~k.parts <> 0) as k using (comparison_id)
where p.parts & ~k.parts <> 0
group by all;

create macro new_pairs(low, high) as table (
with wanted as (from settled_pairs where place >= low and place < high)
{_with_texts("(from pairs semi join (from wanted where not in_pieces) using (place))")}
union all
select s.place, row, comparison_id, {", ".join(f"told.{name}" for name in (*TEXTS, *NARROW, *OTHERS[:2]))}, {", ".join(OTHERS[2:])}
from wanted as s
join (
    select comparison_id, {", ".join(f"arg_min({name}, place) filter ({name} is not null) as {name}" for name in FILLED)},
        arg_min(slice, place) as slice, arg_min(ranking_id, place) as ranking_id
    from (
        select comparison_id, place, {", ".join((*FILLED, "slice", "ranking_id"))}
        from ({_with_texts("(from pairs semi join (from wanted where in_pieces) using (comparison_id))")})
        union all
        select comparison_id, -1 as place, {", ".join((*FILLED, "slice", "ranking_id"))}
        from lake_comparisons semi join (from wanted where in_pieces) using (comparison_id)
    )
    group by all
) as told using (comparison_id)
join (select place, row, source, source_file, source_row from candidates) as stood using (place)
where in_pieces
);
"""
