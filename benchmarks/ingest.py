"""How fast feedback lands in the lake, and in how much memory, against the floor: DuckDB reading and writing the same file, line-safe.

    python benchmarks/ingest.py [--judgments 1000000] [--repeats 3] [--folder DIR]

Generated native JSON lines of about 620 bytes, three judgments per comparison, two comparisons per prompt, and no
long digits, which would look like phone numbers. Each run is a process of its
own; the floor and the ingest take turns. The ingest then meets the same rows in another file, as a redelivery. The search for private
data runs inside the ingest and its share is told apart.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

ROWS = """
create macro letters(text) as translate(md5(text), '0123456789', 'ghijklmnop');
copy (
    select json_object(
        'prompt', 'Please answer question number ' || (i // 6) || ' about ' || repeat('topic ', 8) || letters((i // 6)::varchar),
        'response_a', 'Answer one of comparison ' || (i // 3) || ': ' || repeat('some words here ', 6) || letters((i // 3)::varchar || 'a'),
        'response_b', 'Answer two of comparison ' || (i // 3) || ': ' || repeat('other words ', 9) || letters((i // 3)::varchar || 'b'),
        'verdict', case when hash(i) % 10 < 5 then 'a' when hash(i) % 10 < 9 then 'b' else 'tie' end,
        'annotator_id', 'annotator-' || (hash(i * 7) % 500),
        'event_time', strftime(timestamp '2026-01-01' + to_seconds(i::bigint * 2), '%Y-%m-%dT%H:%M:%SZ'),
        'presented_first', case when hash(i * 13) % 2 = 0 then 'a' else 'b' end,
        'seconds_spent', 5 + hash(i * 3) % 60
    ) as line
    from range({judgments}) t(i)
) to '{file}' (format csv, header false, quote '', delimiter E'\\x01', escape '')
"""
COLUMNS = ("prompt", "response_a", "response_b", "verdict", "annotator_id", "event_time", "presented_first", "seconds_spent")
FLOOR = """
copy (
    with lines as (
        select line, row_number() over () as source_row
        from read_csv('{file}', delim = E'\\x01', quote = '', escape = '', header = false, columns = {{'line': 'VARCHAR'}})
    )
    select source_row, told.* from (select source_row, from_json(if(json_valid(line), line, null), '{columns}') as told from lines)
) to '{folder}/floor.parquet' (format parquet, compression zstd)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgments", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the generated file and the lakes go, instead of a temporary folder")
    parser.add_argument("--child", choices=["floor", "ingest", "again"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.folder)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with duckdb.connect() as connection:
            connection.execute(ROWS.format(judgments=options.judgments, file=folder / "rows.jsonl"))
        (folder / "again.jsonl").hardlink_to(folder / "rows.jsonl")
        size = (folder / "rows.jsonl").stat().st_size
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, {options.judgments:,} judgments, {size / 1e6:,.0f} MB of JSON lines", flush=True
        )
        found: dict[str, list[dict[str, float]]] = {name: [] for name in CHILDREN}
        for _ in range(options.repeats):
            for child in CHILDREN:
                found[child].append(run(child, folder))
        table(options.judgments, found)


def run(child: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", child, "--folder", str(folder)]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return told


def table(judgments: int, found: dict[str, list[dict[str, float]]]) -> None:
    def median(child: str, figure: str) -> float:
        return statistics.median(one[figure] for one in found[child])

    print("| what | seconds | rows per second | share of the floor's speed | peak memory |\n|---|---|---|---|---|")
    for child, runs in found.items():
        seconds = median(child, "seconds")
        spread = f" ({min(one['seconds'] for one in runs):.1f} to {max(one['seconds'] for one in runs):.1f})"
        share = median("floor", "seconds") / seconds
        print(f"| {child} | {seconds:.1f}{spread} | {judgments / seconds:,.0f} | {share:.2f} | {median(child, 'megabytes'):,.0f} MB |")
    print(f"search for private data, within the ingest: {median('ingest', 'screening_seconds'):.1f} s", flush=True)


def floor(folder: Path) -> dict[str, float]:
    columns = json.dumps(dict.fromkeys(COLUMNS, "VARCHAR"))
    started = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute("set memory_limit = '1GB'")
        connection.execute(FLOOR.format(file=folder / "rows.jsonl", columns=columns, folder=folder))
    return measured(started)


def ingest(folder: Path) -> dict[str, float]:
    shutil.rmtree(folder / "home", ignore_errors=True)
    return land(folder, "rows.jsonl")


def again(folder: Path) -> dict[str, float]:
    return land(folder, "again.jsonl")


def land(folder: Path, file: str) -> dict[str, float]:
    from data_contracts.home import Home
    from tasks.feedback.ingest import IngestConfig, SourceConfig
    from tasks.feedback.ingest import ingest as ingest_stage
    from tasks.privacy.screening import Screening

    spent, look = [0.0], Screening.needs_a_look

    def timed(self: Screening, read: object) -> object:
        began = time.perf_counter()
        try:
            return look(self, read)  # type: ignore[arg-type]
        finally:
            spent[0] += time.perf_counter() - began

    Screening.needs_a_look = timed  # type: ignore[method-assign, assignment]
    started = time.perf_counter()
    source = SourceConfig(name="generated", format="native", path=str(folder / file))
    headline = ingest_stage(Home(folder / "home"), IngestConfig(sources=(source,))).artifact.manifest.headline
    told = measured(started) | {"screening_seconds": spent[0]}
    expected = "rows_accepted" if file == "rows.jsonl" else "rows_known"
    assert headline[expected] == headline["rows_read"], headline
    return told


def measured(started: float) -> dict[str, float]:
    return {"seconds": time.perf_counter() - started, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


CHILDREN = {"floor": floor, "ingest": ingest, "again": again}


if __name__ == "__main__":
    main()
