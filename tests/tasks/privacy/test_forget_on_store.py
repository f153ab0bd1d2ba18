"""Forgetting where two machines share a store: nothing is left in it, nor in the mirror of either, and either may complete it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts import compaction
from data_contracts.artifact_store import verify
from data_contracts.errors import StorageError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.sharing.bucket import Bucket
from data_contracts.sharing.share import join
from data_contracts.tombstones import Tombstones
from tasks.privacy.forget import forget
from tests.tasks.privacy.test_forget import KIM, ROWS, counts, deliver, everything, night

pytestmark = pytest.mark.slow

SAID = (KIM, "marker-own-prompt", "marker-own-answer", "marker-broken-row")


def two_homes(folder: Path, store: str) -> tuple[Home, Home]:
    """Home of a machine that has run a night, and of one that has fetched all of it."""
    cpu, gpu = Home(folder / "cpu/home"), Home(folder / "gpu/home")
    for home in (cpu, gpu):
        join(home.root, store)
    deliver(cpu, ROWS)
    night(cpu)
    cpu.share.write(cpu.nights / "n.json", (cpu.nights / "n.json").read_text())
    gpu.refresh()
    for artifact in [*gpu.artifacts, *FeedbackLake(gpu.lake).batches()]:
        assert artifact.path.exists()
    return cpu, gpu


def in_store(store: str, folder: Path) -> str:
    """All that stands in a store, as one text."""
    bucket = Bucket(store)
    for key in bucket.list(""):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket.download(key, path)
    return everything(Home(folder))


def found(text: str) -> list[str]:
    return [said for said in SAID if said in text]


def test_nothing_is_left_in_the_store_nor_in_any_mirror(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "BATCHES_PER_SEGMENT", 1)
    cpu, gpu = two_homes(tmp_path, store)
    assert [len(list(home.lake.glob("compacted/*"))) for home in (cpu, gpu)] == [1, 0], "segments are each machine's own"
    assert not [key for key in Bucket(store).list("") if "compacted" in key]
    assert [len(found(text)) for text in (in_store(store, tmp_path / "before"), everything(gpu))] == [4, 4]
    (stone,) = forget(gpu, annotators=[KIM], reason="asked")
    assert stone.completed_at
    assert found(in_store(store, tmp_path / "after")) == found(everything(gpu)) == []
    assert len(found(everything(cpu))) == 4, "a machine hears of it with its next command"
    cpu.refresh()
    assert found(everything(cpu)) == []
    assert [stone.id for stone in Tombstones(cpu.tombstones)] == [stone.id]
    for home in (cpu, gpu):
        assert [problem for artifact in [*home.artifacts, *FeedbackLake(home.lake).batches()] for problem in verify(artifact)] == []
    assert counts(deliver(cpu, [*ROWS, ROWS[3] | {"judgment_id": "lee/2"}])) == (1, 1, 4)


KILLED = """
import os, signal, sys
from pathlib import Path
from data_contracts.home import Home
from data_contracts.sharing.bucket import Bucket
from tasks.privacy.forget import forget

left = int(sys.argv[2])

def or_die(real):
    def call(*arguments):
        global left
        left -= not arguments[1].startswith("locks")
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call

for name in ("write", "create", "replace", "delete"):
    setattr(Bucket, name, or_die(getattr(Bucket, name)))
upload = or_die(lambda self, key, path: real_upload(self, path, key))
real_upload = Bucket.upload
Bucket.upload = lambda self, path, key: upload(self, key, path)
forget(Home(Path(sys.argv[1])), annotators=[sys.argv[3]], reason="asked")
"""


@pytest.mark.parametrize("step", [2, 8, 21])
def test_killed_at_any_write_another_machine_completes_it(store: str, tmp_path: Path, step: int) -> None:
    cpu, gpu = two_homes(tmp_path, store)
    run = subprocess.run([sys.executable, "-c", KILLED, str(cpu.root), str(step), KIM], env=os.environ, check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL
    with pytest.raises(StorageError, match="if it was killed, its lock is free 90 s after"):
        forget(gpu, annotators=[KIM])
    Bucket(store).delete(Bucket(store).list("locks"))  # as if it had been silent for so long
    forget(gpu, annotators=[KIM], reason="asked")
    cpu.refresh()
    assert found(in_store(store, tmp_path / "after")) == found(everything(gpu)) == found(everything(cpu)) == []
    for home in (cpu, gpu):
        (stone,) = Tombstones(home.tombstones)
        assert (stone.completed_at is not None, len(stone.trained)) == (True, 2)
        assert not list(home.tombstones.glob(".unfinished*"))
        assert [problem for artifact in [*home.artifacts, *FeedbackLake(home.lake).batches()] for problem in verify(artifact)] == []
