"""Ways of training the policy side by side in the simulated world: what each gains in true reward, and at what KL.

    python benchmarks/methods.py --home DIR [--seeds 0 5] [--methods ppo rloo …] [--plot FILE.svg]

Whole nights of the built-in recipe, each method on the same base model, preferences, reward model and held-out judge of its seed. Those
that sample take as many episodes; DPO reads about as many responses as they learn from. What was played is kept in DIR/results.jsonl
and not played again: a run that was stopped goes on. Every policy is the state that the held-out judge chose, on validation prompts;
the figures are of test prompts. The true reward is looked up at the end, and nothing is trained or chosen by it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from scipy.stats import t

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.records import ALL_SLICES
from flows.night import NightRecord
from tasks.decision.plots import STYLE

SAMPLING = "sampling={max_new_tokens=48,max_prompt_tokens=256},validation_prompts=64"
LOOP = f"updates=30,rollout_batch_size=128,minibatch_size=32,microbatch_size=32,epochs=2,learning_rate=2e-4,{SAMPLING}"
GROUPS = f"samples_per_prompt=4,{LOOP}"
PAIRS = f"batch_size=32,epochs=3,{SAMPLING}"
METHODS = {
    "ppo": f"value_learning_rate=5e-4,{LOOP}",
    "reinforce": LOOP,
    "rloo": GROUPS,
    "grpo": GROUPS,
    "dpo, 1e-4": f"learning_rate=1e-4,{PAIRS}",
    "dpo, 5e-4": f"learning_rate=5e-4,{PAIRS}",
}
"""The settings of each; the sampling ones have those of the built-in recipe, which were chosen for PPO on seed 0."""
JUDGE = ("judge.members=1", "judge.ensemble='heads'")
"""One model: what is compared is how the policy learns."""
FIGURES = {
    "true_reward_gain": "true reward gained",
    "kl_k1": "KL",
    "score_gain": "score gained",
    "judge_score_gain": "judge's score gained",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 5), metavar=("FIRST", "END"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the true reward gained over the root of the KL")
    options = parser.parse_args()
    options.home.mkdir(parents=True, exist_ok=True)
    for seed in range(*options.seeds):
        played = {row["method"] for row in results(options.home) if row["seed"] == seed}
        for method in options.methods:
            if method not in played:
                row = play(options.home / f"seed-{seed}", seed, method)
                with (options.home / "results.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"seed {seed}: {method}", flush=True)
    rows = [row for row in results(options.home) if options.seeds[0] <= row["seed"] < options.seeds[1]]
    show(rows)
    if options.plot:
        plot(rows, options.plot)


def play(home: Path, seed: int, method: str) -> dict[str, Any]:
    """One night by this method; what does not depend on it is there after the seed's first."""
    settings = f"policy={{method='{method.partition(',')[0]}',{METHODS[method]}}}"
    line = f"registry.line='{method.replace(', ', '-')}'"  # a champion of its own, so that no method is compared with another's
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        "--home",
        str(home),
        "--set",
        f"seed={seed}",
        *(word for one in (settings, line, *JUDGE) for word in ("--set", one)),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    record = NightRecord.model_validate_json(max((home / "nights").glob("*.json")).read_text())
    shown = ("evaluation", "simulated truth")
    made = {one.stage: Home(home).artifacts.open(one.artifact_id) for one in record.stages if one.stage in shown}
    figures = all_prompts(made["evaluation"], "figures.parquet") | all_prompts(made["simulated truth"], "truth.parquet")
    curve = pq.read_table(made["simulated truth"].file("curve.parquet")).to_pylist()
    return {"seed": seed, "method": method, "outcome": record.outcome, **{name: figures[name] for name in FIGURES}, "curve": curve}


def all_prompts(artifact: Artifact, name: str) -> dict[str, float]:
    return {row["figure"]: row["value"] for row in pq.read_table(artifact.file(name)).to_pylist() if row["slice"] == ALL_SLICES}


def results(root: Path) -> Iterator[dict[str, Any]]:
    path = root / "results.jsonl"
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print means over the seeds with Student's 95 % intervals."""
    print(f"| method | seeds | {' | '.join(FIGURES.values())} | outcomes |\n|---|---|{'---|' * len(FIGURES)}---|")
    for method in METHODS:
        if found := [row for row in rows if row["method"] == method]:
            told = " | ".join(mean_text([row[name] for row in found]) for name in FIGURES)
            outcomes = [row["outcome"].partition(" ")[0] for row in found]
            counted = ", ".join(f"{outcomes.count(name)} {name}" for name in sorted(set(outcomes)))
            print(f"| {method} | {len(found)} | {told} | {counted} |")


def mean_text(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{np.mean(values):.2f}"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.2f} ± {half:.2f}"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Every seed's training as a thin line, and the means over the seeds at each validation as a thick one."""
    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, method in enumerate(METHODS):
        lines = [line(row["curve"]) for row in rows if row["method"] == method]
        for kl, gain in lines:
            axes.plot(kl, gain, color=f"C{place}", linewidth=0.7, alpha=0.35)
        if lines:
            steps = min(len(kl) for kl, _ in lines)
            kl, gain = np.mean([[kl[:steps], gain[:steps]] for kl, gain in lines], axis=0)
            axes.plot(kl, gain, "o-", color=f"C{place}", linewidth=2, markersize=4, label=method)
    axes.set_xlabel("root of the KL from the base model (nats per response)")
    axes.set_ylabel("true reward gained (validation prompts)")
    axes.legend(loc="upper left")
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def line(curve: Sequence[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [max(row["kl_k1"], 0.0) ** 0.5 for row in curve], [row["true_reward"] - curve[0]["true_reward"] for row in curve]


if __name__ == "__main__":
    main()
