"""The feedback lake: append-only batches of comparisons, judgments and quarantined rows, one per ingest that met something new.

    <root>/batches/ingest_date=YYYY-MM-DD/<first 16 digits of the digest>/
        comparisons.parquet  judgments.parquet  quarantine.parquet  findings.parquet  expectations.parquet  checkpoint.json
        delivery.json  manifest.json

    <root>/compacted/   small batches put together, see `data_contracts.compaction`

A batch is published like any artifact and never changed. When it landed (`created_at` in its manifest) is no column of its
rows, so the same delivery makes the same bytes on any day.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.artifact_store import SHORT, Artifact, Headline, Made, open_artifact, publish
from data_contracts.compaction import Segment, compact, segments_of
from data_contracts.errors import IntegrityError, examples
from data_contracts.manifest import MANIFEST_NAME, Identity
from data_contracts.sharing.share import OvertakenError, share_of

BATCH = "feedback_batch"
SERIES = "lake"
"""Name of the batches' series of numbers on a shared store."""
SNAPSHOT_FILE = "snapshot.json"
COMPARISONS, JUDGMENTS, QUARANTINED = "comparisons.parquet", "judgments.parquet", "quarantine.parquet"
FINDINGS, DELIVERY = "findings.parquet", "delivery.json"
BATCH_FILES = (COMPARISONS, JUDGMENTS, QUARANTINED, FINDINGS)
"""The files of records of a batch, in the order of `data_contracts.contracts.BATCH_KINDS`."""


class Pinned(NamedTuple):
    """What is read of the lake: give it to the views as `current_judgments(*pinned)`."""

    batches: list[Path]
    """Directories of the batches, in the snapshot's order."""
    sources: tuple[str, ...] | None = None
    """Names of the sources whose judgments count; None for all."""
    segments: tuple[Segment, ...] = ()
    """Where some of the batches stand together, so that they need not be read one by one."""


class FeedbackLake:
    """The batches below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def batches(self) -> list[Artifact]:
        """Every batch, by the time of its ingest and then by digest."""
        manifests = self.root.glob(f"batches/ingest_date=*/*/{MANIFEST_NAME}")
        return sorted((open_artifact(path.parent) for path in manifests), key=lambda batch: (ingest_time(batch), batch.digest))

    def accepted(self, as_of: datetime | None = None) -> list[Artifact]:
        """The batches that brought rows, in the order of `batches`; a delivery without new rows is on record and not among them.

        Args:
            as_of: leave out what was ingested after this moment; by default nothing is left out.
        """
        brought = [batch for batch in self.batches() if batch.manifest.headline["rows_accepted"]]
        return [batch for batch in brought if as_of is None or ingest_time(batch) <= as_of]

    def find(self, identity_id: str) -> Artifact | None:
        """The batch that was made from exactly this delivery, or None."""
        return next((batch for batch in self.batches() if batch.id == identity_id), None)

    def land(self, identity: Identity, build: Callable[[Path], Headline]) -> Made:
        """The batch of a delivery: the one that landed before, or a new one that `build` writes.

        The identity is kept in the batch, so two deliveries never share a digest, not even two that brought nothing. What is
        new in a delivery depends on what the lake holds, so one lands at a time; reading needs no turn. On a shared store the
        batch also takes a number, and one that was overtaken by another machine's is built anew.
        """
        share = share_of(self.root)
        with share.turn(self.root / ".lock"):
            while True:
                share.refresh()
                number = share.next_number(SERIES)
                if (found := self.find(identity.id)) is not None:
                    return Made(found, reused=True)
                with suppress(OvertakenError):
                    batch = self._publish(identity, build, number)
                    compact(self.root, self.accepted(), (COMPARISONS, JUDGMENTS))
                    return Made(batch, reused=False)

    def _publish(self, identity: Identity, build: Callable[[Path], Headline], number: int | None) -> Artifact:
        return publish(
            identity,
            build,
            staging=self.root / ".staging",
            place=lambda m: self.root / "batches" / f"ingest_date={m.created_at[:10]}" / m.digest[:SHORT],
            series=SERIES,
            number=number,
        )

    def readable(self, batches: Sequence[Artifact], sources: Collection[str] | None = None) -> Pinned:
        """Some of the lake's batches, in this order, as the views read them; with the sources that count, by default all."""
        return Pinned(
            [batch.path for batch in batches],
            None if sources is None else tuple(sources),
            tuple(segments_of(self.root, batches)),
        )

    def pinned(self, snapshot: Artifact) -> Pinned:
        """The batches of a snapshot, in its order, and the sources that count in it.

        Raises:
            IntegrityError: a batch of the snapshot is not in the lake.
        """
        content = json.loads(snapshot.file(SNAPSHOT_FILE).read_text())
        digests: list[str] = content["batches"]
        places = {digest: batch for batch in self.batches() for digest in digests_of(batch)}
        if missing := [digest[:SHORT] for digest in digests if digest not in places]:
            raise IntegrityError(
                f"the lake lacks batches of snapshot {snapshot.short_id}: {examples(missing)}",
                where=str(self.root),
                remedy="bring the batches' directories back, or make a new snapshot",
            )
        return self.readable([places[digest] for digest in digests], content["sources"])


def mended_rows(batch: Artifact) -> list[str]:
    """Fingerprints of the refused rows, as they had been read, that a batch brings mended."""
    fingerprints: list[str] = json.loads(batch.file(DELIVERY).read_text()).get("mended", [])
    return fingerprints


def files_read(batch: Artifact) -> list[dict[str, Any]]:
    """The files that a batch was read from, each with its source and its counts of rows."""
    files: list[dict[str, Any]] = json.loads(batch.file(DELIVERY).read_text())["files"]
    return files


def digests_of(batch: Artifact) -> list[str]:
    """Every digest that a snapshot may know a batch by: as published, and as redacted since."""
    return [batch.digest, *(redaction.digest for redaction in batch.manifest.redactions)]


def ingest_time(batch: Artifact) -> datetime:
    """When a batch landed, in UTC, to the millisecond."""
    return datetime.fromisoformat(batch.manifest.created_at)


def files_of(batches: Iterable[Path], name: str) -> list[str]:
    """The same file of several batches, as text for readers that take lists of paths."""
    return [str(path / name) for path in batches]
