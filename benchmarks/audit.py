"""How long the audit database takes to rebuild, how large it is, and how fast its views answer.

    python benchmarks/audit.py [--judgments 1000000] [--batches 100] [--folder DIR]

Generated judgments in batches of the lake: three per comparison, 500 annotators, responses of about 300 characters. Seconds are CPU seconds
on one thread; `kept` has the records in the database, `views` reads them from the lake's files.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import duckdb

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.feedback_lake import BATCH, FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.parquet import write_records
from data_contracts.records import COMPARISON, FINDING, JUDGMENT, QUARANTINE

JUDGMENTS = """
select
    md5('j' || i) as judgment_id, 0::bigint as revision, 'assert' as op, md5((i // 3)::varchar) as comparison_id,
    'annotator-' || (hash(i // 3, i % 3) % 167 * 3 + i % 3) as annotator_id, 'human' as annotator_kind,
    case when hash(i) % 100 < 45 then 'a' when hash(i) % 100 < 90 then 'b' else 'tie' end as verdict, null::varchar as tie_reason,
    (hash(i * 5) % 4)::double as preference_strength, if(hash(i * 13) % 2 = 0, 'a', 'b') as presented_first,
    timestamptz '2026-01-01 00:00:00Z' + to_seconds(i::double) as event_time, (5 + hash(i * 3) % 60)::double as seconds_spent,
    'export' as source, 'rows.jsonl' as source_file, i + 1 as source_row
from range({first}, {last}) t(i)
"""
COMPARISONS = """
select
    md5(i::varchar) as comparison_id, md5('p' || i) as prompt_id, 'slice-' || (hash(i) % 10) as slice,
    [{{'role': 'user', 'content': 'a prompt of some words, number ' || i}}] as prompt,
    md5('a' || i) || repeat('some words ', (20 + hash(i * 3) % 9)::integer) as response_a,
    md5('b' || i) || repeat('other words ', (20 + hash(i * 5) % 9)::integer) as response_b,
    'model-' || (hash(i * 7) % 20) as model_a, 'model-' || (hash(i * 11) % 20) as model_b, null::varchar as gold_verdict,
    null::varchar as ranking_id, 'export' as source, 'rows.jsonl' as source_file, i + 1 as source_row
from range({first} // 3, {last} // 3) t(i)
"""
QUESTIONS = {
    "count the judgments that stand": "select count(*) from judgments",
    "the judgments as of a moment": "select verdict, count(*) from judgments_as_of(now()) group by all",
    "one annotator's judgments": "select count(*) from judgments where annotator_id = 'annotator-7'",
    "how contested each slice is": "select slice, avg(contested::int), avg(agreement) from comparison_agreement group by all",
    "one comparison": "select * from comparisons where comparison_id = md5('7')",
    "the annotators": "select * from annotator_quality order by n_standing desc",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgments", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the generated home goes, instead of a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        home = Home(Path(name) / "home")
        fill(home, options.judgments - options.judgments % (3 * options.batches), options.batches)
        size = sum(path.stat().st_size for path in home.lake.rglob("*.parquet"))
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        print(f"{machine}, {options.judgments:,} judgments in {options.batches} batches, {size / 1e6:,.0f} MB")
        print("| what | views | kept |\n|---|---|---|")
        columns = [measured(home, materialise=materialise) for materialise in (False, True)]
        for what in columns[0]:
            print(f"| {what} | {columns[0][what]} | {columns[1][what]} |")


def fill(home: Home, judgments: int, batches: int) -> None:
    """Land the judgments in as many batches."""
    with duckdb.connect() as connection:
        connection.execute("set threads = 1; set timezone = 'UTC'")
        for number in range(batches):
            part = {"first": number * judgments // batches, "last": (number + 1) * judgments // batches}

            def write(directory: Path, part: dict[str, int] = part) -> dict[str, int]:
                for kind, query, file in ((JUDGMENT, JUDGMENTS, "judgments"), (COMPARISON, COMPARISONS, "comparisons")):
                    write_records(kind, connection.sql(query.format(**part)).to_arrow_table(), directory / f"{file}.parquet")
                for kind, file in ((QUARANTINE, "quarantine"), (FINDING, "findings")):
                    write_records(kind, kind.table([]), directory / f"{file}.parquet")
                (directory / "delivery.json").write_text(f'{{"files": [], "mended": [], "identity": "{part["first"]}"}}')
                return {"rows_accepted": part["last"] - part["first"]}

            FeedbackLake(home.lake).land(Identity(kind=BATCH, code_version=str(number)), write)


def measured(home: Home, *, materialise: bool) -> dict[str, str]:
    """CPU seconds of the rebuild and of each question, and the file's size."""
    started = time.process_time()
    path = rebuild_audit_database(home, materialise=materialise)
    found = {"rebuild": f"{time.process_time() - started:.1f} s", "size of the file": f"{path.stat().st_size / 1e6:,.1f} MB"}
    for question, query in QUESTIONS.items():
        with duckdb.connect(path, read_only=True) as connection:
            connection.execute("set threads = 1")
            started = time.process_time()
            connection.execute(query).fetchall()
            found[question] = f"{time.process_time() - started:.2f} s"
    return found


if __name__ == "__main__":
    main()
