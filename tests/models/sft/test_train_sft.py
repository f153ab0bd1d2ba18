"""Supervised fine-tuning: the loss is another library's, what is left out is counted, the best step is kept, and it resumes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from data_contracts.errors import InputError, RecipeError
from data_contracts.manifest import list_files
from models.checkpoint import Checkpoints
from models.job import Job
from models.language.language_model import load_language_model
from models.language.own_files import FOLDER, Row, keep_apart, read_rows
from models.policy_configs import SFTConfig
from models.progress import Progress
from models.sft.examples import Example, response_loss
from models.sft.train_sft import run
from tests.models.conftest import sentences, user
from tests.models.dpo.test_train_dpo import inputs_of
from tests.models.learning import make_job, some_prompts

SMALL: dict[str, Any] = {"batch_size": 8, "learning_rate": 3e-3, "epochs": 4, "held_out": 0.2}


def demonstrations(root: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    (root / "demonstrations" / FOLDER).mkdir(parents=True, exist_ok=True)
    path = root / "demonstrations" / FOLDER / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return root / "demonstrations"


def sft_job(root: Path, model: Path, rows: list[dict[str, Any]] | None = None, name: str = "job", **changes: Any) -> Job[SFTConfig]:
    if not (root / "prompts").exists():
        inputs_of(root, model)
    inputs = {"base_model": model.parent, "preferences": root / "prompts"}
    if rows is not None:
        inputs["demonstrations"] = demonstrations(root, rows)
    return make_job(root / name, SFTConfig(**{**SMALL, **changes}), inputs)


def praising(count: int = 40) -> list[dict[str, Any]]:
    """Demonstrations that answer every prompt with the same words."""
    return [{"prompt": text + f" {i}", "response": "good lamp"} for i, text in enumerate(sentences(count, seed=11))]


def metrics_of(job: Job[SFTConfig]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_the_loss_is_that_of_transformers_with_prompts_left_out_of_its_labels(name: str, request: pytest.FixtureRequest) -> None:
    model = load_language_model(request.getfixturevalue(name))
    examples = [Example([5, 6, 7, 8, 9], [10, 11]), Example([5], [12, 13, 14, 15, 16]), Example([7, 7], [9])]
    expected = torch.zeros(())
    for prompt, response in examples:
        labels = torch.tensor([[-100] * len(prompt) + response])
        expected += model(input_ids=torch.tensor([prompt + response]), labels=labels).loss * len(response)  # its loss is a mean
    found = response_loss(model, examples, pad_id=3)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    (alone,) = torch.autograd.grad(expected, [model.get_input_embeddings().weight])
    (together,) = torch.autograd.grad(found, [model.get_input_embeddings().weight])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_loss_in_bfloat16_is_near_that_in_float32(chat_model: Path) -> None:
    """Oracle: the loss in float32, from which bfloat16's 8 bits (2^-8 is 0.4 %) are told apart and not far away."""
    model, examples = load_language_model(chat_model), [Example([5, 6, 7], [10, 11]), Example([5], [12, 13, 14])]
    exact, rounded = (response_loss(model, examples, 3, precision).item() for precision in ("float32", "bfloat16"))
    assert 1e-5 < abs(rounded / exact - 1) < 0.02


def test_it_learns_what_is_demonstrated(chat_model: Path, tmp_path: Path) -> None:
    # A response that is always the same has an entropy of 0: a loss far below the first one can be had, on other prompts, too.
    job = sft_job(tmp_path, chat_model, praising(), epochs=8, learning_rate=1e-2)
    headline = run(job)
    assert float(str(headline["held_out_loss"])) < 0.2
    assert float(str(headline["held_out_loss_before"])) > 2
    assert (headline["examples"], headline["held_out"]) == (32, 8)
    rows = metrics_of(job)
    assert rows[-1]["step"] == 8 * 4
    assert sum("held_out_loss" in row for row in rows) == 6


def test_microbatches_add_up_to_the_batch(chat_model: Path, tmp_path: Path) -> None:
    rows = []
    for name, budget in (("one", 64), ("all", 16384)):
        job = sft_job(tmp_path, chat_model, praising(20), name, epochs=1, batch_size=16, microbatch_tokens=budget)
        run(job)
        rows.append(metrics_of(job)[1])
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)


