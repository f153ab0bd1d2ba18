"""`overnight approve`, `reject`, `rollback` and `export`: decisions by people, and a version to be given away."""

from collections.abc import Callable
from pathlib import Path

from data_contracts.artifact_store import SHORT
from data_contracts.audit.build import rebuild_audit_database
from data_contracts.home import Home
from data_contracts.registry import AliasEntry
from flows.console import new_console
from flows.show import DECISIONS
from tasks.decision import approval
from tasks.decision.export import export_version

Decision = Callable[[Home, str, str, str], AliasEntry]


def approve(root: Path, version: str, reason: str, by: str) -> AliasEntry:
    """See `tasks.decision.approval.approve`."""
    return _decide(approval.approve, root, version, reason, by)


def reject(root: Path, version: str, reason: str, by: str) -> AliasEntry:
    """See `tasks.decision.approval.reject`."""
    return _decide(approval.reject, root, version, reason, by)


def rollback(root: Path, version: str, reason: str, by: str) -> AliasEntry:
    """See `tasks.decision.approval.roll_back`."""
    return _decide(approval.roll_back, root, version, reason, by)


def export(root: Path, version: str, directory: Path) -> None:
    """Write a version as a plain model directory, and say where; see `tasks.decision.export.export_version`."""
    home = Home(root)
    found = approval.find_version(home, version)
    export_version(home, found, directory)
    new_console().print(f"version {found.short_id} is in {directory}; its README.md is the model card", soft_wrap=True, highlight=False)


def tell(entry: AliasEntry, reason: str) -> None:
    """Print the decision that stands, and whether it is another one than was asked for just now for a reason."""
    console = new_console()
    console.print(in_words(entry), soft_wrap=True, markup=False)
    if entry.reason != reason:
        console.print("it was decided before: nothing was changed, and the reason that was given now is not kept")


def in_words(entry: AliasEntry) -> str:
    """A decision on one line."""
    what = f"{DECISIONS[entry.action]} {entry.version_id[:SHORT]}" if entry.action != "moved" else f"{entry.version_id[:SHORT]} is champion"
    return f"{what} (policy {entry.policy_id[:SHORT]}), by {entry.by} at {entry.at}: {entry.reason}"


def _decide(decision: Decision, root: Path, version: str, reason: str, by: str) -> AliasEntry:
    home = Home(root)
    with home.at_work():
        entry = decision(home, version, reason, by)
        rebuild_audit_database(home)  # so that the decision can be audited at once
    return entry
