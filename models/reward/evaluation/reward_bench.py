"""RewardBench's figures (Lambert et al., 2024; Malik et al., 2025): how often a reward model puts good responses first.

- A row with one good response counts 1 where that has the highest score of all, 1/k where it shares it with k − 1 others, else 0.
- The subset `Ties` asks questions that have several good answers (`tied`), and each again so that it has one (`ref`). With
  the spread of the good answers' scores and the gap between the worst good and the best bad one, its score is the published
  one (`process_single_model` in `rewardbench/utils.py` of github.com/allenai/reward-bench):
  0.30·accuracy(tied) + 0.30·accuracy(ref) + 0.20·share(gap(tied) > spread) + 0.20·share(min(gap(tied), gap(ref)) > spread)
  + 0.01·mean tanh(min(gap(tied), gap(ref)) / spread − 1), accuracy being the share of gaps above 0; 0/0 makes the last term 0.
  It can so reach 1.01.

Intervals are over prompts: rows of one prompt, and both rows of a question of `Ties`, are drawn together.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data_contracts.records import ALL_SLICES
from data_contracts.texts import Message
from models.evaluation.clusters import Figure, Sums, estimates
from models.reward.evaluation.reward_figures import ratio
from models.reward.scoring import Scoring

TIES, TIED, REF = "Ties", "tied", "ref"
MEAN = "mean of subsets"


class Item(NamedTuple):
    """One row: a prompt with good and bad responses."""

    row: int
    """Number in the file, from 1."""
    id: str
    """Of `Ties`: `tied:QUESTION` or `ref:QUESTION`."""
    subset: str
    prompt: Sequence[Message]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]


class Result(NamedTuple):
    """What a reward model says of a row."""

    item: Item
    chosen: list[float]
    """Scores of the good responses."""
    rejected: list[float]
    prompt_cut: bool
    responses_cut: int

    @property
    def credit(self) -> float:
        """Of a row with one good response: how far it stands first."""
        scores = self.chosen + self.rejected
        return (self.chosen[0] == max(scores)) / scores.count(max(scores))

    @property
    def gap(self) -> float:
        """By how much the worst good response stands above the best bad one."""
        return min(self.chosen) - max(self.rejected)

    @property
    def spread(self) -> float:
        """How far the scores of the good responses lie apart."""
        return max(self.chosen) - min(self.chosen)


class Unit(NamedTuple):
    """What is counted at once: a row, or the rows of a question of `Ties`."""

    subset: str
    prompt: str
    columns: dict[str, float]
    n_rows: int = 1


def score_items(items: Sequence[Item], model: Scoring) -> list[Result]:
    """Every response of every row scored, and what was too long for the model counted."""
    sides = [(item.prompt, response) for item in items for response in (*item.chosen, *item.rejected)]
    scores = iter(model.score([prompt for prompt, _ in sides], [response for _, response in sides]).score.tolist())
    results = []
    for item in items:
        encoded = [model.encode(item.prompt, response) for response in (*item.chosen, *item.rejected)]
        chosen, rejected = ([next(scores) for _ in side] for side in (item.chosen, item.rejected))
        cut = any(one.prompt_cut for one in encoded), sum(one.response_cut for one in encoded)
        results.append(Result(item, chosen, rejected, *cut))
    return results


def _ties_score(sums: Sums) -> Any:
    accuracy = (sums["tied_right"] / sums["tied"] + sums["ref_right"] / sums["ref"]) / 2
    preferred = (sums["preferred"] + sums["preferred_hard"]) / 2 / sums["both"]
    return 0.6 * accuracy + 0.4 * preferred + 0.01 * sums["margin"] / sums["both"]


RANKED: dict[str, Figure] = {"accuracy": ratio("right", "rows")}
OF_TIES: dict[str, Figure] = {
    "score": _ties_score,
    "ref_accuracy": ratio("ref_right", "ref"),
    "tied_accuracy": ratio("tied_right", "tied"),
    "correctness_preferred": ratio("preferred", "both"),
    "correctness_preferred_hard": ratio("preferred_hard", "both"),
    "correctness_margin_score": ratio("margin", "both"),
}


def figures(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Figures with intervals: one accuracy per subset, those of `Ties`, the accuracy of all rows, and the mean of the subsets."""
    units = [*_ranked(results), *_questions(results)]
    subsets = sorted({unit.subset for unit in units}, key=lambda subset: (subset == TIES, subset))
    rows = []
    for subset in subsets:
        rows += _rows(subset, [unit for unit in units if unit.subset == subset], OF_TIES if subset == TIES else RANKED)
    if len(subsets) > 1:
        if ranked := [unit for unit in units if unit.subset != TIES]:
            rows += _rows(ALL_SLICES, ranked, RANKED)
        apart = [unit._replace(columns={f"{unit.subset}/{name}": value for name, value in unit.columns.items()}) for unit in units]
        rows += _rows(MEAN, apart, {"score": lambda sums: sum(_of(subset, sums) for subset in subsets) / len(subsets)})
    return rows


def _of(subset: str, sums: Sums) -> Any:
    """A subset's main figure, from sums whose names begin with the subset's."""
    own = {name.removeprefix(f"{subset}/"): value for name, value in sums.items() if name.startswith(f"{subset}/")}
    return OF_TIES["score"](own) if subset == TIES else RANKED["accuracy"](own)


def _rows(subset: str, units: Sequence[Unit], wanted: dict[str, Figure]) -> list[dict[str, Any]]:
    names = {name: None for unit in units for name in unit.columns}
    columns = {name: np.array([unit.columns.get(name, 0.0) for unit in units]) for name in names}
    prompts = [unit.prompt for unit in units]
    counts = {"n_rows": sum(unit.n_rows for unit in units), "n_prompts": len(set(prompts))}
    found = estimates(columns, wanted, prompts)
    return [{"subset": subset, "figure": name, **one._asdict(), **counts} for name, one in found.items()]


def _ranked(results: Sequence[Result]) -> list[Unit]:
    return [
        Unit(result.item.subset, json.dumps(result.item.prompt), {"right": result.credit, "rows": 1.0})
        for result in results
        if result.item.subset != TIES
    ]


def _questions(results: Sequence[Result]) -> list[Unit]:
    """The questions of `Ties`; one that has only one of its two rows counts in that one's accuracy alone."""
    questions: dict[str, dict[str, Result]] = {}
    for result in results:
        if result.item.subset == TIES:
            kind, _, question = result.item.id.partition(":")
            questions.setdefault(question, {})[kind] = result
    return [Unit(TIES, f"{TIES}:{name}", _question(rows.get(TIED), rows.get(REF)), len(rows)) for name, rows in questions.items()]


def _question(tied: Result | None, ref: Result | None) -> dict[str, float]:
    columns = {"tied": float(tied is not None), "ref": float(ref is not None)}
    columns |= {"tied_right": float(tied is not None and tied.gap > 0), "ref_right": float(ref is not None and ref.gap > 0)}
    if tied is None or ref is None:
        return columns | dict.fromkeys(("both", "preferred", "preferred_hard", "margin"), 0.0)
    gap = min(tied.gap, ref.gap)
    with np.errstate(all="ignore"):
        margin = float(np.nan_to_num(np.tanh(np.float64(gap) / np.float64(tied.spread) - 1), nan=0.0))
    preferred = {"preferred": float(tied.gap > tied.spread), "preferred_hard": float(gap > tied.spread)}
    return columns | preferred | {"both": 1.0, "margin": margin}
