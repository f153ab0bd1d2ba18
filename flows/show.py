"""`overnight show` and `overnight verify`: read what is stored; nothing is run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Column, Table
from rich.tree import Tree

from data_contracts.artifact_store import SHORT, Artifact, open_artifact, verify
from data_contracts.errors import IntegrityError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import MANIFEST_NAME
from data_contracts.registry import AliasEntry, entry_of, lines
from data_contracts.tombstones import Tombstone, Tombstones
from flows.console import new_console
from models.sizes import readable
from tasks.progress import figure_text

DECISIONS_SHOWN = 20
DECISIONS = {"moved": "made champion", "rolled back": "rolled back to", "rejected": "rejected"}


def every_artifact(home: Home, unreadable: list[IntegrityError] | None = None) -> Iterator[Artifact]:
    """The artifacts of the store, then the batches of the lake.

    Args:
        home: the installation.
        unreadable: takes the errors of those that cannot be opened; without it the first one is raised.
    """
    places = [*home.root.glob(f"artifacts/[!.]*/*/{MANIFEST_NAME}"), *home.root.glob(f"lake/batches/*/*/{MANIFEST_NAME}")]
    for path in sorted(places):
        try:
            yield open_artifact(path.parent)
        except IntegrityError as error:
            if unreadable is None:
                raise
            unreadable.append(error)


def show_all(root: Path) -> None:
    """List the nights, the artifacts and the aliases."""
    home, console = Home(root), new_console()
    nights = Table(Column("night", no_wrap=True), "recipe", "outcome", "seconds", title="nights", title_justify="left")
    for path in sorted(home.nights.glob("*.json")):
        record = json.loads(path.read_text())
        nights.add_row(record["night"], record["recipe"], record["outcome"], str(record["seconds"]))
    names = [Column(name, no_wrap=True) for name in ("kind", "id", "made", "seconds")]
    artifacts = Table(*names, Column("headline", overflow="fold"), title="artifacts", title_justify="left")
    for artifact in sorted(every_artifact(home, []), key=lambda item: (item.manifest.created_at, item.kind)):
        manifest = artifact.manifest
        artifacts.add_row(
            artifact.kind, artifact.short_id, moment(manifest.created_at), f"{manifest.seconds:.1f}", headline_text(manifest.headline)
        )
    names = [Column(name, no_wrap=True) for name in ("recipe", "alias", "policy", "since")]
    aliases = Table(*names, "by", "reason", title="aliases", title_justify="left")
    for line, registry in lines(home.registry):
        for alias, entry in registry:
            aliases.add_row(line, alias, entry.policy_id[:SHORT], moment(entry.at), entry.by, entry.reason)
    decided = [(line, entry) for line, registry in lines(home.registry) for entry in registry.decisions()]
    stones = list(Tombstones(home.tombstones))
    for table in (nights, artifacts, aliases, *([_decisions(decided)] if decided else []), *([_tombstones(stones)] if stones else [])):
        console.print(table)


def moment(at: str) -> str:
    """Date, hour and minute of a time in ISO 8601."""
    return f"{at[:10]} {at[11:16]}"


def _decisions(decided: Sequence[tuple[str, AliasEntry]]) -> Table:
    """The last decisions about champions: who, when, why, and on which evidence."""
    last = sorted(decided, key=lambda one: one[1].at)[-DECISIONS_SHOWN:]
    names = [Column(name, no_wrap=True) for name in ("recipe", "at", "by", "decision", "version")]
    table = Table(*names, "reason", Column("evidence", overflow="fold"), title="decisions", title_justify="left")
    for line, entry in last:
        evidence = ", ".join(f"{ref.role} {ref.id[:SHORT]}" for ref in entry.evidence)
        table.add_row(line, moment(entry.at), entry.by, DECISIONS[entry.action], entry.version_id[:SHORT], entry.reason, evidence)
    return table


def _tombstones(stones: Sequence[Tombstone]) -> Table:
    """What was forgotten, and which models had learned from it."""
    names = [Column(name, no_wrap=True) for name in ("tombstone", "at")]
    counts = ("rows erased", "artifacts", "models trained on it")
    table = Table(*names, "state", "reason", *counts, title="forgotten", title_justify="left")
    for stone in stones:
        state = "complete" if stone.completed_at else "unfinished: run `overnight forget` again"
        rows = ", ".join(f"{name} {count}" for name, count in sorted(stone.rows.items()))
        models = ", ".join(
            f"{model.kind} {model.id[:SHORT]}" + "".join(f" ({alias})" for alias in model.aliases) for model in stone.trained
        )
        table.add_row(stone.id, moment(stone.at), state, stone.reason, rows, str(len(stone.redacted)), models)
    return table


def show_artifact(root: Path, name: str, *, whole: bool = False) -> None:
    """Print one artifact in short and its lineage back to the batches and files that it came from; or, with `whole`, its manifest alone."""
    home, console = Home(root), new_console()
    artifact = find_artifact(home, name)
    if whole:
        console.print_json(artifact.manifest.model_dump_json())
        return
    console.print(_in_short(artifact))
    console.print(lineage(home, artifact))


def _in_short(artifact: Artifact) -> Table:
    """What an artifact is, where it stands, and what it came to."""
    manifest, identity = artifact.manifest, artifact.manifest.identity
    table = Table(Column(no_wrap=True, style="bold"), "", box=None, pad_edge=False, show_header=False)
    told = {
        artifact.kind: artifact.id,
        "digest": manifest.digest,
        "made": f"{manifest.created_at}, in {manifest.seconds:.1f} s",
        "code": ", ".join([identity.code_version[:SHORT], *(f"{name} {number}" for name, number in identity.libraries.items())]),
        "files": f"{len(manifest.files)}, {readable(sum(file.size for file in manifest.files))}, in {artifact.directory}",
        "figures": headline_text(manifest.headline),
        "collected": manifest.collected_at,
        "redacted": ", ".join(redaction.tombstone for redaction in manifest.redactions),
    }
    for name, text in told.items():
        if text:
            table.add_row(name, text)
    return table


def find_artifact(home: Home, name: str) -> Artifact:
    """The artifact that an alias or the first digits of an id stand for; of a batch also those of its digest, which names its folder."""
    if (entry := entry_of(home.registry, name)) is not None:
        return home.artifacts.open(entry.policy_id)
    batches = [batch for batch in FeedbackLake(home.lake).batches() if name and name in (batch.id[: len(name)], batch.digest[: len(name)])]
    return batches[0] if len(batches) == 1 else home.artifacts.open(name)


def lineage(home: Home, artifact: Artifact) -> Tree:
    """The artifact and everything it was made from, as a tree; what was shown once is not opened again."""
    known = {item.id: item for item in every_artifact(home)}
    tree = Tree(f"[bold]{artifact.kind}[/] {artifact.short_id}")
    _add_inputs(tree, artifact, known, {artifact.id})
    return tree


def _add_inputs(tree: Tree, artifact: Artifact, known: dict[str, Artifact], seen: set[str]) -> None:
    for ref in artifact.manifest.identity.inputs:
        name = ref.id[:SHORT] if ref.kind != "file" else ref.id
        again = ref.id in seen and ref.id in known
        branch = tree.add(f"{ref.role}: {ref.kind} {name}" + (" (see above)" if again else ""))
        if ref.id in known and not again:
            seen.add(ref.id)
            _add_inputs(branch, known[ref.id], known, seen)


def verify_artifacts(root: Path, name: str | None) -> int:
    """Hash artifacts again and print what differs; returns how many are not as published."""
    home, console = Home(root), new_console()
    unreadable: list[IntegrityError] = []
    artifacts = [find_artifact(home, name)] if name else list(every_artifact(home, unreadable))
    damaged = 0
    for error in unreadable:
        damaged += 1
        console.print(f"[red]damaged[/] {error.where}: {error.what}", soft_wrap=True, highlight=False)
    for artifact in artifacts:
        differences = verify(artifact)
        damaged += bool(differences)
        for redaction in () if differences else artifact.manifest.redactions:
            console.print(f"[yellow]redacted[/] {artifact.kind} {artifact.short_id}: see tombstone {redaction.tombstone}")
        for difference in differences:
            console.print(f"[red]damaged[/] {artifact.kind} {artifact.short_id}: {difference}")
    console.print(f"{len(artifacts)} artifacts hashed, {damaged} damaged")
    if damaged:
        console.print(
            "a damaged artifact is made anew when its directory is removed and the recipe run again; "
            "a damaged feedback_batch is not: restore it from a backup"
        )
    return damaged


def headline_text(headline: Mapping[str, object]) -> str:
    """A headline on one line, intervals behind their figure: `pairs 812 · accuracy 0.743 [0.70, 0.79]`."""
    parts = []
    for key, value in headline.items():
        low, high = headline.get(f"{key}_low"), headline.get(f"{key}_high")
        interval = f" [{figure_text(low)}, {figure_text(high)}]" if low is not None and high is not None else ""
        if not key.endswith(("_low", "_high")):
            parts.append(f"{key.replace('_', ' ')} {figure_text(value)}{interval}")
    return " · ".join(parts)
