"""Job `evaluate_policy`: a policy against the reference and the champion, on prompts that nothing was trained or chosen on.

Every model answers every prompt once, with the same random numbers. A win is decided by the held-out judge; the training reward
model's scores stand beside it, so that a policy which pleases only its own reward model is seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from numpy.typing import ArrayLike

from data_contracts.records import ALL_SLICES, FIGURE, SAMPLE
from models.configs import EvaluationConfig
from models.evaluation.intervals import Interval, bootstrap_interval, win_shares
from models.job import Headline, Job
from models.language.diversity import distinct_2
from models.language.language_model import LanguageModel, load_language_model, response_logprobs
from models.language.prompts import Prompt, encode_prompts, load_prompts
from models.language.text import Tokenizer, load_tokenizer, pad_token
from models.ppo.ppo_math import kl_k1
from models.ppo.rollout import Response, over_microbatches, respond
from models.ppo.scoring import Scorer, score_responses
from models.randomness import derive_seed
from models.reward.evaluation.comparison import compare
from models.reward.preference_data import FILE_NAME, read_preferences
from models.reward.reward_model import load_reward_model
from models.reward.scoring import Scoring

POLICY, REFERENCE, CHAMPION = "policy", "reference", "champion"
ROLES = {POLICY: "policy", REFERENCE: "base_model", CHAMPION: "champion"}
"""Which input each model comes from; the champion is there once a policy was promoted."""
CHAMPION_REWARD_MODEL = "champion_reward_model"
"""Input: what the champion learned through, where it is not tonight's reward model."""


class Sample(NamedTuple):
    """One response of one model, and what is known of it."""

    prompt: Prompt
    response: Response
    score: float
    disagreement: float
    judge_score: float
    kl_k1: float | None
    """Nats per response from the reference; None for a model whose tokens the reference does not have."""


class Contender(NamedTuple):
    """A language model with its tokenizer."""

    model: LanguageModel
    tokenizer: Tokenizer


Samples = Mapping[str, list[Sample]]
"""The samples of each model, all in the order of the prompts."""


def run(job: Job[EvaluationConfig]) -> Headline:
    """Sample, score and compare; writes `samples.parquet` and `figures.parquet`.

    Inputs: `policy`, `base_model` (the reference), `reward_model`, `judge` (a held-out reward model), `prompts`, and
    `champion` where there is one; with `champion_reward_model`, the one that it learned through, the two reward models are
    compared on all preferences of the split.
    """
    config, device = job.config, Accelerator().device
    prompts = load_prompts(job.input("prompts", "prompts.parquet"), config.split, config.max_prompts)
    reward_model = load_reward_model(job.input("reward_model", "model"), device)
    judge = load_reward_model(job.input("judge", "model"), device).score
    names = [name for name in ROLES if name != CHAMPION or ROLES[name] in job.inputs]
    reference = _load(job, REFERENCE, device)
    samples: dict[str, list[Sample]] = {}
    for name in names:
        contender = reference if name == REFERENCE else _load(job, name, device)
        samples[name] = sample(contender, reference, prompts, config, score=reward_model.score, judge=judge)
        job.progress.report(len(samples), len(names), model=name)
    figures = all_figures(samples, config) + _reward_models_compared(job, reward_model)
    pq.write_table(SAMPLE.table(_sample_rows(samples)), job.output / "samples.parquet")
    pq.write_table(FIGURE.table(figures), job.output / "figures.parquet")
    cut = encode_prompts(reference.tokenizer, prompts, config.sampling.max_prompt_tokens).cut
    return {**_headline(figures), "n_prompts": len(prompts), "prompts_cut": cut}


def _reward_models_compared(job: Job[EvaluationConfig], own: Scoring) -> list[dict[str, object]]:
    if CHAMPION_REWARD_MODEL not in job.inputs:
        return []
    champions = load_reward_model(job.input(CHAMPION_REWARD_MODEL, "model"), own.device)
    rows = read_preferences(job.input("prompts", FILE_NAME))
    return compare([row for row in rows if row["split"] == job.config.split and row["weight"] > 0], own, champions)


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
    columns = (prompts, responses, scored.score.tolist(), scored.disagreement.tolist(), judged.score.tolist(), kl)
    return [Sample(*row) for row in zip(*columns, strict=True)]


