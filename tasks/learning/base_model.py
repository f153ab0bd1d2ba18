"""The base model, made an artifact: pretrained here, copied from a local directory, or fetched by its Hugging Face id."""

import json
import shutil
from pathlib import Path

from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef, file_hash
from models.configs import PretrainConfig
from tasks.learning.training import make_learned
from tasks.stage import StageConfig, stage

BUILT_IN = "built-in"
CONFIG, WEIGHTS = "config.json", "*.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
WANTED = (WEIGHTS, "*.json", "*.txt", "*.model", "*.jinja")
"""What is taken from a model's directory: weights as safetensors, configuration and tokenizer; never a pickle, never code."""


class BaseModelConfig(StageConfig):
    """Which pretrained model a stage starts from."""

    source: str = Field(default=BUILT_IN, description="`built-in`, a local directory in transformers format, or a Hugging Face id")
    revision: str = Field(default="main", description="branch, tag or commit of a Hugging Face id")
    pretrain: PretrainConfig = Field(default_factory=PretrainConfig, description="how the built-in model is pretrained")


def provide_base_model(home: Home, config: BaseModelConfig, *, corpus: Artifact | None = None) -> Made:
    """The base model as an artifact with the files of `from_pretrained` under `model/`.

    Raises:
        InputError: the directory or the id names no model that can be used; the message says what is missing.
    """
    if config.source == BUILT_IN:
        if corpus is None:
            raise InputError("the built-in model is pretrained on the simulated corpus only", remedy="name a source, or add [simulation]")
        return make_learned(home, "base_model", "pretrain", config.pretrain, {"corpus": corpus})
    directory = Path(config.source)
    if not directory.is_absolute():
        directory = _fetch(config.source, config.revision)
    return _copy_model(home, directory)


def _copy_model(home: Home, directory: Path) -> Made:
    check_model_directory(directory)
    files = sorted({path for pattern in WANTED for path in directory.glob(pattern)})
    identity = Identity(
        kind="base_model",
        code_version=code_version("tasks.learning.base_model"),
        inputs=tuple(InputRef(role="file", kind="file", id=path.name, digest=file_hash(path)) for path in files),
    )

    def build(output: Path) -> Headline:
        (output / "model").mkdir()
        for path in files:
            shutil.copyfile(path, output / "model" / path.name)
        return {"architecture": _architecture(directory), "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1)}

    return home.artifacts.make(identity, build)


def check_model_directory(directory: Path) -> None:
    """See that a directory holds a model in transformers format; an `InputError` names what is missing."""
    if not directory.is_dir():
        raise InputError("there is no such model directory", where=str(directory), remedy="check base_model.source, or give --data")
    missing = [what for what, found in _parts(directory).items() if not found]
    if missing:
        raise InputError(
            f"the model directory has no {', no '.join(missing)}",
            where=str(directory),
            remedy="save the model with save_pretrained (safetensors) and its tokenizer beside it",
        )


def _parts(directory: Path) -> dict[str, bool]:
    return {
        f"configuration ({CONFIG})": (directory / CONFIG).is_file(),
        f"weights ({WEIGHTS})": any(path.stat().st_size for path in directory.glob(WEIGHTS)),
        f"tokenizer ({', '.join(TOKENIZERS)})": any((directory / name).is_file() for name in TOKENIZERS),
    }


def _architecture(directory: Path) -> str:
    try:
        return str((json.loads((directory / CONFIG).read_text()).get("architectures") or ["unknown"])[0])
    except ValueError as error:
        raise InputError(
            "the model's configuration is not valid JSON", where=str(directory / CONFIG), remedy="save the model again"
        ) from error


def _fetch(model_id: str, revision: str) -> Path:
    """The local copy of a Hugging Face model, from its cache or from the hub; safetensors, JSON and tokenizer files only."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=list(WANTED)))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(
            f"the model {model_id!r} could not be fetched ({type(error).__name__}) and is no local directory",
            remedy="check the id, its revision and the network, or give the path of a local directory",
        ) from error


base_model_stage = stage("base model")(provide_base_model)
