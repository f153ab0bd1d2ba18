"""Small models that the tests of the learning machinery share."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import BertConfig, BertModel, BertTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from models.configs import PretrainConfig
from models.language.language_model import new_language_model, save_language_model
from models.language.pretrain import CorpusText, train_tokenizer

STORIES = Path(__file__).parents[2] / "../shared/data/model_stories260k"
WORDS = ("how", "do", "i", "clean", "my", "old", "lamp", "table", "wipe", "it", "with", "soap", "good", "bad", "answer", "please")


def sentences(count: int, *, words: Sequence[str] = WORDS, seed: int = 0) -> list[str]:
    """Short random texts."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
    return [" ".join(words[i] for i in torch.randint(len(words), (n,), generator=generator).tolist()) for n in lengths]


def user(text: str) -> list[dict[str, str]]:
    """A prompt of one message."""
    return [{"role": "user", "content": text}]


@pytest.fixture(autouse=True)
def _device_of_its_own() -> Iterator[None]:
    """Accelerate keeps the device that it met first; where there is a GPU, some tests take it and others the CPU."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def stories() -> Path:
    """A real pretrained model without a chat template."""
    if not STORIES.exists():
        pytest.skip(f"the model stories260K is not at {STORIES}")
    return STORIES


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a byte-level tokenizer and a chat template."""
    directory = tmp_path_factory.mktemp("chat_model") / "model"
    tokenizer = train_tokenizer([CorpusText(user(text), text) for text in sentences(50)], 320)
    torch.manual_seed(0)
    config = PretrainConfig(hidden_size=32, layers=2, heads=2, context_length=128)
    model = new_language_model(config, len(tokenizer), pad_id=tokenizer.pad_token_id, eos_id=tokenizer.eos_token_id)
    for parameter in model.parameters():  # wide enough that the tokens' probabilities differ
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    save_language_model(model, tokenizer, directory)
    return directory


@pytest.fixture(scope="session")
def shared_heads_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama in which two heads share one of keys and values."""
    directory = tmp_path_factory.mktemp("shared_heads_model") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**shape, vocab_size=256, max_position_embeddings=64, initializer_range=0.15)
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def gpt2_model(tmp_path_factory: pytest.TempPathFactory, chat_model: Path) -> Path:
    """A tiny random GPT-2: learned positions, and dropout in its configuration."""
    from models.language.text import load_tokenizer

    directory = tmp_path_factory.mktemp("gpt2_model") / "model"
    tokenizer = load_tokenizer(chat_model)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=96, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, initializer_range=0.3,
    )  # fmt: skip
    save_language_model(GPT2LMHeadModel(config), tokenizer, directory)
    return directory


@pytest.fixture(scope="session")
def bert_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT: an encoder."""
    directory = tmp_path_factory.mktemp("bert_model") / "model"
    directory.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)})
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    save_language_model(BertModel(config), tokenizer, directory)
    return directory
