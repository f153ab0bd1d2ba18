"""Compaction: the records of many small batches in one file per record kind, so that years of nights are read as fast as a few.

    <lake root>/compacted/<first 16 digits of the id>/judgments.parquet  comparisons.parquet  manifest.json

A segment repeats what its batches hold, with each batch's name beside its rows. It is no source of truth: the zone may be removed
at any time, and a segment counts only while its batches hold what they held when it was made. The batches are never touched. Where
machines share a store, each that lands batches has segments of its own.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_contracts.artifact_store import SHORT, Artifact, Headline, open_artifact, publish
from data_contracts.code_version import code_version
from data_contracts.manifest import MANIFEST_NAME, Identity
from data_contracts.scratch import scratch_database
from data_contracts.sharing.share import OneMachine
from data_contracts.sql_text import quoted

SEGMENT, ZONE = "compacted_batches", "compacted"
BATCHES_PER_SEGMENT = 32
SMALL = 16 * 2**20
"""Most bytes of a batch that is compacted: a larger one is read as fast where it lies."""
COPY = """
copy (
    select parse_filename(parse_dirpath(filename)) as batch_name, * exclude (filename)
    from read_parquet($files, filename = true, hive_partitioning = false)
) to {target} (format parquet, compression zstd)
"""


class Segment(NamedTuple):
    """A segment that may be read in place of its batches."""

    path: Path
    batches: frozenset[str]
    """The batches' names."""


def segments_of(root: Path, batches: Sequence[Artifact]) -> list[Segment]:
    """The segments that may be read in place of some of these batches; no batch stands in two of them.

    A segment may hold other batches besides.
    """
    digests = {batch.directory.name: batch.manifest.present_digest for batch in batches}
    found: list[Segment] = []
    for segment in _every_segment(root):
        held = {ref.role: ref.digest for ref in segment.manifest.identity.inputs}
        known = held.keys() & digests.keys()
        if known and not held.keys() & covered_by(found) and all(digests[name] == held[name] for name in known):
            found.append(Segment(segment.path, frozenset(held)))
    return found


def covered_by(segments: Sequence[Segment]) -> frozenset[str]:
    """Names of the batches that stand in segments."""
    return frozenset[str]().union(*(segment.batches for segment in segments))


def compact(root: Path, batches: Sequence[Artifact], files: Sequence[str]) -> None:
    """Put the small batches that stand in no segment together, as far as they fill one, and remove segments that no longer count.

    Args:
        root: the lake's root; one process at a time may compact it.
        batches: all batches of the lake that brought rows, in order.
        files: the files of records that are put together.
    """
    counting = segments_of(root, batches)
    for segment in _every_segment(root):
        if segment.path not in {one.path for one in counting}:
            shutil.rmtree(segment.path)
    covered = covered_by(counting)
    small = [batch for batch in batches if _size(batch) <= SMALL and batch.directory.name not in covered]
    for start in range(0, len(small) - BATCHES_PER_SEGMENT + 1, BATCHES_PER_SEGMENT):
        _write_segment(root, small[start : start + BATCHES_PER_SEGMENT], files)


def remove_segments(root: Path) -> None:
    """Remove the whole zone: what stands in it is about to be erased from the batches."""
    shutil.rmtree(root / ZONE, ignore_errors=True)


def _size(batch: Artifact) -> int:
    return sum(entry.size for entry in batch.manifest.present_files)


def _every_segment(root: Path) -> list[Artifact]:
    return [open_artifact(path.parent) for path in sorted(root.glob(f"{ZONE}/*/{MANIFEST_NAME}"))]


def _write_segment(root: Path, batches: Sequence[Artifact], files: Sequence[str]) -> None:
    identity = Identity(
        kind=SEGMENT,
        code_version=code_version("data_contracts.compaction"),
        inputs=tuple(batch.manifest.as_input(batch.directory.name) for batch in batches),
    )

    def build(directory: Path) -> Headline:
        with scratch_database(directory) as connection:
            for file in files:
                connection.execute(COPY.format(target=quoted(directory / file)), {"files": [str(batch.path / file) for batch in batches]})
        return {"batches": len(batches)}

    place = root / ZONE / identity.id[:SHORT]
    publish(identity, build, staging=root / ".staging", place=lambda _: place, share=OneMachine())
