"""The store's promises: named by content, published whole or not at all, never edited unnoticed."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.artifact_store import ArtifactStore, verify
from data_contracts.errors import InputError, IntegrityError, StorageError
from data_contracts.manifest import Identity, InputRef


def identity(**config: object) -> Identity:
    return Identity(kind="thing", code_version="1", config=config)


def write_hello(directory: Path) -> dict[str, int]:
    (directory / "sub").mkdir()
    (directory / "sub" / "hello.txt").write_text("hello")
    return {"words": 1}


def test_an_artifact_is_made_once_and_then_reused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    first = store.make(identity(a=1), write_hello)
    again = store.make(identity(a=1), lambda _: pytest.fail("built twice"))
    assert (first.reused, again.reused) == (False, True)
    assert again.artifact.digest == first.artifact.digest
    assert first.artifact.manifest.headline == {"words": 1}


def test_the_id_is_the_hash_of_what_made_it_and_the_digest_that_of_its_files(tmp_path: Path) -> None:
    """Expected values are written out by hand with hashlib and json alone."""
    made = ArtifactStore(tmp_path).make(identity(a=1), write_hello).artifact
    what = {"kind": "thing", "schema_version": 1, "code_version": "1", "libraries": {}, "config": {"a": 1}, "inputs": []}
    assert made.id == hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    files = [{"path": "sub/hello.txt", "sha256": hashlib.sha256(b"hello").hexdigest(), "size": 5}]
    assert made.digest == hashlib.sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def test_an_input_counts_by_role_and_digest() -> None:
    def made_from(role: str, input_id: str, digest: str) -> str:
        return Identity(kind="k", code_version="1", inputs=(InputRef(role=role, kind="i", id=input_id, digest=digest),)).id

    assert made_from("data", "x", "d") == made_from("data", "y", "d")
    assert made_from("data", "x", "d") != made_from("data", "x", "e")
    assert made_from("data", "x", "d") != made_from("other", "x", "d")


def test_a_failing_build_leaves_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def fail(directory: Path) -> dict[str, int]:
        write_hello(directory)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.make(identity(), fail)
    assert list(store) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which refuses every write as a full disk does, is not there")
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def fill(directory: Path) -> dict[str, int]:
        write_hello(directory)
        with Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)
        return {}

    with pytest.raises(StorageError, match="disk is full") as caught:
        store.make(identity(), fill)
    assert "free some space" in caught.value.remedy
    assert list(store) == []
    assert not any((tmp_path / ".staging").iterdir())


KILLED_BUILD = """
import sys, time
from pathlib import Path
from data_contracts.artifact_store import ArtifactStore
from data_contracts.manifest import Identity

def slow(directory):
    (directory / "half.txt").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
    return {}

ArtifactStore(Path(sys.argv[1])).make(Identity(kind="thing", code_version="1", config={"a": 1}), slow)
"""


def test_kill_while_building_leaves_no_artifact_and_the_next_make_sweeps_the_rest(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED_BUILD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = ArtifactStore(tmp_path)
    assert list(store) == []
    assert len(list((tmp_path / ".staging").iterdir())) == 1
    made = store.make(identity(a=1), write_hello)
    assert not made.reused
    assert not any((tmp_path / ".staging").iterdir())


def test_two_processes_that_make_the_same_thing_end_with_one(tmp_path: Path) -> None:
    """The second one finishes its build and then finds the first one's artifact in place."""
    store = ArtifactStore(tmp_path)

    def race(directory: Path) -> dict[str, int]:
        store.make(identity(a=1), write_hello)
        return write_hello(directory)

    made = store.make(identity(a=1), race)
    assert len(list(store)) == 1
    assert verify(made.artifact) == []


def test_verify_names_every_difference(tmp_path: Path) -> None:
    artifact = ArtifactStore(tmp_path).make(identity(a=1), write_hello).artifact
    assert verify(artifact) == []
    target = artifact.path / "sub" / "hello.txt"
    target.chmod(0o644)
    target.write_text("hallo")
    (artifact.path / "more.txt").write_text("more")
    assert verify(artifact) == ["more.txt was added", "sub/hello.txt was changed"]
    target.unlink()
    assert verify(artifact) == ["sub/hello.txt is missing", "more.txt was added"]


def test_published_files_are_read_only(tmp_path: Path) -> None:
    artifact = ArtifactStore(tmp_path).make(identity(a=1), write_hello).artifact
    assert not artifact.file("sub/hello.txt").stat().st_mode & 0o222


def test_open_takes_a_unique_beginning_of_an_id(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    artifact = store.make(identity(a=1), write_hello).artifact
    assert store.open(artifact.id).id == store.open(artifact.id[:8]).id == artifact.id
    for wrong in ("", "zz"):
        with pytest.raises(InputError, match="overnight show"):
            store.open(wrong)


def test_an_unreadable_manifest_is_an_error_and_not_a_missing_artifact(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    artifact = store.make(identity(a=1), write_hello).artifact
    manifest = artifact.path / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    with pytest.raises(IntegrityError, match="manifest"):
        store.make(identity(a=1), write_hello)


def test_staging_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def build(directory: Path) -> dict[str, int]:
        store.make(identity(a=2), write_hello)  # sweeps while this build is unfinished
        assert directory.exists()
        return write_hello(directory)

    assert not store.make(identity(a=1), build).reused
