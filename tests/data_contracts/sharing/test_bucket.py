"""What is asked of object storage, against a real server: conditions hold, and what goes wrong is one clear error."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.errors import RecipeError, StorageError
from data_contracts.sharing import bucket as module
from data_contracts.sharing.bucket import Bucket, check_url


def test_objects_are_written_listed_read_and_deleted(store: str, tmp_path: Path) -> None:
    bucket = Bucket(store)
    bucket.write("a/one", b"1")
    bucket.write("a/two", b"22")
    bucket.write("ab", b"3")
    assert {key: stored.size for key, stored in bucket.list("a").items()} == {"a/one": 1, "a/two": 2}
    assert bucket.read(["a/one", "a/none", "ab"]) == {"a/one": b"1", "ab": b"3"}
    (tmp_path / "big").write_bytes(bytes(3_000_000))
    bucket.upload(tmp_path / "big", "big")
    bucket.download("big", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == bytes(3_000_000)
    with pytest.raises(FileNotFoundError):
        bucket.download("none", tmp_path / "none")
    bucket.delete(["a/one", "a/none"])
    assert list(bucket.list("a")) == ["a/two"]


def test_create_and_replace_win_once(store: str) -> None:
    bucket = Bucket(store)
    first = bucket.create("key", b"first")
    assert first == bucket.look("key").version
    assert bucket.create("key", b"second") is None
    second = bucket.replace("key", b"second", str(first))
    assert second == bucket.look("key").version
    assert bucket.replace("key", b"third", str(first)) is None
    assert bucket.replace("nothing", b"third", str(first)) is None
    assert bucket.read(["key"]) == {"key": b"second"}


def test_a_write_whose_answer_was_lost_is_known_again(store: str) -> None:
    """The library tries such a write again, and the second try is refused: by what the first one wrote."""
    bucket = Bucket(store)
    first = bucket.create("key", b"mine")
    assert bucket.create("key", b"mine") == first
    second = bucket.replace("key", b"next", str(first))
    assert bucket.replace("key", b"next", str(first)) == second


RACE = """
import sys
from data_contracts.sharing.bucket import Bucket
bucket = Bucket(sys.argv[1])
print(sum(bucket.create(f"race/{n}", sys.argv[2].encode()) is not None for n in range(30)))
"""


@pytest.mark.slow
def test_of_two_processes_that_create_the_same_one_wins(store: str) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", RACE, store, name], stdout=subprocess.PIPE, text=True) for name in ("one", "two")]
    won = [int(run.communicate(timeout=60)[0]) for run in runs]
    assert sum(won) == 30
    contents = list(Bucket(store).read(f"race/{n}" for n in range(30)).values())
    assert [contents.count(b"one"), contents.count(b"two")] == won


def test_the_conditions_of_a_server_are_tried_out(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(store)
    bucket.check_conditions()
    assert bucket.list("probe") == {}
    monkeypatch.setattr(bucket, "_write_if", lambda key, data, condition: bucket.write(key, data))  # as a server that ignores them
    with pytest.raises(StorageError, match="conditional writes"):
        bucket.check_conditions()


@pytest.mark.parametrize("url", ["bucket/prefix", "s3://", "s3://key:secret@bucket/x", "gs://bucket/x", "s3://bucket/x?y"])
def test_what_is_no_url_is_refused_and_no_secret_is_repeated(url: str) -> None:
    with pytest.raises(RecipeError, match="no URL of a store") as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_a_missing_bucket_is_named(store: str) -> None:
    for act in (lambda b: b.list("x"), lambda b: b.create("x", b""), lambda b: b.write("x", b"")):
        with pytest.raises(StorageError, match=r"no such bucket.*s3://not-there/x"):
            act(Bucket("s3://not-there/x"))


@pytest.fixture
def unconnected() -> Iterator[None]:
    """For tests that connect in another way than the others."""
    module._connection.cache_clear()
    yield
    module._connection.cache_clear()


@pytest.mark.usefixtures("unconnected")
def test_missing_credentials_are_named(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        Bucket(store).list("x")


@pytest.mark.usefixtures("unconnected")
def test_a_server_that_is_not_there_is_named(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    monkeypatch.setattr(module, "READ_ATTEMPTS", 1)
    with pytest.raises(StorageError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        Bucket(store).list("x")


@pytest.mark.usefixtures("unconnected")
def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as the import system notes what cannot be imported
    with pytest.raises(StorageError, match=r"pip install 'overnight\[s3\]'"):
        Bucket("s3://bucket/x")
