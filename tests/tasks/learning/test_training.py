"""The learning stages: which model directories are taken, what a copy's identity depends on, and what a stage leaves behind.

Expected: the contract in words (what is missing is named), and the bytes of the files that were handed in.
"""

import json
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Made
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity, pinned_config
from data_contracts.records import MESSAGES, PROMPT
from models.configs import PretrainConfig
from models.language.language_model import new_language_model, save_language_model
from models.language.pretrain import CorpusText, train_tokenizer
from models.policy_configs import PPOConfig, SFTConfig
from tasks.learning.base_model import BaseModelConfig, provide_base_model
from tasks.learning.own_files import provide_files
from tasks.learning.training import plugin_versions, train_sft, without_folders
from tasks.progress import Event, StageProgress, listening
from tests.models.conftest import sentences

FILES = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": struct.pack("<Q", 2) + b"{}",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def model_directory(place: Path, **changes: bytes | None) -> Path:
    """A directory with the files above, some of them changed or left out; a name's dot is written `__`."""
    place.mkdir(parents=True)
    for name, content in {**FILES, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        if content is not None:
            (place / name).write_bytes(content)
    return place


def provide(home: Home, source: Path | str, **config: Any) -> Made:
    return provide_base_model(home, BaseModelConfig(source=str(source), **config))


def test_a_model_directory_is_copied_as_it_is(home: Home, tmp_path: Path) -> None:
    made = provide(home, model_directory(tmp_path / "given"))
    copied = {path.name: path.read_bytes() for path in (made.artifact.path / "model").iterdir()}
    assert copied == FILES
    assert made.artifact.manifest.headline["architecture"] == "LlamaForCausalLM"


def test_pickles_and_code_are_left_behind(home: Home, tmp_path: Path) -> None:
    given = model_directory(tmp_path / "given", pytorch_model__bin=b"pickle", modeling__py=b"code")
    made = provide(home, given)
    assert {path.name for path in (made.artifact.path / "model").iterdir()} == set(FILES)


def test_the_copy_of_a_copy_elsewhere_is_the_same_artifact(home: Home, tmp_path: Path) -> None:
    first = provide(home, model_directory(tmp_path / "here"))
    second = provide(home, model_directory(tmp_path / "there"))
    assert (second.artifact.id, second.reused) == (first.artifact.id, True)
    changed = provide(home, model_directory(tmp_path / "changed", tokenizer__json=b"{ }"))
    assert changed.artifact.id != first.artifact.id


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config__json": None}, "no configuration"),
        ({"model__safetensors": None}, "no weights"),
        ({"model__safetensors": None, "pytorch_model__bin": b"pickle"}, "no weights"),
        ({"model__safetensors": b""}, "no weights"),
        ({"tokenizer__json": None}, "no tokenizer"),
        ({"config__json": b"{"}, "not valid JSON"),
        ({"config__json": None, "tokenizer__json": None}, "no configuration.*no tokenizer"),
    ],
)
def test_what_a_model_directory_lacks_is_named(home: Home, tmp_path: Path, changes: dict[str, bytes | None], named: str) -> None:
    with pytest.raises(InputError, match=rf"(?s){named}.*given.*→"):
        provide(home, model_directory(tmp_path / "given", **changes))
    assert list(home.artifacts) == []


