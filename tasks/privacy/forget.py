"""Forgetting: what an annotator said, a judgment or a prompt is erased from everything that a home holds, and a tombstone stays.

First all that is to be erased is written down (the journal), then the tombstone, which keeps it from coming back; then artifact after
artifact is redacted, and at last the journal goes. A run that finds a journal carries it out first, so a kill at any moment leaves
work that the next run completes. An artifact is redacted with its manifest first, which says what its files are going to be.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, sweep
from data_contracts.audit.build import rebuild_audit_database
from data_contracts.compaction import remove_segments
from data_contracts.errors import InputError
from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, QUARANTINED, FeedbackLake, files_of
from data_contracts.home import Home
from data_contracts.manifest import FileEntry, Manifest, Redaction, content_hash, file_hash
from data_contracts.parquet import write_table
from data_contracts.registry import ALIASES, lines
from data_contracts.sharing.share import flush, write_whole
from data_contracts.tombstones import Named, Tombstone, Tombstones
from tasks.privacy.erase import Forgotten, aliases_of, blank_quarantine, erase_lines, erase_report, erase_table, erase_text
from tasks.privacy.screening import pseudonym

JOURNALS = ".unfinished-*.json"
READABLE = (".parquet", ".jsonl", ".html")
"""Files that may hold what people said; of a shared store, no others are fetched."""
MODELS = ("base_model", "reward_model", "policy")
PEOPLE_ONLY = (
    QUARANTINED,
    "annotators.parquet",
    "annotator_pairs.parquet",
    "annotator_reliability.parquet",
    "flagged_annotators.parquet",
    "report.html",
)
"""Files of which nothing is learned."""


def forget(
    home: Home,
    *,
    annotators: Sequence[str] = (),
    judgments: Sequence[str] = (),
    prompts: Sequence[str] = (),
    reason: str = "",
    key: bytes | None = None,
) -> list[Tombstone]:
    """Erase what is named, and complete what an earlier run left undone.

    Args:
        home: the installation.
        annotators: ids of annotators, in the clear or as the lake has them; all that they judged is erased.
        judgments: ids of judgments, as the lake has them.
        prompts: ids of prompts; everything about them is erased.
        reason: kept in the tombstone.
        key: key of the pseudonyms, where annotators stand under pseudonyms.

    Returns:
        The tombstones of this run; none where everything had been forgotten before.

    Raises:
        InputError: nothing that is stored or was forgotten has one of the ids.
        StorageError: a night is at work in this home, or another run of this.
    """
    if key is not None:
        annotators = [*annotators, *(pseudonym(key, name) for name in annotators)]
        judgments = [*judgments, *(f"{source}/{pseudonym(key, own)}" for source, _, own in (name.partition("/") for name in judgments))]
    with home.alone():
        home.refresh()
        _sweep(home)
        done = [_carry_out(home, Forgotten.model_validate_json(path.read_text())) for path in sorted(home.tombstones.glob(JOURNALS))]
        _refuse_unknown(home, annotators, judgments, prompts)
        what = resolve(home, annotators, judgments, prompts, _clean(reason, [*annotators, *judgments]))
        if any(_changes(artifact, what, aliases) for artifact, aliases in _every(home, what)):
            home.share.write(_journal(home, what), what.model_dump_json() + "\n")
            done.append(_carry_out(home, what))
    return done


def _clean(reason: str, names: Sequence[str]) -> str:
    for name in names:
        reason = reason.replace(name, "[id]")
    return reason


def _sweep(home: Home) -> None:
    """Remove what a kill left between a file and its place: such files may hold what is to be forgotten."""
    shutil.rmtree(home.tombstones / ".aside", ignore_errors=True)
    for folder in (home.tombstones, home.nights, home.logs):
        for left in folder.glob(".*.aside"):
            left.unlink()
    home.report.with_name(f".{home.report.name}.aside").unlink(missing_ok=True)


# --- what is to be forgotten ---


def resolve(home: Home, annotators: Sequence[str], judgments: Sequence[str], prompts: Sequence[str], reason: str) -> Forgotten:
    """All that goes with what is named: an annotator's judgments, a prompt's comparisons, and comparisons that nobody judged otherwise."""
    batches = [batch.path for batch in FeedbackLake(home.lake).batches()]
    said, pairs = _lake(batches)
    of_prompts = pairs.filter(pl.col("prompt_id").is_in(list(prompts)))["comparison_id"]
    named = pl.col("annotator_id").is_in(list(annotators)) | pl.col("judgment_id").is_in(list(judgments))
    gone_ids = (
        said.filter(named.fill_null(value=False) | pl.col("comparison_id").is_in(of_prompts.implode()))["judgment_id"].unique().sort()
    )
    gone = said.filter(pl.col("judgment_id").is_in(gone_ids.implode()))
    unjudged = gone.join(said.filter(~pl.col("judgment_id").is_in(gone_ids.implode())), on="comparison_id", how="anti")["comparison_id"]
    lost = pl.col("comparison_id").is_in(pl.concat([of_prompts, unjudged]).implode())
    left, lost_pairs = pairs.filter(~lost), pairs.filter(lost)
    known = left.select("prompt_id", "response_a", "response_b").unpivot(index="prompt_id").drop("variable").unique()
    lost_texts = (
        lost_pairs.select("prompt_id", "response_a", "response_b").unpivot(index="prompt_id").drop("variable").drop_nulls().unique()
    )
    texts = {row["prompt_id"]: row["prompt"] for row in lost_pairs.drop_nulls("prompt").iter_rows(named=True)}
    gone_prompts = sorted(({*lost_pairs["prompt_id"].drop_nulls()} - {*left["prompt_id"]}) | {*prompts})
    only_lost = lost_texts.join(known, on=["prompt_id", "value"], how="anti").sort("prompt_id", "value")
    return Forgotten(
        tombstone=uuid.uuid4().hex[:16],
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
        annotators=tuple(annotators),
        judgments=tuple(sorted({*gone_ids, *judgments})),
        comparisons=tuple(sorted({*lost_pairs["comparison_id"]})),
        prompts=tuple(gone_prompts),
        named_prompts=tuple(prompts),
        named_messages=tuple(tuple(texts[prompt]) for prompt in prompts if prompt in texts),
        messages=tuple(tuple(texts[prompt]) for prompt in gone_prompts if prompt in texts),
        responses=tuple((content_hash(texts[prompt]), text) for prompt, text in only_lost.iter_rows() if prompt in texts),
    )


def _lake(batches: Sequence[Path]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Who judged what, and every comparison with its texts, of all batches."""
    if not batches:
        said = pl.DataFrame(schema=dict.fromkeys(("judgment_id", "comparison_id", "annotator_id"), pl.String))
        message = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
        return said, pl.DataFrame(schema=dict.fromkeys(PAIR, pl.String) | {"prompt": message})
    judgments = pl.scan_parquet(files_of(batches, JUDGMENTS), hive_partitioning=False).select(
        "judgment_id", "comparison_id", "annotator_id"
    )
    return judgments.collect(), pl.scan_parquet(files_of(batches, COMPARISONS), hive_partitioning=False).select(PAIR).collect()


