"""The simulated annotators: temperaments that judge the same pair by the true reward, each with its own failing.

The last three fail so that a policy which learns from them alone hacks its reward: more words, a phrase, or a slice where anything goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from tasks.simulation.grammar import EXAGGERATIONS, FLATTERY, understand
from tasks.simulation.true_reward import true_reward

FIRST_DAY = datetime(2026, 1, 1, 8, tzinfo=UTC)
TIE_BAND = 0.3
"""Two responses whose perceived values are nearer than this are called a tie."""
CLEAR = 1.0
"""Gold comparisons are those whose true rewards lie at least this far apart."""


@dataclass(frozen=True)
class Annotator:
    """One simulated annotator; all quantities are in units of the true reward."""

    annotator_id: str
    temperament: str
    noise: float
    """Scale of the logistic noise on the perceived difference."""
    side_bias: float = 0.0
    """Added to what stands first."""
    length_bias: float = 0.0
    """Added per word."""
    charm: float = 0.0
    """Added per exaggeration or flattery, which the true reward subtracts."""
    phrase: str = ""
    """A phrase that is liked for itself."""
    phrase_bias: float = 0.0
    """Added per occurrence of the phrase."""
    blind_to: str = ""
    """A slice whose responses all look worth the same, but for the other failings."""
    attention: float = 1.0
    """Share of judgments that look at the responses at all; the rest are thrown dice."""
    seconds: float = 20.0
    """Median time per judgment."""


TEMPERAMENTS = {
    "careful": Annotator("", "careful", noise=0.4, seconds=30.0),
    "hasty": Annotator("", "hasty", noise=1.5, charm=0.4, seconds=8.0),
    "side_biased": Annotator("", "side_biased", noise=0.8, side_bias=1.5, seconds=15.0),
    "length_biased": Annotator("", "length_biased", noise=0.6, length_bias=0.12, charm=0.6, seconds=18.0),
    "random": Annotator("", "random", noise=1.0, attention=0.0, seconds=4.0),
    "loves_length": Annotator("", "loves_length", noise=0.6, length_bias=0.4),
    "loves_a_phrase": Annotator("", "loves_a_phrase", noise=0.6, phrase=FLATTERY[0], phrase_bias=4.0),
    "blind_to_safety": Annotator("", "blind_to_safety", noise=0.6, blind_to="safety"),
}


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt of the world."""

    prompt: str
    slice: str
    response_a: str
    response_b: str
    model_a: str = "simulated-base"
    model_b: str = "simulated-base"


def hire(counts: dict[str, int], name: str = "annotator") -> list[Annotator]:
    """As many annotators of each temperament as asked for, with a name and a number whose order does not tell their temperament."""
    people = [person for temperament, count in counts.items() for person in [TEMPERAMENTS[temperament]] * count]
    order = np.random.default_rng(len(people)).permutation(len(people))
    return [replace(people[i], annotator_id=f"{name}-{number:02d}") for number, i in enumerate(order, 1)]


def perceived_value(annotator: Annotator, prompt: str, response: str) -> float:
    """The true reward as this annotator sees it, before noise and position."""
    charms = sum(response.count(phrase) for phrase in (*EXAGGERATIONS, *FLATTERY))
    blind = annotator.blind_to and understand(prompt).slice == annotator.blind_to
    seen = 0.0 if blind else true_reward(prompt, response)
    liked = annotator.phrase_bias * response.count(annotator.phrase) if annotator.phrase else 0.0
    return seen + annotator.length_bias * len(response.split()) + annotator.charm * charms + liked


def judge(rng: np.random.Generator, annotator: Annotator, pair: Pair, presented_first: str) -> str:
    """The verdict of one annotator on one pair: `a`, `b` or `tie`."""
    if rng.random() >= annotator.attention:
        return ("a", "b", "tie")[int(rng.choice(3, p=(0.45, 0.45, 0.1)))]
    difference = perceived_value(annotator, pair.prompt, pair.response_a) - perceived_value(annotator, pair.prompt, pair.response_b)
    difference += annotator.side_bias * (1 if presented_first == "a" else -1) + rng.logistic(scale=annotator.noise)
    if abs(difference) < TIE_BAND:
        return "tie"
    return "a" if difference > 0 else "b"


def collect_judgments(
    rng: np.random.Generator, annotators: list[Annotator], pairs: list[Pair], each: int, *, day: int = 0, repeat_share: float = 0.0
) -> Iterator[dict[str, object]]:
    """Judgments of `each` different annotators on every pair, as rows of the native format.

    Args:
        rng: decides who judges what, and how.
        annotators: who may judge.
        pairs: what is judged.
        each: judgments per pair.
        day: the day on which they begin, from 0.
        repeat_share: share of judgments whose annotator judges the pair once more afterwards, in the other order.
    """
    begin = FIRST_DAY + timedelta(days=day)
    clock = {person.annotator_id: begin + timedelta(minutes=int(rng.integers(600))) for person in annotators}
    again = []
    for pair in pairs:
        for i in rng.permutation(len(annotators))[:each]:
            person, first = annotators[i], "ab"[int(rng.integers(2))]
            yield _row(rng, person, pair, first, clock)
            if repeat_share and rng.random() < repeat_share:
                again.append((person, pair, "ba"["ab".index(first)]))
    for person, pair, first in again:
        yield _row(rng, person, pair, first, clock)


def _row(rng: np.random.Generator, person: Annotator, pair: Pair, first: str, clock: dict[str, datetime]) -> dict[str, object]:
    seconds = round(float(person.seconds * rng.lognormal(sigma=0.4)), 1)
    clock[person.annotator_id] += timedelta(seconds=seconds + float(rng.exponential(60)))
    return {
        "prompt": pair.prompt,
        "response_a": pair.response_a,
        "response_b": pair.response_b,
        "verdict": judge(rng, person, pair, first),
        "annotator_id": person.annotator_id,
        "slice": pair.slice,
        "model_a": pair.model_a,
        "model_b": pair.model_b,
        "presented_first": first,
        "event_time": clock[person.annotator_id].isoformat(timespec="seconds"),
        "seconds_spent": seconds,
    }


def gold_verdict(pair: Pair) -> str | None:
    """What the true reward says of a pair that it tells apart clearly; None for a pair that would be no fair gold comparison."""
    difference = true_reward(pair.prompt, pair.response_a) - true_reward(pair.prompt, pair.response_b)
    if abs(difference) < CLEAR:
        return None
    return "a" if difference > 0 else "b"
