"""The texts that a policy must not have forgotten: a text file of the recipe, or the part of the simulated corpus that was kept aside."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef, file_hash, library_versions, pinned_config
from data_contracts.parquet import write_records
from data_contracts.records import HELD_OUT_TEXT
from models.language.corpus_split import held_out_places
from tasks.stage import StageConfig, stage


class HeldOutTextsConfig(StageConfig):
    """Texts on which the policy's perplexity is compared with the base model's."""

    path: str = Field(
        default="",
        description="a UTF-8 text file whose paragraphs, parted by empty lines, are texts that no model was trained on; without one "
        "forgetting is measured in the simulated world only, on the part of its corpus that was kept aside",
    )
    max_texts: int = Field(default=256, ge=2, description="most texts that are used, the first ones")


def provide_held_out_texts(
    home: Home, config: HeldOutTextsConfig, *, corpus: Artifact | None = None, base_model: Artifact | None = None
) -> Made:
    """The held-out texts as `texts.parquet`.

    Raises:
        InputError: the file cannot be read, or holds fewer than two texts.
    """
    inputs: tuple[InputRef, ...]
    if config.path:
        inputs = (_file(Path(config.path)),)
    elif corpus is not None and base_model is not None:
        inputs = (corpus.manifest.as_input("corpus"), base_model.manifest.as_input("base_model"))
    else:
        raise InputError("there are no held-out texts", remedy="name a text file as held_out_texts.path")
    identity = Identity(
        kind="held_out_texts",
        code_version=code_version("tasks.evaluation.held_out_texts"),
        libraries=library_versions(("pyarrow",)),
        config=pinned_config(config) | {"path": ""},  # what is in the file counts, not where it lies
        inputs=inputs,
    )
    return home.artifacts.make(identity, lambda directory: _write(directory, config, corpus, base_model))


def _write(directory: Path, config: HeldOutTextsConfig, corpus: Artifact | None, base_model: Artifact | None) -> Headline:
    if config.path:
        found: list[dict[str, Any]] = [{"prompt": [], "text": text} for text in paragraphs(Path(config.path).read_text())]
    else:
        assert corpus is not None  # noqa: S101  (seen to by who calls)
        assert base_model is not None  # noqa: S101
        texts = pq.read_table(corpus.file("corpus.parquet")).to_pylist()
        places = held_out_places(len(texts), int(base_model.manifest.identity.config["seed"]))
        found = [{"prompt": texts[place]["prompt"], "text": texts[place]["response"]} for place in places]
    if len(found) < 2:
        raise InputError(f"{len(found)} held-out texts are too few", where=config.path, remedy="part the texts by empty lines")
    rows = [{"place": place, **row} for place, row in enumerate(found[: config.max_texts])]
    write_records(HELD_OUT_TEXT, HELD_OUT_TEXT.table(rows), directory / "texts.parquet")
    return {"texts": len(rows), "characters": sum(len(row["text"]) for row in rows)}


def paragraphs(content: str) -> list[str]:
    """The paragraphs of a text, parted by empty lines."""
    parts: list[list[str]] = [[]]
    for line in content.splitlines():
        if line.strip():
            parts[-1].append(line)
        elif parts[-1]:
            parts.append([])
    return ["\n".join(part) for part in parts if part]


def _file(path: Path) -> InputRef:
    try:
        path.read_text()
        return InputRef(role="file", kind="file", id=path.name, digest=file_hash(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the held-out texts cannot be read: {error}", where=str(path), remedy="give a UTF-8 text file as held_out_texts.path"
        ) from error


held_out_texts_stage = stage("held-out texts")(provide_held_out_texts)
