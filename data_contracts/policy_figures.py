"""What a policy's gate may judge: the figures of the evaluation, of the reward models, and of the policy's training, by name."""

from collections.abc import Iterable, Mapping

OPPONENTS = {"reference": "the base model", "champion": "the champion"}
ALONE = {
    "score": "mean of the training reward model's score",
    "disagreement": "mean of the standard deviation of that score between the reward model's members",
    "judge_score": "mean of the held-out judge's score",
    "kl_k1": "KL from the base model in nats per response, by estimator k1",
    "response_length": "mean length in tokens, the end token included",
    "ended_share": "share of responses that ended by themselves within the length limit",
    "repetition": "mean share of repeated runs of 4 tokens within a response",
    "distinct_2": "share of different ones among all pairs of neighbouring words; no interval",
}
"""Of the policy; with `_reference` or `_champion` behind the name, of that model."""
AGAINST = {
    "win_rate": "share of prompts on which the held-out judge prefers the policy, ties half; of several members the mean",
    "length_controlled_win_rate": "the same with the responses' lengths taken out (Dubois et al., 2024)",
    "score_gain": "mean of the policy's score less the other's, by the training reward model",
    "judge_score_gain": "the same by the held-out judge",
    "score_judge_gap": "mean of the score gained less the judge score gained",
    "length_ratio": "mean length of the policy's responses over that of the other's",
}
"""Of the policy against another model, whose name stands behind."""
MEASURED = {
    "refusal_share_unsafe": "share of responses to unsafe prompts that refuse, by the patterns of `measures.refusal`",
    "refusal_share_safe": "share of responses to safe prompts that refuse",
    "code_block_share": "share of responses with a fenced block of code",
    "code_parse_share": "share of responses with code of which every block of Python or JSON parses; one whose blocks are all in other "
    "languages is left out",
    "code_run_share": "share of responses whose Python, all blocks as one program, runs to its end with status 0; one without code or with "
    "code that does not parse is not run and counts as failed, one without Python is left out",
    "code_unjudged_share": "share of responses whose blocks are all in other languages than Python and JSON",
}
"""Of the policy, where the recipe measures it; with `_reference` or `_champion` behind the name, of that model, and with
`_gain_reference` or `_gain_champion`, what the policy has above it, prompt by prompt."""
WHOLE = {
    "perplexity": "perplexity per token of the policy on the held-out texts; n counts texts",
    "perplexity_reference": "that of the base model",
    "perplexity_ratio_reference": "the one over the other: above 1, something was forgotten",
    "best_of_n_score_gain_share": "share that the policy reaches of what the best of n responses of the base model gains at the same KL, "
    "by the training reward model; not there beyond the largest n",
    "best_of_n_judge_score_gain_share": "the same by the held-out judge",
    "kl_past_best_of_16_score": "KL at which the policy in training first gained, on the validation prompts, what the best of 16, whose KL "
    "is 1.84, gains on the evaluated ones, by the training reward model; not there where it never did",
    "kl_past_best_of_16_judge_score": "the same by the held-out judge",
    "overoptimization_alpha_score": "alpha of the curve d (alpha - beta ln d), d the root of the KL, fitted to the score gained on the "
    "validation prompts in training (Gao et al., 2023); n counts states of the policy",
    "overoptimization_beta_score": "its beta",
    "overoptimization_alpha_judge_score": "the same of the held-out judge's score",
    "overoptimization_beta_judge_score": "its beta: above 0, the curve has a peak",
    "score_length_excess": "correlation within prompts of the score with the length of many responses of the base model, less the held-out "
    "judge's: what the reward model likes of length and the judge does not",
    "score_repetition_excess": "the same of repetition",
    "score_phrase_excess": "the same of phrases whose use rose, in standard deviations per presence, and beyond twice of what the judge "
    "likes of it: the one most surely above 0, its interval widened for their number",
    "score_judge_slope": "how far the score rises with the held-out judge's within prompts, of the same responses, in standard deviations "
    "of each over all prompts: over all their correlation, and near 0 in a slice of which the score knows nothing; also by slice",
    "reward_model_accuracy": "accuracy of tonight's reward model on the preferences of the split, where it is compared with the champion's",
    "reward_model_accuracy_champion": "that of the one which the champion learned through",
    "reward_model_accuracy_gain_champion": "the one less the other, pair by pair",
}
"""Given for all prompts together, and those of reward models, and of how they agree, by slice, too."""
BEST_OF_N = (2, 4, 8, 16, 32, 64, 128, 256)
BEST_OF = {
    f"best_of_{n}_{name}_gain": f"what the best of {n} responses of the base model, by the training reward model, gains over one of them, "
    f"{'by that model' if name == 'score' else 'by the held-out judge'}"
    for n in BEST_OF_N
    for name in ("score", "judge_score")
}


