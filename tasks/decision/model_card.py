"""The model card of an exported version: Markdown with front matter in the Hugging Face form, told from the artifacts' own rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import InputRef
from data_contracts.records import ALL_SLICES

TEMPLATES = Path(__file__).parent / "templates"
FEW_PROMPTS = 20
"""A slice with fewer held-out prompts is named among the limitations."""
SHOWN = (
    "win_rate_reference",
    "length_controlled_win_rate_reference",
    "win_rate_champion",
    "judge_score_gain_reference",
    "kl_k1",
    "response_length",
    "response_length_reference",
    "perplexity_ratio_reference",
    "repetition",
    "distinct_2",
    "ended_share",
)
"""Figures of the evaluation that the card's table shows, where they were measured; the JSON beside it has all."""
QUALITY = ("krippendorff_alpha", "raw_agreement", "gold_passed_share")
BUILT_IN = "built-in"

Rows = list[dict[str, Any]]


def model_card(
    home: Home, version: Artifact, evidence: Mapping[str, Artifact], provenance: Mapping[str, Any], night: Mapping[str, Any]
) -> str:
    """The card as Markdown.

    Args:
        home: the installation.
        version: what is exported.
        evidence: its `policy`, `evaluation` and `gate`.
        provenance: what is told of the recipe and the artifacts behind it.
        night: the record of its night; empty where there is none any more.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701  (Markdown: texts from outside go through `cell`)
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"cell": cell, "yaml": json.dumps, "interval": interval, "words": words}
    return environment.get_template("model_card.md.j2").render(
        content(home, version, evidence, provenance) | {"quality": _quality(home, night)}
    )


def content(home: Home, version: Artifact, evidence: Mapping[str, Artifact], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows."""
    policy, artifacts = evidence["policy"], _behind_policy(home, evidence["policy"])
    figures = pq.read_table(evidence["evaluation"].file("figures.parquet")).to_pylist()
    rules = pq.read_table(evidence["gate"].file("gate.parquet")).to_pylist()
    judges: dict[str, dict[str, dict[str, Any]]] = {
        role: _test_figures(artifacts[role]) for role in ("reward_model", "judge") if role in artifacts
    }
    source = str(provenance["settings"].get("base_model", {}).get("source", BUILT_IN))
    return {
        "name": f"{provenance['line']}-{version.short_id[:8]}",
        "version": version,
        "policy": policy,
        "base_model": {"source": source, "on_hub": "/" in source, "id": artifacts["base_model"].id},
        "chats": policy.has("model/chat_template.jinja"),
        "method": policy.manifest.identity.config.get("method", "ppo"),
        "config": policy.manifest.identity.config,
        "training": policy.manifest.headline,
        "feedback": _headline(artifacts, "snapshot"),
        "preferences": _headline(artifacts, "prompts"),
        "judges": judges,
        "judge_is_several": any(row.get("judge_half_width") is not None for row in figures),
        "figures": [row for name in SHOWN for row in figures if row["slice"] == ALL_SLICES and row["figure"] == name]
        + [row for row in measured_rows(home, evidence["gate"]) if row["slice"] == ALL_SLICES],
        "slices": [row for row in figures if row["slice"] != ALL_SLICES and row["figure"] == "win_rate_reference"],
        "rules": rules,
        "verdict": evidence["gate"].manifest.headline["verdict"],
        "simulated": "simulation" in provenance["settings"],
        "limitations": list(limitations(figures, rules, judges, policy)),
        "provenance": provenance,
    }


