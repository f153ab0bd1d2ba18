"""Which preferences each model learned from, and which chose among its epochs or updates, as its manifest and its inputs' tell."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from data_contracts.artifact_store import Artifact

LEARNED, SELECTED = "learned", "selected"
SFT_MODEL = "sft_model"
SELECTION = "validation"
"""The split that chooses among a reward model's epochs."""


def learned_from(artifacts: Iterable[Artifact]) -> Iterator[dict[str, Any]]:
    """One row per model, the model that it learned through, preferences, split and use.

    A reward model learns from the split of its config, and the validation split chooses among its epochs. A policy learns through
    its reward model, or, by DPO, from the preferences themselves; its held-out judge, where it was asked, only chose among the updates.
    Supervised fine-tuning learns from the train split, unless it was given demonstrations; a policy that starts from it learned through
    it. None learns from the other splits.
    """
    known = {artifact.id: artifact for artifact in artifacts}
    for artifact in known.values():
        if artifact.kind == "reward_model":
            yield from _of_reward_model(artifact, artifact, known)
        if artifact.kind == SFT_MODEL:
            yield from _of_sft(artifact, artifact, known)
        if artifact.kind == "policy":
            yield from _of_policy(artifact, known)


def _of_policy(policy: Artifact, known: Mapping[str, Artifact]) -> Iterator[dict[str, Any]]:
    if policy.manifest.identity.config.get("method") == "dpo":
        yield from (row for row in _of_reward_model(policy, policy, known) if row["use"] == LEARNED)
    judged = policy.manifest.identity.config.get("validation_prompts", 1) > 0
    for ref in policy.manifest.identity.inputs:
        if ref.kind == SFT_MODEL and ref.id in known:
            yield from _of_sft(policy, known[ref.id], known)
        if ref.kind == "reward_model" and ref.id in known and (ref.role != "judge" or judged):
            for row in _of_reward_model(policy, known[ref.id], known):
                yield row | {"use": SELECTED if ref.role == "judge" else row["use"]}


def _of_sft(model: Artifact, through: Artifact, known: Mapping[str, Artifact]) -> Iterator[dict[str, Any]]:
    if not any(ref.role == "demonstrations" for ref in through.manifest.identity.inputs):
        yield from (row for row in _of_reward_model(model, through, known) if row["use"] == LEARNED)


def _of_reward_model(model: Artifact, through: Artifact, known: Mapping[str, Artifact]) -> Iterator[dict[str, Any]]:
    found = _input_of_kind(through, "preferences", known)
    if found is None:
        return
    snapshot = _input_of_kind(found, "snapshot", known)
    aggregation = _input_of_kind(found, "aggregation", known)
    source = {
        "aggregation_id": aggregation and aggregation.id,
        "preferences_id": found.id,
        "snapshot_id": snapshot and snapshot.id,
        "annotator_kinds": _annotator_kinds(found, known),
    }
    for split, use in ((through.manifest.identity.config.get("split", "train"), LEARNED), (SELECTION, SELECTED)):
        yield {"model_id": model.id, "kind": model.kind, "through_id": through.id, "split": split, "use": use, **source}


def _input_of_kind(artifact: Artifact, kind: str, known: Mapping[str, Artifact]) -> Artifact | None:
    """The nearest input of a kind."""
    inputs = [known[ref.id] for ref in artifact.manifest.identity.inputs if ref.id in known]
    direct = next((one for one in inputs if one.kind == kind), None)
    return direct or next((found for one in inputs if (found := _input_of_kind(one, kind, known)) is not None), None)


def _annotator_kinds(preferences: Artifact, known: Mapping[str, Artifact]) -> list[str]:
    """The kinds of annotators whose judgments counted: a setting of the preferences, or of what they were made from."""
    inputs = [known[ref.id] for ref in preferences.manifest.identity.inputs if ref.id in known]
    configs = [artifact.manifest.identity.config for artifact in (preferences, *inputs)]
    return next((list(config["annotators"]) for config in configs if "annotators" in config), ["human"])
