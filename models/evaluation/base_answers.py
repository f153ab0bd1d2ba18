"""Many responses of the base model to each held-out prompt, scored: what best of n and the features of the score are told from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.configs import EvaluationConfig
from models.evaluation.samples import Contender
from models.language.diversity import repetition
from models.language.generation import generate
from models.language.prompts import Prompt, encode_prompts
from models.language.text import decode_response, end_token, pad_token
from models.ppo.scoring import Scorer, score_responses
from models.randomness import derive_seed

Floats = NDArray[np.float64]


class BaseAnswers(NamedTuple):
    """N responses of the base model to each of P prompts."""

    prompts: Sequence[Prompt]
    text: Sequence[Sequence[str]]
    """(P, N)."""
    length: Floats
    """(P, N): tokens, the end token included."""
    repetition: Floats
    """(P, N): share of repeated runs of tokens within a response."""
    score: Floats
    """(P, N): the training reward model's."""
    judge_score: Floats
    """(P, N): the held-out judge's."""

    def of(self, places: Sequence[int]) -> "BaseAnswers":
        """The responses to some of the prompts, by their places."""
        prompts, text = [self.prompts[i] for i in places], [self.text[i] for i in places]
        return BaseAnswers(
            prompts, text, *(values[list(places)] for values in (self.length, self.repetition, self.score, self.judge_score))
        )


def answer(reference: Contender, prompts: Sequence[Prompt], config: EvaluationConfig, *, score: Scorer, judge: Scorer) -> BaseAnswers:
    """Have the base model answer each prompt `config.best_of` times, and both reward models score what it says."""
    tokenizer, each = reference.tokenizer, config.best_of
    eos_id = end_token(tokenizer, config.sampling.eos_token_id)
    encoded = encode_prompts(tokenizer, prompts, config.sampling.max_prompt_tokens).ids
    seeds = [derive_seed(config.seed, "best_of", prompt.prompt_id, place) for prompt in prompts for place in range(each)]
    rows = [ids for ids in encoded for _ in range(each)]
    answers = generate(reference.model, rows, config.sampling, seeds=seeds, eos_id=eos_id, pad_id=pad_token(tokenizer))
    text = [decode_response(tokenizer, one.ids, eos_id) for one in answers]
    messages = [prompt.messages for prompt in prompts for _ in range(each)]
    scored, judged = score_responses(score, messages, text), score_responses(judge, messages, text, name="the held-out judge")
    columns = (
        np.array([len(one.ids) for one in answers]),
        np.array([repetition([one.ids]) for one in answers]),
        scored.score.double().numpy(),
        judged.score.double().numpy(),
    )
    by_prompt = [text[start : start + each] for start in range(0, len(text), each)]
    return BaseAnswers(prompts, by_prompt, *(column.astype(np.float64).reshape(len(prompts), each) for column in columns))