def test_a_missing_directory_is_an_input_error(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model directory"):
        provide(home, tmp_path / "nowhere")


def test_an_id_that_cannot_be_fetched_is_an_input_error(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"overnight-test/no-such-model.*local directory"):
        provide(home, "overnight-test/no-such-model")


def test_an_id_is_taken_from_the_hubs_cache_at_its_revision(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The layout of the cache is the hub library's own: refs name commits, snapshots hold their files."""
    place = tmp_path / "hub" / "models--overnight-test--small"
    for branch, commit, tokenizer in (("main", "a" * 40, b"{}"), ("older", "b" * 40, b"{ }")):
        model_directory(place / "snapshots" / commit, tokenizer__json=tokenizer)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / branch).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    newest, older = provide(home, "overnight-test/small"), provide(home, "overnight-test/small", revision="older")
    assert (newest.artifact.path / "model" / "tokenizer.json").read_bytes() == b"{}"
    assert (older.artifact.path / "model" / "tokenizer.json").read_bytes() == b"{ }"


def test_the_built_in_model_needs_the_simulated_corpus(home: Home) -> None:
    with pytest.raises(InputError, match="simulated corpus"):
        provide(home, "built-in")


@pytest.mark.slow
def test_the_built_in_model_is_pretrained_once_and_leaves_a_log_and_no_checkpoints(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = [{"prompt": [{"role": "user", "content": f"count to {n}"}], "response": " ".join(map(str, range(n)))} for n in range(40)]
    table = pa.Table.from_pylist(rows, pa.schema([("prompt", MESSAGES), ("response", pa.string())]))

    def write(directory: Path) -> dict[str, int]:
        pq.write_table(table, directory / "corpus.parquet")
        return {}

    corpus = home.artifacts.make(Identity(kind="corpus", code_version="test"), write).artifact
    tiny = PretrainConfig(hidden_size=16, layers=1, heads=2, vocab_size=280, batch_size=4, epochs=2)
    config = BaseModelConfig(pretrain=tiny)
    heard: list[Event] = []
    with listening(heard.append):
        made = provide_base_model(home, config, corpus=corpus)
    again = provide_base_model(home, config, corpus=corpus)
    assert (made.reused, again.reused) == (False, True)
    assert again.artifact.id == made.artifact.id
    assert [path.suffix for path in home.work.iterdir()] == [".lock"]
    assert (home.root / "logs" / f"base_model-{made.artifact.short_id}.log").exists()
    progress = [event for event in heard if isinstance(event, StageProgress)]
    assert progress[-1].done == progress[-1].total == len(progress)


# Files and functions of one's own.


def test_files_are_an_artifact_by_their_content(home: Home, tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "prompts.jsonl").write_text('{"prompt": "how"}\n')
    here, there = (
        provide_files(home, "prompt_files", [str(tmp_path / f / "prompts.jsonl")], "policy.prompt_files") for f in ("here", "there")
    )
    assert here.id == there.id
    assert [path.name for path in (here.path / "files").iterdir()] == ["000-prompts.jsonl"]
    (tmp_path / "there" / "prompts.jsonl").write_text('{"prompt": "why"}\n')
    assert provide_files(home, "prompt_files", [str(tmp_path / "there" / "prompts.jsonl")], "policy.prompt_files").id != here.id
    with pytest.raises(InputError, match=r"no such file.*nowhere.*policy.prompt_files"):
        provide_files(home, "prompt_files", [str(tmp_path / "nowhere")], "policy.prompt_files")


def test_a_function_counts_by_its_source_and_not_by_its_place(tmp_path: Path) -> None:
    pinned = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text("def reward(prompts, responses):\n    return [0.0] * len(responses)\n")
        config = PPOConfig.model_validate({"rewards": [{"kind": "function", "function": "own:reward", "folder": str(tmp_path / folder)}]})
        pinned.append((plugin_versions(config), without_folders(pinned_config(config))))
    assert pinned[0] == pinned[1]
    assert plugin_versions(PPOConfig()) == []


@pytest.mark.slow
def test_fine_tuning_by_a_file_is_done_once_wherever_the_file_stands(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    texts = [CorpusText([{"role": "user", "content": text}], text) for text in sentences(50)]
    tokenizer = train_tokenizer(texts, 300)
    tiny = PretrainConfig(hidden_size=16, layers=1, heads=2, context_length=64)
    model = new_language_model(tiny, len(tokenizer), pad_id=tokenizer.pad_token_id, eos_id=tokenizer.eos_token_id)
    save_language_model(model, tokenizer, tmp_path / "given")
    base = provide(home, tmp_path / "given").artifact
    prompts = PROMPT.table([{"prompt_id": "p", "split": "test", "slice": "a", "prompt": [{"role": "user", "content": "held out"}]}])

    def write(directory: Path) -> dict[str, int]:
        pq.write_table(prompts, directory / "prompts.parquet")
        return {}

    preferences = home.artifacts.make(Identity(kind="preferences", code_version="test"), write).artifact
    rows = [{"prompt": text, "response": "so"} for text in sentences(30, seed=2)]
    made = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        config = SFTConfig(demonstrations=str(tmp_path / folder / "rows.jsonl"), batch_size=8)
        made.append(train_sft(home, config, base_model=base, preferences=preferences))
    assert [one.reused for one in made] == [False, True]
    roles = {ref.role: ref.kind for ref in made[0].artifact.manifest.identity.inputs}
    assert roles == {"base_model": "base_model", "preferences": "preferences", "demonstrations": "demonstrations"}
    assert made[0].artifact.manifest.headline["examples"] > 20
