"""Two homes that share nothing but a store: what one publishes, changes, redacts or removes is what the other finds."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.artifact_store import ArtifactStore, verify
from data_contracts.errors import InputError, IntegrityError, RecipeError, StorageError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import FileEntry, Identity, Redaction, file_hash
from data_contracts.registry import AliasEntry, Registry
from data_contracts.sharing.bucket import Bucket
from data_contracts.sharing.share import OneMachine, join, share_of
from data_contracts.tombstones import Tombstone, Tombstones


@pytest.fixture
def homes(store: str, tmp_path: Path) -> tuple[Home, Home]:
    """A CPU worker's home and a GPU worker's."""
    for name in ("cpu", "gpu"):
        join(tmp_path / name, store)
    return Home(tmp_path / "cpu"), Home(tmp_path / "gpu")


def identity(**config: object) -> Identity:
    return Identity(kind="thing", code_version="1", config=config)


def write_two(directory: Path, text: str = "hello") -> dict[str, int]:
    (directory / "sub").mkdir()
    (directory / "sub" / "hello.txt").write_text(text)
    (directory / "weights").write_bytes(bytes(1000))
    return {"words": 1}


def test_a_second_home_finds_what_the_first_made_and_fetches_file_by_file(homes: tuple[Home, Home]) -> None:
    cpu, gpu = homes
    made = cpu.artifacts.make(identity(a=1), write_two).artifact
    found = gpu.artifacts.make(identity(a=1), lambda _: pytest.fail("built twice"))
    assert found.reused
    assert found.artifact.manifest == made.manifest
    assert [path.name for path in found.artifact.directory.iterdir()] == ["manifest.json"]
    assert found.artifact.file("sub/hello.txt").read_text() == "hello"
    assert not (found.artifact.directory / "weights").exists()
    assert (found.artifact.path / "weights").read_bytes() == bytes(1000)
    assert not (found.artifact.path / "weights").stat().st_mode & 0o222
    assert gpu.artifacts.open(made.id[:8]).digest == made.digest
    assert verify(made) == verify(found.artifact) == []


def test_opening_by_the_first_digits_looks_in_the_store(homes: tuple[Home, Home]) -> None:
    cpu, gpu = homes
    made = cpu.artifacts.make(identity(a=1), write_two).artifact
    assert gpu.artifacts.open(made.id[:8]).id == made.id
    assert [artifact.id for artifact in gpu.artifacts] == [made.id]


def test_files_lie_in_the_store_by_their_content(homes: tuple[Home, Home], store: str) -> None:
    made = homes[0].artifacts.make(identity(a=1), write_two).artifact
    keys = set(Bucket(store).list("files")) | set(Bucket(store).list("documents"))
    folder = f"artifacts/thing/{made.short_id}"
    files = {f"files/{folder}/{entry.sha256[:16]}/{entry.path}" for entry in made.manifest.files}
    assert keys == files | {f"documents/{folder}/manifest.json"}


PUBLISH = """
import os, signal, sys
from pathlib import Path
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.sharing.bucket import Bucket

def write(directory):
    for name in ("one", "two", "three"):
        (directory / name).write_text(name)
    return {}

upload, create, left = Bucket.upload, Bucket.create, [int(sys.argv[2])]
def counted(real):
    def call(*arguments):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*arguments)
    return call
