"""Features of responses that the score likes more than the held-out judge does, and how much of the score's gain each explains.

Told from many responses of the base model to each prompt, so it does not depend on how far the policy went. Within prompts, that is
with every prompt's mean taken out, a feature's **excess** is its correlation with the score less its correlation with the judge's
score: what the reward model likes of it and the judge does not, in standard deviations of either score per one of the feature. Of a
phrase it is per presence, since the correlation with what is rare is small however much it is liked; and of a phrase that the judge likes
too, it is what the score likes beyond twice of that: how much two models like what makes an answer good may differ so far. What the policy
then gains by a feature is the difference of the two slopes, in score per unit, times its rise from the base model to the policy (a term
of Oaxaca's decomposition, 1973).

The features are the length, the repetition, and the phrases whose use rose most. Phrases are chosen on other responses than their excess
is told from, and their intervals are widened for their number (Bonferroni). A judge that is noisier than the reward model correlates less
with everything, so a small excess says nothing: docs/gate.md has what is usual.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from data_contracts.records import ALL_SLICES
from models.evaluation.base_answers import BaseAnswers, Floats
from models.evaluation.clusters import Estimate, Figure, Sums, estimates
from models.evaluation.intervals import widening
from models.evaluation.samples import Sample
from models.language.diversity import repetition

LENGTH, REPETITION, PHRASE = "length", "repetition", "phrase"
LONGEST_PHRASE, MOST_PHRASES = 5, 20
"""Words of a phrase, and phrases that are looked at."""
LEAST_RISE = 0.05
"""Share of responses by which the use of a phrase has to rise."""
LEAST_PROMPTS, LEAST_OF_A_PHRASE = 8, 20
"""Prompts whose responses have to differ in a feature for anything to be said of it; intervals of rare phrases are too narrow."""
CANDIDATES = 200
"""Phrases, those that rose most, that are looked for in the base model's responses."""
ALIKE = 0.5
"""Two phrases that stand in the same responses to this share (Jaccard) are one feature: the longer one speaks for both."""


class Feature(NamedTuple):
    """A feature of responses: what the base model's many have of it, and how much it rose."""

    kind: str
    text: str
    """The phrase; empty for the others."""
    values: Floats
    """(P, N), of the base model's responses."""
    rise: float
    """Mean of the policy's responses less that of the base model's."""


class ScoreFeature(NamedTuple):
    """A feature with what was measured of it: a row of the record `score feature`, which says what each is."""

    feature: str
    phrase: str
    rise: float
    score_correlation: float
    judge_correlation: float
    excess: float
    low: float
    high: float
    gain_explained: float
    n: int


def score_features(answers: BaseAnswers, policy: Sequence[Sample], reference: Sequence[Sample]) -> list[ScoreFeature]:
    """Length, repetition, and the phrases that rose most, those of which anything can be said."""
    both = [[item.response for item in items] for items in (policy, reference)]
    length = _rise([[len(response.ids) for response in responses] for responses in both])
    repeated = _rise([[repetition([response.ids]) for response in responses] for responses in both])
    plain = [Feature(LENGTH, "", answers.length, length), Feature(REPETITION, "", answers.repetition, repeated)]
    phrases = risen_phrases(answers, *([response.text for response in responses] for responses in both))
    tested = [*((feature, 1) for feature in plain if varying_prompts(feature) >= LEAST_PROMPTS), *((one, len(phrases)) for one in phrases)]
    found = [measured(answers, feature, count) for feature, count in tested]
    return [feature for feature in found if feature is not None]


def feature_figures(features: Sequence[ScoreFeature], answers: BaseAnswers) -> Iterator[dict[str, object]]:
    """Rows of the record `figure`: each kind's excess, of phrases the one most surely above 0, and how far the score follows the judge."""
    for kind in (LENGTH, REPETITION, PHRASE):
        if found := [feature for feature in features if feature.feature == kind]:
            most = max(found, key=lambda feature: feature.low)
            figure = {"slice": ALL_SLICES, "figure": f"score_{kind}_excess", "value": most.excess}
            yield {**figure, "low": most.low, "high": most.high, "n": most.n}
    slices = [prompt.slice for prompt in answers.prompts]
    for part in (ALL_SLICES, *sorted(set(slices))):
        places = [place for place, name in enumerate(slices) if part in (ALL_SLICES, name)]
        one = score_judge_slope(answers, places)
        if one.value is not None:
            yield {"slice": part, "figure": "score_judge_slope", **one._asdict(), "n": len(places)}


