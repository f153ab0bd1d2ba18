"""Registration: a judged policy becomes a version, and the aliases follow the gate's verdict, or wait for a person."""

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, pinned_config
from data_contracts.registry import RECIPE, AliasEntry, Registry, refuse_another_champion
from tasks.gate.judging import PASS
from tasks.stage import StageConfig, stage

PROMOTED: Final = "promoted"
AWAITING: Final = "awaiting approval"
KEPT: Final = "not promoted"
PASSED = {"automatic": PROMOTED, "approval": AWAITING, "never": KEPT}
"""What becomes of a policy that passed the gate."""


class RegistryConfig(StageConfig):
    """What happens to a policy that passed the gate."""

    line: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="where its aliases stand, apart from other lines; by default the recipe's name",
    )
    promotion: Literal["automatic", "approval", "never"] = Field(
        default="automatic",
        description="`automatic` makes a policy that passed the champion; `approval` leaves it the candidate until a person approves it "
        "(`overnight approve`); `never` leaves it the candidate",
    )


def register(home: Home, config: RegistryConfig, *, policy: Artifact, evaluation: Artifact, gate: Artifact) -> Made:
    """Make a version of a judged policy and move the aliases.

    The version artifact says what was decided and on which evidence. Moving the aliases comes after it and is repeated
    until it happened, so a kill between the two loses nothing. A policy that was champion before, or was rejected, is not
    promoted, so a rollback and a rejection stay.

    Raises:
        InputError: another policy became champion while this one was judged.
    """
    decision = PASSED[config.promotion] if gate.manifest.headline["verdict"] == PASS else KEPT
    registry = Registry(home.registry / config.line)
    promotes = decision == PROMOTED and registry.standing(policy.digest) is None
    if promotes:
        refuse_another_champion(registry.decisions(), policy.digest, opponent_of(evaluation))
    identity = Identity(
        kind="version",
        code_version=code_version("tasks.decision.promotion"),
        config=pinned_config(config),
        inputs=(policy.manifest.as_input("policy"), evaluation.manifest.as_input("evaluation"), gate.manifest.as_input("gate")),
    )
    made = home.artifacts.make(identity, lambda directory: _write_version(directory, decision, policy, gate))
    registry.move("candidate", entry_for(made.artifact, reason="the last policy that was judged", by=RECIPE))
    if promotes:
        promotion = entry_for(made.artifact, reason="passed every rule of the gate", by=RECIPE)
        registry.promote(promotion, instead_of=opponent_of(evaluation))
    return made


def entry_for(version: Artifact, *, reason: str, by: str) -> AliasEntry:
    """What the registry keeps of a decision about a version."""
    inputs = {ref.role: ref for ref in version.manifest.identity.inputs}
    policy, evidence = inputs["policy"], tuple(inputs[role] for role in ("evaluation", "gate"))
    return AliasEntry(version_id=version.id, policy_id=policy.id, policy_digest=policy.digest, reason=reason, by=by, evidence=evidence)


def opponent_of(evaluation: Artifact) -> str | None:
    """Digest of the champion that an evaluation compared its policy with, or None where there was none."""
    return next((ref.digest for ref in evaluation.manifest.identity.inputs if ref.role == "champion"), None)


def _write_version(directory: Path, decision: str, policy: Artifact, gate: Artifact) -> Headline:
    version = {
        "decision": decision,
        "gate_verdict": gate.manifest.headline["verdict"],
        "gate_id": gate.id,
        "policy_id": policy.id,
        "policy_digest": policy.digest,
    }
    (directory / "version.json").write_text(json.dumps(version, indent=2) + "\n")
    return {"decision": decision, "policy": policy.short_id}


registry_stage = stage("registry")(register)
