"""The report: one self-contained HTML file that says what the night did and whether the policy may ship, verdict first."""

import json
import math
import re
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, file_hash, library_versions, pinned_config
from data_contracts.policy_figures import BEST_OF_N
from data_contracts.records import ALL_SLICES
from models.evaluation.overoptimization import FITTED, KL, fitted, kl_of_best, points
from tasks.decision.plots import (
    interval_plot,
    overoptimization_plot,
    reliability_plot,
    scatter_plot,
    timeline_plot,
    training_plot,
)
from tasks.decision.quality_tables import quality_content
from tasks.stage import StageConfig, stage

TEMPLATES = Path(__file__).parent / "templates"


class ReportConfig(StageConfig):
    """The report."""

    examples_per_slice: int = Field(default=3, ge=0, description="prompts of each slice that are shown with both responses")
    gap_examples: int = Field(
        default=10, ge=0, description="responses that are shown whose score rose most while the held-out judge's fell"
    )
    slices_per_kind: int = Field(
        default=10, ge=0, description="slices of a kind, such as days, that are shown: those with the most judgments"
    )
    annotators: int = Field(default=30, ge=0, description="annotators that are shown: those with flags first, then the busiest")


def make_report(home: Home, config: ReportConfig, **inputs: Artifact | None) -> Made:
    """Write the report of a night from its artifacts, by role.

    `simulated` (its feedback) and `truth` are there in the simulated world only, the models and what follows from them only
    where the data gate let them be trained.
    """
    artifacts = {role: artifact for role, artifact in inputs.items() if artifact is not None}
    identity = Identity(
        kind="report",
        code_version=f"{code_version('tasks.decision.report')}-{_templates_version()}",
        libraries=library_versions(("jinja2", "matplotlib", "polars")),
        config=pinned_config(config),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in artifacts.items()),
    )
    return home.artifacts.make(identity, lambda directory: _write_report(directory, config, artifacts))


def _templates_version() -> str:
    return "-".join(file_hash(path)[:8] for path in sorted(TEMPLATES.iterdir()))


def _write_report(directory: Path, config: ReportConfig, artifacts: dict[str, Artifact]) -> Headline:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": figure_text, "expectation": expectation_text}
    html = environment.get_template("report.html.j2").render(report_content(config, artifacts))
    (directory / "report.html").write_text(html)
    return {"kilobytes": round(len(html.encode()) / 1000)}


def report_content(config: ReportConfig, artifacts: dict[str, Artifact]) -> dict[str, Any]:
    """What the template shows, from the artifacts' own rows; nothing is computed a second time here.

    A night that the data gate stopped has no models, and only the part on its feedback is shown.
    """
    content = data_content(config, artifacts)
    if "gate" not in artifacts:
        return content | {"trained": False}
    made = model_content(config, artifacts)
    return content | made | {"trained": True, "plots": content["plots"] | made["plots"]}


def data_content(config: ReportConfig, artifacts: dict[str, Artifact]) -> dict[str, Any]:
    """The part on the feedback."""
    return {
        "simulated": "simulated" in artifacts,
        "data_gate": artifacts["data_gate"].manifest.headline,
        "data_rules": pl.read_parquet(artifacts["data_gate"].file("data_gate.parquet")).to_dicts(),
        "data_message": artifacts["data_gate"].file("message.txt").read_text(),
        "quality": quality_content(artifacts["quality"], slices_per_kind=config.slices_per_kind, annotators=config.annotators),
        "feedback": artifacts["snapshot"].manifest.headline,
        "contracts": artifacts["contracts"].manifest.headline,
        "broken_contracts": pl.read_parquet(artifacts["contracts"].file("expectations.parquet")).filter(~pl.col("success")).to_dicts(),
        "duplicates": artifacts["duplicates"].manifest.headline,
        "evaluation_sets": pl.read_parquet(artifacts["duplicates"].file("evaluation_sets.parquet")).to_dicts(),
        "findings": pl.read_parquet(artifacts["contracts"].file("findings.parquet")).to_dicts(),
        "artifacts": [{"role": role, "kind": a.kind, "id": a.id, "digest": a.digest} for role, a in artifacts.items()],
        "plots": data_plots(artifacts["quality"]),
    }


def data_plots(quality: Artifact) -> dict[str, str]:
    """The feedback's plots as inline SVG, by name."""
    people = pl.read_parquet(quality.file("annotators.parquet")).to_dicts()
    found = {"annotators": scatter_plot(people, "n_judgments", "majority_agreement", "judgments", "agreement with the majority")}
    days = days_with(pl.read_parquet(quality.file("quality.parquet")), "krippendorff_alpha")
    if len(days) > 1:
        found["agreement"] = timeline_plot(days, "krippendorff alpha")
    return found


