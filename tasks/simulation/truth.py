"""What the simulated world knows and no real night does: the true reward gained, beside what the proxies say.

The figures go into the report as the answer key. Nothing reads them back: no training, selection or gate.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions
from data_contracts.records import ALL_SLICES, TRUE_CURVE
from models.evaluation.intervals import Interval, bootstrap_interval
from tasks.simulation.calibration import calibration_figures
from tasks.simulation.stages import SimulationConfig
from tasks.simulation.true_reward import true_reward
from tasks.stage import stage

RESAMPLES = 2000


def measure_truth(home: Home, config: SimulationConfig, **inputs: Artifact) -> Made:
    """Look up the true reward of the evaluation's and the preferences' responses, and how well the measures tell reliable annotators.

    Args:
        home: the installation.
        config: the simulated world.
        inputs: `evaluation`, `policy`, `feedback`, `quality`, `aggregation` and `preferences`.
    """
    identity = Identity(
        kind="simulated_truth",
        code_version=code_version("tasks.simulation.truth"),
        libraries=library_versions(("numpy", "polars", "scipy")),
        config={"seed": config.seed},
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items()),
    )
    return home.artifacts.make(identity, lambda directory: _write_truth(directory, config.seed, inputs))


def _write_truth(directory: Path, seed: int, inputs: dict[str, Artifact]) -> Headline:
    samples = with_true_reward(pl.read_parquet(inputs["evaluation"].file("samples.parquet")))
    reliability = true_reliability(inputs["feedback"].file("feedback.jsonl"))
    measures = {
        "majority_agreement": pl.read_parquet(inputs["quality"].file("annotators.parquet")),
        "reliability": pl.read_parquet(inputs["aggregation"].file("annotator_reliability.parquet")),
    }
    figures = [
        *reward_figures(samples, seed),
        *(reliability_figure(reliability, annotators, measure) for measure, annotators in measures.items()),
        *preference_figures(pl.read_parquet(inputs["preferences"].file("preferences.parquet"))),
    ]
    samples.select("prompt_id", "model", "slice", "score", "judge_score", "true_reward").write_parquet(directory / "samples.parquet")
    pl.DataFrame(figures).write_parquet(directory / "truth.parquet")
    reliability.write_parquet(directory / "annotators.parquet")
    pq.write_table(TRUE_CURVE.table(training_curve(inputs["policy"])), directory / "curve.parquet")
    gain = next(row for row in figures if row["figure"] == "true_reward_gain" and row["slice"] == ALL_SLICES)
    return {
        "true_reward_gain": gain["value"],
        "true_reward_gain_low": gain["low"],
        "true_reward_gain_high": gain["high"],
        "prompts": gain["n"],
    }


def with_true_reward(samples: pl.DataFrame) -> pl.DataFrame:
    """Samples of an evaluation or of a training with their true reward beside them."""
    values = [true_reward(row["prompt"][0]["content"], row["response"]) for row in samples.iter_rows(named=True)]
    return samples.with_columns(pl.Series("true_reward", values, dtype=pl.Float64))


def training_curve(policy: Artifact) -> list[dict[str, Any]]:
    """Rows of the record `true curve`: true reward beside the scores that training saw, at every validation; none without validation."""
    if "samples.parquet" not in {entry.path for entry in policy.manifest.present_files}:
        return []
    samples = with_true_reward(pl.read_parquet(policy.file("samples.parquet")))
    means = pl.col("kl_k1", "score", "judge_score", "true_reward").mean()
    return samples.group_by("at").agg(means, n=pl.len()).sort("at").to_dicts()


def reward_figures(samples: pl.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Mean true reward of each model, and the policy's gain over the reference by every measure, by slice and overall."""
    rows = []
    for name in (ALL_SLICES, *sorted(samples["slice"].unique())):
        part = samples if name == ALL_SLICES else samples.filter(pl.col("slice") == name)
        for model in sorted(part["model"].unique()):
            values = part.filter(pl.col("model") == model)["true_reward"].to_numpy()
            rows.append(_row(name, f"true_reward_{model}", values, seed))
        for measure in ("true_reward", "score", "judge_score"):
            rows.append(_row(name, f"{measure}_gain", paired_gain(part, measure), seed))
    return rows


def paired_gain(samples: pl.DataFrame, measure: str) -> np.ndarray:
    """Policy minus reference, by prompt (n,), in the order of the prompt ids."""
    wide = (
        samples.filter(pl.col("model").is_in(["policy", "reference"])).pivot("model", index="prompt_id", values=measure).sort("prompt_id")
    )
    return (wide["policy"] - wide["reference"]).to_numpy()


def true_reliability(feedback: Path) -> pl.DataFrame:
    """Share of each annotator's decided verdicts that name the response with the higher true reward."""
    rows = []
    with feedback.open() as file:
        for line in file:
            row = json.loads(line)
            difference = true_reward(row["prompt"], row["response_a"]) - true_reward(row["prompt"], row["response_b"])
            if row["verdict"] != "tie" and difference:
                rows.append({"annotator_id": row["annotator_id"], "right": (row["verdict"] == "a") == (difference > 0)})
    judged = pl.DataFrame(rows, schema={"annotator_id": pl.String, "right": pl.Boolean})
    return judged.group_by("annotator_id").agg(true_reliability=pl.col("right").mean(), n=pl.len()).sort("annotator_id")


def reliability_figure(reliability: pl.DataFrame, annotators: pl.DataFrame, measure: str) -> dict[str, Any]:
    """Spearman's rank correlation of true reliability with a measure of the annotators."""
    both = reliability.join(annotators, on="annotator_id", how="inner").drop_nulls(["true_reliability", measure])
    differ = both.height > 2 and both["true_reliability"].n_unique() > 1 and both[measure].n_unique() > 1
    from scipy.stats import spearmanr  # takes a second to load

    value = float(spearmanr(both["true_reliability"], both[measure]).statistic) if differ else None
    return _plain_row(f"annotator_{measure}_rank_correlation", value, both.height)


def preference_figures(preferences: pl.DataFrame) -> list[dict[str, Any]]:
    """How well the preferences' probabilities agree with the true rewards of `chosen` and `rejected`."""
    rows = preferences.select("prompt", "chosen", "rejected").iter_rows()
    differences = np.array([true_reward(prompt[0]["content"], one) - true_reward(prompt[0]["content"], two) for prompt, one, two in rows])
    figures = calibration_figures(preferences["probability"].to_numpy(), differences)
    return [_plain_row(f"preference_{name}", value, int((differences != 0).sum())) for name, value in figures.items()]


def _plain_row(figure: str, value: float | None, n: int) -> dict[str, Any]:
    return {"slice": ALL_SLICES, "figure": figure, "value": value, "low": None, "high": None, "n": n}


def _row(slice_name: str, figure: str, values: np.ndarray, seed: int) -> dict[str, Any]:
    interval = bootstrap_interval(values, resamples=RESAMPLES, seed=seed) if len(values) else Interval(np.nan, np.nan, np.nan)
    return {"slice": slice_name, "figure": figure, "value": interval.mean, "low": interval.low, "high": interval.high, "n": len(values)}


simulated_truth_stage = stage("simulated truth")(measure_truth)