Bucket.upload, Bucket.create = counted(upload), counted(create)
Home(Path(sys.argv[1])).artifacts.make(Identity(kind="thing", code_version="1", config={"a": 1}), write)
"""


@pytest.mark.slow
def test_a_kill_at_any_write_leaves_nothing_that_counts_and_the_next_publication_completes_it(homes: tuple[Home, Home], store: str) -> None:
    cpu, gpu = homes
    for writes, files in ((1, 1), (2, 3)):  # before the second file; before the manifest, without the first file again
        run = subprocess.run([sys.executable, "-c", PUBLISH, str(cpu.root), str(writes)], check=False, timeout=60)
        assert run.returncode == -signal.SIGKILL
        assert len(Bucket(store).list("files")) == files
        gpu.refresh()
        assert list(gpu.artifacts) == []
        assert gpu.artifacts.find("thing", identity(a=1).id) is None
    subprocess.run([sys.executable, "-c", PUBLISH, str(cpu.root), "9"], check=True, timeout=60)
    (artifact,) = (gpu.refresh(), *gpu.artifacts)[1:]
    assert {path.name for path in artifact.path.iterdir()} == {"one", "two", "three", "manifest.json"}
    assert len(Bucket(store).list("files")) == 3


def test_two_that_publish_the_same_end_with_the_first_one_everywhere(homes: tuple[Home, Home]) -> None:
    """As two machines that train the same: the files differ in their last bits, and one artifact has to stand."""
    cpu, gpu = homes

    def slow(directory: Path) -> dict[str, int]:
        gpu.artifacts.make(identity(a=1), lambda other: write_two(other, "first"))
        return write_two(directory, "second")

    made = cpu.artifacts.make(identity(a=1), slow).artifact
    for home in homes:
        (artifact,) = home.artifacts
        assert artifact.digest == made.digest
        assert artifact.file("sub/hello.txt").read_text() == "first"
        assert verify(artifact) == []


def test_a_damaged_object_is_noticed_by_its_hash_and_a_missing_one_by_verify(homes: tuple[Home, Home], store: str) -> None:
    cpu, gpu = homes
    made = cpu.artifacts.make(identity(a=1), write_two).artifact
    bucket = Bucket(store)
    key = next(key for key in bucket.list("files") if key.endswith("hello.txt"))
    bucket.write(key, b"hallo")
    with pytest.raises(IntegrityError, match="differs from what was published"):
        gpu.artifacts.open(made.id).file("sub/hello.txt")
    assert list(gpu.root.glob(".mirror/[0-9]*")) == []
    bucket.delete([key])
    assert verify(gpu.artifacts.open(made.id)) == ["sub/hello.txt is missing"]


def test_a_redaction_reaches_the_store_and_every_mirror(homes: tuple[Home, Home], store: str, tmp_path: Path) -> None:
    cpu, gpu = homes
    made = cpu.artifacts.make(identity(a=1), write_two).artifact
    there = gpu.artifacts.open(made.id)
    assert there.file("sub/hello.txt").read_text() == "hello"
    aside = tmp_path / "aside"
    (aside / "sub").mkdir(parents=True)
    (aside / "sub" / "hello.txt").write_text("-")
    redacted = FileEntry(path="sub/hello.txt", size=1, sha256=file_hash(aside / "sub" / "hello.txt"))
    files = tuple(redacted if entry.path == redacted.path else entry for entry in made.manifest.files)
    manifest = made.manifest.model_copy(update={"redactions": (Redaction(tombstone="t", files=files, rows={}),)})
    cpu.share.redact(made.directory, aside, manifest)
    cpu.share.sweep()
    assert made.file("sub/hello.txt").read_text() == "-"
    assert sorted(Bucket(store).read(Bucket(store).list("files")).values()) == sorted([b"-", bytes(1000)])
    gpu.refresh()
    assert not (there.directory / "sub" / "hello.txt").exists()
    there = gpu.artifacts.open(made.id)
    assert there.file("sub/hello.txt").read_text() == "-"
    assert verify(there) == verify(cpu.artifacts.open(made.id)) == []


def test_what_leaves_the_store_leaves_the_mirrors(homes: tuple[Home, Home], store: str) -> None:
    cpu, gpu = homes
    made = cpu.artifacts.make(identity(a=1), write_two).artifact
    assert gpu.artifacts.open(made.id).path.exists()
    Bucket(store).delete([f"documents/artifacts/thing/{made.short_id}/manifest.json"])
    gpu.refresh()
    assert list(gpu.artifacts) == []
    assert not gpu.artifacts.make(identity(a=1), write_two).reused


def test_a_mirror_that_lost_its_files_gets_them_again(homes: tuple[Home, Home]) -> None:
    cpu, _ = homes
    made = cpu.artifacts.make(identity(a=1), write_two).artifact
    shutil.rmtree(cpu.root / "artifacts")
    cpu.refresh()
    assert (cpu.artifacts.open(made.id).path / "weights").exists()


MOVES = """
import sys
from pathlib import Path
from data_contracts.registry import AliasEntry, Registry
for i in range(10):
    entry = AliasEntry(version_id=f"{sys.argv[2]}-{i}", policy_id="p", policy_digest="d", reason="test")
    Registry(Path(sys.argv[1])).move("candidate", entry)
"""


@pytest.mark.slow
def test_moves_of_an_alias_from_two_machines_are_all_kept(homes: tuple[Home, Home]) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", MOVES, str(home.registry / "line"), home.root.name]) for home in homes]
    assert [run.wait(60) for run in runs] == [0, 0]
    for home in homes:
        home.refresh()
        moves = [entry.version_id for entry in Registry(home.registry / "line").history("candidate")]
        assert sorted(moves) == sorted(f"{name}-{i}" for name in ("cpu", "gpu") for i in range(10))
        assert [move for move in moves if move.startswith("cpu")] == [f"cpu-{i}" for i in range(10)]


def test_a_promotion_that_comes_second_decides_by_what_the_first_left(homes: tuple[Home, Home]) -> None:
    cpu, gpu = (Registry(home.registry / "line") for home in homes)
    a, b, c = (AliasEntry(version_id=name, policy_id=f"p{name}", policy_digest=f"d{name}", reason="test") for name in "abc")
    cpu.promote(a, instead_of=None)
    with pytest.raises(InputError, match="the champion has changed"):  # this mirror knows of no champion yet
        gpu.promote(c, instead_of=None)
    gpu.promote(b, instead_of="da")
    gpu.promote(a, instead_of=None)  # was champion before: stays replaced
    homes[0].refresh()
    assert [entry.version_id for entry in cpu.history("champion")] == ["a", "b"]
    assert [entry.version_id for entry in cpu.history("previous")] == ["a"]


LAND = """
import sys, time
from pathlib import Path
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.sharing import mirror
from contextlib import nullcontext

