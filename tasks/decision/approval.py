"""Decisions by people: a version is approved, rejected or rolled back, bound to exactly what was judged.

Nothing here asks or prints, so that a command, a deployment and a test call the same three functions.
"""

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, verify
from data_contracts.errors import InputError, IntegrityError, examples
from data_contracts.home import Home
from data_contracts.manifest import InputRef
from data_contracts.registry import AliasEntry, Registry, entry_of
from tasks.decision.promotion import entry_for, opponent_of
from tasks.gate.judging import PASS, overall

SHOWN = 12
"""Hex digits of a digest in a message."""


def approve(home: Home, version: str, reason: str, by: str) -> AliasEntry:
    """Make a version that passed its gate the champion, in place of the one that it was judged against.

    Policy, evaluation and gate are opened and hashed again: what is approved is exactly what was judged.

    Args:
        home: the installation.
        version: an alias, or the first digits of the id of a version or of its policy.
        reason: why; kept in the registry's history.
        by: who decides.

    Returns:
        The decision that stands; one made before, where the policy is the champion already.

    Raises:
        InputError: the gate did not pass, the recipe never promotes, the policy was rejected or champion before, or another
            policy has become champion since.
        IntegrityError: what is stored is not what was judged; the message names what differs.
    """
    found, entry = _decided(home, version, reason, by)
    registry = registry_of(home, found)
    if found.manifest.identity.config["promotion"] == "never":
        raise InputError("its recipe never promotes (registry.promotion)", remedy="run its night with registry.promotion = 'approval'")
    if registry.standing(entry.policy_digest) == "was champion":
        raise InputError(f"{found.short_id} was champion before", remedy="`overnight rollback` exchanges champion and previous")
    evidence = verified_evidence(home, found)
    verdict = overall(pq.read_table(evidence["gate"].file("gate.parquet"))["verdict"].to_pylist())
    if verdict != PASS:
        raise InputError(f"the gate of {found.short_id} says: {verdict}", remedy="docs/gate.md says what may be done about it")
    registry.promote(entry, instead_of=opponent_of(evidence["evaluation"]))
    return _standing_entry(registry, entry)


def reject(home: Home, version: str, reason: str, by: str) -> AliasEntry:
    """Keep a version's policy from ever being promoted, also by later runs of the same night; arguments as of `approve`.

    Raises:
        InputError: there is no such version, or it is the champion.
    """
    found, entry = _decided(home, version, reason, by)
    registry = registry_of(home, found)
    registry.reject(entry)
    return _standing_entry(registry, entry)


def roll_back(home: Home, version: str, reason: str, by: str) -> AliasEntry:
    """Exchange champion and previous; `version` names the champion that is taken back. Other arguments as of `approve`.

    Raises:
        InputError: it is not the champion, or there is no previous one that may be.
        IntegrityError: the previous policy is not as it was published.
    """
    found, entry = _decided(home, version, reason, by)
    registry = registry_of(home, found)
    previous = registry.current("previous")
    if previous is not None:
        policy = InputRef(role="policy", kind="policy", id=previous.policy_id, digest=previous.policy_digest)
        _refuse(_differences(home, policy))
    registry.roll_back(entry.policy_digest, reason=entry.reason, by=by)
    return registry.decisions()[-1]


def find_version(home: Home, name: str) -> Artifact:
    """The version that an alias, or the first digits of its id or of its policy's id, stand for.

    A policy that was judged several times has several versions; the last one is meant.
    """
    if (entry := entry_of(home.registry, name)) is not None:
        return home.artifacts.open(entry.version_id)
    artifact = home.artifacts.open(name)
    own = [version for version in versions(home) if artifact.id in (version.id, _input(version, "policy").id)]
    if not own:
        raise InputError(f"{name} is a {artifact.kind.replace('_', ' ')} and no version", remedy="`overnight show` lists the versions")
    return max(own, key=lambda version: (version.manifest.created_at, version.id))


def versions(home: Home) -> list[Artifact]:
    """Every version that was registered."""
    return [artifact for artifact in home.artifacts if artifact.kind == "version"]


def registry_of(home: Home, version: Artifact) -> Registry:
    """The line of policies that a version belongs to."""
    return Registry(home.registry / version.manifest.identity.config["line"])


def evidence_of(home: Home, version: Artifact) -> dict[str, Artifact]:
    """What a version was made from, by role: `policy`, `evaluation` and `gate`."""
    return {ref.role: home.artifacts.open(ref.id) for ref in version.manifest.identity.inputs}


def verified_evidence(home: Home, version: Artifact) -> dict[str, Artifact]:
    """The same, after every file was hashed again.

    Raises:
        IntegrityError: something differs from what was judged; the message names it.
    """
    own = InputRef(role="version", kind="version", id=version.id, digest=version.digest)
    _refuse([line for ref in (own, *version.manifest.identity.inputs) for line in _differences(home, ref)])
    return evidence_of(home, version)


def _differences(home: Home, judged: InputRef) -> list[str]:
    """How what is stored differs from what was judged."""
    what = f"{judged.role} {judged.id[:SHOWN]}"
    artifact = home.artifacts.find(judged.kind, judged.id)
    if artifact is None:
        return [f"{what} is gone"]
    manifest = artifact.manifest
    if manifest.collected_at:
        return [f"the files of {what} were removed by `overnight gc` on {manifest.collected_at}"]
    if manifest.present_digest != judged.digest:
        why = " (something in it was forgotten on request)" if manifest.redactions else ""
        return [f"{what} has the digest {manifest.present_digest[:SHOWN]} and was judged with {judged.digest[:SHOWN]}{why}"]
    made_of = [] if manifest.identity.id == judged.id else [f"{what} says that it was made of something else"]
    return made_of + [f"{what}: {line}" for line in verify(artifact)]


def _refuse(differences: list[str]) -> None:
    if differences:
        raise IntegrityError(
            f"what is stored is not what was judged: {examples(differences)}", remedy="run its night again, and decide on what that gives"
        )


def _decided(home: Home, name: str, reason: str, by: str) -> tuple[Artifact, AliasEntry]:
    """The version, and the decision about it as it would be kept."""
    if not reason.strip() or not by.strip():
        raise InputError("a decision needs a reason and a name", remedy="give --reason TEXT, and --by NAME where your login has no name")
    version = find_version(home, name)
    return version, entry_for(version, reason=reason.strip(), by=by.strip())


def _standing_entry(registry: Registry, entry: AliasEntry) -> AliasEntry:
    """The decision that stands about the entry's policy: this one, or one that was made before."""
    return next(one for one in reversed(registry.decisions()) if one.policy_digest == entry.policy_digest)


def _input(version: Artifact, role: str) -> InputRef:
    return next(ref for ref in version.manifest.identity.inputs if ref.role == role)
