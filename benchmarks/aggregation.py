"""Which aggregator is nearest to the truth, which predicts people best, and how fast they are.

    python benchmarks/aggregation.py [--part truth|people|speed ...] [--seeds 10] [--judgments 10000000] [--data ../shared/data]

truth: simulated annotators of five temperaments judge pairs that the simulated world's grammar wrote; the true reward is known.
people: real judgments; each tenth of the annotators in turn is left out, and their verdicts are predicted from the others'.
speed: Dawid and Skene's model on generated judgments, beside crowd-kit 1.4.2 where it can be imported
(`pip install crowd-kit==1.4.2 --no-deps` with nltk and pandas in an environment of its own), which is skipped otherwise.
"""

import argparse
import importlib.util
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import expit
from scipy.stats import spearmanr

from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.aggregation import bradley_terry as bt
from tasks.quality.aggregation import dawid_skene as ds
from tasks.quality.aggregation.aggregation import in_order, models_of, verdicts_of
from tasks.quality.aggregation.bradley_terry import bradley_terry
from tasks.quality.aggregation.majority import majority
from tasks.quality.aggregation.paired_likelihood import Models, Priors
from tasks.quality.aggregation.spammers import SpammerRules, behaviour, flags
from tasks.quality.aggregation.verdicts import Aggregated, Floats, Verdicts
from tasks.quality.votes import votes_that_count
from tasks.simulation.annotators import Annotator, Pair, collect_judgments, hire
from tasks.simulation.calibration import calibration_figures
from tasks.simulation.grammar import draw_prompts, understand, write_response
from tasks.simulation.stages import SimulationConfig
from tasks.simulation.true_reward import true_reward

Aggregator = Callable[[Verdicts], Aggregated]
SETS = {
    "llmfao": "llmfao",
    "pandalm": "pandalm/testset-v1.json.gz",
    "scratchplot": "scratchplot_toloka/ending__full-annotation-result-new.tsv.gz",
}
PAIRS = 1600


def aggregators(models: Models) -> dict[str, Aggregator]:
    return {"majority": majority, "dawid_skene": ds.dawid_skene, "bradley_terry": partial(bradley_terry, models=models)}


# --- truth ---


def truth(options: argparse.Namespace) -> None:
    print(f"\n{PAIRS} simulated comparisons, 24 annotators; mean of {options.seeds} seeds ± standard error")
    header = (
        "judgments",
        "aggregator",
        "accuracy",
        "log loss",
        "Brier",
        "calibration error",
        "rank correlation",
        "flagged: right",
        "wrong",
    )
    table(header, (row for each in (2, 3, 5) for row in truth_rows(each, options.seeds)))


def truth_rows(each: int, seeds: int) -> Iterator[list[object]]:
    found: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        people, votes, differences = world(seed, each)
        verdicts = verdicts_of(votes)
        wild = {person.annotator_id for person in people if person.temperament == "random"}
        reliability = true_reliability(votes, differences)
        for name, aggregator in aggregators(Models.unknown(len(differences))).items():
            measured = aggregator(verdicts)
            p = measured.probabilities
            figures = calibration_figures(p[:, 0] + p[:, 1] / 2, differences)
            rank = spearmanr(measured.reliability.value[: len(reliability)], reliability).statistic
            annotators = behaviour(votes).with_columns(high=pl.Series(measured.reliability.high[: len(people)]))
            named = set(flags(annotators, SpammerRules(), "report").filter(pl.col("rule") == "unreliable")["annotator_id"])
            found.setdefault(name, []).append([*figures.values(), rank, len(named & wild) / len(wild), float(len(named - wild))])
    for name, rows in found.items():
        mean, error = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(len(rows))
        yield [each, name, *(f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True))]


