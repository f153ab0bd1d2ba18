"""The job `sample`. Oracle: what its documentation promises, and transformers' tokenizer."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import InputError
from data_contracts.records import MESSAGES
from models.configs import SampleJobConfig
from models.job import Job
from models.language.sample import run
from models.language.text import load_tokenizer
from models.progress import Progress
from tests.models.conftest import user

PROMPTS = {"p1": "how do i clean my lamp", "p0": "wipe it", "p2": "please answer " * 10}


def make_job(tmp_path: Path, model: Path, prompts: dict[str, str], **config: object) -> Job[SampleJobConfig]:
    folders = {name: tmp_path / name for name in ("prompts", "output", "work")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt_id": key, "prompt": user(text), "split": "train"} for key, text in prompts.items()]
    schema = pa.schema([("prompt_id", pa.string()), ("prompt", MESSAGES), ("split", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folders["prompts"] / "prompts.parquet")
    inputs = {"base_model": model.parent, "prompts": folders["prompts"]}
    sampling = {"max_new_tokens": 6, "max_prompt_tokens": 20}
    values = {"sampling": sampling, "responses_per_prompt": 3, **config}
    return Job(SampleJobConfig(**values), inputs, folders["output"], folders["work"], Progress(None))  # type: ignore[arg-type]


def test_samples_of_each_prompt_in_order(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, chat_model, PROMPTS)
    headline = run(job)
    rows = pq.read_table(job.output / "samples.parquet").to_pylist()
    assert [(row["prompt_id"], row["index"]) for row in rows] == [(key, index) for key in PROMPTS for index in range(3)]
    assert len({row["response"] for row in rows}) > 5
    assert all(1 <= row["n_tokens"] <= 6 for row in rows)
    assert all(row["ended"] for row in rows if row["n_tokens"] < 6)
    assert headline == {
        "responses": 9,
        "mean_tokens": sum(row["n_tokens"] for row in rows) / 9,
        "ended_share": sum(row["ended"] for row in rows) / 9,
        "prompts_cut": 1,
    }


def test_a_response_depends_on_its_prompt_alone(chat_model: Path, tmp_path: Path) -> None:
    rows = []
    for name, prompts in (("all", PROMPTS), ("one", {"p0": PROMPTS["p0"]})):
        job = make_job(tmp_path / name, chat_model, prompts)
        run(job)
        rows.append([row for row in pq.read_table(job.output / "samples.parquet").to_pylist() if row["prompt_id"] == "p0"])
    assert rows[0] == rows[1]


def test_end_token_of_the_recipe(stories: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model").symlink_to(stories.resolve())
    sampling = {"max_new_tokens": 300, "temperature": 0.5, "eos_token_id": 1}
    job = make_job(tmp_path, tmp_path / "base" / "model", {"p": "Once upon a time"}, sampling=sampling, responses_per_prompt=4)
    run(job)
    rows = pq.read_table(job.output / "samples.parquet").to_pylist()
    assert any(row["ended"] for row in rows)
    assert not any("<s>" in row["response"] for row in rows)
    tokenizer = load_tokenizer(stories)
    ended = next(row for row in rows if row["ended"])
    assert abs(len(tokenizer.encode(ended["response"], add_special_tokens=False)) + 1 - ended["n_tokens"]) <= 2


def test_no_prompts(chat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompts"):
        run(make_job(tmp_path, chat_model, {}))
