"""What `overnight request` saves: judgments that a reward model needs for the same accuracy, by its choice and by chance.

    python -m benchmarks.request_choice --home DIR [--seeds 0 5] [--members 4] [--plot FILE.svg]

The world of the recipe `short` with more prompts. Everything is judged in advance, and each arm sees only the comparisons that it asked
for: it starts with the same ones, drawn by chance, trains a reward model on what it has, and asks for the next ones, from four times as
many that are drawn at random, by the request's own selection. Both arms choose the epoch on the same validation prompts and are measured
on the same test prompts, by the true reward, which nothing else looks at. Each training is a line of DIR/results.jsonl and is not
done again: a run that was stopped goes on.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from scipy.stats import t

from benchmarks.length_debiasing import prepare
from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import Identity
from flows.recipe import Recipe, load_recipe
from flows.request import PROMPTS_PER_COMPARISON
from models.randomness import derive_seed, generator
from models.requests.propose_pairs import bits_of
from models.reward.reward_model import load_reward_model
from models.reward.scoring import Scoring
from tasks.decision.plots import STYLE
from tasks.learning.training import train_reward_model
from tasks.requests.request import RequestConfig
from tasks.requests.selection import GOLD, RANDOM, REPEATED, select
from tasks.simulation.true_reward import true_reward

STEPS = (100, 100, 200, 400)
"""Comparisons that are asked for, one time after the other; the first are drawn by chance in both arms."""
ARMS = {"request": RequestConfig.model_fields["random_share"].default, "chance": 1.0}
"""The share of each request that is drawn at random."""
SETTINGS = (
    "simulation.prompts=2800",
    "preferences={train=0.7,validation=0.08,test=0.21,judge=0.01}",
    "reward_model={learning_rate=2e-3,epochs=6,batch_size=16,max_length=512,patience=3}",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 5), metavar=("FIRST", "END"))
    parser.add_argument("--members", type=int, default=4, help="members of the reward model")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the accuracy over the comparisons")
    options = parser.parse_args()
    options.home.mkdir(parents=True, exist_ok=True)
    for seed in range(*options.seeds):
        recipe = load_recipe("short", overrides=(f"seed={seed}", *SETTINGS, f"reward_model.members={options.members}"))
        for arm in ARMS:
            play(options.home, seed, recipe, arm)
    rows = [row for row in results(options.home) if row["members"] == options.members and row["seed"] in range(*options.seeds)]
    show(rows)
    if options.plot:
        plot(rows, options.plot)


def play(root: Path, seed: int, recipe: Recipe, arm: str) -> None:
    """All rounds of one arm that are not on record; each is a request and a training."""
    about = {"seed": seed, "members": recipe.reward_model.members, "arm": arm}
    done = [row for row in results(root) if about.items() <= row.items()]
    if len(done) == len(STEPS):
        return
    home = Home(root / f"seed-{seed}")
    home.root.mkdir(parents=True, exist_ok=True)
    base, preferences = prepare(home, recipe)
    every = pl.read_parquet(preferences.file("preferences.parquet"))
    model: Artifact | None = None
    asked: list[str] = []
    for number, count in enumerate(STEPS):
        asked += chosen(every, asked, count, model, ARMS[arm], derive_seed(seed, "request", number))
        model = train_reward_model(home, recipe.reward_model, base_model=base, preferences=only(home, preferences, asked)).artifact
        if number >= len(done):
            told = about | {"comparisons": len(asked), "judgments": judgments(every, asked), "accuracy": accuracy(model, every)}
            print(json.dumps(told), flush=True)
            with (root / "results.jsonl").open("a") as file:
                file.write(json.dumps(told) + "\n")


def chosen(every: pl.DataFrame, asked: Sequence[str], count: int, model: Artifact | None, random_share: float, seed: int) -> list[str]:
    """The ids of the next comparisons, by the request's own selection from so many that nobody has judged yet."""
    rest = every.filter((pl.col("split") == "train") & ~pl.col("comparison_id").is_in(list(asked)))
    drawn = rest[sorted(generator(seed, "proposals").permutation(rest.height)[: PROMPTS_PER_COMPARISON * count].tolist())]
    bits = np.zeros(drawn.height)
    if model is not None:
        told = drawn.to_dicts()
        scorer = load_reward_model(model.file("model/config.json").parent)
        bits = bits_of(scorer, [row["prompt"] for row in told], [[row[side] for row in told] for side in ("chosen", "rejected")])
    proposals = drawn.with_columns(information=pl.Series(bits, dtype=pl.Float64))
    share = random_share if model is not None else 1.0
    request = select(proposals, drawn[:0], drawn[:0], n=count, shares={RANDOM: share, GOLD: 0.0, REPEATED: 0.0}, seed=seed)
    ids: list[str] = request["comparison_id"].to_list()
    return ids


