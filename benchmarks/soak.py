"""Soak: many simulated nights in a row while a seeded chaos kills processes; then everything is counted.

    python benchmarks/soak.py --home DIR [--nights 50] [--seed 0] [--every 120]

`overnight simulate` plays the nights of the recipe `short`, made cheap by `CHEAP`. At random moments one of its processes is ended by
SIGKILL: the night's own, its learning job, or all of them at once, as when a machine loses its power. Then `overnight gc` removes what
nothing needs any more, and the same command is given again, as a service manager would. Said again with the same home, the soak goes on
where it was. What must stand in the end is told from the delivered files alone. Exit code 1 when anything is lost, double, torn or left
behind.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psutil

from tasks.simulation.people import read_lines, write_lines

CHEAP = {
    "reward_model.epochs": 1,
    "judge.epochs": 1,
    "quality.resamples": 200,
    "policy.updates": 3,
    "policy.epochs": 1,
    "policy.rollout_batch_size": 64,
    "policy.validation_prompts": 16,
    "policy.checkpoint_every": 1,
    "evaluation.resamples": 200,
    "evaluation.best_of": 4,
    "evaluation.best_of_prompts": 8,
    "gate": "{min_reward_accuracy=0, min_gain_over_length=-1, min_length_balanced_accuracy=0, max_calibration_error=1, max_above_human=1, "
    "min_judge_accuracy=0, min_length_controlled_win_rate=0, min_slice_win_rate=0, max_length_growth=9, "
    "max_slice_length_growth=9, max_forgetting=9, min_prompts=2, "
    "failing_alarms=[], rules=[{name='better_than_reference', figure='win_rate_reference', at_least=0}]}",
}
"""Few updates; and a gate that lets much through, so that champions change although little is learned."""
FIRST, PER_NIGHT = 400, 30
"""Prompts that people are asked about on the first night, and on every other."""
NIGHT, JOB, ALL = "the night", "the learning job", "all at once"
KEPT = ("--keep-nights", "5", "--keep-days", "0.02", "--smallest", "0.05")
"""What `overnight gc` keeps whole. Half an hour: the night that was killed still finds its finished stages and checkpoints."""
BY_ITSELF, KILLED = "the nights are over", "killed: "
OVERNIGHT = (sys.executable, "-m", "flows.cli")
SERVER = "models.fork_server"
"""Stands in the command line of what forks learning jobs, and in theirs."""
LOOK_SECONDS = 0.25
GONE_SECONDS = 10.0
"""A learning job must be gone so soon after its night was killed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="kept; a soak that was ended goes on there")
    parser.add_argument("--nights", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the chaos")
    parser.add_argument("--every", type=float, default=120.0, metavar="SECONDS", help="mean time between two kills")
    options = parser.parse_args()
    home: Path = options.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    told = home / "starts.jsonl"
    starts: list[dict[str, Any]] = list(read_lines(told)) if told.exists() else []
    while nights_played(home) < options.nights:
        starts.append(play(home, options, len(starts)))
        starts[-1]["left"] = tidy(home)
        write_lines(starts, told)
        print("night {night}, after {seconds:.0f} s: {ended}".format(**starts[-1]), flush=True)
    rows = read_lines(home / "nights-0.jsonl")
    show(home, rows, starts)
    wrong = [f"left behind: {path}" for start in starts for path in start["left"]] + list(problems(home, rows, options.nights))
    print("\n".join(f"WRONG: {problem}" for problem in wrong) or "nothing lost, nothing double, every artifact whole, nothing left behind")
    return bool(wrong)


def play(home: Path, options: argparse.Namespace, number: int) -> dict[str, Any]:
    """Start the nights, or go on with them, until the next kill or their end."""
    chance = random.Random(f"{options.seed}/{number}")  # noqa: S311  (chaos, no secret)
    victim, after = chance.choice((NIGHT, JOB, ALL)), chance.expovariate(1 / options.every)
    began, peak, ended = time.monotonic(), 0, BY_ITSELF
    with (home / "soak.log").open("ab") as log, subprocess.Popen(command(home, options.nights), stdout=log, stderr=log) as process:
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
            members = family(process.pid)
            peak = max(peak, sum(map(resident, members)))
            targets = {NIGHT: members[:1], JOB: jobs(members), ALL: members}[victim]
            if time.monotonic() - began > after and targets:
                kill(targets, jobs(members))
                ended = f"{KILLED}{victim}"
                break
        code = process.wait()
    if code and ended == BY_ITSELF:
        raise SystemExit(f"WRONG: the nights ended with exit code {code} although nothing was killed: {home / 'soak.log'}")
    seconds = round(time.monotonic() - began, 1)
    return {"ended": ended, "night": nights_played(home) + 1, "seconds": seconds, "peak_megabytes": round(peak / 1e6)}


def command(home: Path, nights: int) -> list[str]:
    settings = [text for name, value in CHEAP.items() for text in ("--set", f"{name}={value}")]
    world = ["--nights", str(nights), "--first", str(FIRST), "--comparisons", str(PER_NIGHT)]
    return [*OVERNIGHT, "simulate", "--home", str(home), *world, *settings]


def tidy(home: Path) -> list[str]:
    """Remove what nothing needs any more, once there is an installation; the work folders among it should have been gone before."""
    if not (home / "seed-0" / "artifacts").exists():
        return []
    before = set((home / "seed-0" / "work").glob("*/"))
    subprocess.run([*OVERNIGHT, "gc", "--home", str(home / "seed-0"), *KEPT, "--delete"], check=True, stdout=subprocess.DEVNULL)
    return sorted(str(path) for path in before if not path.exists())


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants, itself first."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def jobs(members: list[psutil.Process]) -> list[psutil.Process]:
    """The learning jobs among some processes: those that a fork server forked, and those that were started."""
    servers = {one.pid for one in members if SERVER in words(one)}
    return [one for one in members if "models" in words(one) or (SERVER in words(one) and parent(one) in servers)]


def parent(process: psutil.Process) -> int | None:
    """The pid of its parent; None where it has ended."""
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def words(process: psutil.Process) -> list[str]:
    """A process's command line and the home of Prefect that it was given; empty where it has ended."""
    try:
        return [*process.cmdline(), process.environ().get("PREFECT_HOME", "")]
    except psutil.Error:
        return []


def resident(process: psutil.Process) -> int:
    """Bytes of memory that a process holds."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def kill(targets: list[psutil.Process], must_go: list[psutil.Process]) -> None:
    """SIGKILL, and see that no learning job outlives its night."""
    for target in targets:
        try:
            target.kill()
        except psutil.NoSuchProcess:
            continue
    if left := psutil.wait_procs(must_go, timeout=GONE_SECONDS)[1]:
        raise SystemExit(f"WRONG: a learning job outlived the kill by {GONE_SECONDS:.0f} seconds: {left}")


def nights_played(home: Path) -> int:
    """How many nights came to their end."""
    rows = home / "nights-0.jsonl"
    return len(read_lines(rows)) if rows.exists() else 0


def problems(home: Path, rows: list[dict[str, Any]], nights: int) -> Iterator[str]:
    """What is not as it must be at the end."""
    if [row["night"] for row in rows] != list(range(1, nights + 1)):
        yield f"{len(rows)} of {nights} nights"
    yield from (f"night {row['night']}: {row['outcome']}" for row in rows if row["outcome"].startswith(("failed", "interrupted")))
    yield from feedback_problems(home)
    verify = [*OVERNIGHT, "verify", "--home", str(home / "seed-0")]
    verified = subprocess.run(verify, capture_output=True, text=True, check=False)
    if verified.returncode:
        yield f"overnight verify: {verified.stdout}{verified.stderr}"
    yield from (f"left behind: {path}" for folder in ("work", "artifacts/.staging") for path in (home / "seed-0" / folder).glob("*/"))
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid not in own and any(home in (Path(word), *Path(word).parents) for word in words(process)):
            yield f"left behind: process {process.pid}, {' '.join(words(process))}"


def feedback_problems(home: Path) -> Iterator[str]:
    """What the lake holds beside what was delivered, judgment by judgment."""
    stands, revisions = said(home)
    with duckdb.connect(home / "seed-0" / "audit.duckdb", read_only=True) as audit:
        kept = audit.execute(
            "select split_part(judgment_id, '/', 2), case verdict when 'a' then response_a when 'b' then response_b end "
            "from judgments join comparisons using (comparison_id)"
        ).fetchall()
        (n_revisions,) = audit.execute("select count(*) from judgment_revisions").fetchall()[0]
        (refused,) = audit.execute("select count(*) from quarantine").fetchall()[0]
        again = audit.execute("select version_id from decisions where action = 'moved' group by all having count(*) > 1").fetchall()
    if Counter(kept) != Counter(stands.items()):
        lost, more = Counter(stands.items()) - Counter(kept), Counter(kept) - Counter(stands.items())
        yield f"of {len(stands)} judgments {lost.total()} are not in the lake, and {more.total()} there should not be"
    if n_revisions != revisions:
        yield f"{revisions} revisions were delivered, {n_revisions} are in the lake"
    if refused:
        yield f"{refused} rows were refused"
    yield from (f"version {version} was promoted twice" for (version,) in again)


def said(home: Path) -> tuple[dict[str, str | None], int]:
    """What stands of all deliveries, by judgment: the preferred response, or None for a tie; and how many revisions brought it there."""
    stands: dict[str, str | None] = {}
    revisions = 0
    for path in sorted((home / "world" / "delivered-0").glob("*.jsonl")):
        for row in read_lines(path):
            name = str(row["judgment_id"])
            before = name in stands, stands.pop(name, None)
            if row.get("op") != "retract":
                stands[name] = {"a": str(row["response_a"]), "b": str(row["response_b"])}.get(str(row["verdict"]))
            revisions += before != (name in stands, stands.get(name))
    return stands, revisions


def show(home: Path, rows: list[dict[str, Any]], starts: list[dict[str, Any]]) -> None:
    """The figures, by fifths of the nights."""
    killed = Counter(start["ended"].removeprefix(KILLED) for start in starts if start["ended"] != BY_ITSELF)
    print(f"\n{len(rows)} nights, {killed.total()} kills ({', '.join(f'{who}: {n}' for who, n in sorted(killed.items()))})")
    print(f"outcomes: {dict(Counter(row['outcome'] for row in rows))}")
    print(f"highest memory of a night's processes together: {max((start['peak_megabytes'] for start in starts), default=0)} MB")
    print("| nights | seconds, median | night's process, MB, median | home, MB at the end | growth of the home, MB per night |")
    print("|---|---|---|---|---|")
    size = max(1, -(-len(rows) // 5))
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        grown = (part[-1]["home_megabytes"] - part[0]["home_megabytes"]) / max(1, len(part) - 1)
        seconds, memory = (statistics.median(row[name] for row in part) for name in ("seconds", "memory_megabytes"))
        print(f"| {part[0]['night']}–{part[-1]['night']} | {seconds:.0f} | {memory:.0f} | {part[-1]['home_megabytes']:.0f} | {grown:.2f} |")
    prefect = sum(path.stat().st_size for path in (home / "prefect").rglob("*") if path.is_file())
    manifests = [json.loads(path.read_text()) for path in (home / "seed-0" / "artifacts").rglob("manifest.json")]
    collected = sum(bool(manifest.get("collected_at")) for manifest in manifests)
    print(f"Prefect's own home: {prefect / 1e6:.0f} MB; {collected} of {len(manifests)} artifacts collected")


if __name__ == "__main__":
    sys.exit(main())
