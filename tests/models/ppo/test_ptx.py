"""A corpus mixed into the updates: its loss and gradient are the corpus's own, and nothing held out is in it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from data_contracts.errors import InputError
from data_contracts.records import MESSAGES
from models.language.language_model import load_language_model
from models.language.own_files import FOLDER
from models.language.text import load_tokenizer
from models.policy_configs import PTXConfig
from models.ppo.ppo_update import _corpus_loss, learn, make_lesson
from models.ppo.ptx import PretrainingMix, load_mix
from models.ppo.rollout import collect_rollout
from models.ppo.train_policy import run
from tests.models.conftest import sentences, user
from tests.models.learning import ground_of, length_score, make_job, ppo_config, some_prompts, write_inputs


def with_corpus(root: Path, inputs: dict[str, Path], text: str | None = None) -> dict[str, Path]:
    """The inputs with a text file as corpus."""
    (root / "corpus" / FOLDER).mkdir(parents=True)
    (root / "corpus" / FOLDER / "000-texts.txt").write_text("\n\n".join(sentences(30, seed=9)) if text is None else text)
    return {**inputs, "corpus": root / "corpus"}


def test_the_loss_is_the_mean_over_the_corpus_tokens(chat_model: Path) -> None:
    # Oracle: transformers' own loss of each text alone, weighted by its tokens; shares of a batch add up to it.
    model = load_language_model(chat_model)
    texts = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    mix = PretrainingMix(texts, 0, PTXConfig(batch_size=3), seed=0)
    with torch.no_grad():
        sums = [float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1) for ids in texts]
        whole, *parts = (float(mix.loss(model, part, texts)) for part in (texts, texts[:1], texts[1:]))
    assert whole == pytest.approx(sum(sums) / 6, rel=1e-5)
    assert sum(parts) == pytest.approx(sum(sums) / 6, rel=1e-5)
    assert sorted(map(len, mix.batch(0))) == [2, 3, 4]
    assert mix.batch(5) == mix.batch(5)


def test_the_corpus_is_read_in_the_policys_precision(chat_model: Path) -> None:
    """Oracle: the loss in float32, near which that of bfloat16 is, and not equal to it."""
    learner, _ = ground_of(chat_model, ppo_config(method="reinforce"), length_score, prompts=8)
    mix = PretrainingMix([[5, 6, 7, 8], [9, 10, 11]], 0, PTXConfig(batch_size=2), seed=0)
    exact, rounded = (_corpus_loss(learner, mix, 0, precision) for precision in ("float32", "bfloat16"))
    assert 1e-5 < abs(rounded / exact - 1) < 0.02


def test_a_step_follows_both_gradients(chat_model: Path) -> None:
    # Gradients add up: that with the mix is that without, and coef times the corpus's own.
    def gradient(coef: float) -> Tensor:
        config = ppo_config(method="reinforce", minibatch_size=8, microbatch_size=8, epochs=1)
        learner, ground = ground_of(chat_model, config, length_score, prompts=8)
        rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(8)), microbatch_size=8)
        mix = PretrainingMix([[5, 6, 7, 8], [9, 10, 11]], 0, PTXConfig(coef=coef, batch_size=2), seed=0) if coef else None
        kept: list[Tensor] = []

        def watch(parameters: Any, _: Any) -> float:
            kept.append(torch.cat([p.grad.flatten() for p in parameters]))
            return 0.0

        object.__setattr__(learner.policy.guard, "step", watch)
        learn(learner, rollout, make_lesson(rollout, config, 0.1), config, 0, mix)
        return kept[0]

    model = load_language_model(chat_model)
    batch = PretrainingMix([[5, 6, 7, 8], [9, 10, 11]], 0, PTXConfig(batch_size=2), seed=0)
    torch.autograd.backward(batch.loss(model, batch.texts, batch.texts))
    own = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradient(0.5), gradient(0.0) + 0.5 * own, atol=1e-5, rtol=1e-3)


def test_a_corpus_keeps_the_policy_at_its_texts(chat_model: Path, tmp_path: Path) -> None:
    inputs = with_corpus(tmp_path, write_inputs(tmp_path, chat_model))
    options: dict[str, Any] = {"method": "reinforce", "updates": 6, "validation_prompts": 0, "learning_rate": 3e-3}
    job = make_job(tmp_path / "job", ppo_config(ptx={"coef": 2.0, "batch_size": 8}, **options), inputs)
    headline = run(job)
    losses = [json.loads(line)["ptx_loss"] for line in (job.output / "metrics.jsonl").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0] - 0.5
    assert (headline["ptx_texts"], headline["ptx_texts_held_out"]) == (30, 0)


def load(root: Path, inputs: dict[str, Path], **ptx: Any) -> Any:
    job = make_job(root, ppo_config(ptx=ptx), inputs)
    return load_mix(job, load_tokenizer(inputs["base_model"] / "model"))


def test_texts_that_hold_a_held_out_prompt_are_left_out(chat_model: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, chat_model)
    held_out = some_prompts(20)[3].messages  # of the split validation
    text = f"a lamp\nand a table\n\nit says\n {held_out[0]['content'].upper()} \nsomewhere\n\n" + "soap " * 50
    mix = load(tmp_path / "text", with_corpus(tmp_path, inputs, text), max_tokens=20)
    assert mix.left_out == 1
    assert max(map(len, mix.texts)) == 20
    tokenizer = load_tokenizer(chat_model)
    assert tokenizer.decode(mix.texts[0]) == "a lamp\nand a table" + tokenizer.eos_token
    (tmp_path / "simulated").mkdir()
    rows = [{"prompt": list(held_out), "response": "leaked"}, {"prompt": user("fine"), "response": "good"}]
    table = pa.Table.from_pylist(rows, pa.schema([("prompt", MESSAGES), ("response", pa.string())]))
    pq.write_table(table, tmp_path / "simulated" / "corpus.parquet")
    mix = load(tmp_path / "rows", {**inputs, "corpus": tmp_path / "simulated"})
    assert (len(mix.texts), mix.left_out) == (1, 1)
    with pytest.raises(InputError, match="no text to learn from"):
        load(tmp_path / "none", with_corpus(tmp_path / "empty", inputs, "\n\n"))
