"""Files of one's own that a recipe names, made an artifact, so that what was learned from them can be traced to their content."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from data_contracts.artifact_store import Artifact, Headline
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef, file_hash
from models.language.own_files import FOLDER


def provide_files(home: Home, kind: str, paths: Sequence[str], setting: str) -> Artifact:
    """The files as an artifact that holds them as they are, in the order of the recipe.

    Raises:
        InputError: one is not there.
    """
    files = [Path(path) for path in paths]
    if missing := [str(path) for path in files if not path.is_file()]:
        raise InputError("there is no such file", where=missing[0], remedy=f"correct {setting} in the recipe, or give --data")
    identity = Identity(
        kind=kind,
        code_version=code_version("tasks.learning.own_files"),
        inputs=tuple(InputRef(role="file", kind="file", id=path.name, digest=file_hash(path)) for path in files),
    )

    def build(output: Path) -> Headline:
        (output / FOLDER).mkdir()
        for number, path in enumerate(files):
            shutil.copyfile(path, output / FOLDER / f"{number:03d}-{path.name}")
        return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}

    return home.artifacts.make(identity, build).artifact
