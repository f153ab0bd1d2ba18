"""Best of n: what the base model gains when the reward model picks the best of its n responses, the yardstick that PPO is held against.

What is expected of the best of n is told without bias from N >= n responses to each prompt: with the responses in order of their scores,
the i-th (from 1) is the best of n drawn without replacement with probability C(i-1, n-1) / C(N, n).
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_contracts.records import ALL_SLICES
from models.evaluation.base_answers import BaseAnswers, Floats
from models.evaluation.clusters import Estimate, Figure, estimates
from models.evaluation.overoptimization import FITTED, first_kl, kl_of_best, points
from models.evaluation.policy_figures import figure_row
from models.evaluation.samples import Sample

PASSED = 16
"""The best of so many is what a policy should pass not far beyond its KL."""


def expected_best(scores: Floats, values: Floats) -> Floats:
    """What is expected of the value of the best of n by score, (P, N) for n = 1 to N, from scores and values (P, N)."""
    count = scores.shape[1]
    ordered = np.take_along_axis(values, scores.argsort(1, kind="stable"), 1)
    chances = np.array([[math.comb(i, n - 1) / math.comb(count, n) for i in range(count)] for n in range(1, count + 1)])
    found: Floats = ordered @ chances.T
    return found


def at_kl(curve: Floats, kl: float) -> Floats | None:
    """A curve over n (P, N) at a KL (P,), between two n in proportion; None beyond the last n, where nothing is known."""
    kls = np.array([kl_of_best(n) for n in range(1, curve.shape[1] + 1)])
    if not 0 < kl <= kls[-1]:
        return None
    above = int(np.searchsorted(kls, kl))
    share = (kl - kls[above - 1]) / (kls[above] - kls[above - 1])
    found: Floats = (1 - share) * curve[:, above - 1] + share * curve[:, above]
    return found


def best_of_n_figures(answers: BaseAnswers, policy: Sequence[Sample]) -> list[dict[str, object]]:
    """Rows of the record `figure`: what the best of n gains over one response of the base model, and the share that the policy reaches.

    Args:
        answers: the base model's responses, to the first of the policy's prompts.
        policy: the policy's samples.
    """
    chosen = policy[: len(answers.prompts)]
    kl = float(np.mean([item.kl_k1 for item in policy if item.kl_k1 is not None]))
    gained = {"score": [item.score for item in chosen], "judge_score": [item.judge_score for item in chosen]}
    prompt_ids = [item.prompt.prompt_id for item in chosen]
    rows: list[dict[str, object]] = []
    for name, values in (("score", answers.score), ("judge_score", answers.judge_score)):
        curve = expected_best(answers.score, values)
        found = dict(_curve_figures(curve, np.array(gained[name]), kl, name, prompt_ids))
        rows += [{"slice": ALL_SLICES, "figure": figure, **one._asdict(), "n": len(chosen)} for figure, one in found.items()]
    return rows


def passed_figures(best: Sequence[Mapping[str, object]], metrics: Sequence[Mapping[str, float | None]]) -> Iterator[dict[str, object]]:
    """Rows of the record `figure`: the KL at which the policy, in training, first gained what the best of `PASSED` gains.

    Args:
        best: rows of `best_of_n_figures`.
        metrics: of the policy's training.
    """
    gains = {row["figure"]: row["value"] for row in best}
    for name, column in FITTED.items():
        gain, found = gains.get(f"best_of_{PASSED}_{name}_gain"), points(metrics, column)
        kl = first_kl(found, gain) if isinstance(gain, float) else None
        if kl is not None:
            yield figure_row(ALL_SLICES, f"kl_past_best_of_{PASSED}_{name}", kl, len(found))


def _curve_figures(curve: Floats, own: Floats, kl: float, name: str, prompt_ids: Sequence[str]) -> Iterator[tuple[str, Estimate]]:
    """The gains at n = 2, 4, 8 and so on, and the share of the gain at the policy's KL that the policy reaches, where it is known."""
    base, ones = curve[:, 0], np.ones(len(curve))
    mean: Figure = lambda sums: sums["gain"] / sums["n"]  # noqa: E731
    for power in range(1, curve.shape[1].bit_length()):
        gain = curve[:, 2**power - 1] - base
        yield f"best_of_{2**power}_{name}_gain", estimates({"gain": gain, "n": ones}, {"mean": mean}, prompt_ids)["mean"]
    best = at_kl(curve, kl)
    if best is not None:
        share: Figure = lambda sums: sums["own"] / sums["best"]  # noqa: E731
        found = estimates({"own": own - base, "best": best - base}, {"share": share}, prompt_ids)["share"]
        if found.value is not None:
            yield f"best_of_n_{name}_gain_share", found
