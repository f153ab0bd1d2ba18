"""`overnight audit`: what the audit database says, as a summary, about one annotator, or in answer to any question."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Column, Table

from data_contracts.audit.catalog import columns, relations
from data_contracts.audit.opening import ask, opened, refresh
from data_contracts.errors import InputError, examples
from data_contracts.home import Home
from flows.console import new_console

SHOWN_ROWS, LONGEST_CELL = 100, 200
"""What a table on the screen shows at most; the formats for machines leave out nothing."""

SUMMARY = {
    "what stands": """
        select (select count(*) from judgments) as judgments, (select count(*) from comparisons) as comparisons,
            (select count(distinct annotator_id) from annotator_activity) as annotators, (select count(*) from batches) as batches,
            (select count(*) from judgment_revisions) as revisions""",
    "agreement and bias": """
        select figure, value, low, high, n from quality
        where slice_kind = 'all' and figure in ('krippendorff_alpha', 'raw_agreement', 'leave_one_out_agreement', 'presented_first_share',
            'longer_preferred_share', 'tie_share') order by figure""",
    "most contested slices": """
        select slice, count(*) as comparisons, count_if(contested) as contested, avg(entropy) as "mean entropy (bits)"
        from comparison_agreement where n_judgments > 1 group by slice order by avg(contested::int) desc, slice limit 5""",
    "quarantine": """
        select source, reason, n_open as still, n_settled as settled from quarantine_reasons order by n_open desc, source, reason""",
    "annotators with flags": """
        select annotator_id as annotator, n_judgments as judgments, majority_agreement as "with majority", flags
        from annotators where len(flags) > 0 order by len(flags) desc, n_judgments desc limit 10""",
    "last nights": """
        select night, recipe, outcome, seconds, cpu_seconds as "CPU seconds", peak_memory / 1e6 as "peak MB",
            n_stages - n_reused as made, n_reused as reused
        from nights order by night desc limit 5""",
    "longest stages, last night": """
        select stage, seconds, share_of_night as share, cpu_seconds as "CPU seconds", peak_memory / 1e6 as "peak MB"
        from runs where night = (select max(night) from nights) and not reused order by seconds desc limit 5""",
    "data gate": """
        select rule, slice, verdict, reason from data_gates where verdict not in ('pass', 'not judged')""",
    "gate": """
        select rule, slice, verdict, reason from gates where verdict <> 'pass' or figure_of = 'evaluation'""",
}
"""Title and query of each table; one without rows is left out."""
KINDS_OF_ONE_NIGHT = {"agreement and bias": "quality", "data gate": "data_gate", "gate": "gate"}
"""Tables of the last night that has such artifacts, by title: their kind."""

FORGOTTEN_SINCE = """
select count(*) from tombstones where requested_at::timestamptz > (select max(began) from nights) having count(*) > 0"""

ONE_ANNOTATOR = {
    "by slice": """
        select slice, count(*) as judgments, avg(agrees_with_others::int) as "with majority", avg((verdict = 'tie')::int) as ties,
            median(seconds_spent) as "median seconds"
        from counted_judgments where annotator_id = $annotator group by slice order by judgments desc, slice""",
    "with other annotators, last night": """
        select case when annotator_1 = $annotator then annotator_2 else annotator_1 end as other, n_comparisons as comparisons,
            raw_agreement as agreement, cohen_kappa as kappa, cohen_kappa_low as low, cohen_kappa_high as high
        from annotator_pairs where $annotator in (annotator_1, annotator_2) order by comparisons desc, other limit 10""",
    "bias, last night": """
        select 'first' as "prefers the", presented_first_share as share, low, high, n from position_bias
        where slice_kind = 'annotator' and slice = $annotator
        union all
        select 'longer', longer_preferred_share, low, high, n from length_bias where slice_kind = 'annotator' and slice = $annotator""",
    "models, last night": """
        select model, n as judgments, win_share as "wins here", others_win_share as "wins with others", z
        from favouritism where annotator_id = $annotator order by abs(z) desc nulls last, model limit 5""",
    "night by night": """
        select night, n_judgments as judgments, majority_agreement as "with majority", presented_first_share as "first", tie_share as ties,
            median_seconds as seconds, flags
        from all_annotators join stages using (artifact_id) where annotator_id = $annotator order by night desc limit 10""",
    "recent judgments": """
        select event_time as at, slice, verdict, others_verdict as others, n_others as "of", seconds_spent as seconds, comparison_id
        from counted_judgments where annotator_id = $annotator order by event_time desc nulls last, judgment_id desc limit 10""",
}
"""The same of one annotator."""


def show_summary(home: Home) -> None:
    """Print what stands, agreement, quarantine, flagged annotators, and the last nights with their gates."""
    console = new_console()
    with _opened(home) as connection:
        ((built_at,),) = connection.execute("select built_at from built").fetchall()
        console.print(f"audit database as of {_shown(built_at)} UTC", highlight=False)
        for (forgotten,) in connection.execute(FORGOTTEN_SINCE).fetchall():
            told = f"{forgotten} requests to forget came after the last night: figures of nights still count what was erased"
            console.print(told, highlight=False, soft_wrap=True)
        for title, query in SUMMARY.items():
            _print(console, _titled(connection, title), connection.execute(query))


def summary_as_markdown(home: Home) -> str:
    """The same as Markdown, to be put where others than the home's own people may read it: so no annotator is named."""
    parts = []
    with opened(home) as connection:
        for title, query in SUMMARY.items():
            found = connection.execute(query)
            names, rows = [name for name, *_ in found.description], found.fetchall()
            if rows and "annotator" not in names:
                lines = [names, ["---"] * len(names), *([_shown(value).replace("|", "/") for value in row] for row in rows)]
                parts += [f"## {_titled(connection, title)}\n", *(f"| {' | '.join(line)} |" for line in lines), ""]
    return "\n".join(parts)


