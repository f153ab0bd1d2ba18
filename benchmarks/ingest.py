"""How fast feedback lands in the lake, and in how much memory, against the floor: DuckDB reading and writing the same file, line-safe.

    python benchmarks/ingest.py [--judgments 1000000] [--small] [--repeats 3] [--folder DIR]

Generated native JSON lines of about 620 bytes (`--small`: 280, so that 100 million fit a disk of 60 GB), three judgments per comparison,
two comparisons per prompt, and no number of more than five digits, which would look like a telephone number, whose row is looked at by
itself. Each run is a process of its own, and all kinds of runs take turns. `bare` is an ingest without what `SWITCHES` switches off;
each `without …` lacks one of them, so its difference to `ingest` is that one's share. The `again` run meets the same rows in another
file, as a redelivery.
"""

import argparse
import importlib
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
from collections.abc import Callable
from pathlib import Path

import duckdb

ROWS = """
create macro letters(text) as translate(md5(text), '0123456789', 'ghijklmnop');
copy (
    select json_object(
        'prompt', 'Please answer question number ' || (i // 6 % 100000) || ' about '
            || repeat('topic ', 8 // {shrink}) || letters((i // 6)::varchar)[:32 // {shrink}],
        'response_a', 'Answer one of comparison ' || (i // 3 % 100000) || ': ' || repeat('some words here ', 6 // {shrink})
            || letters((i // 3)::varchar || 'a')[:32 // {shrink}],
        'response_b', 'Answer two of comparison ' || (i // 3 % 100000) || ': ' || repeat('other words ', 9 // {shrink})
            || letters((i // 3)::varchar || 'b')[:32 // {shrink}],
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


def nothing_found(_: object, texts: object) -> object:
    import pyarrow as pa

    return pa.repeat(pa.scalar(False), len(texts))  # type: ignore[arg-type]


SWITCHES: dict[str, tuple[str, str, Callable[..., object]]] = {
    "screening": ("tasks.privacy.screening", "Screening.needs_a_look", nothing_found),
    "contracts": ("tasks.feedback.ingest", "check_batch", lambda *_: 0),
}
"""What an ingest does beside landing rows: the module, the attribute that does it, and what stands there when it is switched off. The
search for near-duplicates is a stage of its own and no part of an ingest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgments", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="shorter texts")
    parser.add_argument("--memory", default="1GB", help="ingest.memory_limit (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the generated file and the lakes go, instead of a temporary folder")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS, help="which runs, by default all")
    parser.add_argument("--child", choices=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.child, options.folder, options.memory)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with duckdb.connect() as connection:
            connection.execute(ROWS.format(judgments=options.judgments, file=folder / "rows.jsonl", shrink=16 if options.small else 1))
        (folder / "again.jsonl").hardlink_to(folder / "rows.jsonl")
        size = (folder / "rows.jsonl").stat().st_size
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, {options.judgments:,} judgments, {size / 1e6:,.0f} MB of JSON lines", flush=True
        )
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.runs}
        for _ in range(options.repeats):
            for kind in options.runs:
                found[kind].append(run(kind, folder, options.memory))
        table(options.judgments, found)


def run(name: str, folder: Path, memory: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder), "--memory", memory]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {told}", file=sys.stderr, flush=True)
    return told


def table(judgments: int, found: dict[str, list[dict[str, float]]]) -> None:
    def median(name: str, figure: str) -> float:
        return statistics.median(one[figure] for one in found[name])

    def share(name: str, figure: str) -> str:
        return f"{median('floor', figure) / median(name, figure):.2f}" if "floor" in found else "–"

    print("| what | seconds | share of the floor's speed | CPU seconds | share of the floor's | rows per second | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in found.items():
        seconds = median(name, "seconds")
        spread = f"{seconds:.1f} ({min(one['seconds'] for one in runs):.1f} to {max(one['seconds'] for one in runs):.1f})"
        cpu = f"{median(name, 'cpu_seconds'):.1f} | {share(name, 'cpu_seconds')}"
        memory = f"{median(name, 'megabytes'):,.0f} MB"
        print(f"| {name} | {spread} | {share(name, 'seconds')} | {cpu} | {judgments / seconds:,.0f} | {memory} |", flush=True)


def measured(name: str, folder: Path, memory: str) -> dict[str, float]:
    """Do one run; what it took, without the imports."""
    work = prepared(name, folder, memory)
    before, started = os.times(), time.perf_counter()
    work()
    after = os.times()
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(after.user + after.system - before.user - before.system, 2),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def prepared(name: str, folder: Path, memory: str) -> Callable[[], None]:
    if name == "floor":
        return lambda: floor(folder)
    for switch, (module, attribute, instead) in SWITCHES.items():
        if name in ("bare", f"without {switch}"):
            owner = importlib.import_module(module)
            *path, last = attribute.split(".")
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, last, instead)
    if name != "again":
        shutil.rmtree(folder / "home", ignore_errors=True)
    return landing(folder, "again.jsonl" if name == "again" else "rows.jsonl", memory)


def floor(folder: Path) -> None:
    columns = json.dumps(dict.fromkeys(COLUMNS, "VARCHAR"))
    with duckdb.connect() as connection:
        connection.execute("set memory_limit = '1GB'")
        connection.execute(FLOOR.format(file=folder / "rows.jsonl", columns=columns, folder=folder))


def landing(folder: Path, file: str, memory: str) -> Callable[[], None]:
    from data_contracts.home import Home
    from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest

    def land() -> None:
        source = SourceConfig(name="generated", format="native", path=str(folder / file))
        headline = ingest(Home(folder / "home"), IngestConfig(sources=(source,), memory_limit=memory)).artifact.manifest.headline
        expected = "rows_accepted" if file == "rows.jsonl" else "rows_known"
        if headline[expected] != headline["rows_read"]:
            raise SystemExit(f"not every row counts under {expected}: {headline}")

    return land


RUNS = ["floor", "bare", *(f"without {name}" for name in SWITCHES), "ingest", "again"]


if __name__ == "__main__":
    main()
