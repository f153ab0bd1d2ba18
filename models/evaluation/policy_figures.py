"""The figures of an evaluation: each model alone, and the policy against every other, prompt by prompt, over all prompts and by slice."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_contracts.records import ALL_SLICES
from models.configs import EvaluationConfig
from models.evaluation.clusters import estimates
from models.evaluation.intervals import Interval, between_members, bootstrap_interval, of_a_share, win_shares
from models.evaluation.length_control import length_controlled_win_rate
from models.evaluation.samples import Sample, Samples
from models.language.diversity import distinct_2, repetition
from models.randomness import derive_seed

POLICY, REFERENCE, CHAMPION = "policy", "reference", "champion"
Found = Iterator[tuple[str, Interval | float]]
Floats = NDArray[np.float64]


class Side(NamedTuple):
    """What is compared of n responses, in the order of the prompts."""

    score: Floats
    """The training reward model's, (n,)."""
    judge_scores: Floats
    """Those of the held-out judge's K members, (n, K)."""
    length: Floats
    """Tokens, the end token included, (n,)."""

    @classmethod
    def of(cls, responses: Iterable[tuple[float, Sequence[float], int]]) -> "Side":
        """From score, the judge's members' scores, and length of each response."""
        return cls(*(np.array(column, dtype=np.float64) for column in zip(*responses, strict=True)))


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
            found = [*_alone(items, config), *(() if model == POLICY else compared(side(chosen[POLICY]), side(items), config))]
            rows += [figure_row(part, figure + named, value, len(items)) for figure, value in found]
    return rows


def side(items: Sequence[Sample]) -> Side:
    """What is compared of some samples."""
    return Side.of((item.score, item.judge_member_scores, len(item.response.ids)) for item in items)


def compared(own: Side, other: Side, config: EvaluationConfig) -> Found:
    """The figures of one model against another, both on the same n prompts."""
    wins = win_shares(own.judge_scores, other.judge_scores)
    seed = derive_seed(config.seed, "bootstrap")
    yield "win_rate", of_a_share(_by_judge(wins, config))
    yield (
        "length_controlled_win_rate",
        length_controlled_win_rate(wins, own.length, other.length, resamples=config.resamples, seed=seed),
    )
    score_gain, judge_score_gain = own.score - other.score, own.judge_scores - other.judge_scores
    yield "score_gain", _mean(score_gain, config)
    yield "judge_score_gain", _by_judge(judge_score_gain, config)
    yield "score_judge_gap", _by_judge(score_gain[:, None] - judge_score_gain, config)
    yield "length_ratio", _ratio(own.length, other.length)


def figure_row(part: str, figure: str, value: Interval | float, n: int) -> dict[str, object]:
    """A row of the record `figure`."""
    mean, low, high, judge_half_width = value if isinstance(value, Interval) else (value, None, None, None)
    return {"slice": part, "figure": figure, "value": mean, "low": low, "high": high, "judge_half_width": judge_half_width, "n": n}


def _alone(items: Sequence[Sample], config: EvaluationConfig) -> Found:
    """The figures of one model."""
    yield "score", _mean([item.score for item in items], config)
    yield "disagreement", _mean([item.disagreement for item in items], config)
    yield "judge_score", _by_judge(np.array([item.judge_member_scores for item in items]), config)
    known = [item.kl_k1 for item in items if item.kl_k1 is not None]
    if known:
        yield "kl_k1", _mean(known, config)
    yield "response_length", _mean([len(item.response.ids) for item in items], config)
    yield "ended_share", _mean([item.response.ended for item in items], config)
    yield "repetition", _mean([repetition([item.response.ids]) for item in items], config)
    yield "distinct_2", distinct_2([item.response.text for item in items])


def _mean(values: ArrayLike, config: EvaluationConfig) -> Interval:
    return bootstrap_interval(values, resamples=config.resamples, seed=derive_seed(config.seed, "bootstrap"))


def _by_judge(by_member: Floats, config: EvaluationConfig) -> Interval:
    """The mean of what each of K members of the judge says of n prompts, (n, K); the members' differences widen its interval."""
    return between_members(_mean(by_member.mean(1), config), by_member.mean(0))


def _ratio(own: Floats, other: Floats) -> Interval | float:
    """The ratio of two means over prompts, with its interval; no response is empty, so neither mean is 0."""
    prompts = [str(place) for place in range(len(own))]
    value, low, high = estimates({"own": own, "other": other}, {"ratio": lambda sums: sums["own"] / sums["other"]}, prompts)["ratio"]
    found = float("nan") if value is None else value
    return found if low is None or high is None else Interval(found, low, high)