def model_content(config: ReportConfig, artifacts: dict[str, Artifact]) -> dict[str, Any]:
    """The part on the models and on what was decided about them."""
    tables = {
        "gate": pl.read_parquet(artifacts["gate"].file("gate.parquet")),
        "evaluation": pl.read_parquet(artifacts["evaluation"].file("figures.parquet")),
        "samples": pl.read_parquet(artifacts["evaluation"].file("samples.parquet")),
        "reward": pl.read_parquet(artifacts["reward_model"].file("figures.parquet")).filter(pl.col("split") == "test"),
        "truth": pl.read_parquet(artifacts["truth"].file("truth.parquet")) if "truth" in artifacts else pl.DataFrame(),
        "curve": pl.read_parquet(artifacts["truth"].file("curve.parquet")) if "truth" in artifacts else pl.DataFrame(),
    }
    policy = artifacts["policy"]
    metrics, figures = json_lines(policy, "metrics.jsonl"), tables["evaluation"].to_dicts()
    return {
        "method": policy.manifest.identity.config["method"],
        "alarms": first_alarms(json_lines(policy, "alarms.jsonl")),
        "decision": artifacts["version"].manifest.headline["decision"],
        "verdict": artifacts["gate"].manifest.headline["verdict"],
        "rules": tables["gate"].to_dicts(),
        "evaluation": [row for row in figures if not _is_yardstick(row)],
        "truth": true_figures(tables["truth"]) if "truth" in artifacts else [],
        "judge_members": artifacts["judge"].manifest.identity.config.get("members", 1),
        "judges": {name: json.loads(artifacts[role].file("evaluation.json").read_text()) for role, name in JUDGES.items()},
        "reward_parts": reward_parts(tables["reward"]),
        "preferences": artifacts["preferences"].manifest.headline,
        "aggregation": artifacts["aggregation"].manifest.headline,
        "flagged": pl.read_parquet(artifacts["aggregation"].file("flagged_annotators.parquet")).to_dicts(),
        "examples": examples(tables["samples"], config.examples_per_slice),
        "verdicts": [row for row in measured_figures(artifacts, "verdicts") if row["slice"] == ALL_SLICES],
        "measured": measured_figures(artifacts, "measurement"),
        "yardsticks": [row for row in figures if _is_yardstick(row)],
        "features": explaining(artifacts["evaluation"]),
        "fooled": widest_gaps(tables["samples"], config.gap_examples),
        "plots": model_plots(tables, metrics) | overoptimization_plots(metrics, tables["curve"], tables["evaluation"]),
    }


def measured_figures(artifacts: dict[str, Artifact], kind: str) -> list[dict[str, Any]]:
    """The figures of the recipe's judges, or of its measures, by the kind of their artifacts; none where it has none."""
    found = [pl.read_parquet(one.file("figures.parquet")) for one in artifacts.values() if one.kind == kind]
    return [row for figures in found for row in figures.to_dicts()]


def _is_yardstick(row: dict[str, Any]) -> bool:
    return row["slice"] == ALL_SLICES and str(row["figure"]).startswith(YARDSTICKS)


def overoptimization_plots(metrics: list[dict[str, Any]], true_curve: pl.DataFrame, evaluation: pl.DataFrame) -> dict[str, str]:
    """What the reward model and the held-out judge say was gained, over the root of the KL; nothing where too few states were validated.

    The base model's best of n, by the same reward model, are the yardstick. In the simulated world the true reward is drawn beside them.
    """
    found = {name: points(metrics, column) for name, column in FITTED.items()}
    curves = {name: curve for name, known in found.items() if (curve := fitted(known)) is not None}
    if not true_curve.is_empty():
        truth = true_curve.rename({"kl_k1": KL}).to_dicts()
        found["true_reward"] = points(truth, "true_reward")
    return {"overoptimization": overoptimization_plot(found, curves, best_of_n(evaluation))} if curves else {}


def best_of_n(evaluation: pl.DataFrame) -> dict[str, list[tuple[float, float]]]:
    """KL and gain of the base model's best of n, for each n, by who says what was gained; empty where they were not measured."""
    values = dict(evaluation.filter(pl.col("slice") == ALL_SLICES).select("figure", "value").iter_rows())
    best = {name: [(kl_of_best(n), values.get(f"best_of_{n}_{name}_gain")) for n in BEST_OF_N] for name in FITTED}
    return {name: [(kl, gain) for kl, gain in found if gain is not None] for name, found in best.items()}


