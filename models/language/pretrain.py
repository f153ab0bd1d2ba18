"""Job `pretrain`: a tokenizer and a small language model, trained from scratch on the simulated corpus.

The model reads a prompt and goes on with the response, in the chat format that its tokenizer's template writes. Every token
counts in the loss. Texts of one batch have nearly the same length, so little of the work is padding.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from data_contracts.errors import InputError
from data_contracts.texts import Message
from models.batching import epoch_batches
from models.checkpoint import Checkpoints
from models.configs import PretrainConfig
from models.job import Headline, Job
from models.language.corpus_split import held_out_places
from models.language.language_model import LanguageModel, count_parameters, new_language_model, save_language_model
from models.language.text import Tokenizer, encode_prompt, encode_response, pad_right
from models.metrics import write_metrics
from models.optimization import StepGuard, adamw, set_learning_rate, warmup_cosine
from models.randomness import derive_seed

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = f"""\
{{%- for message in messages -%}}
{{%- if message['role'] == 'assistant' -%}}{ASSISTANT}{{{{ message['content'] }}}}{END}
{{%- else -%}}{USER}{{{{ message['content'] }}}}{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{ASSISTANT}{{%- endif -%}}"""
MAX_GRAD_NORM = 1.0
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
IGNORE = -100
"""Label of a position that has no next token, as `cross_entropy` knows it."""


class CorpusText(NamedTuple):
    """One text of the corpus."""

    prompt: Sequence[Message]
    response: str


class Corpus(NamedTuple):
    """The corpus as tokens."""

    train: list[list[int]]
    held_out: list[list[int]]
    cut: int
    """Texts that were longer than the context and lost their end."""


def run(job: Job[PretrainConfig]) -> Headline:
    """Train tokenizer and model; writes `model/` and `metrics.jsonl`."""
    config = job.config
    texts = read_corpus(job.input("corpus", "corpus.parquet"))
    tokenizer = train_tokenizer(texts, config.vocab_size)
    corpus = encode_corpus(tokenizer, texts, config)
    torch.manual_seed(derive_seed(config.seed, "pretrain", "weights"))
    model = new_language_model(config, len(tokenizer), pad_id=tokenizer.pad_token_id, eos_id=tokenizer.eos_token_id)
    metrics, held_out_loss = _train(job, model, corpus)
    save_language_model(model, tokenizer, job.output / "model")
    write_metrics(job.output / "metrics.jsonl", metrics)
    return {
        "parameters": count_parameters(model),
        "tokens": sum(map(len, corpus.train)),
        "final_loss": metrics[-1]["loss"],
        "held_out_loss": held_out_loss,
        "texts_cut": corpus.cut,
    }


def read_corpus(path: Path) -> list[CorpusText]:
    """The texts of a corpus file.

    Raises:
        InputError: a column is missing, or there are too few texts to keep some aside.
    """
    table = pq.read_table(path)
    missing = {"prompt", "response"} - set(table.column_names)
    if missing:
        raise InputError(f"the corpus has no column {', '.join(sorted(missing))}", where=str(path), remedy="add it")
    if table.num_rows < 2:
        raise InputError(f"the corpus has {table.num_rows} texts", where=str(path), remedy="give it more: some are kept aside")
    return [CorpusText(row["prompt"], row["response"]) for row in table.select(["prompt", "response"]).to_pylist()]


def train_tokenizer(texts: Sequence[CorpusText], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer: any text comes back from its tokens unchanged."""
    tokenizer = RawTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for item in texts for text in [*(m["content"] for m in item.prompt), item.response]), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def encode_corpus(tokenizer: Tokenizer, texts: Sequence[CorpusText], config: PretrainConfig) -> Corpus:
    """Every text as prompt, response and end token; a share of them, drawn by the seed, is kept aside."""
    length = config.context_length
    whole = [encode_prompt(tokenizer, t.prompt, length).ids + encode_response(tokenizer, t.response, tokenizer.eos_token_id) for t in texts]
    encoded = [ids[:length] for ids in whole]
    held_out = held_out_places(len(encoded), config.seed)
    train = sorted(set(range(len(encoded))) - set(held_out))
    return Corpus([encoded[i] for i in train], [encoded[i] for i in held_out], sum(len(ids) > length for ids in whole))


def language_model_loss(model: LanguageModel, texts: Sequence[Sequence[int]], pad_id: int) -> torch.Tensor:
    """Mean negative log-probability per token of the texts, each token given those before it in its text."""
    padded = pad_right(texts, pad_id, model.device)
    labels = padded.ids.masked_fill(~padded.mask, IGNORE)[:, 1:]
    logits = model(input_ids=padded.ids[:, :-1], use_cache=False).logits  # causal: what is padded at the end is seen by nothing that counts
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE)


@torch.no_grad()
def held_out_loss(model: LanguageModel, texts: Sequence[Sequence[int]], pad_id: int, batch_size: int) -> float:
    """Mean loss per token over all the texts."""
    total, tokens = 0.0, 0
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        count = sum(len(text) - 1 for text in batch)
        total += float(language_model_loss(model, batch, pad_id)) * count
        tokens += count
    return total / tokens


def _train(job: Job[PretrainConfig], model: LanguageModel, corpus: Corpus) -> tuple[list[dict[str, Any]], float]:
    """Train the model in place; the metrics of every step, and the loss on the texts that were kept aside."""
    config, accelerator = job.config, Accelerator()
    model = accelerator.prepare_model(model)
    optimizer = adamw(model, weight_decay=WEIGHT_DECAY, betas=BETAS)
    guard, checkpoints = StepGuard(MAX_GRAD_NORM), Checkpoints(job.work, job.identity())
    lengths, pad_id = [len(text) for text in corpus.train], model.config.pad_token_id
    per_epoch = math.ceil(len(lengths) / config.batch_size)
    total = max(1, round(config.epochs * per_epoch))
    metrics: list[dict[str, Any]] = []
    parts = {"model": model, "optimizer": optimizer}
    start = 0
    if (found := checkpoints.restore(parts)) is not None:
        start, state = found
        metrics, guard.skipped, guard.in_a_row = state["metrics"], state["skipped"], state["in_a_row"]
        job.progress.note(f"going on from the checkpoint of step {start}")
    model.train()
    batches: list[list[int]] = []
    for step in range(start, total):
        if step % per_epoch == 0 or not batches:
            batches = epoch_batches(lengths, config.batch_size, config.seed, "pretrain", "order", step // per_epoch)
        learning_rate = config.learning_rate * warmup_cosine(step, total, config.warmup)
        set_learning_rate(optimizer, learning_rate)
        loss = language_model_loss(model, [corpus.train[i] for i in batches[step % per_epoch]], pad_id)
        accelerator.backward(loss)
        grad_norm = guard.step(model.parameters(), optimizer)
        metrics.append({"step": step + 1, "loss": loss.item(), "learning_rate": learning_rate, "grad_norm": grad_norm})
        job.progress.report(step + 1, total, loss=metrics[-1]["loss"])
        if checkpoints.due():
            checkpoints.save(step + 1, parts, {"metrics": metrics, "skipped": guard.skipped, "in_a_row": guard.in_a_row})
    model.eval()
    return metrics, held_out_loss(model, corpus.held_out, pad_id, config.batch_size)