def score_judge_slope(answers: BaseAnswers, places: Sequence[int]) -> Estimate:
    """The least-squares slope of the score on the judge's score within some prompts, with its interval over them.

    In standard deviations within all prompts, so that over all of them it is Pearson's correlation. A score that knows nothing of a slice
    hardly varies there; by chance it may well correlate with the judge's, but its slope is small either way.
    """
    sums = products({"s": answers.score, "j": answers.judge_score})
    scale = np.sqrt(sums["jj"].sum() / sums["ss"].sum())
    own, ids = {name: values[list(places)] for name, values in sums.items()}, _ids(answers)
    return estimates(own, {"slope": lambda of: scale * of["sj"] / of["jj"]}, [ids[place] for place in places])["slope"]


def measured(answers: BaseAnswers, feature: Feature, tested: int) -> ScoreFeature | None:
    """What is known of one feature of `tested` that were tried; None where a correlation is undefined."""
    count = np.full(len(answers.prompts), float(answers.score.shape[1]))
    sums = products({"s": answers.score, "j": answers.judge_score, "f": feature.values}) | {"n": count}
    figures: dict[str, Figure] = {
        "score": partial(_correlation, name="s"),
        "judge": partial(_correlation, name="j"),
        "slope": _slope,
        "excess": _beyond_twice if feature.kind == PHRASE else _excess,
    }
    found = estimates(sums, figures, _ids(answers))
    score, judge, slope, excess = (one.value for one in found.values())
    if score is None or judge is None or excess is None or slope is None:
        return None
    spread = float(np.sqrt(sums["ss"].sum() / answers.score.size))
    ends = (math.nan if end is None else end for end in (found["excess"].low, found["excess"].high))
    low, high = (excess + widening(tested) * (end - excess) for end in ends)
    told = (feature.kind, feature.text, feature.rise, score, judge, excess, low, high)
    return ScoreFeature(*told, gain_explained=slope * spread * feature.rise, n=varying_prompts(feature))


def products(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Sums (P,) over each prompt's responses of all products of two columns (P, N), each less its prompt's mean, by both names."""
    centred = {name: values - values.mean(1, keepdims=True) for name, values in columns.items()}
    names = list(centred)
    return {one + two: (centred[one] * centred[two]).sum(1) for i, one in enumerate(names) for two in names[i:]}


def _correlation(of: Sums, name: str) -> Floats:
    found: Floats = of[f"{name}f"] / np.sqrt(of[2 * name] * of["ff"])
    return found


def _excess(of: Sums) -> Floats:
    return _correlation(of, "s") - _correlation(of, "j")


def _slope(of: Sums) -> Floats:
    """The difference of the two slopes, in standard deviations per unit of the feature."""
    found: Floats = _excess(of) * np.sqrt(of["n"] / of["ff"])
    return found


def _beyond_twice(of: Sums) -> Floats:
    """The same, less the judge's slope once more where that is above 0."""
    found: Floats = (_excess(of) - np.maximum(_correlation(of, "j"), 0)) * np.sqrt(of["n"] / of["ff"])
    return found


def risen_phrases(answers: BaseAnswers, policy: Sequence[str], reference: Sequence[str]) -> list[Feature]:
    """The phrases whose use rose most from the base model's responses to the policy's, and that the base model's many tell apart."""
    used = [Counter(phrase for text in texts for phrase in phrases_of(text)) for texts in (policy, reference)]
    rises = {phrase: used[0][phrase] / len(policy) - used[1][phrase] / len(reference) for phrase in used[0]}
    order = sorted((phrase for phrase in rises if rises[phrase] >= LEAST_RISE), key=lambda name: (-rises[name], -len(name.split()), name))
    held = [[phrases_of(text) for text in row] for row in answers.text]
    chosen: list[Feature] = []
    for phrase in order[:CANDIDATES]:
        values = np.array([[float(phrase in one) for one in row] for row in held])
        feature = Feature(PHRASE, phrase, values, rises[phrase])
        if varying_prompts(feature) >= LEAST_OF_A_PHRASE and not any(_alike(values, other.values) for other in chosen):
            chosen.append(feature)
    return chosen[:MOST_PHRASES]


def phrases_of(text: str) -> set[str]:
    """The runs of one to five words of a text, in lower case."""
    words = text.lower().split()
    return {" ".join(words[start : start + size]) for size in range(1, LONGEST_PHRASE + 1) for start in range(len(words) - size + 1)}


def varying_prompts(feature: Feature) -> int:
    """Prompts whose responses do not all have the same of a feature."""
    return int((np.ptp(feature.values, axis=1) > 0).sum())


def _alike(one: Floats, two: Floats) -> bool:
    return bool(np.minimum(one, two).sum() >= ALIKE * np.maximum(one, two).sum())


def _rise(values: Sequence[Sequence[float]]) -> float:
    policy, reference = (float(np.mean(one)) for one in values)
    return policy - reference


def _ids(answers: BaseAnswers) -> list[str]:
    return [prompt.prompt_id for prompt in answers.prompts]
