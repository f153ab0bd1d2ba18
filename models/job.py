"""What a learning job is given: its configuration, its input directories, and where it may write."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from data_contracts.errors import InputError
from data_contracts.manifest import MANIFEST_NAME, content_hash, digest_of, list_files, pinned_config, read_manifest
from models.progress import Progress

ConfigT = TypeVar("ConfigT", bound=BaseModel)

Headline = Mapping[str, str | int | float | bool | None]
"""The few figures that a job reports for its artifact."""


@dataclass(frozen=True)
class Job(Generic[ConfigT]):
    """One run of a learning job."""

    config: ConfigT
    inputs: Mapping[str, Path]
    """Input directories by role."""
    output: Path
    """Where the artifact's files go; nothing else is written there."""
    work: Path
    """Where checkpoints live until the artifact is published."""
    progress: Progress

    def input(self, role: str, name: str = "") -> Path:
        """The input directory of a role, or something in it; an `InputError` when it is not there."""
        if role not in self.inputs:
            raise InputError(f"the job has no input {role!r}", remedy=f"pass --input {role}=DIRECTORY")
        path = self.inputs[role] / name
        if not path.exists():
            raise InputError(f"the input {role!r} is not there", where=str(path), remedy="check the path, or make the input again")
        return path

    def identity(self) -> str:
        """Hash of the configuration and of the inputs' content: what a checkpoint belongs to."""
        inputs = {role: _digest(path) for role, path in sorted(self.inputs.items())}
        return content_hash({"config": [type(self.config).__name__, pinned_config(self.config)], "inputs": inputs})


def _digest(directory: Path) -> str:
    """The digest of an artifact, from its manifest, or of a plain directory, from its files."""
    if (directory / MANIFEST_NAME).exists():
        return read_manifest(directory).present_digest
    return digest_of(list_files(directory))
