"""Registration: a judged policy becomes a version, and the aliases follow the gate's verdict."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, pinned_config
from data_contracts.registry import Registry
from tasks.decision.gate import PASS
from tasks.stage import StageConfig, stage

PROMOTED, KEPT = "promoted", "not promoted"


class RegistryConfig(StageConfig):
    """What happens to a policy that passed the gate."""

    line: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="where its aliases stand, apart from other lines; by default the recipe's name",
    )
    promotion: Literal["automatic", "never"] = Field(
        default="automatic", description="`automatic` makes a policy that passed the champion; `never` leaves it the candidate"
    )


def register(home: Home, config: RegistryConfig, *, policy: Artifact, evaluation: Artifact, gate: Artifact) -> Made:
    """Make a version of a judged policy and move the aliases.

    The version artifact says what was decided and on which evidence. Moving the aliases comes after it and is repeated
    until it happened, so a kill between the two loses nothing; a version that was champion before is not promoted again,
    so a rollback stays.
    """
    decision = PROMOTED if gate.manifest.headline["verdict"] == PASS and config.promotion == "automatic" else KEPT
    identity = Identity(
        kind="version",
        code_version=code_version("tasks.decision.promotion"),
        config=pinned_config(config),
        inputs=(policy.manifest.as_input("policy"), evaluation.manifest.as_input("evaluation"), gate.manifest.as_input("gate")),
    )
    made = home.artifacts.make(identity, lambda directory: _write_version(directory, decision, policy, gate))
    _move_aliases(Registry(home.registry / config.line), made.artifact, policy, decision)
    return made


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


def _move_aliases(registry: Registry, version: Artifact, policy: Artifact, decision: str) -> None:
    target = {"version_id": version.id, "policy_id": policy.id, "policy_digest": policy.digest}
    registry.move("candidate", **target, reason="the last policy that was judged")
    if decision == PROMOTED:
        registry.promote(**target, reason="passed every rule of the gate")


registry_stage = stage("registry")(register)