def widest_gaps(samples: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    """The responses whose score rose most over the base model's while the held-out judge's fell, the widest gap first."""
    own, base = (samples.filter(pl.col("model") == model) for model in ("policy", "reference"))
    both = own.join(base.select("prompt_id", "response", "score", "judge_score"), on="prompt_id", suffix="_before")
    gains = both.with_columns(
        gain=pl.col("score") - pl.col("score_before"), judge_gain=pl.col("judge_score") - pl.col("judge_score_before")
    )
    fooled = gains.filter((pl.col("gain") > 0) & (pl.col("judge_gain") < 0))
    return fooled.sort(pl.col("judge_gain") - pl.col("gain"), "prompt_id").head(count).to_dicts()


def explaining(evaluation: Artifact) -> list[dict[str, Any]]:
    """The features that may explain the score's gain, those that explain most first; none where the base model was not sampled often."""
    return pl.read_parquet(evaluation.file("features.parquet")).sort("gain_explained", "phrase", descending=[True, False]).to_dicts()


def json_lines(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """The rows of an artifact's JSON lines; none where it has no such file."""
    if name not in {entry.path for entry in artifact.manifest.present_files}:
        return []
    return [json.loads(line) for line in artifact.file(name).read_text().splitlines()]


def first_alarms(alarms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first alarm of each monitor, in the order of the updates."""
    first: dict[str, dict[str, Any]] = {}
    for alarm in alarms:
        first.setdefault(alarm["monitor"], alarm)
    return list(first.values())


def true_figures(truth: pl.DataFrame) -> list[dict[str, Any]]:
    """The figures of all slices together, and then what each slice gained: a mean can hide one that lost."""
    return pl.concat(
        [
            truth.filter(pl.col("slice") == ALL_SLICES),
            truth.filter((pl.col("slice") != ALL_SLICES) & (pl.col("figure") == "true_reward_gain")),
        ]
    ).to_dicts()


FEATURES = ("score_length_excess", "score_repetition_excess", "score_phrase_excess", "score_judge_slope")
YARDSTICKS = ("score_judge_gap_reference", "best_of_", "kl_past_", "overoptimization_", *FEATURES)
"""Begin the figures that stand beside the plot of over-optimisation."""
JUDGES = {"reward_model": "reward model", "judge": "held-out judge"}


def reward_parts(reward: pl.DataFrame) -> list[dict[str, Any]]:
    """The reward model's accuracy and log loss on each part of the test split."""
    parts = reward.filter(pl.col("grouping").is_in(["slice", "margin", "annotators"]) & pl.col("figure").is_in(["accuracy", "log_loss"]))
    index = ["grouping", "part", "n_pairs"]
    return parts.pivot("figure", index=index, values=["value", "low", "high"]).to_dicts()


def reliability(reward: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per bin of the reliability diagram: what was predicted, and what was observed with its interval."""
    bins = reward.filter(pl.col("grouping") == "reliability")
    predicted = bins.filter(pl.col("figure") == "predicted").select("part", predicted="value")
    return bins.filter(pl.col("figure") == "observed").join(predicted, on="part", maintain_order="left").to_dicts()


def model_plots(tables: dict[str, pl.DataFrame], metrics: list[dict[str, Any]]) -> dict[str, str]:
    """The models' plots as inline SVG, by name."""
    evaluation, truth = tables["evaluation"], tables["truth"]
    found = {
        "win_rate": interval_plot(
            evaluation.filter(pl.col("figure") == "win_rate_reference").to_dicts(), "win rate against the base model", 0.5
        ),
        "training": training_plot(metrics),
        "reliability": reliability_plot(reliability(tables["reward"])),
    }
    if not truth.is_empty():
        gains = truth.filter(pl.col("figure") == "true_reward_gain").to_dicts()
        found["truth"] = interval_plot(gains, "true reward gained over the base model (simulated)", 0.0)
    return found


def days_with(quality: pl.DataFrame, figure: str) -> list[dict[str, Any]]:
    """The rows of a figure by day of the judgments, in order, where it is defined."""
    return (
        quality.filter((pl.col("slice_kind") == "day") & (pl.col("figure") == figure) & pl.col("value").is_not_null())
        .sort("slice")
        .to_dicts()
    )


def examples(samples: pl.DataFrame, per_slice: int) -> list[dict[str, Any]]:
    """The first prompts of each slice with the reference's and the policy's response side by side."""
    rows: dict[str, dict[str, Any]] = {}
    for sample in samples.sort("slice", "prompt_id", "model").iter_rows(named=True):
        row = rows.setdefault(sample["prompt_id"], {"slice": sample["slice"], "prompt": sample["prompt"]})
        row[sample["model"]] = {key: sample[key] for key in ("response", "score", "judge_score", "n_tokens", "ended")}
    counts: dict[str, int] = {}
    shown = []
    for row in rows.values():
        counts[row["slice"]] = counts.get(row["slice"], 0) + 1
        if counts[row["slice"]] <= per_slice:
            shown.append(row)
    return shown


def figure_text(value: object) -> str:
    """A figure as it is shown: three decimals, a dash for what is undefined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def expectation_text(name: str) -> str:
    """The name of a Great Expectations class in words: `ExpectColumnValuesToNotBeNull` is "values to not be null"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return words.removeprefix("expect ").removeprefix("column ").removeprefix("compound columns ")


report_stage = stage("report")(make_report)
