"""A local model as judge. Expected: probabilities by a forward pass for each answer, and what the model writes by itself."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from models.evaluation.judges.judge_by_model import letter_chances, run
from models.evaluation.judges.questions import questions_of
from models.language.language_model import load_language_model
from models.language.text import encode_prompt, load_tokenizer
from models.measure_configs import ModelJudge
from tests.models.conftest import user
from tests.models.evaluation.judges.pairs import PROMPTS, evaluation, job

LONGEST = 4096


@pytest.fixture
def roomy_model(chat_model: Path, tmp_path: Path) -> Path:
    """The tiny chat model, with room for a question in its context; its positions are rotary, so nothing has to be learned for that."""
    from models.language.language_model import save_language_model

    model = load_language_model(chat_model)
    model.config.max_position_embeddings = LONGEST
    save_language_model(model, load_tokenizer(chat_model), tmp_path / "judge" / "model")
    return tmp_path / "judge"


def config(**changes: object) -> ModelJudge:
    return ModelJudge.model_validate({"kind": "model", "name": "small", "model": "", "rubric": "Be fair.", "batch_size": 4, **changes})


def test_the_letters_are_read_from_their_probabilities(roomy_model: Path, tmp_path: Path) -> None:
    """Softmax over the sums of both letters' log-probabilities, each by a pass of its own without padding."""
    made = job(tmp_path / "job", config(), evaluation=evaluation(tmp_path), model=roomy_model)
    run(made)
    rows = pq.read_table(made.output / "verdicts.parquet").to_pylist()
    model, tokenizer = load_language_model(roomy_model / "model"), load_tokenizer(roomy_model / "model")
    questions = questions_of(tmp_path / "evaluation" / "samples.parquet", config())
    assert len(rows) == len(questions) == 2 * PROMPTS
    for question, row in zip(questions, rows, strict=True):
        if question.same:
            assert (row["verdict"], row["attempts"]) == ("tie", 0)
            continue
        prompt, sums = encode_prompt(tokenizer, user(question.text), LONGEST).ids, []
        for letter in "AB":
            answer = tokenizer.encode(letter, add_special_tokens=False)
            with torch.no_grad():
                logprobs = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            sums.append(sum(float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(answer)))
        chance = float(torch.tensor(sums, dtype=torch.float64).softmax(0)[0])
        assert row["probability_first"] == pytest.approx(chance, abs=1e-4)
        assert row["verdict"] == (
            row["presented_first"] if chance > 0.5 else {"policy": "opponent", "opponent": "policy"}[row["presented_first"]]
        )


def test_chances_do_not_depend_on_what_else_is_in_the_batch(chat_model: Path) -> None:
    model, tokenizer = load_language_model(chat_model), load_tokenizer(chat_model)
    prompts = [encode_prompt(tokenizer, user(text), 100).ids for text in ("how", "how do i clean my old lamp please")]
    together = letter_chances(model, tokenizer, prompts)
    assert together == pytest.approx([letter_chances(model, tokenizer, [prompt])[0] for prompt in prompts], abs=1e-5)


def test_a_verdict_in_words_is_read_from_what_the_model_writes(roomy_model: Path, tmp_path: Path) -> None:
    """A model with random weights writes no verdict: every pair that was asked about is unanswered, with what it wrote, and repeats it."""
    made = [
        job(tmp_path / name, config(read="text", max_new_tokens=8), evaluation=tmp_path / "evaluation", model=roomy_model) for name in "ab"
    ]
    evaluation(tmp_path)
    first, again = (dict(run(one)) for one in made)
    assert first == again
    assert first["unanswered_share_reference"] == pytest.approx((PROMPTS - 1) / PROMPTS)
    rows = [pq.read_table(one.output / "verdicts.parquet").to_pylist() for one in made]
    assert rows[0] == rows[1]
    assert any(row["reply"] for row in rows[0])


def test_a_question_that_is_too_long_is_counted(roomy_model: Path, tmp_path: Path) -> None:
    made = job(tmp_path / "job", config(max_question_tokens=64), evaluation=evaluation(tmp_path), model=roomy_model)
    assert run(made)["unanswered_share_reference"] == pytest.approx((PROMPTS - 1) / PROMPTS)
    failures = {row["failure"] for row in pq.read_table(made.output / "verdicts.parquet").to_pylist()}
    assert failures == {"", "the question is longer than 64 tokens"}