if sys.argv[3] == "no lock":
    mirror.Lease.held = lambda *_, **__: nullcontext()
    mirror.Mirror._check = lambda _: None
lake = FeedbackLake(Home(Path(sys.argv[1])).lake)

def build(directory):
    known = sorted(batch.file("words.txt").read_text() for batch in lake.batches())
    print("building", flush=True)
    while not Path(sys.argv[4]).exists():
        time.sleep(0.05)
    (directory / "words.txt").write_text("new" if not known else "known")
    (directory / "who.txt").write_text(sys.argv[2])
    return {"rows_accepted": 1}

lake.land(Identity(kind="feedback_batch", code_version="1", config={"delivery": sys.argv[2]}), build)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lock", ["lock", "no lock"])
def test_two_that_land_at_once_see_each_other_even_where_the_lock_fails(homes: tuple[Home, Home], tmp_path: Path, lock: str) -> None:
    """What counts as new depends on the lake, so exactly one of two equal deliveries may call its row new."""
    go = tmp_path / "go"
    commands = [[sys.executable, "-c", LAND, str(home.root), home.root.name, lock, str(go)] for home in homes]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    if lock == "no lock":  # both have looked at the empty lake before either lands
        assert [run.stdout.readline() for run in runs if run.stdout] == ["building\n", "building\n"]
    go.touch()
    built = sum(run.communicate(timeout=60)[0].count("building") for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert built == (2 if lock == "lock" else 1), "without the lock the loser builds anew"
    for home in homes:
        home.refresh()
        batches = FeedbackLake(home.lake).batches()
        assert sorted(batch.file("words.txt").read_text() for batch in batches) == ["known", "new"]


def test_the_salt_of_tombstones_is_made_once_for_all(homes: tuple[Home, Home]) -> None:
    cpu, gpu = (Tombstones(home.tombstones) for home in homes)
    assert cpu.fingerprint("x") == gpu.fingerprint("x")
    cpu.write(Tombstone(id="t", at="2026-01-01", annotators=(cpu.fingerprint("x"),)))
    homes[1].refresh()
    assert gpu.blocked().holds(gpu.blocked().annotators, "x")


def test_what_only_this_machine_has_goes_when_something_was_forgotten_elsewhere(homes: tuple[Home, Home]) -> None:
    cpu, gpu = homes
    for path in (gpu.report, gpu.audit_database, gpu.work / "x" / "step-1", gpu.logs / "x.log"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("said by somebody")
    gpu.refresh()
    assert gpu.report.exists()
    Tombstones(cpu.tombstones).write(Tombstone(id="t", at="2026-01-01"))
    gpu.refresh()
    assert not [path for path in (gpu.report, gpu.audit_database, gpu.work, gpu.logs) if path.exists()]


def test_nights_of_all_machines_are_seen(homes: tuple[Home, Home]) -> None:
    for home in homes:
        home.share.write(home.nights / f"{home.root.name}.json", json.dumps({"night": home.root.name}))
    for home in homes:
        home.refresh()
        assert sorted(path.stem for path in home.nights.glob("*.json")) == ["cpu", "gpu"]
    homes[0].share.remove(homes[0].nights / "gpu.json")
    homes[1].refresh()
    assert [path.stem for path in homes[1].nights.glob("*.json")] == ["cpu"]


def test_nights_keep_one_who_forgets_out_on_another_machine_and_the_other_way_round(homes: tuple[Home, Home]) -> None:
    cpu, gpu = homes
    with cpu.at_work(), gpu.at_work(), pytest.raises(StorageError, match="at work"), gpu.share.turn(gpu.lock, wait=False):
        pass
    with cpu.at_work(), pytest.raises(StorageError, match="at work on this store"), gpu.share.turn(gpu.lock, wait=False):
        pass
    with (
        cpu.share.turn(cpu.lock),
        pytest.raises(StorageError, match="at work on this store"),
        gpu.share.turn(gpu.lock, shared=True, wait=False),
    ):
        pass


def test_a_home_has_one_store_for_good(store: str, tmp_path: Path) -> None:
    join(tmp_path / "home", f"{store}/")
    join(tmp_path / "home", store)
    with pytest.raises(RecipeError, match=f"shares {store} already"):
        join(tmp_path / "home", f"{store}-2")
    ArtifactStore(tmp_path / "local" / "artifacts").make(identity(), write_two)
    with pytest.raises(RecipeError, match="keeps its artifacts itself"):
        join(tmp_path / "local", store)
    assert isinstance(share_of(tmp_path / "local" / "artifacts"), OneMachine)
