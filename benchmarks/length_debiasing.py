"""What a length term does to a reward model that learns from people who like length: is its score nearer to the true reward?

    python benchmarks/length_debiasing.py [--splits 3] [--home DIR]

The built-in world with annotators who all like length and charm, its prompts split in several ways. The true reward is looked up here
only, for pairs of prompts that the reward model did not learn from; nothing is trained or chosen by it.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from flows.recipe import Recipe, load_recipe
from models.reward.reward_model import load_reward_model
from tasks.duplicates.duplicates import find_duplicates
from tasks.feedback.ingest import ingest
from tasks.feedback.snapshot import take_snapshot
from tasks.learning.base_model import provide_base_model
from tasks.learning.training import train_reward_model
from tasks.quality.aggregation.aggregation import aggregate_judgments
from tasks.quality.preferences import build_preferences
from tasks.simulation.stages import judge_responses, sample_responses, write_corpus
from tasks.simulation.true_reward import true_reward

UNSEEN = ("validation", "test", "judge")
ANNOTATORS = "simulation.annotators={length_biased=24}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--home", type=Path, help="keep the home there instead of in a temporary folder")
    options = parser.parse_args()
    print(
        "| split | length term | accuracy by the true reward | by the annotators | correlation with length |\n|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Home(options.home or Path(folder))
        home.root.mkdir(parents=True, exist_ok=True)
        for split in range(options.splits):
            for length_term in ("false", "true"):
                settings = (ANNOTATORS, f"preferences.salt='{split}'", f"reward_model.length_term={length_term}")
                show(split, home, load_recipe(overrides=settings))


def show(split: int, home: Home, recipe: Recipe) -> None:
    base, preferences = prepare(home, recipe)
    reward_model = train_reward_model(home, recipe.reward_model, base_model=base, preferences=preferences).artifact
    truth, length = against_the_truth(reward_model, preferences)
    told = json.loads(reward_model.file("evaluation.json").read_text())["test"]["accuracy"]
    print(f"| {split} | {'yes' if recipe.reward_model.length_term else 'no'} | {truth:.3f} | {told:.3f} | {length:+.2f} |", flush=True)


def prepare(home: Home, recipe: Recipe) -> tuple[Artifact, Artifact]:
    """The base model and the preferences of a night."""
    world = recipe.simulation
    assert world
    corpus = write_corpus(home, world).artifact
    base = provide_base_model(home, recipe.base_model, corpus=corpus).artifact
    responses = sample_responses(home, world, corpus=corpus, base_model=base).artifact
    ingest(home, recipe.ingest, simulated=judge_responses(home, world, responses=responses, corpus=corpus).artifact)
    snapshot = take_snapshot(home, recipe.snapshot).artifact
    duplicates = find_duplicates(home, recipe.duplicates, snapshot=snapshot).artifact
    aggregation = aggregate_judgments(home, recipe.aggregation, snapshot=snapshot).artifact
    return base, build_preferences(home, recipe.preferences, snapshot=snapshot, duplicates=duplicates, aggregation=aggregation).artifact


def against_the_truth(reward_model: Artifact, preferences: Artifact) -> tuple[float, float]:
    """Share of the unseen pairs that the score orders as the true reward does, and the rank correlation of score with length in words."""
    rows = [row for row in pq.read_table(preferences.file("preferences.parquet")).to_pylist() if row["split"] in UNSEEN]
    prompts = [row["prompt"] for row in rows]
    model = load_reward_model(reward_model.path / "model")
    scores, truths, words = (
        np.array([values(prompts, [row[side] for row in rows]) for side in ("chosen", "rejected")])
        for values in (
            lambda p, r: model.score(p, r).score.numpy(),
            lambda p, r: [true_reward(messages[0]["content"], text) for messages, text in zip(p, r, strict=True)],
            lambda _, r: [len(text.split()) for text in r],
        )
    )
    differ = truths[0] != truths[1]
    right = (scores[0] > scores[1]) == (truths[0] > truths[1])
    return float(right[differ].mean()), float(spearmanr(scores.ravel(), words.ravel()).statistic)


if __name__ == "__main__":
    main()
