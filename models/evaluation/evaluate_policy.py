"""Job `evaluate_policy`: a policy against the reference and the champion, on prompts that nothing was trained or chosen on.

Every model answers every prompt once, with the same random numbers. A win is decided by the held-out judge; the training reward
model's scores stand beside it, so that a policy which pleases only its own reward model is seen.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
import torch
from accelerate import Accelerator

from data_contracts.records import ALL_SLICES, FIGURE, SAMPLE, SCORE_FEATURE
from models.configs import EvaluationConfig
from models.evaluation.base_answers import answer
from models.evaluation.best_of_n import best_of_n_figures, passed_figures
from models.evaluation.forgetting import forgetting_figures
from models.evaluation.overoptimization import curve_figures
from models.evaluation.policy_figures import CHAMPION, POLICY, REFERENCE, all_figures, figure_row
from models.evaluation.samples import Contender, sample, sample_rows
from models.evaluation.score_features import ScoreFeature, feature_figures, score_features
from models.job import Headline, Job
from models.language.language_model import load_language_model
from models.language.prompts import encode_prompts, load_prompts
from models.language.text import load_tokenizer
from models.reward.evaluation.comparison import compare
from models.reward.preference_data import FILE_NAME, read_preferences
from models.reward.reward_model import load_reward_model
from models.reward.scoring import Scoring

ROLES = {POLICY: "policy", REFERENCE: "base_model", CHAMPION: "champion"}
"""Which input each model comes from; the champion is there once a policy was promoted."""
CHAMPION_REWARD_MODEL = "champion_reward_model"
"""Input: what the champion learned through, where it is not tonight's reward model."""
HELD_OUT_TEXTS = "held_out_texts"
"""Input: texts that nothing was trained on, where there are any."""
METRICS = "metrics.jsonl"


def run(job: Job[EvaluationConfig]) -> Headline:
    """Sample, score and compare; writes `samples.parquet`, `figures.parquet` and `features.parquet`.

    Inputs: `policy`, `base_model` (the reference), `reward_model`, `judge` (a held-out reward model), `prompts`; `champion` where
    there is one, with `champion_reward_model`, the one that it learned through: then the two reward models are compared on all
    preferences of the split; and `held_out_texts`, on which it is measured what the policy has forgotten.
    """
    config, device = job.config, Accelerator().device
    prompts = load_prompts(job.input("prompts", "prompts.parquet"), config.split, config.max_prompts)
    reward_model = load_reward_model(job.input("reward_model", "model"), device)
    judge = load_reward_model(job.input("judge", "model"), device).score
    contenders = {name: _load(job, name, device) for name in ROLES if name != CHAMPION or ROLES[name] in job.inputs}
    samples = {}
    for name, contender in contenders.items():
        samples[name] = sample(contender, contenders[REFERENCE], prompts, config, score=reward_model.score, judge=judge)
        job.progress.report(len(samples), len(contenders), model=name)
    metrics = _training_metrics(job)
    curves = [figure_row(ALL_SLICES, name, value, states) for name, value, states in curve_figures(metrics)]
    figures = [*all_figures(samples, config), *curves, *_reward_models_compared(job, reward_model)]
    features: list[ScoreFeature] = []
    if config.best_of > 1:
        answers = answer(contenders[REFERENCE], prompts[: config.best_of_prompts], config, score=reward_model.score, judge=judge)
        features = score_features(answers, samples[POLICY], samples[REFERENCE])
        best = best_of_n_figures(answers, samples[POLICY])
        figures += [*best, *passed_figures(best, metrics), *feature_figures(features, answers)]
    if HELD_OUT_TEXTS in job.inputs:
        figures += forgetting_figures(contenders[POLICY], contenders[REFERENCE], job.input(HELD_OUT_TEXTS, "texts.parquet"))
    pq.write_table(SAMPLE.table(sample_rows(samples)), job.output / "samples.parquet")
    pq.write_table(FIGURE.table(figures), job.output / "figures.parquet")
    pq.write_table(SCORE_FEATURE.table([feature._asdict() for feature in features]), job.output / "features.parquet")
    cut = encode_prompts(contenders[REFERENCE].tokenizer, prompts, config.sampling.max_prompt_tokens).cut
    return {**_headline(figures), "n_prompts": len(prompts), "prompts_cut": cut}


def _training_metrics(job: Job[EvaluationConfig]) -> list[dict[str, float | None]]:
    """The rows of the policy's training, where it kept any."""
    path = job.inputs[POLICY] / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _reward_models_compared(job: Job[EvaluationConfig], own: Scoring) -> list[dict[str, object]]:
    if CHAMPION_REWARD_MODEL not in job.inputs:
        return []
    champions = load_reward_model(job.input(CHAMPION_REWARD_MODEL, "model"), own.device)
    rows = read_preferences(job.input("prompts", FILE_NAME))
    return compare([row for row in rows if row["split"] == job.config.split and row["weight"] > 0], own, champions)


def _load(job: Job[EvaluationConfig], name: str, device: torch.device) -> Contender:
    directory = job.input(ROLES[name], "model")
    return Contender(load_language_model(directory, device).eval(), load_tokenizer(directory))


def _headline(figures: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The figures over all prompts that are shown for the artifact."""
    overall = {row["figure"]: row for row in figures if row["slice"] == ALL_SLICES}
    shown: dict[str, float | None] = {}
    for figure in (f"win_rate_{opponent}" for opponent in (REFERENCE, CHAMPION)):
        if figure in overall:
            shown |= {figure: overall[figure]["value"], f"{figure}_low": overall[figure]["low"], f"{figure}_high": overall[figure]["high"]}
    plain = (
        "score_gain_reference",
        "judge_score_gain_reference",
        "kl_k1",
        "best_of_n_judge_score_gain_share",
        "perplexity_ratio_reference",
    )
    return shown | {figure: overall[figure]["value"] for figure in plain if figure in overall}
