"""What is known about an artifact: what made it (`id`), what it is (`digest`), and the way back to its inputs."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAME = "manifest.json"
HASH_CHUNK = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRef(_Frozen):
    """One input of a stage, under the role that it plays there."""

    role: str = Field(description="what the input is to the stage, such as `preferences`")
    kind: str = Field(description="the input artifact's kind, or `file` for a file from outside")
    id: str = Field(description="the input artifact's id, or the file's name")
    digest: str = Field(description="SHA-256 of the input's content")


class Identity(_Frozen):
    """Everything that decides an artifact's content; its hash is the artifact's id."""

    kind: str = Field(description="what the artifact is, such as `reward_model`")
    schema_version: int = Field(default=1, description="version of the artifact's file layout")
    code_version: str = Field(description="hash of the source that made it")
    libraries: dict[str, str] = Field(default_factory=dict, description="versions of the libraries that decide the result")
    config: dict[str, Any] = Field(default_factory=dict, description="the resolved configuration of the stage")
    inputs: tuple[InputRef, ...] = Field(default=(), description="what it was made from")

    @property
    def id(self) -> str:
        """Hash of what makes the artifact: kind, versions, config, and the roles and digests of the inputs.

        An input counts by its digest and not by its id: a stage whose new code gives the same bytes changes nothing after it.
        """
        parts = self.model_dump(mode="json", exclude={"inputs"})
        parts["inputs"] = [[ref.role, ref.digest] for ref in self.inputs]
        return content_hash(parts)


class FileEntry(_Frozen):
    """One file of an artifact."""

    path: str = Field(description="path inside the artifact, with forward slashes")
    size: int = Field(description="bytes")
    sha256: str = Field(description="SHA-256 of the bytes")


class Redaction(_Frozen):
    """What a request to forget changed in an artifact; see `data_contracts.tombstones`."""

    tombstone: str = Field(description="id of the tombstone that tells when and why")
    files: tuple[FileEntry, ...] = Field(description="every file but the manifest, as it is since then")
    rows: dict[str, int] = Field(description="rows that were erased, by file")

    @property
    def digest(self) -> str:
        """Hash of the files as they are since then."""
        return digest_of(self.files)


class Manifest(_Frozen):
    """The record kept as `manifest.json` in every artifact; written last, so an artifact with a manifest is whole."""

    id: str = Field(description="hash of what made the artifact")
    digest: str = Field(description="hash of the artifact's files")
    identity: Identity
    files: tuple[FileEntry, ...] = Field(description="every file but the manifest, sorted by path")
    headline: dict[str, str | int | float | bool | None] = Field(default_factory=dict, description="the few figures that are shown for it")
    created_at: str = Field(description="UTC time of publication, ISO 8601; part of neither id nor digest")
    seconds: float = Field(description="time it took to make; part of neither id nor digest")
    redactions: tuple[Redaction, ...] = Field(
        default=(), description="what was forgotten since publication; `files` tells what was published"
    )
    collected_at: str = Field(
        default="", description="UTC time at which its files were removed because nothing needed them, ISO 8601; empty while they are there"
    )

    @property
    def kind(self) -> str:
        """What the artifact is, such as `reward_model`."""
        return self.identity.kind

    @property
    def present_files(self) -> tuple[FileEntry, ...]:
        """Every file but the manifest, as it must be now."""
        if self.collected_at:
            return ()
        return self.redactions[-1].files if self.redactions else self.files

    @property
    def present_digest(self) -> str:
        """Hash of the files as they must be now, or were when they were collected: the digest, unless something was forgotten."""
        return self.redactions[-1].digest if self.redactions else self.digest

    def as_input(self, role: str) -> InputRef:
        """This artifact as the input of a later stage: with what it holds now, so that nothing made before it was redacted is reused."""
        return InputRef(role=role, kind=self.kind, id=self.id, digest=self.present_digest)


def content_hash(value: object) -> str:
    """SHA-256 of the canonical JSON of a value, as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def list_files(directory: Path) -> tuple[FileEntry, ...]:
    """Every file below a directory but its manifest, hashed, sorted by path."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST_NAME)
    return tuple(FileEntry(path=path.relative_to(directory).as_posix(), size=path.stat().st_size, sha256=file_hash(path)) for path in paths)


def digest_of(files: tuple[FileEntry, ...]) -> str:
    """The digest of an artifact: the hash of its files' paths, sizes and hashes."""
    return content_hash([entry.model_dump() for entry in files])


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of the named packages; `absent` for one that is not installed."""
    return {name: _version_or_absent(name) for name in names}


def _version_or_absent(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def read_manifest(directory: Path) -> Manifest:
    """The manifest of an artifact directory."""
    return Manifest.model_validate_json((directory / MANIFEST_NAME).read_text())


def pinned_config(config: BaseModel) -> dict[str, Any]:
    """A config as plain JSON values, as it goes into an identity."""
    return config.model_dump(mode="json")