PAIR = ("comparison_id", "prompt_id", "prompt", "response_a", "response_b")


def _refuse_unknown(home: Home, annotators: Sequence[str], judgments: Sequence[str], prompts: Sequence[str]) -> None:
    """An `InputError` for a judgment or prompt that is not there; annotators may stand in raw rows only, so they may be unknown."""
    said, pairs = _lake([batch.path for batch in FeedbackLake(home.lake).batches()])
    stones, fingerprint = list(Tombstones(home.tombstones)), Tombstones(home.tombstones).fingerprint
    before = {mark for stone in stones for mark in (*stone.annotators, *stone.judgments)} | {p for stone in stones for p in stone.prompts}
    for what, names, known in (("judgment", judgments, {*said["judgment_id"]}), ("prompt", prompts, {*pairs["prompt_id"]})):
        there = [name for name in names if name in known or fingerprint(name) in before or name in before]
        if names and not there:
            raise InputError(f"the lake has no {what} {names[0]!r}", where=str(home.lake), remedy="look its id up in the audit database")
    if annotators and not judgments and not prompts and not {*annotators} & {*said["annotator_id"]}:
        known_before = any(fingerprint(name) in before for name in annotators)
        if not known_before and not _quarantined_of(home, annotators):
            remedy = (
                "look the id up in the audit database; where annotators stand under pseudonyms, give the key in its environment variable"
            )
            raise InputError(f"no judgment is by annotator {annotators[0]!r}", where=str(home.lake), remedy=remedy)


def _quarantined_of(home: Home, annotators: Sequence[str]) -> bool:
    nothing = Forgotten(tombstone="", at="", annotators=tuple(annotators))
    return any(blank_quarantine(nothing, pq.read_table(batch.file(QUARANTINED)))[1] for batch in FeedbackLake(home.lake).batches())