def only(home: Home, preferences: Artifact, asked: Sequence[str]) -> Artifact:
    """The preferences as they would be if nothing else of the train split had been judged."""
    identity = Identity(
        kind="preferences",
        code_version="benchmarks.request_choice",
        config={"asked": sorted(asked)},
        inputs=(preferences.manifest.as_input("preferences"),),
    )

    def build(directory: Path) -> dict[str, int]:
        every = pl.read_parquet(preferences.file("preferences.parquet"))
        kept = every.filter((pl.col("split") != "train") | pl.col("comparison_id").is_in(list(asked)))
        kept.write_parquet(directory / "preferences.parquet")
        return {"pairs": kept.height}

    return home.artifacts.make(identity, build).artifact


def judgments(every: pl.DataFrame, asked: Sequence[str]) -> int:
    return int(every.filter(pl.col("comparison_id").is_in(list(asked)))["n_judgments"].sum())


def accuracy(model: Artifact, every: pl.DataFrame) -> float:
    """Share of the test prompts' pairs that the score orders as the true reward does."""
    rows = every.filter(pl.col("split") == "test").to_dicts()
    scorer: Scoring = load_reward_model(model.file("model/config.json").parent)
    prompts, sides = [row["prompt"] for row in rows], [[row[side] for row in rows] for side in ("chosen", "rejected")]
    scores = [scorer.score(prompts, texts).score.numpy() for texts in sides]
    truth = [np.array([true_reward(p[0]["content"], text) for p, text in zip(prompts, texts, strict=True)]) for texts in sides]
    differ = truth[0] != truth[1]
    return float(((scores[0] > scores[1]) == (truth[0] > truth[1]))[differ].mean())


def results(root: Path) -> Iterator[dict[str, Any]]:
    path = root / "results.jsonl"
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print means over the seeds with Student's 95 % intervals; the difference is taken seed by seed."""
    heads = ("comparisons", "seeds", "by request", "by chance", "difference", "request's comparisons for the accuracy of chance")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    curves: dict[tuple[int, str], list[tuple[int, float]]] = {(row["seed"], row["arm"]): [] for row in rows}
    for row in rows:
        curves[row["seed"], row["arm"]].append((row["comparisons"], row["accuracy"]))
    seeds = sorted({seed for seed, arm in curves if all(len(curves.get((seed, other), [])) == len(STEPS) for other in ARMS)})
    for place, count in enumerate(np.cumsum(STEPS)):
        own, other = (np.array([curves[seed, arm][place][1] for seed in seeds]) for arm in ARMS)
        needed = [needed_share(curves[seed, "request"], int(count), curves[seed, "chance"][place][1]) for seed in seeds]
        told = [mean_text(values) for values in (own, other, own - other)]
        reached = [share for share in needed if share is not None]
        share = f"{mean_text(reached, 2)} of them ({len(reached)} of {len(seeds)} seeds reach it)" if reached else "not reached"
        print(f"| {count} | {len(seeds)} | {' | '.join(told)} | {share} |")


def needed_share(curve: Sequence[tuple[int, float]], count: int, target: float) -> float | None:
    """Which share of so many comparisons a curve needs to reach an accuracy first, between its points on a straight line."""
    for (before, low), (after, high) in zip([(0, 0.5), *curve], curve, strict=False):
        if high >= target:
            return (before + (after - before) * max(0.0, target - low) / max(high - low, 1e-9)) / count
    return None


def mean_text(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    if len(values) < 2:
        return f"{np.mean(values):.{digits}f}"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.{digits}f} ± {half:.{digits}f}"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Every seed's accuracy as a thin line, and the means over the seeds as thick ones."""
    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(ARMS):
        own = pl.DataFrame([row for row in rows if row["arm"] == arm])
        for _, curve in own.group_by("seed"):
            axes.plot(curve["comparisons"], curve["accuracy"], color=f"C{place}", linewidth=0.7, alpha=0.35)
        mean = own.group_by("comparisons").agg(pl.col("accuracy").mean()).sort("comparisons")
        axes.plot(mean["comparisons"], mean["accuracy"], "o-", color=f"C{place}", linewidth=2, markersize=4, label=f"by {arm}")
    axes.set_xlabel("comparisons that were judged")
    axes.set_ylabel("pairs ordered as the true reward does")
    axes.legend(loc="lower right")
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
