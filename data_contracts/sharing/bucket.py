"""Object storage at an `s3://` URL, through fsspec and s3fs: the only file that knows the library.

Credentials, region and endpoint come from the environment or the usual AWS configuration. A request is tried again after a
transient error, as often as `ATTEMPTS` and `TIMEOUTS` say; after that it is a `StorageError` that names the URL.
"""

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from data_contracts.errors import RecipeError, StorageError, is_disk_full

SCHEME = "s3://"
URL = re.compile(r"s3://[A-Za-z0-9._-]{3,255}(/[^?#@\s]*)?")
ATTEMPTS = 4
"""Tries of one request after server errors, throttling and broken connections (botocore's standard mode, with growing pauses)."""
READ_ATTEMPTS = 2
"""Tries, each of `ATTEMPTS`, where an answer breaks off while it is read."""
TIMEOUTS = {"connect_timeout": 5, "read_timeout": 30}
"""Seconds until a try counts as failed."""
CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in your AWS configuration, and its rights on the bucket"
NETWORK = "check the network, AWS_ENDPOINT_URL and the region, and run again; what was made is kept"


class Stored(NamedTuple):
    """An object as a listing tells of it."""

    key: str
    version: str
    """Changes with the content (the ETag)."""
    size: int


class Look(NamedTuple):
    """One look at an object."""

    version: str | None
    """None where there is no such object."""
    now: float
    """The storage's own clock, seconds since the epoch: the same for every machine that asks."""


def check_url(url: str) -> str:
    """The URL without a slash at its end; a `RecipeError` when it is none."""
    if not URL.fullmatch(url):
        remedy = "give s3://BUCKET or s3://BUCKET/PREFIX; credentials belong into the environment or the AWS configuration"
        raise RecipeError("this is no URL of a store", where=re.sub(r"//.*@", "//…@", url), remedy=remedy)
    return url.rstrip("/")


class Bucket:
    """The objects below a URL; keys are relative to it.

    Every method raises a `StorageError` when the storage cannot be reached or refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._base = self.url.removeprefix(SCHEME)
        try:
            self._files = _connection()
        except ImportError as error:
            raise StorageError("a store needs a package that is not installed", where=url, remedy="pip install 'overnight[s3]'") from error

    def list(self, prefix: str) -> dict[str, Stored]:
        """Every object whose key begins with a folder's name, by key."""
        with self._errors():
            found = self._files.find(self._path(prefix), detail=True)
        skip = len(self._base) + 1
        return {name[skip:]: Stored(name[skip:], info["ETag"], info["size"]) for name, info in found.items()}

    def look(self, key: str) -> Look:
        """An object's version, and what time it is at the storage."""
        bucket, _, rest = self._path(key).partition("/")
        with self._errors():
            try:
                answer = self._files.call_s3("head_object", Bucket=bucket, Key=rest)
            except FileNotFoundError as error:
                return Look(None, _time_of(getattr(error.__cause__, "response", {})))
        return Look(answer["ETag"], _time_of(answer))

    def look_and_read(self, key: str) -> tuple[Look, bytes | None]:
        """A small object with its version, in this order: what is read can only be newer, and then a swap of that version fails."""
        look = self.look(key)
        return look, self.read([key]).get(key) if look.version else None

    def read(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The contents of small objects, by key; one that is not there is left out."""
        if not (paths := {self._path(key): key for key in keys}):
            return {}
        with self._errors():
            found = self._files.cat(list(paths), on_error="return", max_concurrency=1)
            for content in found.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {paths[path]: content for path, content in found.items() if isinstance(content, bytes)}

    def write(self, key: str, data: bytes) -> str:
        """Write an object, whatever stood there; gives its version."""
        with self._errors():
            return str(self._files.pipe_file(self._path(key), data)["ETag"])

    def create(self, key: str, data: bytes) -> str | None:
        """Write an object where none stands (If-None-Match); gives its version, or None where another one stands."""
        return self._write_if(key, data, {"mode": "create"})

    def replace(self, key: str, data: bytes, version: str) -> str | None:
        """Write an object in place of exactly this version (If-Match); gives the new version, or None where it is another by now."""
        return self._write_if(key, data, {"IfMatch": version})

    def swap(self, key: str, data: bytes, version: str | None) -> str | None:
        """Compare and swap: `replace` a version, or `create` where there was none."""
        return self.create(key, data) if version is None else self.replace(key, data, version)

    def _write_if(self, key: str, data: bytes, condition: Mapping[str, str]) -> str | None:
        for _ in range(ATTEMPTS):
            with self._errors():
                try:
                    return str(self._files.pipe_file(self._path(key), data, **condition)["ETag"])
                except OSError as error:
                    code = _code_of(error)
                    if code in ("ConditionalRequestConflict", "409"):  # two at the very same moment: neither knows who won
                        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311
                        continue
                    if code not in ("PreconditionFailed", "412", "NoSuchKey"):
                        raise
            # A write whose answer was lost is tried again by the library and then meets itself.
            return self.look(key).version if self.read([key]).get(key) == data else None
        return None

    def upload(self, path: Path, key: str) -> None:
        """Write a file, whole or not at all, in parts where it is large."""
        with self._errors():
            self._files.put_file(str(path), self._path(key))

    def download(self, key: str, path: Path) -> None:
        """Read an object into a file; a `FileNotFoundError` when it is not there."""
        with self._errors():
            self._files.get_file(self._path(key), str(path))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, those that are there."""
        if paths := [self._path(key) for key in keys]:
            with self._errors():
                self._files.rm(paths)

    def check_conditions(self) -> None:
        """See that the storage heeds the conditions of `create` and `replace`; a `StorageError` when it does not."""
        key, data = f"probe-{uuid4().hex}", uuid4().bytes
        version = self.create(key, data)
        try:
            if version is None or self.create(key, b"other") or self.replace(key, b"other", '"0"') or not self.replace(key, b"", version):
                remedy = "use one that heeds If-None-Match and If-Match on writes, as Amazon S3, MinIO, Ceph and R2 do"
                raise StorageError("this object storage does not heed conditional writes", where=self.url, remedy=remedy)
        finally:
            self.delete([key])

    def _path(self, key: str) -> str:
        return f"{self._base}/{key}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the library raises into one error that names the URL; a missing object stays a `FileNotFoundError`."""
        try:
            yield
        except Exception as error:
            told = _told(error, self.url)
            if told is None:
                raise
            raise told from error


@cache
def _connection() -> Any:
    """One connection for all that this process does."""
    import s3fs

    config = {**TIMEOUTS, "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS}}
    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=config)
    files.retries = READ_ATTEMPTS
    return files


def _told(error: Exception, url: str) -> StorageError | None:
    """What to tell of an error, or None for one that is not the storage's."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

    if _code_of(error) == "NoSuchBucket":
        return StorageError("there is no such bucket", where=url, remedy="create it, or check the URL")
    if isinstance(error, StorageError | FileNotFoundError) or is_disk_full(error):
        return None
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError("there are no credentials for the store", where=url, remedy=CREDENTIALS)
    if isinstance(error, PermissionError):
        return StorageError(f"the store refuses: {error}", where=url, remedy=CREDENTIALS)
    if isinstance(error, BotoCoreError | ClientError | OSError):
        return StorageError(f"the store cannot be reached or failed: {type(error).__name__}: {error}", where=url, remedy=NETWORK)
    return None


def _code_of(error: BaseException) -> str:
    """The storage's own name for an error; empty where it named none."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", "")) or ("PreconditionFailed" if isinstance(error, FileExistsError) else "")


def _time_of(answer: Mapping[str, Any]) -> float:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()