def world(seed: int, each: int) -> tuple[list[Annotator], pl.DataFrame, Floats]:
    """The annotators, their votes in order, and the true difference of each comparison."""
    rng = np.random.default_rng([seed, each])
    people = hire(SimulationConfig().annotators)
    pairs = []
    for prompt in draw_prompts(rng, PAIRS):
        one = two = write_response(rng, prompt)
        while two == one:
            two = write_response(rng, prompt)
        pairs.append(Pair(prompt, understand(prompt).slice, one, two))
    rows = pl.DataFrame(list(collect_judgments(rng, people, pairs, each)))
    number = np.repeat(np.arange(PAIRS), each)
    known = rows.with_columns(
        comparison_id=pl.Series([f"{i:05d}" for i in number]), judgment_id=pl.Series([f"{i:07d}" for i in range(rows.height)])
    )
    differences = np.array([true_reward(p.prompt, p.response_a) - true_reward(p.prompt, p.response_b) for p in pairs])
    return people, in_order(known.with_columns(annotator_kind=pl.lit("human"))), differences


def true_reliability(votes: pl.DataFrame, differences: Floats) -> Floats:
    """Share of right verdicts among the decided ones on comparisons that truly differ, by annotator."""
    with_truth = votes.with_columns(truth=pl.Series(np.sign(differences)[votes["comparison"].to_numpy()]))
    decided = with_truth.filter((pl.col("verdict") != "tie") & (pl.col("truth") != 0))
    right = ((pl.col("verdict") == "a") == (pl.col("truth") > 0)).mean()
    return decided.group_by("annotator_id").agg(right=right).sort("annotator_id")["right"].to_numpy()


# --- people ---


def people(options: argparse.Namespace) -> None:
    print("\nReal judgments: log loss (nats) of the left-out annotators' verdicts, given what the others said of the same comparison")
    rows = [[name, *row] for name, path in SETS.items() if (options.data / path).exists() for row in people_rows(options.data / path)]
    table(("set", "judgments predicted", "aggregator", "log loss", "accuracy"), rows)