# --- carrying it out ---


def _journal(home: Home, what: Forgotten) -> Path:
    return home.tombstones / f".unfinished-{what.tombstone}.json"


def _carry_out(home: Home, what: Forgotten) -> Tombstone:
    """Erase everything; every step may be done twice."""
    stones = Tombstones(home.tombstones)
    raw = [raw for batch in FeedbackLake(home.lake).batches() for raw in blank_quarantine(what, pq.read_table(batch.file(QUARANTINED)))[1]]
    if raw:
        what = what.model_copy(update={"raw": tuple({*what.raw, *map(stones.fingerprint, raw)})})
        home.share.write(_journal(home, what), what.model_dump_json() + "\n")
    stones.write(_tombstone(stones, what))
    remove_segments(home.lake)
    for artifact, aliases in list(_every(home, what)):
        _redact(home, artifact, what, aliases)
    _erase_loose_files(home, what)
    done = _tombstone(stones, what).model_copy(update=_outcome(home, what))
    stones.write(done)
    rebuild_audit_database(home)
    home.share.sweep()
    home.share.remove(_journal(home, what))
    return done


def _tombstone(stones: Tombstones, what: Forgotten) -> Tombstone:
    messages = [list(prompt) for prompt in what.named_messages]
    contents = [message["content"] for prompt in messages for message in prompt if message["role"] == "user"]
    return Tombstone(
        id=what.tombstone,
        at=what.at,
        reason=what.reason,
        annotators=tuple(map(stones.fingerprint, what.annotators)),
        judgments=tuple(map(stones.fingerprint, what.judgments)),
        prompts=what.named_prompts,
        texts=tuple(sorted({*map(stones.fingerprint, [*messages, *contents]), *what.raw})),
    )


def _every(home: Home, what: Forgotten) -> Iterator[tuple[Artifact, dict[str, str]]]:
    """Every batch and artifact, with the ids that it or its inputs give to prompts that matter."""
    found = [*FeedbackLake(home.lake).batches(), *sorted(home.artifacts, key=lambda artifact: artifact.manifest.created_at)]
    own = {artifact.id: _own_aliases(artifact, what) for artifact in found}
    for artifact in found:
        aliases = dict(own[artifact.id])
        for ref in artifact.manifest.identity.inputs:
            aliases |= own.get(ref.id, {})
        yield artifact, aliases


def _own_aliases(artifact: Artifact, what: Forgotten) -> dict[str, str]:
    if artifact.kind != "corpus" or not artifact.has("prompts.parquet"):
        return {}
    return aliases_of(what, pq.read_table(artifact.file("prompts.parquet")))


Erased = tuple[Callable[[Path], None], int]
"""Writes a file anew, and the number of rows that it no longer has."""


def _changes(artifact: Artifact, what: Forgotten, aliases: dict[str, str]) -> dict[str, Erased]:
    """The files of an artifact that hold something to be forgotten."""
    readable = [entry.path for entry in artifact.manifest.present_files if Path(entry.path).suffix in READABLE]
    found = {path: _erased(artifact.file(path), what, aliases) for path in readable}
    return {path: erased for path, erased in found.items() if erased is not None}


