"""Perplexity on held-out texts: against transformers' own loss, text by text."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.records import HELD_OUT_TEXT
from models.evaluation.forgetting import forgetting_figures, losses
from models.evaluation.samples import Contender
from models.language.language_model import load_language_model
from models.language.text import encode_prompt, encode_response, encode_text, load_tokenizer
from tests.models.conftest import user

TEXTS = [("", "one two three four"), ("what?", "five six"), ("", "seven"), ("", "a b c d e f g h")]


@pytest.fixture
def contender(chat_model: Path) -> Contender:
    return Contender(load_language_model(chat_model).eval(), load_tokenizer(chat_model))


def test_the_loss_of_each_text_is_transformers_own(contender: Contender) -> None:
    texts = [(user(prompt) if prompt else [], text) for prompt, text in TEXTS]
    found = losses(contender, texts)
    for place, (prompt, text) in enumerate(texts):
        ids = torch.tensor([encode_text(contender.tokenizer, prompt, text)])
        if ids.shape[1] > 1:
            with torch.no_grad():
                expected = contender.model(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1)
            assert found.nats[place] == pytest.approx(float(expected), abs=1e-4)
        assert found.tokens[place] == ids.shape[1] - 1


def test_a_text_with_a_prompt_is_read_as_it_was_trained_on(contender: Contender) -> None:
    tokenizer = contender.tokenizer
    expected = encode_prompt(tokenizer, user("what?"), 999).ids + encode_response(tokenizer, "five six", tokenizer.eos_token_id)
    assert encode_text(tokenizer, user("what?"), "five six") == expected


def test_a_model_that_was_made_worse_has_forgotten(contender: Contender, chat_model: Path, tmp_path: Path) -> None:
    rows = [{"place": i, "prompt": user(p) if p else [], "text": text} for i, (p, text) in enumerate(TEXTS)]
    pq.write_table(HELD_OUT_TEXT.table(rows), tmp_path / "texts.parquet")
    worse = load_language_model(chat_model).eval()
    with torch.no_grad():
        for parameter in worse.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    figures = {
        row["figure"]: row for row in forgetting_figures(Contender(worse, contender.tokenizer), contender, tmp_path / "texts.parquet")
    }
    own, before = (
        losses(one, [(row["prompt"], row["text"]) for row in rows]) for one in (Contender(worse, contender.tokenizer), contender)
    )
    ratio = np.exp((own.nats.sum() - before.nats.sum()) / own.tokens.sum())
    assert figures["perplexity_ratio_reference"]["value"] == pytest.approx(ratio)
    assert ratio > 1
    same = {row["figure"]: row for row in forgetting_figures(contender, contender, tmp_path / "texts.parquet")}
    assert (same["perplexity_ratio_reference"]["value"], same["perplexity_ratio_reference"]["n"]) == (1.0, 4)
