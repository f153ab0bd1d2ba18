"""Job `train_reward_model`: a reward model from preferences, and how good it is.

What annotators say of two responses is modelled by the difference of their scores (see `models.reward.likelihoods`), and by
default fitted to the estimated probability of the preference, not to a hard label. The weights with the lowest loss on
the validation split are kept. At the end the scores are normalised on the responses it learned from.
"""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator

from data_contracts.records import REWARD_FIGURE
from models.configs import RewardModelConfig
from models.job import Headline, Job
from models.metrics import write_metrics
from models.reward.evaluation.baselines import fit_length_only
from models.reward.evaluation.calibration import fit_temperature
from models.reward.evaluation.reward_evaluation import OVERALL, Rows, as_json, evaluate_scores
from models.reward.evaluation.reward_figures import Scores, probabilities_of
from models.reward.learner import Learner
from models.reward.member_training import new_model, train_heads, train_models
from models.reward.preference_data import FILE_NAME, Preference, encode_split, read_preferences
from models.reward.training_loop import MemberScores, score_preferences

SELECTION, HELD_OUT = "validation", "test"
"""The split that chooses the epoch and the temperature, and the one whose figures count."""
Splits = dict[str, list[Preference]]


def run(job: Job[RewardModelConfig]) -> Headline:
    """Train, choose, normalise and evaluate; writes `model/`, `metrics.jsonl`, `figures.parquet` and `evaluation.json`."""
    config, first = job.config, new_model(job)
    rows = read_preferences(job.input("preferences", FILE_NAME))
    splits = {name: encode_split(rows, name, first) for name in (config.split, SELECTION, HELD_OUT)}
    learns, chooses = splits[config.split], splits[SELECTION]
    if config.ensemble == "heads":
        trained = train_heads(job, first, learns, chooses)
    else:
        del first  # every member starts with a model of its own, and memory is short
        trained = train_models(job, learns, chooses)
    model = trained.learner.model
    members = {name: score_preferences(model, preferences, config.microbatch_tokens) for name, preferences in splits.items()}
    if not Accelerator().is_main_process:
        return {}
    model.normalise(torch.cat(members[config.split]))
    model.save(job.output / "model")
    write_metrics(job.output / "metrics.jsonl", trained.metrics)
    evaluation = evaluate(trained.learner, splits, members)
    pq.write_table(REWARD_FIGURE.table(evaluation), job.output / "figures.parquet")
    told = {name: as_json([row for row in evaluation if row["split"] == name]) for name in splits}
    (job.output / "evaluation.json").write_text(json.dumps(told, indent=2) + "\n")
    shown = ("accuracy", "accuracy_low", "accuracy_high", "log_loss", "ece", "length_only_accuracy", "n_pairs", "n_prompts")
    figures: Any = told[HELD_OUT]
    cut = {name: sum(round(told[split][name]) for split in splits) for name in ("prompts_cut", "responses_cut")}
    return {name: figures.get(name) for name in shown} | cut | {"best_epoch": trained.best_epoch, "skipped_steps": trained.skipped_steps}


def evaluate(learner: Learner, splits: Splits, members: dict[str, MemberScores]) -> Rows:
    """The rows of the record `reward figure` of every split, by the members' scores before they were normalised."""
    chooses = splits[SELECTION]
    temperature = fit_temperature(
        lambda value: learner.log_odds(members[SELECTION].differences / value).numpy(),
        probabilities_of(chooses),
        np.array([preference.weight for preference in chooses]),
    )
    length_only = fit_length_only(splits[learner.config.split])
    rows: Rows = []
    for name, preferences in splits.items():
        found = evaluate_scores(preferences, scores_of(learner, members[name], temperature), length_only)
        whole = next(row for row in found if row["grouping"] == OVERALL)
        told = {**whole, "figure": "temperature", "value": temperature, "low": None, "high": None}
        rows += [{"split": name, **row} for row in (*found, told)]
    return rows


@torch.no_grad()
def scores_of(learner: Learner, members: MemberScores, temperature: float = 1.0) -> Scores:
    """What a learner whose model was normalised after these scores says of the same preferences."""
    chosen, rejected = (learner.model.combine(learner.model.normalised(scores)) for scores in members)
    log_odds, calibrated = (learner.log_odds(members.differences / value) for value in (1.0, temperature))
    return Scores(*(column.numpy() for column in (chosen, rejected, log_odds, calibrated)))