def all_figures(samples: Samples, config: EvaluationConfig) -> list[dict[str, object]]:
    """Rows of the record `figure`, over all prompts and by slice.

    Figures of the policy alone have plain names (`score`, `kl_k1`), those of another model end with its name
    (`score_reference`), and so do those of the policy against it (`win_rate_reference`).
    """
    rows = []
    for part in [ALL_SLICES, *sorted({item.prompt.slice for item in samples[POLICY]})]:
        chosen = {name: [item for item in items if part in (ALL_SLICES, item.prompt.slice)] for name, items in samples.items()}
        for model, items in chosen.items():
            named = "" if model == POLICY else f"_{model}"
            found = [*_alone(items, config), *(() if model == POLICY else _compared(chosen[POLICY], items, config))]
            rows += [_row(part, figure + named, value, len(items)) for figure, value in found]
    return rows


def _alone(items: Sequence[Sample], config: EvaluationConfig) -> Iterator[tuple[str, Interval | float]]:
    """The figures of one model."""
    yield "score", _mean([item.score for item in items], config)
    yield "disagreement", _mean([item.disagreement for item in items], config)
    yield "judge_score", _mean([item.judge_score for item in items], config)
    known = [item.kl_k1 for item in items if item.kl_k1 is not None]
    if known:
        yield "kl_k1", _mean(known, config)
    yield "response_length", _mean([len(item.response.ids) for item in items], config)
    yield "ended_share", _mean([item.response.ended for item in items], config)
    yield "distinct_2", distinct_2([item.response.text for item in items])


def _compared(items: Sequence[Sample], opponents: Sequence[Sample], config: EvaluationConfig) -> Iterator[tuple[str, Interval]]:
    """The figures of the policy against an opponent, prompt by prompt."""
    own, other = (np.array([(item.score, item.judge_score) for item in side]) for side in (items, opponents))
    yield "win_rate", _mean(win_shares(own[:, 1], other[:, 1]), config)
    yield "score_gain", _mean(own[:, 0] - other[:, 0], config)
    yield "judge_score_gain", _mean(own[:, 1] - other[:, 1], config)


def _mean(values: ArrayLike, config: EvaluationConfig) -> Interval:
    return bootstrap_interval(values, resamples=config.resamples, seed=derive_seed(config.seed, "bootstrap"))


def _row(part: str, figure: str, value: Interval | float, n: int) -> dict[str, object]:
    mean, low, high = value if isinstance(value, Interval) else (value, None, None)
    return {"slice": part, "figure": figure, "value": mean, "low": low, "high": high, "n": n}


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


def _load(job: Job[EvaluationConfig], name: str, device: torch.device) -> Contender:
    directory = job.input(ROLES[name], "model")
    return Contender(load_language_model(directory, device).eval(), load_tokenizer(directory))


def _sample_rows(samples: Samples) -> list[dict[str, object]]:
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
            "kl_k1": item.kl_k1,
        }
        for model, items in samples.items()
        for item in items
    ]


def _headline(figures: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The figures over all prompts that are shown for the artifact."""
    overall = {row["figure"]: row for row in figures if row["slice"] == ALL_SLICES}
    shown: dict[str, float | None] = {}
    for figure in (f"win_rate_{opponent}" for opponent in (REFERENCE, CHAMPION)):
        if figure in overall:
            shown |= {figure: overall[figure]["value"], f"{figure}_low": overall[figure]["low"], f"{figure}_high": overall[figure]["high"]}
    plain = ("score_gain_reference", "judge_score_gain_reference", "kl_k1")
    return shown | {figure: overall[figure]["value"] if figure in overall else None for figure in plain}
