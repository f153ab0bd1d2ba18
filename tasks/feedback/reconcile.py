"""What of a delivery is new to the lake: identities, canonical orientation, corrections, repeats and redeliveries.

A comparison is known by the source's own id, and then keeps the source's orientation; without one it is known by its prompt and
its two responses, whose order is decided by their hashes, so that a pair that arrives both ways round is one comparison.

A judgment is known by the source's own id; or by annotator, comparison and event time; or else by its content and its
occurrence number within the file. So true repeats stay, anonymous annotators are not merged, and a file that is delivered
again, perhaps grown, adds only what it has more.

Everything is done to sets, by DuckDB, which goes to disk where memory does not suffice. What is simple (a judgment that nothing
else names, or one that the lake has word for word) is settled there; the rest goes to `corrections`.
"""

from pathlib import Path

import duckdb
import polars as pl

from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.records import COMPARISON, JUDGMENT
from tasks.feedback.candidates import FILLED, PLACE_BITS, digest, other_side, staged
from tasks.feedback.corrections import CONTENT, SAYS, correct

SAYS_SQL = ", ".join(SAYS)
TEXT_IDS = "prompt_id, text_a, text_b"


def reconcile(candidates: Path, batches: list[Path], connection: duckdb.DuckDBPyConnection) -> None:
    """Divide candidates into what is new, what is known and what cannot be accepted.

    Leaves these tables in the connection's database: `new_votes` and `new_pairs`, with `place` and the columns of their records,
    and `rejected` (row, reason, detail). A row that is in neither and was read brought nothing new.

    Args:
        candidates: what was read, see `tasks.feedback.candidates`.
        batches: directories of the lake's batches that brought rows.
        connection: a database of its own for this delivery.
    """
    connection.execute(f"create view candidates as select * from {staged([candidates])}")
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
            paths = ", ".join("'" + path.replace("'", "''") + "'" for path in files_of(batches, file))
            connection.execute(f"create view {name} as select * from read_parquet([{paths}], hive_partitioning = false)")
        else:
            connection.register("no_records", kind.schema.empty_table())
            connection.execute(f"create table {name} as from no_records")
            connection.unregister("no_records")


def _correct(connection: duckdb.DuckDBPyConnection) -> None:
    """Settle the votes that are not simple; leaves `corrected` (place, revision and what the vote says) and adds to `rejected`."""
    votes = connection.sql("select * from votes semi join unclear using (judgment_id) order by place").pl()
    known = connection.sql("select * from known_votes semi join unclear using (judgment_id)").pl()
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
    select comparison_id, max(prompt_id) as prompt_id, max(sha256(response_a)) as text_a, max(sha256(response_b)) as text_b
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
create table votes as
with turned_votes as (
    select c.* exclude (verdict, presented_first),
        {other_side("verdict", "(t.place is not null)")} as verdict,
        {other_side("presented_first", "(t.place is not null)")} as presented_first
    from (
        select place, row, source, source_file, source_row, own_revision, op, judgment_id, {", ".join(CONTENT)}
        from candidates where op is not null
    ) as c
    left join (select place from turned) as t using (place)
    where row not in (select row from rejected)
),
named as (
    select * from turned_votes where judgment_id is not null
    union all
    select * exclude (occurrence) replace ({_content_id()} as judgment_id)
    from (
        select *, row_number() over (partition by source, source_file, {", ".join(CONTENT)} order by place) as occurrence
        from turned_votes where judgment_id is null
    )
)
from named;
"""

SORTED_OUT = f"""
create table known_votes as
select judgment_id, revision, {", ".join(("op", *CONTENT))}
from lake_judgments semi join votes using (judgment_id);

-- Redelivered word for word.
create table redelivered as
select place from votes semi join known_votes on {" and ".join(f"votes.{name} is not distinct from known_votes.{name}" for name in SAYS)}
where own_revision is null and op = 'assert';

create table unclear as
select distinct judgment_id from (
    select judgment_id from votes group by all having count(*) > 1
    union all
    select judgment_id from votes where own_revision is not null or op <> 'assert'
    union all
    select judgment_id from votes semi join known_votes using (judgment_id) anti join redelivered using (place)
);
"""

NEW_VOTES = f"""
create table new_votes as
select place, row, judgment_id, 0::bigint as revision, {", ".join(("op", *CONTENT))}, source, source_file, source_row
from votes anti join unclear using (judgment_id) anti join redelivered using (place)
where row not in (select row from rejected)
union all
select c.place, row, judgment_id, c.revision, {", ".join(f"c.{name}" for name in ("op", *CONTENT))}, source, source_file, source_row
from corrected as c join votes using (place)
where row not in (select row from rejected);
"""

KNOWN_PARTS = " + ".join(f"({name} is not null)::int * {2**place}" for place, name in enumerate(FILLED))
"""SQL: which of the columns that can be filled in are known, as bits."""


def _first_known(column: str) -> str:
    return f"arg_min({column}, place) filter ({column} is not null) as {column}"


def _turned_pair(column: str) -> str:
    """SQL for a column of a pair in canonical orientation."""
    if column == "gold_verdict":
        return f"{other_side(column, '(t.place is not null)')} as {column}"
    if column[-2:] in ("_a", "_b"):
        other = column[:-1] + ("b" if column.endswith("a") else "a")
        return f"if(t.place is null, {column}, {other}) as {column}"
    return column


OTHERS = ("slice", "ranking_id", "source", "source_file", "source_row")
NEW_PAIRS = f"""
create view pairs as
select c.place, c.row, comparison_id, {", ".join(_turned_pair(name) for name in FILLED)}, {", ".join(OTHERS)}
from candidates as c left join (select place from turned) as t using (place)
where leads and c.row not in (select row from rejected);

create table met_pairs as
select comparison_id, min(place) as place, arg_min(parts, place) as first_parts, bit_or(parts) as parts
from (select comparison_id, place, {KNOWN_PARTS} as parts from pairs)
group by all;

create table known_pairs as
select comparison_id, bit_or({KNOWN_PARTS}) as parts from lake_comparisons semi join met_pairs using (comparison_id) group by all;

-- Comparisons that are new and whole in their first row; and those that several rows, or the lake, tell together.
create table whole as
select place from met_pairs anti join known_pairs using (comparison_id) where parts = first_parts;
create table in_pieces as
select m.comparison_id, m.place as first_place from met_pairs as m left join known_pairs as k using (comparison_id)
where if(k.parts is null, m.parts <> m.first_parts, m.parts & ~k.parts <> 0);

create table left_out (place bigint);
create view new_pairs as
select * from (
select place, row, comparison_id, {", ".join(FILLED)}, {", ".join(OTHERS)}
from pairs semi join whole using (place)
union all
select p.first_place as place, p.first_place >> {2 * PLACE_BITS} as row, p.comparison_id, {", ".join(FILLED)}, {", ".join(OTHERS)}
from in_pieces as p
join (
    select comparison_id, {", ".join(_first_known(name) for name in FILLED)},
        {", ".join(f"arg_min({name}, place) as {name}" for name in ("slice",))}, arg_min(ranking_id, place) as ranking_id
    from (
        select comparison_id, place, {", ".join(FILLED)}, slice, ranking_id from pairs semi join in_pieces using (comparison_id)
        union all
        select comparison_id, -1 as place, {", ".join(FILLED)}, slice, ranking_id
        from lake_comparisons semi join in_pieces using (comparison_id)
    )
    group by all
) as told using (comparison_id)
join (select place, source, source_file, source_row from candidates) as stood on stood.place = p.first_place
) anti join left_out using (place);
"""
