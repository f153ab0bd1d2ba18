"""Language models: made new, loaded and saved, and the logprobs that they give to responses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from data_contracts.errors import InputError, RecipeError, examples
from models.configs import PretrainConfig
from models.language.llama.reading import states_at
from models.language.llama.weights import FusedLlama
from models.language.text import Padded, Tokenizer, pad_left, pad_right

LOGITS_AT_ONCE = 1 << 27
"""Most logits of plain Llamas at a time: 512 MiB."""
OfLogits = Callable[[Tensor, Tensor], Tensor]
"""Makes something of logits (N…, V) and the tokens (N…) that followed: (…, N…)."""
LanguageModel = Any
"""A causal language model of the transformers library."""

transformers.utils.logging.disable_progress_bar()


class ResponseBatch(NamedTuple):
    """B prompts with their responses: prompts end, and responses begin, at the same column of every row."""

    padded: Padded
    """The whole sequences, (B, P + T), padded on both sides; positions count the real tokens."""
    responses: Tensor
    """The responses, (B, T), padded at their end."""
    response_mask: Tensor
    """True where a response has a token, (B, T)."""


def new_language_model(config: PretrainConfig, vocab_size: int, *, pad_id: int, eos_id: int) -> LanguageModel:
    """A small Llama with random weights, drawn from torch's global generator: tied embeddings, no dropout."""
    if config.hidden_size % config.heads:
        raise RecipeError(f"hidden_size {config.hidden_size} is no multiple of heads {config.heads}", remedy="change one of them")
    architecture = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=8 * round(config.hidden_size / 3),
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context_length,
        initializer_range=config.hidden_size**-0.5,  # at this size, the usual 0.02 learns to copy from the prompt much later
        tie_word_embeddings=True,
        pad_token_id=pad_id,
        bos_token_id=None,
        eos_token_id=eos_id,
    )
    return LlamaForCausalLM(architecture)


def load_language_model(directory: Path, device: torch.device | str = "cpu") -> LanguageModel:
    """The causal language model in a directory in transformers format, in float32, without dropout.

    Raises:
        InputError: the directory holds no such model, or not all of its weights, or only pickled ones.
    """
    return load_pretrained(AutoModelForCausalLM, directory).to(device)


def load_pretrained(auto_class: Any, directory: Path) -> Any:
    """What one of transformers' Auto classes makes of a directory: safetensors only, no foreign code, float32, no dropout."""
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        _switch_off_dropout(config)
        model, loading = auto_class.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"no model can be loaded: {str(error).splitlines()[0]}",
            where=str(directory),
            remedy="give a directory with config.json and *.safetensors, as `save_pretrained` writes them",
        ) from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))  # no pooler is ever used
    if missing:
        raise InputError(f"the model lacks weights: {examples(missing)}", where=str(directory), remedy="save the model again, as a whole")
    return model


def save_language_model(model: LanguageModel, tokenizer: Tokenizer, directory: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write model and tokenizer so that transformers' `from_pretrained` reads them; the same model gives the same bytes.

    `weights` stand in for the model's own, of which a sharded model has but a share.
    """
    model.save_pretrained(directory, state_dict=weights)
    tokenizer.save_pretrained(directory)


def context_length(config: Any) -> int | None:
    """The longest sequence that a model of this transformers configuration is made for, None where it does not tell."""
    return getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)


def response_batch(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu"
) -> ResponseBatch:
    """B prompts and B responses, neither empty, as one batch."""
    left, right = pad_left(prompts, pad_id, device), pad_right(responses, pad_id, device)
    mask = torch.cat([left.mask, right.mask], 1)
    position_ids = (mask.long().cumsum(-1) - 1).clamp(min=0) * mask
    return ResponseBatch(Padded(torch.cat([left.ids, right.ids], 1), mask, position_ids), right.ids, right.mask)


def read_responses(model: LanguageModel, batch: ResponseBatch, temperature: float, of_logits: OfLogits) -> tuple[Tensor, Tensor]:
    """What is made of every response token's logits, (…, B, T), and what the model's head reads in front of each, (B, T, width).

    No logits are computed over the prompts; those of plain Llamas are never all there at once.
    """
    hidden = llama_states(model, batch)
    if hidden is not None:
        return _in_parts(model, hidden, batch.responses, temperature, of_logits), hidden
    read: list[Tensor] = []
    watch = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        logits = _logits_by_library(model, batch)
    finally:
        watch.remove()
    return of_logits(_tempered(logits, temperature), batch.responses), read[0][:, : batch.responses.shape[1]]


def response_logprobs(model: LanguageModel, batch: ResponseBatch, temperature: float) -> Tensor:
    """Log-probability of each response token at the sampling temperature, (B, T), 0 where there is none."""
    logprobs, _ = read_responses(model, batch, temperature, logprobs_of)
    return logprobs.masked_fill(~batch.response_mask, 0.0)


def _in_parts(llama: Any, hidden: Tensor, tokens: Tensor, temperature: float, of_logits: OfLogits) -> Tensor:
    """What is made (…, B, T) of the logits behind hidden states (B, T, width), and of the tokens (B, T).

    No more than `LOGITS_AT_ONCE` stand in memory at a time: the others are computed when their turn comes, and again for the derivatives.
    """

    def read(states: Tensor, ids: Tensor) -> Tensor:
        return of_logits(_tempered(llama.lm_head(states), temperature), ids)

    at_once = max(1, LOGITS_AT_ONCE // llama.config.vocab_size)
    if tokens.numel() <= at_once:
        return read(hidden, tokens)
    parts = zip(torch.split(hidden.flatten(0, 1), at_once), torch.split(tokens.flatten(), at_once), strict=True)
    found = torch.cat([checkpoint(read, *part, use_reentrant=False, preserve_rng_state=False) for part in parts], -1)
    return found.view(*found.shape[:-1], *tokens.shape)


def llama_states(model: Any, batch: ResponseBatch) -> Tensor | None:
    """The last hidden states (B, T, width) of a plain Llama in front of every response token; None of any other model."""
    llama = FusedLlama.of(model)
    if llama is None:
        return None
    lengths = batch.padded.mask.sum(1, keepdim=True)
    places = torch.arange(batch.responses.shape[1], device=lengths.device) - 1
    columns = lengths - batch.response_mask.sum(1, keepdim=True) + places
    with torch.autocast(lengths.device.type, enabled=False):  # the fused weights are in its type already
        return states_at(llama, batch.padded, torch.minimum(columns, lengths - 1))


def _logits_by_library(model: LanguageModel, batch: ResponseBatch) -> Tensor:
    """Logits (B, T, V) of every response token by the model's own forward pass."""
    output = model(
        input_ids=batch.padded.ids,
        attention_mask=None if bool(batch.padded.mask.all()) else batch.padded.mask.long(),
        position_ids=batch.padded.position_ids,
        logits_to_keep=batch.responses.shape[1] + 1,
        use_cache=False,
    )
    logits: Tensor = output.logits[:, :-1]
    return logits


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    """Logits as float32, at a temperature."""
    return logits.float() if temperature == 1 else logits.float() / temperature


def logprobs_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Log of the probability that logits (..., V) give to ids (...)."""
    return -F.cross_entropy(logits.flatten(0, -2), ids.flatten(), reduction="none").view(ids.shape)


def _switch_off_dropout(config: Any) -> None:
    """Every dropout probability of a configuration to 0, whatever the architecture calls it."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("drop" in name):
            setattr(config, name, 0.0)


def count_parameters(model: nn.Module) -> int:
    """Parameters of a model, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