def _erased(path: Path, what: Forgotten, aliases: dict[str, str]) -> Erased | None:
    """One file without what is to be forgotten, or None where it holds nothing of it."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        if path.name == QUARANTINED:
            table, raw = blank_quarantine(what, table)
            count = len(raw)
        else:
            table, count = erase_table(what, table, aliases)
        return (lambda target: write_table(table, target), count) if count else None
    text, count = (erase_lines if path.suffix == ".jsonl" else erase_report)(what, path.read_text())
    return (lambda target: _write(target, text), count) if count else None


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _redact(home: Home, artifact: Artifact, what: Forgotten, aliases: dict[str, str]) -> None:
    """Redact one artifact: new files aside, then the manifest, then file after file; what a kill left undone is done again."""
    changes = _changes(artifact, what, aliases)
    if not changes:
        return
    aside = home.tombstones / ".aside"
    shutil.rmtree(aside, ignore_errors=True)
    entries = {entry.path: entry for entry in artifact.manifest.present_files}
    for name, (write, _) in changes.items():
        path = aside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        path.chmod(0o444)
        flush(path)
        entries[name] = FileEntry(path=name, size=path.stat().st_size, sha256=file_hash(path))
    rows = {name: count for name, (_, count) in changes.items()}
    home.share.redact(artifact.directory, aside, _noted(artifact, what.tombstone, tuple(entries.values()), rows))
    shutil.rmtree(aside, ignore_errors=True)


def _noted(artifact: Artifact, tombstone: str, files: tuple[FileEntry, ...], rows: dict[str, int]) -> Manifest:
    """The manifest that tells what the files are from now on; told once, it stays, since only then the rows can be counted."""
    manifest = artifact.manifest
    if any(redaction.tombstone == tombstone for redaction in manifest.redactions):
        return manifest
    return manifest.model_copy(update={"redactions": (*manifest.redactions, Redaction(tombstone=tombstone, files=files, rows=rows))})


def _erase_loose_files(home: Home, what: Forgotten) -> None:
    """What is no artifact: the last report, logs and the nights' records; checkpoints and unfinished artifacts go as a whole."""
    for staging in (home.artifacts.root / ".staging", home.lake / ".staging"):
        sweep(staging)
    for work in home.work.glob("*"):
        if work.is_dir():
            shutil.rmtree(work)
    for path in [home.report, *home.logs.glob("*")]:
        if text := _erased_text(path, what):
            write_whole(path, text)
    for path in home.nights.glob("*.json"):
        if text := _erased_text(path, what):
            home.share.write(path, text)


def _erased_text(path: Path, what: Forgotten) -> str | None:
    """A loose file without what is to be forgotten, or None where it holds nothing of it."""
    if not path.is_file():
        return None
    text, count = (erase_report if path.suffix == ".html" else erase_text)(what, path.read_text(errors="replace"))
    return text if count else None


# --- what came of it ---


def _outcome(home: Home, what: Forgotten) -> dict[str, object]:
    """What the tombstone tells in the end, read from the manifests, so that it is the same after a kill."""
    artifacts = [*FeedbackLake(home.lake).batches(), *home.artifacts]
    rows: dict[str, int] = {}
    redacted = {artifact.id: artifact for artifact in artifacts if _redaction(artifact, what) is not None}
    for artifact in redacted.values():
        for name, count in getattr(_redaction(artifact, what), "rows", {}).items():
            rows[Path(name).name] = rows.get(Path(name).name, 0) + count
    return {
        "completed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": rows,
        "redacted": tuple(Named(kind=artifact.kind, id=artifact.id) for artifact in redacted.values()),
        "trained": tuple(_trained(home, artifacts, what)),
    }


def _redaction(artifact: Artifact, what: Forgotten) -> Redaction | None:
    return next((one for one in artifact.manifest.redactions if one.tombstone == what.tombstone), None)


def _before(artifact: Artifact, what: Forgotten) -> set[str]:
    """The digests under which an artifact still held what was forgotten; none where it held nothing to learn from."""
    redaction = _redaction(artifact, what)
    if redaction is None or all(Path(name).name in PEOPLE_ONLY for name in redaction.rows):
        return set()
    digests = [artifact.digest, *(one.digest for one in artifact.manifest.redactions)]
    return set(digests[: digests.index(redaction.digest)])


def _trained(home: Home, artifacts: Sequence[Artifact], what: Forgotten) -> Iterator[Named]:
    """The models whose lineage leads back to something that was erased, with the aliases that point or pointed at them."""
    known = {artifact.id: artifact for artifact in artifacts}
    before = {artifact.id: _before(artifact, what) for artifact in artifacts}
    tainted: dict[str, bool] = {}

    def learned(artifact: Artifact) -> bool:
        if artifact.id not in tainted:
            refs = artifact.manifest.identity.inputs
            tainted[artifact.id] = any(
                ref.digest in before.get(ref.id, set()) or (ref.id in known and learned(known[ref.id])) for ref in refs
            )
        return tainted[artifact.id]

    for artifact in artifacts:
        if artifact.kind in MODELS and learned(artifact):
            yield Named(kind=artifact.kind, id=artifact.id, aliases=tuple(_aliases(home, artifact.id)))


def _aliases(home: Home, policy_id: str) -> Iterator[str]:
    for line, registry in lines(home.registry):
        for alias in ALIASES:
            if any(entry.policy_id == policy_id for entry in registry.history(alias)):
                current = registry.current(alias)
                yield f"{line}/{alias} (now)" if current is not None and current.policy_id == policy_id else f"{line}/{alias}"
