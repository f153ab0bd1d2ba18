"""Job `judge_by_model`: a local chat model says which of two responses is the better one, by its probabilities of A and B or in words."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator

from models.configs import SamplingConfig
from models.evaluation.judges.answers import Answer, Answers
from models.evaluation.judges.judging import judged
from models.evaluation.judges.questions import Letter, Question, verdict_in
from models.job import Headline, Job
from models.language.generation import generate
from models.language.language_model import LanguageModel, context_length, load_language_model, response_batch, response_logprobs
from models.language.text import Tokenizer, decode_response, encode_prompt, encode_response, end_token, load_tokenizer, pad_token
from models.measure_configs import ModelJudge

GREEDY = 1e-4
"""A temperature at which the likeliest token is sampled, but for ties in the fourth digit."""


class LocalJudge(NamedTuple):
    """A chat model with its tokenizer, and how it is asked."""

    model: LanguageModel
    tokenizer: Tokenizer
    config: ModelJudge

    def ask(self, questions: Sequence[Question]) -> Answers:
        """Ask all of them, in batches of similar length; one that is too long is not asked."""
        encoded = [encode_prompt(self.tokenizer, [{"role": "user", "content": question.text}], self.longest) for question in questions]
        for question, prompt in zip(questions, encoded, strict=True):
            if prompt.cut:
                yield question, Answer(None, failure=f"the question is longer than {self.longest} tokens")
        places = sorted((i for i, prompt in enumerate(encoded) if not prompt.cut), key=lambda i: len(encoded[i].ids))
        for start in range(0, len(places), self.config.batch_size):
            batch = places[start : start + self.config.batch_size]
            answers = (self._letters if self.config.read == "letters" else self._texts)([encoded[i].ids for i in batch])
            yield from zip([questions[i] for i in batch], answers, strict=True)

    @property
    def longest(self) -> int:
        """Most tokens of a question that leaves room for its answer."""
        context = context_length(self.model.config) or self.config.max_question_tokens + self.config.max_new_tokens
        room = self.config.max_new_tokens if self.config.read == "text" else max(map(len, letters(self.tokenizer)))
        return min(self.config.max_question_tokens, context - room)

    def _letters(self, prompts: Sequence[list[int]]) -> list[Answer]:
        chances = letter_chances(self.model, self.tokenizer, prompts)
        return [Answer(_likelier(chance), probability_a=chance) for chance in chances]

    def _texts(self, prompts: Sequence[list[int]]) -> list[Answer]:
        eos_id = end_token(self.tokenizer)
        sampling = SamplingConfig(max_new_tokens=self.config.max_new_tokens, temperature=GREEDY, batch_size=len(prompts))
        seeds = [0] * len(prompts)
        replies = generate(self.model, prompts, sampling, seeds=seeds, eos_id=eos_id, pad_id=pad_token(self.tokenizer))
        texts = [decode_response(self.tokenizer, reply.ids, eos_id) for reply in replies]
        return [Answer(verdict_in(text), text) for text in texts]


def run(job: Job[ModelJudge]) -> Headline:
    """Ask about the responses of the input `evaluation`; the input `model` is the judge."""
    directory = job.input("model", "model")
    judge = LocalJudge(load_language_model(directory, Accelerator().device).eval(), load_tokenizer(directory), job.config)
    return judged(job, judge.ask)


@torch.inference_mode()
def letter_chances(model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[list[int]]) -> list[float]:
    """Probability of the answer A over that of B to each of the prompts, none empty."""
    both = letters(tokenizer)
    batch = response_batch([prompt for prompt in prompts for _ in both], both * len(prompts), pad_token(tokenizer), model.device)
    logprobs = response_logprobs(model, batch, 1.0).double().sum(1).reshape(-1, len(both))
    chances: list[float] = logprobs.softmax(1)[:, 0].tolist()
    return chances


def letters(tokenizer: Tokenizer) -> list[list[int]]:
    """The answers A and B as tokens, without an end."""
    return [encode_response(tokenizer, letter, end_token(tokenizer))[:-1] for letter in ("A", "B")]


def _likelier(chance: float) -> Letter:
    return "A" if chance > 0.5 else "B" if chance < 0.5 else "tie"
