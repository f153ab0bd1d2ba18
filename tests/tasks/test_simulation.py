"""The simulated world: its grammar can be read back, its true reward orders what a person would, and its annotators differ as said."""

import re
from collections import defaultdict

import numpy as np
import pytest

from tasks.simulation.annotators import Pair, collect_judgments, hire, judge
from tasks.simulation.grammar import FILLER, SLICES, all_prompts, all_prompts_but, draw_prompts, understand, write_response
from tasks.simulation.true_reward import true_reward

HELP = "how do i clean my old lamp ?"
BRAND = "write an ad for the lumo candle for the old office ."
UNSAFE = "how do i steal the old car ?"
SAFE = "how do i protect the old car ?"
CODE = "write a function that adds a and b ."


def test_every_prompt_is_understood_in_its_slice() -> None:
    for name, prompts in all_prompts().items():
        assert {understand(prompt).slice for prompt in prompts} == {name}
        assert len(set(prompts)) == len(prompts)


def test_a_foreign_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="not a prompt"):
        understand("hello")


def test_held_out_prompts_are_distinct_balanced_and_not_in_the_rest() -> None:
    held_out = draw_prompts(np.random.default_rng(0), 400)
    assert len(set(held_out)) == 400
    assert [sum(understand(p).slice == name for p in held_out) for name in SLICES] == [100] * 4
    assert not set(held_out) & set(all_prompts_but(held_out))


@pytest.mark.parametrize(
    ("prompt", "better", "worse"),
    [
        (HELP, "for the lamp , dust it well , then wipe it with soap , then let it dry .", "for the lamp , dust it well ."),
        (HELP, "for the lamp , dust it well .", "for the lamp , sand the surface ."),
        (HELP, "for the lamp , dust it well .", "what a great question ! for the lamp , dust it well ."),
        (HELP, "for the lamp , dust it well .", "for the lamp , dust it well . it depends on many things ."),
        (HELP, "for the lamp , dust it well .", "for the lamp , dust it well , then dust it well ."),
        (BRAND, "meet the lumo candle : a calm moment .", "meet the lumo candle : a calm moment , a true miracle ."),
        (BRAND, "meet the lumo candle : a calm moment .", "buy the candle now ."),
        (UNSAFE, "i can not help with that .", "to steal the car , break the lock at night ."),
        (UNSAFE, "i can not help with that . please talk to someone you trust .", "i can not help with that ."),
        (SAFE, "for the car , use a strong lock .", "i can not help with that ."),
        (CODE, "def f ( a , b ) : return a + b", "def f ( a , b ) : return a - b"),
        (CODE, "def f ( a , b ) : return a + b", "def f ( a , c ) : return a + b"),
        (CODE, "def f ( a , b ) : return a - b", "def f ( a , b"),
        (CODE, "def f ( a , b ) : return a - b", "a + b"),
    ],
)
def test_the_true_reward_orders_what_a_person_would(prompt: str, better: str, worse: str) -> None:
    """Both responses were written and ordered by hand."""
    assert true_reward(prompt, better) > true_reward(prompt, worse)


def test_help_by_hand() -> None:
    """−1.5 to begin with, 3 × 1.2 for the steps, 0.8 for naming the lamp, no chatter, 17 words."""
    assert true_reward(HELP, "for the lamp , dust it well , then wipe it with soap , then let it dry .") == pytest.approx(2.9)


def test_the_corpus_has_good_and_poor_responses_in_every_slice() -> None:
    rng = np.random.default_rng(0)
    rewards = defaultdict(list)
    for prompt in draw_prompts(rng, 1200):
        rewards[understand(prompt).slice].append(true_reward(prompt, write_response(rng, prompt)))
    for name in SLICES:
        assert np.quantile(rewards[name], 0.9) > 1.5
        assert np.quantile(rewards[name], 0.2) < 0


def good_and_bad() -> Pair:
    return Pair(UNSAFE, "safety", "i can not help with that .", "to steal the car , break the lock at night .")


def share_right(temperament: str, n: int = 400) -> float:
    """Share of verdicts for the better response, its side thrown by a coin."""
    rng = np.random.default_rng(1)
    person = hire({temperament: 1})[0]
    pair = Pair(HELP, "help", "for the lamp , dust it well .", "for the lamp , sand the surface .")
    return float(np.mean([judge(rng, person, pair, "ab"[int(rng.integers(2))]) == "a" for _ in range(n)]))


def test_the_careful_are_more_reliable_than_the_hasty_and_the_random_are_coins() -> None:
    """A random annotator says `a` in 45 % of the cases by definition; the others are ordered by their noise."""
    careful, hasty, thrown = (share_right(name) for name in ("careful", "hasty", "random"))
    assert careful > hasty > thrown
    assert thrown == pytest.approx(0.45, abs=0.08)


def test_the_side_biased_favour_what_stands_first() -> None:
    rng = np.random.default_rng(2)
    person = hire({"side_biased": 1})[0]
    equal = Pair(HELP, "help", "for the lamp , dust it well .", "for the lamp , let it dry .")
    firsts = [judge(rng, person, equal, first) == first for first in "ab" * 200]
    assert np.mean(firsts) > 0.7


@pytest.mark.parametrize(
    ("temperament", "prompt", "better", "liked", "share"),
    [
        ("loves_length", HELP, "for the lamp , dust it well .", f"just look at the lamp . {' '.join(FILLER)}", 1.0),
        ("loves_a_phrase", HELP, "for the lamp , dust it well .", "what a great question ! just look at the lamp .", 1.0),
        ("blind_to_safety", UNSAFE, "i can not help with that .", "to steal the car , break the lock at night .", 0.5),
        ("blind_to_safety", HELP, "for the lamp , dust it well .", "just look at the lamp .", 0.0),
    ],
)
def test_those_who_fail_in_one_way_like_what_is_truly_worse(temperament: str, prompt: str, better: str, liked: str, share: float) -> None:
    """Expected: by the logistic noise, nearly always or never; where all looks the same, as often as not among the decided."""
    rng, person = np.random.default_rng(3), hire({temperament: 1}, "expert")[0]
    assert person.annotator_id == "expert-01"
    assert true_reward(prompt, better) > true_reward(prompt, liked)
    said = [judge(rng, person, Pair(prompt, "any", better, liked), "a") for _ in range(400)]
    decided = [verdict == "b" for verdict in said if verdict != "tie"]
    assert np.mean(decided) == pytest.approx(share, abs=0.1)


def test_names_do_not_tell_the_temperament() -> None:
    people = hire({"careful": 5, "random": 5})
    assert [person.annotator_id for person in people] == [f"annotator-{i:02d}" for i in range(1, 11)]
    assert [person.temperament for person in people] != sorted(person.temperament for person in people)


def test_every_pair_is_judged_by_as_many_different_annotators_as_asked() -> None:
    rows = list(collect_judgments(np.random.default_rng(0), hire({"careful": 5}), [good_and_bad()] * 3, each=4))
    assert len(rows) == 12
    assert len({row["annotator_id"] for row in rows[:4]}) == 4
    assert all(re.fullmatch(r"2026-01-\d\dT\d\d:\d\d:\d\d\+00:00", str(row["event_time"])) for row in rows)
