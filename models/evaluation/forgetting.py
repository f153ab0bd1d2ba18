"""Forgetting: how much worse a policy predicts texts that nothing was trained on than the base model does."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from data_contracts.records import ALL_SLICES
from models.batching import token_batches
from models.evaluation.clusters import Figure, estimates
from models.evaluation.samples import Contender
from models.language.language_model import context_length, logprobs_of
from models.language.text import encode_text, pad_right, pad_token

TOKENS_AT_ONCE = 8192
PERPLEXITY = "perplexity"


class Losses(NamedTuple):
    """Negative log-probabilities of n texts in nats, and how many tokens each sums, both (n,)."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.float64]


def forgetting_figures(policy: Contender, reference: Contender, texts: Path) -> list[dict[str, object]]:
    """Rows of the record `figure`: perplexity per token of both, and their ratio, with intervals over texts.

    Both have one tokenizer, since a policy starts from its base model. Rows of `texts` are of the record `held_out_text`.
    """
    rows = pq.read_table(texts).to_pylist()
    own, before = (losses(contender, [(row["prompt"], row["text"]) for row in rows]) for contender in (policy, reference))
    columns = {"own": own.nats, "before": before.nats, "tokens": own.tokens}
    figures: dict[str, Figure] = {
        PERPLEXITY: lambda sums: np.exp(sums["own"] / sums["tokens"]),
        f"{PERPLEXITY}_reference": lambda sums: np.exp(sums["before"] / sums["tokens"]),
        f"{PERPLEXITY}_ratio_reference": lambda sums: np.exp((sums["own"] - sums["before"]) / sums["tokens"]),
    }
    found = estimates(columns, figures, [str(place) for place in range(len(rows))])
    return [{"slice": ALL_SLICES, "figure": name, **one._asdict(), "n": len(rows)} for name, one in found.items() if one.value is not None]


@torch.inference_mode()
def losses(contender: Contender, texts: Sequence[tuple[Sequence[dict[str, str]], str]]) -> Losses:
    """How well a model predicts texts, each with the prompt that it answers or none: every token after the first, given those before it.

    A text that is longer than the model's context loses its end.
    """
    model, tokenizer = contender
    longest = context_length(model.config)
    encoded = [encode_text(tokenizer, prompt, text)[:longest] for prompt, text in texts]
    nats, tokens = np.zeros(len(texts)), np.array([max(0, len(ids) - 1) for ids in encoded], dtype=np.float64)
    scored = [place for place, ids in enumerate(encoded) if len(ids) > 1]
    for batch in token_batches([len(encoded[place]) for place in scored], TOKENS_AT_ONCE):
        places = [scored[i] for i in batch]
        padded = pad_right([encoded[place] for place in places], pad_token(tokenizer), model.device)
        logits = model(
            input_ids=padded.ids[:, :-1], use_cache=False
        ).logits.float()  # causal: padding at the end is seen by nothing that counts
        logprobs = logprobs_of(logits, padded.ids[:, 1:]).masked_fill(~padded.mask[:, 1:], 0.0)
        nats[places] = -logprobs.double().sum(1).cpu().numpy()
    return Losses(nats, tokens)
