"""What the gate judges: the figures of an evaluation, of the judges' test split and of the policy's training, in one table."""

import json
from collections.abc import Iterable, Sequence

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.policy_figures import (
    ALARMS,
    BEST_OF,
    EVALUATION_FIGURES,
    MONITORS,
    TRAINING_FIGURES,
    figures_by_function,
    figures_by_judge,
)
from data_contracts.records import ALL_SLICES
from tasks.gate.judging import Absent, Figures
from tasks.rules import Figure

ALARMS_FILE = "alarms.jsonl"
FEATURELESS = "the base model was not sampled several times (evaluation.best_of), or its responses to a prompt do not differ in it"


def gather(
    *, evaluation: Artifact, reward_model: Artifact, judge: Artifact, policy: Artifact, measured: Sequence[Artifact] = ()
) -> Figures:
    """Every figure, by what it is of, slice and name; those of the recipe's judges and measures count as the evaluation's."""
    found = {
        ("evaluation", row["slice"], row["figure"]): Figure(row["value"], row["low"], row["high"], row["n"], row.get("judge_half_width"))
        for artifact in (evaluation, *measured)
        for row in pq.read_table(artifact.file("figures.parquet")).to_pylist()
    }
    for of, model in (("reward_model", reward_model), ("judge", judge)):
        for row in pq.read_table(model.file("figures.parquet")).to_pylist():
            if row["split"] == "test" and row["grouping"] == ALL_SLICES:
                found[of, ALL_SLICES, row["figure"]] = Figure(row["value"], row["low"], row["high"], row["n_prompts"])
    return found | {("training", ALL_SLICES, name): Figure(count, None, None, updates) for name, (count, updates) in alarms(policy).items()}


def alarms(policy: Artifact) -> dict[str, tuple[float, int]]:
    """In how many updates up to the one that was kept each monitor alarmed, and how many these are; none without monitors."""
    if not policy.has(ALARMS_FILE):
        return {}
    kept = int(policy.manifest.headline.get("best_update") or 0)
    rows = [json.loads(line) for line in policy.file(ALARMS_FILE).read_text().splitlines()]
    watched = set(MONITORS) - set(policy.manifest.identity.config.get("monitors", {}).get("off", ()))
    counted = {name: sum(row["monitor"] == name and row["update"] <= kept for row in rows) for name in MONITORS if name in watched}
    return {f"{ALARMS}{name}": (float(count), kept) for name, count in counted.items()}


def why_absent(*, evaluation: Artifact, policy: Artifact, measured: Sequence[Artifact] = ()) -> Absent:
    """Why figures are not there that need not be, by name."""
    roles = {ref.role for ref in evaluation.manifest.identity.inputs}
    why: dict[str, str] = {}
    if "champion" not in roles:
        named = [name for one in measured for name in _named_by_recipe(one) if "_champion_" in name]
        against = [name for name in EVALUATION_FIGURES if name.endswith("_champion")]
        why |= dict.fromkeys(against + named, "there is no champion to compare with")
    elif "champion_reward_model" not in roles:
        same = "the champion learned through the same reward model"
        why |= dict.fromkeys((name for name in EVALUATION_FIGURES if name.startswith("reward_model_")), same)
    if "held_out_texts" not in roles:
        why |= dict.fromkeys((name for name in EVALUATION_FIGURES if name.startswith("perplexity")), "the recipe names no held-out texts")
    beyond = "the base model was not sampled so often (evaluation.best_of), or the policy's KL lies beyond the best of so many"
    why |= dict.fromkeys((name for name in (*EVALUATION_FIGURES, *BEST_OF) if name.startswith("best_of_")), beyond)
    features = [name for name in EVALUATION_FIGURES if name.startswith("score_") and name.endswith(("_excess", "_slope"))]
    why |= dict.fromkeys(features, FEATURELESS)
    watched = policy.has(ALARMS_FILE)
    return why | dict.fromkeys(TRAINING_FIGURES, "the monitor is off" if watched else "the policy was trained without monitors")


def _named_by_recipe(measured: Artifact) -> Iterable[str]:
    """The figures that a judge or a function of the recipe gives, whose names end with its own."""
    config = measured.manifest.identity.config
    if "name" not in config:
        return ()
    return figures_by_judge(config["name"]) if measured.kind == "verdicts" else figures_by_function(config["name"])
