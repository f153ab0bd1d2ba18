"""One response of each model to each held-out prompt, and what is known of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from models.configs import EvaluationConfig
from models.language.language_model import LanguageModel, response_logprobs
from models.language.prompts import Prompt, encode_prompts
from models.language.text import Tokenizer, pad_token
from models.ppo.ppo_math import kl_k1
from models.ppo.rollout import Response, over_microbatches, respond
from models.ppo.scoring import Scorer, score_responses
from models.randomness import derive_seed


class Sample(NamedTuple):
    """One response of one model, and what is known of it."""

    prompt: Prompt
    response: Response
    score: float
    disagreement: float
    judge_score: float
    judge_member_scores: Sequence[float]
    """What each member of the held-out judge scores; of a single judge, its score."""
    kl_k1: float | None
    """Nats per response from the reference; None for a model whose tokens the reference does not have."""


class Contender(NamedTuple):
    """A language model with its tokenizer."""

    model: LanguageModel
    tokenizer: Tokenizer


Samples = Mapping[str, list[Sample]]
"""The samples of each model, all in the order of the prompts."""


def sample(
    contender: Contender, reference: Contender, prompts: Sequence[Prompt], config: EvaluationConfig, *, score: Scorer, judge: Scorer
) -> list[Sample]:
    """One response of the model to each prompt, scored; a prompt's random numbers are the same for every model."""
    encoded = encode_prompts(contender.tokenizer, prompts, config.sampling.max_prompt_tokens)
    seeds = [derive_seed(config.seed, "evaluation", prompt.prompt_id) for prompt in prompts]
    responses = respond(contender.model, contender.tokenizer, encoded.ids, config.sampling, seeds=seeds)
    messages, text = [prompt.messages for prompt in prompts], [response.text for response in responses]
    kl = _kl_per_response(contender, reference, encoded.ids, responses, config)
    scored, judged = score_responses(score, messages, text), score_responses(judge, messages, text, name="the held-out judge")
    members = judged.score[:, None] if judged.members is None else judged.members
    columns = (prompts, responses, scored.score.tolist(), scored.disagreement.tolist(), judged.score.tolist(), members.tolist(), kl)
    return [Sample(*row) for row in zip(*columns, strict=True)]


def _kl_per_response(
    contender: Contender, reference: Contender, prompts: Sequence[list[int]], responses: Sequence[Response], config: EvaluationConfig
) -> list[float | None]:
    """KL of each response from the reference, by estimator k1, summed over its tokens."""
    if contender.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        return [None] * len(responses)

    def logprobs(model: LanguageModel) -> torch.Tensor:
        return over_microbatches(
            lambda batch: response_logprobs(model, batch, config.sampling.temperature),
            prompts,
            [response.ids for response in responses],
            pad_id=pad_token(contender.tokenizer),
            device=model.device,
            size=config.sampling.batch_size,
        )

    kl: list[float | None] = kl_k1(logprobs(contender.model), logprobs(reference.model)).double().sum(1).tolist()
    return kl


def sample_rows(samples: Samples) -> list[dict[str, object]]:
    """Rows of the record `sample`."""
    return [
        {
            "prompt_id": item.prompt.prompt_id,
            "slice": item.prompt.slice,
            "model": model,
            "prompt": item.prompt.messages,
            "response": item.response.text,
            "n_tokens": len(item.response.ids),
            "ended": item.response.ended,
            "score": item.score,
            "disagreement": item.disagreement,
            "judge_score": item.judge_score,
            "judge_member_scores": list(item.judge_member_scores),
            "kl_k1": item.kl_k1,
        }
        for model, items in samples.items()
        for item in items
    ]
