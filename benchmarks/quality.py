"""How fast the quality of feedback is measured, and in how much memory: all alphas, the whole stage, and the libraries that give an alpha.

    python benchmarks/quality.py [--judgments 10000000] [--memory 3GB] [--repeats 1] [--folder DIR] [--crowd-kit PYTHON]

Generated judgments in Parquet files as the lake has them, in no order: three per comparison, two comparisons per prompt, 500 annotators,
20 models. Each run is a process of its own and tells its seconds, its CPU seconds and its peak memory; runs take turns. `krippendorff` gets
the counts per comparison, made with polars from the same file, since its matrix of coders by units would not fit. `crowd-kit` needs an
environment of its own (another scikit-learn): name its interpreter, or it is left out. The libraries get as many judgments as they can
do in about a minute (`--library-judgments`).
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY = "3GB"
"""What DuckDB may use by default; the rest of the process comes on top."""
BIG_PRIME = 2_147_483_647
JUDGMENTS = """
copy (
    with drawn as (select i, (i * {prime}) % {n} as place from range({n}) t(i))
    select
        md5('j' || place) as judgment_id, 0::bigint as revision, 'assert' as op, md5((place // 3)::varchar) as comparison_id,
        'annotator-' || (hash(place // 3, place % 3) % 167 * 3 + place % 3) as annotator_id, 'human' as annotator_kind,
        case when hash(place) % 100 < 45 + (place // 3) % 10 then 'a' when hash(place) % 100 < 90 then 'b' else 'tie' end as verdict,
        null::varchar as tie_reason, (hash(place * 5) % 4)::double as preference_strength,
        if(hash(place * 13) % 2 = 0, 'a', 'b') as presented_first,
        timestamptz '2026-01-01 00:00:00Z' + to_seconds((place % 8640000)::double) as event_time,
        (5 + hash(place * 3) % 60)::double as seconds_spent,
        'export-' || (hash(place * 17) % 3) as source, 'rows.jsonl' as source_file, i as source_row
    from drawn
) to '{folder}/judgments.parquet' (format parquet, compression zstd)
"""
COMPARISONS = """
copy (
    select
        md5(i::varchar) as comparison_id, md5('p' || i // 2) as prompt_id, 'slice-' || (hash(i // 2) % 10) as slice,
        null::struct(role varchar, content varchar)[] as prompt,
        repeat('some words ', (3 + hash(i * 3) % 9)::integer) || i as response_a,
        repeat('other words ', (3 + hash(i * 5) % 9)::integer) || i as response_b,
        'model-' || (hash(i * 7) % 20) as model_a, 'model-' || (hash(i * 11) % 20) as model_b,
        if(i % 50 = 0, 'a', null) as gold_verdict, null::varchar as ranking_id,
        'export-0' as source, 'rows.jsonl' as source_file, i as source_row
    from range({n} // 3 + 1) t(i)
) to '{folder}/comparisons.parquet' (format parquet, compression zstd)
"""
ALPHAS = """
select n_a, n_tie, n_b, count(*) from (
    select count_if(verdict = 'a') as n_a, count_if(verdict = 'tie') as n_tie, count_if(verdict = 'b') as n_b
    from '{file}' group by hash(comparison_id)
) group by all order by all
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgments", type=int, default=10_000_000)
    parser.add_argument("--library-judgments", type=int, default=1_000_000, help="judgments that crowd-kit gets")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the generated files go, instead of a temporary folder")
    parser.add_argument("--memory", default=MEMORY, help="what DuckDB may use; the setting quality.memory_limit (default: %(default)s)")
    parser.add_argument("--crowd-kit", help="the Python interpreter of an environment with crowd-kit")
    parser.add_argument("--child", choices=list(CHILDREN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(CHILDREN[options.child], options.folder, options.memory)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, small = Path(name), Path(name) / "small"
        small.mkdir()
        for n, place in ((options.judgments, folder), (options.library_judgments, small)):
            run("generate", place, sys.executable, options.memory, {"OVERNIGHT_JUDGMENTS": str(n)})
        size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
        print(f"{platform.machine()}, {os.cpu_count()} cores, {options.judgments:,} judgments, {size / 1e6:,.0f} MB of Parquet", flush=True)
        plan = [("alphas", options.judgments, folder, sys.executable), ("stage", options.judgments, folder, sys.executable)]
        plan.append(("krippendorff", options.judgments, folder, sys.executable))
        if options.crowd_kit:
            plan.append(("crowd-kit", options.library_judgments, small, options.crowd_kit))
        else:
            print("crowd-kit is left out: no environment was named with --crowd-kit", flush=True)
        found: dict[str, list[dict[str, float]]] = {child: [] for child, *_ in plan}
        for _ in range(options.repeats):
            for child, _, place, python in plan:
                found[child].append(run(child, place, python, options.memory))
        table({child: n for child, n, *_ in plan}, found)


def run(child: str, folder: Path, python: str, memory: str, environment: dict[str, str] | None = None) -> dict[str, float]:
    command = [python, __file__, "--child", child, "--folder", str(folder), "--memory", memory]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {}))
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def table(judgments: dict[str, int], found: dict[str, list[dict[str, float]]]) -> None:
    print("| what | judgments | seconds | CPU seconds | judgments per second | peak memory | alpha |\n|---|---|---|---|---|---|---|")
    for child, runs in found.items():
        seconds, cpu, megabytes = (statistics.median(one[name] for one in runs) for name in ("seconds", "cpu_seconds", "megabytes"))
        speed = judgments[child] / seconds
        told = (
            f"| {child} | {judgments[child]:,} | {seconds:.1f} | {cpu:.1f} | {speed:,.0f} | {megabytes:,.0f} MB | {runs[0]['alpha']:.9f} |"
        )
        print(told, flush=True)


def generate(folder: Path, memory: str) -> float:
    import duckdb

    n = int(os.environ["OVERNIGHT_JUDGMENTS"])
    with duckdb.connect() as connection:
        connection.execute(f"set timezone = 'UTC'; set memory_limit = '{memory}'; set preserve_insertion_order = false")
        connection.execute(f"set temp_directory = '{folder / 'spill'}'")
        connection.execute(JUDGMENTS.format(n=n, prime=BIG_PRIME, folder=folder))
        connection.execute(COMPARISONS.format(n=n, folder=folder))
    return 0.0


def alphas(folder: Path, memory: str) -> float:
    """Every alpha of the stage, from the file to the figures."""
    import duckdb
    import numpy as np

    from tasks.quality.figures.agreement import krippendorff_alpha

    with duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{memory}'")
        rows = np.array(connection.execute(ALPHAS.format(file=folder / "judgments.parquet")).fetchall(), float)
    found = [float(krippendorff_alpha(rows[:, :3], rows[:, 3], metric)) for metric in ("nominal", "ordinal", "interval")]
    return found[0]


def stage(folder: Path, memory: str) -> float:
    """Everything that the stage measures and writes, apart from the manifest."""
    import polars as pl

    from data_contracts.lake_views import open_current
    from tasks.quality.quality import QualityConfig, measure, write_measured
    from tasks.quality.working_tables import make_working_tables, scratch_database

    with scratch_database(folder / "work", memory) as connection:
        open_current(connection, [folder])
        make_working_tables(connection, pl.DataFrame({"comparison_id": []}, {"comparison_id": pl.String}))
        found = measure(connection, QualityConfig())
    write_measured(found, folder)
    return float(found.headline["krippendorff_alpha"] or 0)


def krippendorff(folder: Path, _: str) -> float:
    import krippendorff as library
    import polars as pl

    votes = pl.scan_parquet(folder / "judgments.parquet")
    counts = [(pl.col("verdict") == verdict).sum().alias(verdict) for verdict in ("a", "tie", "b")]
    table = votes.group_by("comparison_id").agg(counts).select("a", "tie", "b").collect().to_numpy()
    found = [
        library.alpha(value_counts=table, value_domain=[0, 1, 2], level_of_measurement=level)
        for level in ("nominal", "ordinal", "interval")
    ]
    return float(found[0])


def crowd_kit(folder: Path, _: str) -> float:
    import pandas as pd
    from crowdkit.metrics.data import alpha_krippendorff

    frame = pd.read_parquet(folder / "judgments.parquet", columns=["comparison_id", "annotator_id", "verdict"])
    frame.columns = pd.Index(["task", "worker", "label"])
    return float(alpha_krippendorff(frame))


def measured(child: object, folder: Path, memory: str) -> dict[str, float]:
    started, cpu = time.perf_counter(), time.process_time()
    alpha = child(folder, memory)  # type: ignore[operator]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu, "megabytes": peak, "alpha": alpha}


CHILDREN = {"generate": generate, "alphas": alphas, "stage": stage, "krippendorff": krippendorff, "crowd-kit": crowd_kit}


if __name__ == "__main__":
    main()