def test_weights_that_no_step_made_better_are_the_base_models(chat_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "response": text} for i, text in enumerate(sentences(20, seed=5))]
    job = sft_job(tmp_path, chat_model, rows, learning_rate=5.0, epochs=1, warmup=0)
    assert run(job)["best_step"] == 0
    base, kept = load_file(chat_model / "model.safetensors"), load_file(job.output / "model" / "model.safetensors")
    assert all(torch.equal(base[name], kept[name]) for name in base)


def test_what_is_left_out_is_counted(chat_model: Path, tmp_path: Path) -> None:
    test_prompt = some_prompts(20)[4].messages[0]["content"]  # of the split test
    rows = [
        *praising(10),
        praising(10)[0],
        {"prompt": test_prompt.upper() + " ", "response": "leaked"},
        {"prompt": "x", "response": "a " * 90},
    ]
    headline = run(sft_job(tmp_path, chat_model, rows, epochs=1, max_response_tokens=40))
    names = ("left_out_too_long", "left_out_repeated", "left_out_in_held_out_splits", "examples", "held_out")
    assert [headline[name] for name in names] == [1, 1, 1, 8, 2]


def test_without_demonstrations_the_chosen_responses_of_the_train_split_are_learned(chat_model: Path, tmp_path: Path) -> None:
    headline = run(sft_job(tmp_path, chat_model, epochs=1))
    assert headline["examples"] + headline["held_out"] == 16  # type: ignore[operator]


def test_demonstrations_that_cannot_be_used_are_named(chat_model: Path, tmp_path: Path) -> None:
    bad = [{"prompt": "a", "response": "b"}, {"prompt": 3, "response": "b"}, {"prompt": user("a")}, ["prompt"]]
    with pytest.raises(InputError, match=r"3 rows .*row 2: `prompt` is neither.*row 3: `response` is no text.*row 4: it is no JSON object"):
        read_rows(demonstrations(tmp_path, bad), responses=True)
    with pytest.raises(InputError, match="too few to keep one aside"):
        run(sft_job(tmp_path / "few", chat_model, [{"prompt": "a", "response": "b"}]))
    long = [{"prompt": f"{i} " * 60, "response": "it " * 60} for i in range(3)]
    with pytest.raises(RecipeError, match=r"more than the model's 128.*sft.max_prompt_tokens"):
        run(sft_job(tmp_path / "long", chat_model, long))


def test_parquet_and_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [{"prompt": user("how"), "response": "so"}, {"prompt": user("why"), "response": "because"}]
    texts = [{**row, "prompt": row["prompt"][0]["content"]} for row in rows]
    found = [read_rows(demonstrations(tmp_path / name, rows, name), responses=True) for name in ("a.parquet", "a.jsonl")]
    assert found[0] == found[1] == read_rows(demonstrations(tmp_path / "texts", texts), responses=True)
    with pytest.raises(InputError, match=r"format of a\.csv"):
        read_rows(demonstrations(tmp_path / "csv", rows, "a.csv"), responses=True)


def test_of_rows_that_say_the_same_the_first_stays() -> None:
    rows = [Row(user("Why"), "a"), Row(user("how"), "a"), Row(user("why "), "a"), Row(user("why"), "b"), Row(user("out"), "a")]
    kept = keep_apart(rows, [user("OUT")])
    assert kept == ([rows[0], rows[1], rows[3]], 1, 1)


class StoppedError(BaseException):
    """The process was killed, as far as this test goes."""


def test_a_resumed_run_ends_with_the_same_files(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "due", lambda _: True)
    whole, killed = (sft_job(tmp_path, chat_model, praising(), name) for name in ("whole", "killed"))
    run(whole)
    report = Progress.report

    def until_killed(progress: Progress, done: int, total: int, **figures: Any) -> None:
        if done == 7:
            raise StoppedError
        report(progress, done, total, **figures)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "report", until_killed)
        with pytest.raises(StoppedError):
            run(killed)
    run(killed)
    assert list_files(killed.output) == list_files(whole.output)
