"""Pretraining. Oracles: transformers' own loss on each text alone, the entropy of a planted corpus, plain `from_pretrained`."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_contracts.errors import InputError
from data_contracts.records import MESSAGES
from models.configs import PretrainConfig
from models.job import Job
from models.language.language_model import load_language_model
from models.language.pretrain import CorpusText, encode_corpus, language_model_loss, read_corpus, run, train_tokenizer
from models.language.text import decode_response, encode_response
from models.progress import Progress
from tests.models.conftest import sentences, user

SMALL = {"hidden_size": 32, "layers": 1, "heads": 2, "vocab_size": 300, "context_length": 64, "batch_size": 8}


def make_job(tmp_path: Path, texts: list[CorpusText], **config: object) -> Job[PretrainConfig]:
    folders = {name: tmp_path / name for name in ("corpus", "output", "work")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    rows = [text._asdict() for text in texts]
    table = pa.Table.from_pylist(rows, schema=pa.schema([("prompt", MESSAGES), ("response", pa.string())]))
    pq.write_table(table, folders["corpus"] / "corpus.parquet")
    values = {**SMALL, **config}
    return Job(PretrainConfig(**values), {"corpus": folders["corpus"]}, folders["output"], folders["work"], Progress(None))  # type: ignore[arg-type]


def coin_corpus(count: int) -> list[CorpusText]:
    """One prompt, and two responses that are equally frequent: all there is to know is one bit per text."""
    return [CorpusText(user("heads or tails"), ("heads", "tails")[i % 2]) for i in range(count)]


def test_loss_is_the_mean_over_tokens_of_transformers_losses(chat_model: Path) -> None:
    model = load_language_model(chat_model)
    texts = [[4, 5, 6, 7], [8, 9], [10, 11, 12, 13, 14, 15, 16]]
    plain = AutoModelForCausalLM.from_pretrained(chat_model)
    with torch.no_grad():
        sums = [float(plain(torch.tensor([t]), labels=torch.tensor([t])).loss) * (len(t) - 1) for t in texts]
        assert float(language_model_loss(model, texts, 0)) == pytest.approx(sum(sums) / 10, rel=1e-5)


def test_learns_all_there_is_to_know(tmp_path: Path) -> None:
    job = make_job(tmp_path, coin_corpus(400), epochs=4.0, learning_rate=1e-2)
    headline = run(job)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(job.output / "model"), AutoTokenizer.from_pretrained(job.output / "model")
    prompt = tokenizer.apply_chat_template(user("heads or tails"), add_generation_prompt=True, return_dict=False)
    per_text = len(prompt) + len(tokenizer.encode("heads")) + 1 - 1  # the first token is given, the end token is not
    assert headline["held_out_loss"] == pytest.approx(math.log(2) / per_text, abs=0.02)
    assert isinstance(headline["parameters"], int)
    with torch.no_grad():
        probabilities = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    firsts = [tokenizer.encode(word)[0] for word in ("heads", "tails")]
    assert probabilities[firsts].tolist() == pytest.approx([0.5, 0.5], abs=0.15)
    rows = [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 197))
    assert set(rows[0]) == {"step", "loss", "learning_rate", "grad_norm"}


def test_same_input_same_bytes(tmp_path: Path) -> None:
    texts = [CorpusText(user(a), b) for a, b in zip(sentences(60), sentences(60, seed=1), strict=True)]
    jobs = [make_job(tmp_path / name, texts) for name in ("one", "two")]
    assert run(jobs[0]) == run(jobs[1])
    files = sorted(path.relative_to(jobs[0].output) for path in jobs[0].output.rglob("*") if path.is_file())
    assert len(files) >= 6
    assert all((jobs[0].output / file).read_bytes() == (jobs[1].output / file).read_bytes() for file in files)


def test_texts_are_prompt_response_and_end_and_some_are_kept_aside() -> None:
    texts = [CorpusText(user(a), b) for a, b in zip(sentences(100), sentences(100, seed=1), strict=True)]
    tokenizer = train_tokenizer(texts, 300)
    corpus = encode_corpus(tokenizer, texts, PretrainConfig(**SMALL))  # type: ignore[arg-type]
    assert (len(corpus.train), len(corpus.held_out), corpus.cut) == (98, 2, 0)
    expected = sorted(f"<|user|>{text.prompt[0]['content']}<|assistant|>{text.response}<|end|>" for text in texts)
    assert sorted(tokenizer.decode(ids) for ids in [*corpus.train, *corpus.held_out]) == expected
    short = PretrainConfig(**{**SMALL, "context_length": 16})  # type: ignore[arg-type]
    cut = encode_corpus(tokenizer, texts, short)
    assert max(map(len, [*cut.train, *cut.held_out])) == 16
    assert cut.cut == sum(len(ids) > 16 for ids in [*corpus.train, *corpus.held_out])


def test_tokenizer_never_seen_letters_come_back() -> None:
    tokenizer = train_tokenizer(coin_corpus(4), 300)
    text = "Ünïcode, 漢字 \x00 \n and two  blanks"
    assert decode_response(tokenizer, encode_response(tokenizer, text, 3), 3) == text


def test_bad_corpora(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 texts"):
        run(make_job(tmp_path, coin_corpus(1)))
    pq.write_table(pa.table({"prompt": [1]}), tmp_path / "corpus.parquet")
    with pytest.raises(InputError, match="no column response"):
        read_corpus(tmp_path / "corpus.parquet")