def limitations(figures: Rows, rules: Rows, judges: Mapping[str, Mapping[str, Any]], policy: Artifact) -> Iterator[str]:
    """What a reader must know before relying on the figures, one sentence or two each."""
    accuracy = judges.get("judge", {}).get("accuracy")
    sure = f"; its accuracy on held-out preferences is {interval(accuracy)}" if accuracy else ""
    yield f"Quality was judged by a reward model (the held-out judge) and not by people{sure}."
    if policy.manifest.identity.config.get("validation_prompts"):
        yield "The same judge chose among the states of the policy in training, on other prompts: it may be a little too kind."
    win = next((row for row in figures if row["figure"] == "win_rate_reference" and row["slice"] == ALL_SLICES), None)
    if win is not None:
        if win.get("judge_half_width") is None:
            yield "The judge is one model, and its own error is in no interval."
        yield f"The figures rest on {win['n']} held-out prompts of the same kind as those that were trained on."
    few = [row["slice"] for row in figures if row["figure"] == "win_rate_reference" and row["n"] < FEW_PROMPTS]
    if few:
        yield f"Of these slices there are fewer than {FEW_PROMPTS} held-out prompts: {', '.join(map(cell, few))}."
    for rule in rules:
        if rule["verdict"] in ("warn", "not judged"):
            yield f"The gate's rule “{words(rule['rule'])}” says {rule['verdict']}: {cell(rule['reason'])}."
    if policy.manifest.headline.get("alarms"):
        yield f"{policy.manifest.headline['alarms']} of the monitors of the policy's training alarmed."
    yield "Nothing was measured of safety, of truthfulness, or of prompts unlike these."


def cell(value: object) -> str:
    """A text from outside as part of a Markdown table: no bar, no line break, no markup."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>|#" else letter for letter in text)


def words(name: str) -> str:
    """A figure's or a rule's name in words."""
    return cell(name.replace("_", " "))


def interval(row: Mapping[str, Any]) -> str:
    """A figure with its 95 % interval."""
    if row["value"] is None:
        return "–"
    known = row["low"] is not None and row["high"] is not None
    return f"{row['value']:.3f}" + (f" [{row['low']:.3f}, {row['high']:.3f}]" if known else "")


def _behind_policy(home: Home, policy: Artifact) -> dict[str, Artifact]:
    """The inputs of a policy by role, and the snapshot behind its preferences; what is gone is left out."""
    found = _opened(home, policy.manifest.identity.inputs)
    return _opened(home, found["prompts"].manifest.identity.inputs) | found if "prompts" in found else found


def _opened(home: Home, refs: Sequence[InputRef]) -> dict[str, Artifact]:
    opened = {ref.role: home.artifacts.find(ref.kind, ref.id) for ref in refs}
    return {role: artifact for role, artifact in opened.items() if artifact is not None}


def _headline(artifacts: Mapping[str, Artifact], role: str) -> Mapping[str, Any]:
    return artifacts[role].manifest.headline if role in artifacts else {}


def _test_figures(reward_model: Artifact) -> dict[str, dict[str, Any]]:
    """A reward model's figures on the test split, by name."""
    rows = pq.read_table(reward_model.file("figures.parquet")).to_pylist()
    return {row["figure"]: row for row in rows if row["split"] == "test" and row["grouping"] == ALL_SLICES}


def measured_rows(home: Home, gate: Artifact) -> Rows:
    """The figures of the recipe's measures and judges that the gate saw."""
    refs = [ref for ref in gate.manifest.identity.inputs if ref.kind in ("measurement", "verdicts")]
    return [row for ref in refs for row in pq.read_table(home.artifacts.open(ref.id).file("figures.parquet")).to_pylist()]


def _quality(home: Home, night: Mapping[str, Any]) -> Rows:
    """The quality of the feedback as the night measured it; empty where its artifact is gone."""
    quality = next((one for one in night.get("stages", []) if one["stage"] == "quality"), None)
    artifact = quality and home.artifacts.find("quality", quality["artifact_id"])
    if not artifact:
        return []
    rows = pq.read_table(artifact.file("quality.parquet")).to_pylist()
    return [
        row for name in QUALITY for row in rows if row["slice_kind"] == ALL_SLICES and row["figure"] == name and row["value"] is not None
    ]