def people_rows(path: Path) -> Iterator[list[object]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        ingest(home, IngestConfig(sources=(SourceConfig(name="export", path=str(path)),)))
        pinned = FeedbackLake(home.lake).pinned(take_snapshot(home, SnapshotConfig()).artifact)
        votes = in_order(votes_that_count(pl.DataFrame(current_judgments(*pinned)), ("human",)))
        models = models_of(votes, pl.DataFrame(current_comparisons(*pinned)))
    verdicts = verdicts_of(votes)
    folds = np.random.default_rng(0).permutation(verdicts.n_annotators) % min(10, len(np.unique(verdicts.annotator)))
    predictions: dict[str, Callable[[Verdicts, Verdicts], Floats]] = {
        "majority": by_majority,
        "dawid_skene": by_dawid_skene,
        "bradley_terry": partial(by_bradley_terry, models),
    }
    for name, predict in predictions.items():
        chances = np.concatenate([left_out(verdicts, predict, folds == fold) for fold in np.unique(folds)])
        yield [len(chances), name, f"{-np.log(chances[:, 0]).mean():.4f}", f"{chances[:, 1].mean():.3f}"]


def left_out(verdicts: Verdicts, predict: Callable[[Verdicts, Verdicts], Floats], fold: np.ndarray) -> Floats:
    """(n, 2) probability of each left-out verdict whose comparison others judged, and whether it was the likeliest."""
    out = fold[verdicts.annotator]
    rest = verdicts.only(~out)
    asked = verdicts.only(out & (rest.counts().sum(axis=1) > 0)[verdicts.comparison])
    rows = predict(rest, asked)
    said = np.take_along_axis(rows, asked.verdict[:, None], axis=1)[:, 0]
    return np.stack([said, rows.argmax(axis=1) == asked.verdict], axis=1)


def by_majority(rest: Verdicts, asked: Verdicts) -> Floats:
    """The others' shares, with one more verdict spread as all of them are."""
    counts = rest.counts()
    rows = counts + (counts.sum(axis=0) + 1) / (counts.sum() + 3)
    shares: Floats = rows / rows.sum(axis=1, keepdims=True)
    return shares[asked.comparison]


def by_dawid_skene(rest: Verdicts, asked: Verdicts) -> Floats:
    """The posterior, through the mean table of the annotators."""
    fitted = ds.fit(rest)
    table = np.tensordot(rest.by_annotator(rest.weight) / rest.weight.sum(), fitted.parameters.theta, axes=1)
    rows: Floats = (fitted.posterior @ table)[asked.comparison]
    return rows


def by_bradley_terry(models: Models, rest: Verdicts, asked: Verdicts) -> Floats:
    """The posterior of the difference, through the mean of the annotators; they are a function of it, so it is looked up."""
    priors = Priors()
    fitted = bt.fit(rest, models, priors).parameters
    nodes, mass = bt.posterior(rest, models, priors, fitted)
    grid, share, tau = (
        np.linspace(nodes.min(), nodes.max(), 400),
        rest.by_annotator(rest.weight) / rest.weight.sum(),
        np.exp(fitted.log_tie),
    )
    found = np.empty((len(asked.verdict), 3))
    for side in np.unique(asked.first):
        seen = fitted.sensitivity * grid[:, None] + side * fitted.side
        a, b = (expit(sign * seen - tau) @ share for sign in (1, -1))
        ours = asked.first == side
        rows = [(mass * np.interp(nodes, grid, one)).sum(axis=1) for one in (a, 1 - a - b, b)]
        found[ours] = np.stack(rows, axis=1)[asked.comparison[ours]]
    return found


# --- speed ---


def speed(options: argparse.Namespace) -> None:
    print(f"\nDawid and Skene, 20 iterations, three judgments per comparison; {platform.machine()}, {os.cpu_count()} cores")
    sizes = [size for size in (100_000, 1_000_000, 10_000_000) if size <= options.judgments]
    kinds = ("ours", "crowd-kit") if importlib.util.find_spec("crowdkit") else ("ours",)
    if len(kinds) == 1:
        print("crowd-kit is left out: it cannot be imported here")
    rows = [[kind, f"{size:,}", *child(kind, size)] for size in sizes for kind in kinds]
    table(("what", "judgments", "seconds", "CPU seconds", "peak memory of making the input", "peak memory"), rows)


def child(kind: str, size: int) -> list[str]:
    """Each run is a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--child", kind, "--judgments", str(size)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[-2].split(";")


def generated(size: int) -> Verdicts:
    rng = np.random.default_rng(0)
    n, k = size // 3, max(size // 2000, 20)
    comparison, annotator = np.arange(size) // 3, rng.integers(k, size=size)
    truth, right = rng.integers(3, size=n + 1)[comparison], rng.random(size) < rng.uniform(0.4, 0.95, k)[annotator]
    return Verdicts.of(comparison, annotator, np.where(right, truth, rng.integers(3, size=size)))


def timed(kind: str, size: int) -> None:
    verdicts = generated(size)
    run = partial(ds.dawid_skene, verdicts, ds.Stopping(tolerance=-np.inf, max_iterations=20)) if kind == "ours" else crowd_kit(verdicts)
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    run()
    print(f"{time.perf_counter() - wall:.1f};{time.process_time() - cpu:.1f};{before:,.0f} MB;{peak():,.0f} MB")


def crowd_kit(verdicts: Verdicts) -> Callable[[], object]:
    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    frame = pd.DataFrame({"task": verdicts.comparison, "worker": verdicts.annotator, "label": verdicts.verdict})
    return lambda: DawidSkene(n_iter=20, tol=-np.inf).fit(frame)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def table(header: tuple[str, ...], rows: object) -> None:
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:  # type: ignore[attr-defined]
        print(f"| {' | '.join(map(str, row))} |", flush=True)


PARTS = {"truth": truth, "people": people, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--judgments", type=int, default=10_000_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--child", choices=["ours", "crowd-kit"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        timed(options.child, options.judgments)
        return
    for part in options.part:
        PARTS[part](options)


if __name__ == "__main__":
    main()
