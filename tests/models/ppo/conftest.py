"""A small model that writes words, which the tests of policies' training share."""

from pathlib import Path

import pytest
import torch

from models.language.language_model import load_language_model, save_language_model
from models.language.pretrain import language_model_loss
from models.language.text import encode_prompt, encode_response, load_tokenizer
from tests.models.conftest import sentences, user


@pytest.fixture(scope="session")
def fluent_model(tmp_path_factory: pytest.TempPathFactory, chat_model: Path) -> Path:
    """The small chat model after a short pretraining on random sentences, so that it writes words and ends."""
    tokenizer, model = load_tokenizer(chat_model), load_language_model(chat_model)
    texts = [
        encode_prompt(tokenizer, user(a), 64).ids + encode_response(tokenizer, b, tokenizer.eos_token_id)
        for a, b in zip(sentences(512, seed=3), sentences(512, seed=4), strict=True)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(120):
        loss = language_model_loss(model, texts[step % 8 * 64 : step % 8 * 64 + 64], tokenizer.pad_token_id)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    directory = tmp_path_factory.mktemp("fluent") / "model"
    save_language_model(model, tokenizer, directory)
    return directory
