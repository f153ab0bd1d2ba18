"""How often the data gate stops a night: normal ones, and nights of poisoned feedback, in the simulated world.

    python benchmarks/data_gate.py --home DIR [--seeds 1000 1020] [--nights 5] [--prompts 2100]

Of every seed a trailing history of normal nights is played, and after it each kind of night once, on copies of the home. Only the
data part runs: feedback, ingest, snapshot, duplicates, quality, data gate; the pairs are written by the world's grammar, so nothing is
trained. What was played is kept in DIR/results.jsonl and not played again: a run that was stopped goes on. The thresholds are the
built-in ones, which were chosen on the seeds 0 to 3.
"""

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import binomtest

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from tasks.data_gate.data_gate import judge_data
from tasks.data_gate.rules import DataGateConfig
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.feedback.validate import ValidateConfig, validate
from tasks.quality.quality import QualityConfig, measure_quality
from tasks.simulation.annotators import Pair
from tasks.simulation.feedback import FeedbackConfig, PoisonConfig, night_of_feedback
from tasks.simulation.grammar import SLICES, draw_prompts, understand, write_response

KINDS: dict[str, dict[str, Any]] = {
    "normal": {},
    "30 % of the annotators at random": {"random_share": 0.3},
    "50 % of the annotators at random": {"random_share": 0.5},
    "everybody turns one slice round": {"flipped_slice": None},
}
RESAMPLES = 500
FLIPPED = "everybody turns one slice round"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, default=(1000, 1020), metavar=("FIRST", "END"))
    parser.add_argument("--nights", type=int, default=5, help="normal nights before")
    parser.add_argument("--prompts", type=int, default=2100, help="prompts of all nights together")
    options = parser.parse_args()
    for seed in range(*options.seeds):
        play_seed(options.home, seed, options.nights, options.prompts)
        print(f"seed {seed}", flush=True)
    show([row for row in results(options.home) if options.seeds[0] <= row["seed"] < options.seeds[1]])


def play_seed(root: Path, seed: int, nights: int, prompts: int) -> None:
    """Play what is missing of a seed: its history, then a night of each kind; the slices are turned round in turn."""
    played = {row["kind"] for row in results(root) if row["seed"] == seed}
    missing = [kind for kind in KINDS if kind not in played]
    if not missing:
        return
    folder, flipped = root / f"seed-{seed}", SLICES[seed % len(SLICES)]
    shutil.rmtree(folder, ignore_errors=True)
    world = World(seed, nights + 1, prompts)
    history: list[Artifact] = []
    for night in range(1, nights + 1):
        history.append(world.play(Home(folder / "history"), night, history, None)[0])
    for kind in missing:
        copy = Home(folder / "ending")
        shutil.copytree(folder / "history", copy.root)
        again = [copy.artifacts.open(quality.id) for quality in history]
        settings = {name: flipped if value is None else value for name, value in KINDS[kind].items()}
        poison = PoisonConfig.model_validate({"night": nights + 1, **settings}) if settings else None
        _, gate = world.play(copy, nights + 1, again, poison)
        keep(root, {"seed": seed, "kind": kind, **settings, **gate.manifest.headline}, gate)
        shutil.rmtree(copy.root)
    shutil.rmtree(folder)


class World:
    """The pairs of one seed, spread over nights."""

    def __init__(self, seed: int, nights: int, prompts: int) -> None:
        rng = np.random.default_rng([seed, 7])
        drawn = draw_prompts(rng, prompts)
        pairs = [Pair(prompt, understand(prompt).slice, write_response(rng, prompt), write_response(rng, prompt)) for prompt in drawn]
        self.pairs = [pair for pair in pairs if pair.response_a != pair.response_b]
        self.seed, self.nights = seed, nights

    def play(self, home: Home, night: int, history: Sequence[Artifact], poison: PoisonConfig | None) -> tuple[Artifact, Artifact]:
        """One night of data: its quality and what the gate said."""
        config = FeedbackConfig(seed=self.seed, nights=self.nights, night=night, poison=poison)
        ends = [len(self.pairs) * number // self.nights for number in (night - 1, night)]
        rows = night_of_feedback(config, self.pairs[slice(*ends)], night)
        path = home.root / "in" / f"night-{night}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        before = snapshot_of(home, history[-1]) if history else None
        ingest(home, IngestConfig(sources=(SourceConfig(name="world", format="native", path=str(path)),), check_contracts=False))
        snapshot = take_snapshot(home, SnapshotConfig()).artifact
        contracts = contracts_of(home, snapshot)
        duplicates = find_duplicates(home, DuplicatesConfig(), snapshot=snapshot).artifact
        quality = measure_quality(
            home, QualityConfig(seed=self.seed, resamples=RESAMPLES), snapshot=snapshot, duplicates=duplicates, before=before
        ).artifact
        gate = DataGateConfig()
        trailing = {f"trailing_{number}": one for number, one in enumerate(reversed(history[-gate.trailing_nights :]), 1)}
        return quality, judge_data(home, gate, quality=quality, contracts=contracts, **trailing).artifact


def contracts_of(home: Home, snapshot: Artifact) -> Artifact:
    """The contract checks of the first night: the world breaks no contract, and its poison is none that a contract could see."""
    found = [artifact for artifact in home.artifacts if artifact.kind == "validation"]
    return found[0] if found else validate(home, ValidateConfig(), snapshot=snapshot).artifact


def snapshot_of(home: Home, quality: Artifact) -> Artifact:
    (ref,) = [ref for ref in quality.manifest.identity.inputs if ref.role == "snapshot"]
    return home.artifacts.open(ref.id)


def results(root: Path) -> Iterator[dict[str, Any]]:
    path = root / "results.jsonl"
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def keep(root: Path, row: dict[str, Any], gate: Artifact) -> None:
    evidence = [told | {"kind": row["kind"], "seed": row["seed"]} for told in pq.read_table(gate.file("data_gate.parquet")).to_pylist()]
    with (root / "evidence.jsonl").open("a") as file:
        file.writelines(json.dumps(told) + "\n" for told in evidence)
    with (root / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rates; of nights with a slice turned round also by what the rules on gold comparisons add."""
    print("| night | stopped | 95 % interval | warned | rules that stopped it, in how many nights |\n|---|---|---|---|---|")
    for kind in KINDS:
        show_kind(kind, [row for row in rows if row["kind"] == kind], lambda _: True)
    show_kind("the same, but for the rules on gold", [row for row in rows if row["kind"] == FLIPPED], lambda rule: "gold" not in rule)


def show_kind(kind: str, rows: Sequence[dict[str, Any]], counts: Callable[[str], bool]) -> None:
    stopping = [{part.partition(" (")[0] for part in (row["stopping"] or "").split("; ") if part} for row in rows]
    rules = Counter(rule for night in stopping for rule in night if counts(rule))
    stopped = sum(any(map(counts, night)) for night in stopping)
    span = binomtest(stopped, len(rows)).proportion_ci(method="wilson")
    warned = sum(row["verdict"] == "warn" for row in rows)
    told = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
    print(f"| {kind} | {stopped} of {len(rows)} | {span.low:.2f} to {span.high:.2f} | {warned} | {told or '–'} |")


if __name__ == "__main__":
    main()