def _titled(connection: duckdb.DuckDBPyConnection, title: str) -> str:
    """A table's title with the night that it tells of: the last one, or an earlier one where the last did not come so far."""
    if (kind := KINDS_OF_ONE_NIGHT.get(title)) is None:
        return title
    query = "select (select max(night) from stages where kind = ?), (select max(night) from nights)"
    ((night, last),) = connection.execute(query, [kind]).fetchall()
    return f"{title}, last night" if night == last else f"{title}, of night {night}: no later one came so far"


def show_annotator(home: Home, annotator: str) -> None:
    """Print all about one annotator.

    Raises:
        InputError: nobody of that id has a judgment that stands.
    """
    console = new_console()
    with _opened(home) as connection:
        found = connection.execute("select * from annotator_quality where annotator_id = ?", [annotator])
        names, rows = [name for name, *_ in found.description], found.fetchall()
        if not rows:
            known = connection.execute("select distinct annotator_id from annotator_quality order by 1").fetchall()
            raise InputError(
                f"no judgment that stands is by annotator {annotator!r}", remedy=f"these judged: {examples(name for (name,) in known)}"
            )
        meanings = {name: meaning for name, _, meaning in columns(connection, "annotator_quality")}
        for row in rows:
            _print_record(console, f"annotator {annotator}", dict(zip(names, row, strict=True)), meanings)
        for title, query in ONE_ANNOTATOR.items():
            _print(console, title, connection.execute(query, {"annotator": annotator}))


def answer(home: Home, question: str, form: str) -> None:
    """Print the answer to a `select`: as a table, as CSV with a header, or as one JSON object a line.

    Raises:
        InputError: the question cannot be answered, or is none.
    """
    with _opened(home) as connection:
        found = ask(connection, question)
        if form == "table":
            _print(new_console(), "", found, empty="no rows")
            return
        names = [name for name, *_ in found.description]
        written = csv.writer(sys.stdout, lineterminator="\n")
        if form == "csv":
            written.writerow(names)
        while rows := found.fetchmany(10_000):
            if form == "csv":
                written.writerows([_plain(value) for value in row] for row in rows)
            else:
                for row in rows:
                    print(json.dumps(dict(zip(names, row, strict=True)), default=str, ensure_ascii=False))


def show_views(home: Home, name: str | None) -> None:
    """List what can be asked, or the columns of one.

    Raises:
        InputError: there is none of that name.
    """
    console = new_console()
    with _opened(home) as connection:
        known = {one.name: one for one in relations(connection)}
        if name is None:
            table = Table("name", "what", "one row", title="what can be asked", title_justify="left")
            for one in known.values():
                table.add_row(one.call, one.what, one.grain.partition(". Columns: ")[0])
            console.print(table)
            return
        if name not in known:
            raise InputError(f"there is no {name!r} in the audit database", remedy=f"these can be asked: {', '.join(known)}")
        console.print(f"[bold]{known[name].call}[/]: {known[name].grain}", highlight=False)
        if not known[name].parameters:
            table = Table("column", "type", "meaning")
            for row in columns(connection, name):
                table.add_row(*row)
            console.print(table)


def _opened(home: Home) -> Any:
    """The database, built anew first where that has to be; then it is said why, apart from what is printed for machines."""
    if reason := refresh(home):
        Console(stderr=True).print(f"the audit database was built anew: {reason}", soft_wrap=True, highlight=False)
    return opened(home)


def _print(console: Console, title: str, found: duckdb.DuckDBPyConnection, empty: str = "") -> None:
    names, rows = [name for name, *_ in found.description], found.fetchmany(SHOWN_ROWS + 1)
    more = len(rows) > SHOWN_ROWS
    if more:  # a result that is left unread holds the connection
        with suppress(duckdb.Error):
            found.fetchall()
    if not rows:
        if empty:
            console.print(empty)
        return
    table = Table(*(Column(name, overflow="fold") for name in names))
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*map(_shown, row))
    if title:  # above the table and not in it, where a narrow one would break it
        console.print(title, style="italic", highlight=False)
    console.print(table)
    if more:
        console.print(f"the first {SHOWN_ROWS} rows; `--format csv` gives all")


def _print_record(console: Console, title: str, record: Mapping[str, Any], meanings: Mapping[str, str]) -> None:
    table = Table("what", "value", "meaning", title=title, title_justify="left")
    for name, value in record.items():
        table.add_row(name, _shown(value), meanings[name])
    console.print(table)


def _shown(value: object) -> str:
    """A value as a table shows it: figures to three digits, a dash for what is null."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_shown, value)) or "–"
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + " …"


def _plain(value: object) -> object:
    """A value as CSV has it: lists and structures as JSON."""
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, (list, dict)) else value