def figures_of_measure(figure: str, meaning: str, by: str = "") -> dict[str, str]:
    """A measure's figure, by name, of each model, and what the policy gained over the others; `by` ends every name."""
    others = {f"{figure}_{other}{by}": f"{meaning}, of {model}" for other, model in OPPONENTS.items()}
    gains = {
        f"{figure}_gain_{other}{by}": f"the policy's less that of {model}, prompt by prompt: {meaning}"
        for other, model in OPPONENTS.items()
    }
    return {figure + by: meaning, **others, **gains}


MEASURE_FIGURES: Mapping[str, Mapping[str, str]] = {name: figures_of_measure(name, meaning) for name, meaning in MEASURED.items()}
"""The figures of each measure that has a name of its own."""
EVALUATION_FIGURES: Mapping[str, str] = {
    **ALONE,
    **{f"{name}_{other}": f"{meaning}, of {model}" for other, model in OPPONENTS.items() for name, meaning in ALONE.items()},
    **{f"{name}_{other}": f"{meaning}; against {model}" for other, model in OPPONENTS.items() for name, meaning in AGAINST.items()},
    **{name: meaning for figures in MEASURE_FIGURES.values() for name, meaning in figures.items()},
    **WHOLE,
    **BEST_OF,
}
"""Every figure of an evaluation by name."""
BY = "_by_"
"""Stands in the figures of a recipe's judges and functions before the name of the judge or function."""
BY_JUDGE = {
    "win_rate": "share of prompts on which it prefers the policy in both orders; a tie, or a disagreement of the orders, counts half",
    "tie_share": "share of prompts on which it calls a tie or the orders disagree",
    "position_inconsistent_share": "share of prompts on which it prefers the same place in both orders, whichever response stands there",
    "first_preferred_share": "share of its decided answers that are for the response which stood first; one half is no position bias",
    "unanswered_share": "share of prompts without a verdict in one order or in both; the other figures leave them out",
}
"""Of the policy against another model by a judge, as `win_rate_reference_by_NAME`."""
REWARD_MODEL_FIGURES: Mapping[str, str] = {
    "accuracy": "share of decided pairs that are ordered right",
    "log_loss": "mean loss of the probabilities, in nats",
    "log_loss_gain": "the loss saved over a coin",
    "calibrated_log_loss": "the loss at the temperature that suits the validation split best",
    "brier": "mean squared error of the probabilities",
    "ece": "expected calibration error",
    "calibrated_ece": "the same at that temperature",
    "length_accuracy": "share of decided pairs whose longer response was preferred",
    "length_only_accuracy": "accuracy of a model of the responses' lengths alone",
    "length_only_log_loss": "its loss",
    "accuracy_over_length_only": "the accuracy gained over that model",
    "length_balanced_accuracy": "accuracy where longer and shorter responses were chosen equally often",
    "score_length_correlation": "Pearson's correlation of score and length",
    "length_rank_correlation": "the rank correlation of the differences of score and of length",
    "human_agreement": "how often a person agrees with the majority of the others",
    "model_agreement": "how often the model does",
    "above_human": "the one less the other",
}
"""On the test split."""
ALARMS = "alarms_"
"""Begins the figures of training; the monitor's name follows (docs/metrics.md lists them)."""
MONITORS = (
    "negative_kl",
    "kl_acceleration",
    "judge_fall",
    "disagreement_growth",
    "length_growth",
    "repetition_rise",
    "distinct_2_fall",
    "entropy_fall",
    "missing_end_rise",
)
TRAINING_FIGURES: Mapping[str, str] = {
    f"{ALARMS}{name}": f"updates up to the one that was kept in which the monitor `{name}` alarmed" for name in MONITORS
}
FIGURES_OF: Mapping[str, Mapping[str, str]] = {
    "evaluation": EVALUATION_FIGURES,
    "reward_model": REWARD_MODEL_FIGURES,
    "judge": REWARD_MODEL_FIGURES,
    "training": TRAINING_FIGURES,
}
"""What a rule of the gate may look at, by what it is a figure of."""


def figures_by_judge(judge: str, opponents: Iterable[str] = tuple(OPPONENTS)) -> dict[str, str]:
    """The figures of a recipe's judge, by name, against these models."""
    return {
        f"{name}_{other}{BY}{judge}": f"{meaning}; against {OPPONENTS[other]}" for other in opponents for name, meaning in BY_JUDGE.items()
    }


def figures_by_function(function: str) -> dict[str, str]:
    """The figures of a recipe's function, by name."""
    return figures_of_measure("score", "mean of the function's score", f"{BY}{function}")
