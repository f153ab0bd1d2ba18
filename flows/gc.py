"""`overnight gc`: shows what nothing needs any more, and removes it when told to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Column, Table

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.home import Home
from flows.console import new_console
from flows.night import NightRecord
from tasks.retention.collect import MEGABYTE, Candidate, LeftOver, RetentionConfig, candidates, collect, left_over


def collect_and_tell(root: Path, config: RetentionConfig, *, delete: bool) -> None:
    """Print what would go, by kind, and let it go if it is to be deleted."""
    home, console, now = Home(root), new_console(), datetime.now(UTC)
    with home.alone():
        home.refresh()
        found, left = candidates(home, config, nights(home), now), left_over(home, config, now)
        console.print(f"{len(found)} artifacts that nothing needs any more", *([_table(found)] if found else []))
        console.print(f"{len(left)} logs and folders of checkpoints older than {config.keep_days:g} days, {_megabytes(left)}")
        if not delete:
            console.print("nothing was removed: give --delete to remove these files; manifests stay, and so does the feedback lake")
            return
        collect(home, found, config, now)
        rebuild_audit_database(home)
    console.print(
        f"{len(found)} artifacts collected, {_megabytes(found)}; {len(left)} logs and folders of checkpoints removed, {_megabytes(left)}"
    )


def nights(home: Home) -> Iterator[tuple[str, list[str]]]:
    """Recipe and artifacts of every night on record, oldest first."""
    for path in sorted(home.nights.glob("*.json")):
        record = NightRecord.model_validate_json(path.read_text())
        yield record.recipe, [result.artifact_id for result in record.stages]


def _megabytes(found: Iterable[Candidate | LeftOver]) -> str:
    return f"{sum(one.bytes for one in found) / MEGABYTE:.1f} MB"


def _table(found: list[Candidate]) -> Table:
    by_kind: dict[str, list[int]] = defaultdict(list)
    for one in found:
        by_kind[one.artifact.kind].append(one.bytes)
    columns = [Column(name, justify="right") for name in ("artifacts", "MB")]
    table = Table("kind", *columns)
    for kind, sizes in sorted(by_kind.items(), key=lambda item: -sum(item[1])):
        table.add_row(kind, str(len(sizes)), f"{sum(sizes) / MEGABYTE:.1f}")
    return table
