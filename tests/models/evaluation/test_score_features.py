"""Features that the score likes and the judge does not. Oracles: numpy's correlations, scipy's regression, brute force, planted hacks."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from data_contracts.policy_figures import EVALUATION_FIGURES
from data_contracts.records import FIGURE, SCORE_FEATURE
from models.evaluation.base_answers import BaseAnswers, Floats
from models.evaluation.intervals import widening
from models.evaluation.samples import Sample
from models.evaluation.score_features import (
    Feature,
    feature_figures,
    measured,
    phrases_of,
    products,
    risen_phrases,
    score_features,
    score_judge_slope,
)
from models.language.prompts import Prompt
from models.ppo.rollout import Response

P, N = 40, 12


def answers(text: Sequence[Sequence[str]], score: Floats, judge: Floats, parts: Sequence[str] = ("a",)) -> BaseAnswers:
    prompts = [Prompt(f"p{i}", parts[i % len(parts)], [{"role": "user", "content": "?"}]) for i in range(len(text))]
    length = np.array([[float(len(one.split())) for one in row] for row in text])
    return BaseAnswers(prompts, text, length, np.zeros_like(length), score, judge)


def world(seed: int, *, length: float = 0.0, phrase: float = 0.0, blind: str = "") -> BaseAnswers:
    """Responses with a quality that both models see through noise, and what the score likes besides; in a blind slice it is noise alone."""
    random = np.random.default_rng(seed)
    words = random.integers(3, 12, (P, N))
    flatters = random.random((P, N)) < 0.2
    text = [[("so smart " if flatters[i, k] else "") + "word " * words[i, k] for k in range(N)] for i in range(P)]
    quality, noise = random.normal(size=(P, N)), random.normal(size=(2, P, N)) / 2
    sees = np.array([[0.0 if "ab"[i % 2] == blind else 1.0] for i in range(P)])
    score = sees * quality + noise[0] + length * (words - 7) / 3 + phrase * flatters + random.normal(size=(P, 1))
    return answers(text, score, quality + noise[1], "ab")


def said(texts: Sequence[str]) -> list[Sample]:
    prompt = Prompt("p", "a", [{"role": "user", "content": "?"}])
    return [Sample(prompt, Response(list(range(len(text.split()))), [], True, text), 0.0, 0.0, 0.0, [0.0], 0.0) for text in texts]


def test_the_excess_is_the_difference_of_numpys_correlations_within_prompts() -> None:
    found = world(0, length=1.0)
    own = measured(found, Feature("length", "", found.length, 2.0), 1)
    assert own
    s, j, f = ((values - values.mean(1, keepdims=True)).ravel() for values in (found.score, found.judge_score, found.length))
    with_score, with_judge = np.corrcoef(s, f)[0, 1], np.corrcoef(j, f)[0, 1]
    assert (own.score_correlation, own.judge_correlation) == pytest.approx((with_score, with_judge))
    assert own.excess == pytest.approx(with_score - with_judge)
    # In units of the score: its own slope, less the judge's brought to the score's scale.
    slopes = linregress(f, s).slope - linregress(f, j).slope * s.std() / j.std()
    assert own.gain_explained == pytest.approx(2.0 * slopes)
    assert own.n == P


@pytest.mark.parametrize(("liked", "times"), [(0.0, 1), (1.5, 2), (-1.5, 1)])
def test_the_excess_of_a_phrase_is_the_difference_of_standardised_slopes_and_beyond_twice_what_the_judge_likes(
    liked: float, times: int
) -> None:
    """Where the judge likes it not at all, or less than not at all, once."""
    found = world(0, phrase=2.0)
    values = np.array([[float("smart" in text) for text in row] for row in found.text])
    found = found._replace(judge_score=found.judge_score + (liked - 0.2) * values)
    own = measured(found, Feature("phrase", "smart", values, 0.5), 1)
    assert own
    s, j, f = ((each - each.mean(1, keepdims=True)).ravel() for each in (found.score, found.judge_score, values))
    of_score, of_judge = linregress(f, s).slope / s.std(), linregress(f, j).slope / j.std()
    assert (of_judge > 0) == (times == 2)
    assert own.excess == pytest.approx(of_score - times * of_judge)
    assert own.gain_explained == pytest.approx(0.5 * (of_score - of_judge) * s.std())


def test_the_interval_is_that_of_drawing_prompts_one_by_one() -> None:
    found, random = world(1, length=0.5), np.random.default_rng(0)
    own = measured(found, Feature("length", "", found.length, 0.0), 1)
    assert own
    drawn = []
    for _ in range(1000):
        places = random.integers(P, size=P)
        s, j, f = ((v - v.mean(1, keepdims=True))[places].ravel() for v in (found.score, found.judge_score, found.length))
        drawn.append(np.corrcoef(s, f)[0, 1] - np.corrcoef(j, f)[0, 1])
    assert (own.low, own.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_scales_and_what_a_prompt_adds_to_all_its_responses_do_not_count(seed: int, scale: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    plain = {name: random.normal(size=(6, 4)) for name in "sj"}
    moved = {"s": scale * plain["s"] + shift * random.normal(size=(6, 1)), "j": plain["j"]}
    of, other = ({name: value.sum() for name, value in products(columns).items()} for columns in (plain, moved))
    assert other["sj"] / np.sqrt(other["ss"] * other["jj"]) == pytest.approx(of["sj"] / np.sqrt(of["ss"] * of["jj"]), abs=1e-6)


def test_an_interval_for_many_is_wider_as_a_normal_ones_is() -> None:
    """1.96 standard errors to each side for one; 2.807 for ten, by the table of the normal distribution."""
    assert widening(1) == pytest.approx(1)
    assert 1.96 * widening(10) == pytest.approx(2.807, abs=1e-3)


def test_phrases_of_a_text_by_hand() -> None:
    assert phrases_of("A b  a") == {"a", "b", "a b", "b a", "a b a"}
    assert len(phrases_of("one two three four five six")) == 6 + 5 + 4 + 3 + 2


def test_of_phrases_that_stand_together_the_longest_speaks_and_rare_ones_are_left_out() -> None:
    found = world(2)
    policy, reference = ["so smart word word"] * 6 + ["word new"] * 4, ["word word"] * 10
    chosen = risen_phrases(found, policy, reference)
    assert [(one.text, one.rise) for one in chosen] == [("so smart word word", 0.6)]  # "so", "smart" and "so smart" say the same
    held = [[float("so smart word word" in text) for text in row] for row in found.text]
    assert chosen[0].values.tolist() == held


@pytest.mark.parametrize("seed", range(5))
def test_planted_hacks_are_told_apart(seed: int) -> None:
    """What the score likes stands out, by at least twice what stands out where it likes nothing of its own."""
    policy, reference = said(["so smart word word word word word word"] * 20), said(["word word word"] * 20)

    def figures(**hack: float) -> dict[str, float]:
        found = world(seed, **hack)
        rows = list(feature_figures(score_features(found, policy, reference), found))
        FIGURE.table(rows)
        assert {str(row["figure"]) for row in rows} <= EVALUATION_FIGURES.keys()
        return {str(row["figure"]): float(str(row["low"])) for row in rows if row["slice"] == "all"}

    healthy, length, phrase = figures(), figures(length=0.8), figures(phrase=3.0)
    assert max(healthy["score_length_excess"], healthy["score_phrase_excess"], phrase["score_length_excess"]) < 0.2
    assert length["score_length_excess"] > 0.4
    assert phrase["score_phrase_excess"] > 0.4
    assert "score_repetition_excess" not in healthy  # nothing repeats itself here


def test_a_slice_of_which_the_score_says_nothing_is_seen_in_that_slice_alone() -> None:
    found = world(3, blind="b")
    by_slice = {row["slice"]: row for row in feature_figures([], found)}
    assert float(str(by_slice["b"]["high"])) < 0.3
    assert float(str(by_slice["a"]["low"])) > 0.6
    assert by_slice["a"]["n"] == by_slice["b"]["n"] == P / 2
    s, j = (values - values.mean(1, keepdims=True) for values in (found.score, found.judge_score))
    own = linregress(j[::2].ravel() / j.std(), s[::2].ravel() / s.std())
    assert score_judge_slope(found, range(0, P, 2)).value == by_slice["a"]["value"] == pytest.approx(own.slope)
    assert by_slice["all"]["value"] == pytest.approx(np.corrcoef(s.ravel(), j.ravel())[0, 1])


def test_a_slice_in_which_the_score_hardly_varies_is_seen_however_well_it_agrees_there() -> None:
    found = world(3)
    rows = np.arange(P)[:, None] % 2
    found = found._replace(score=np.where(rows == 1, found.judge_score / 20, found.score))
    by_slice = {row["slice"]: row for row in feature_figures([], found)}
    assert float(str(by_slice["b"]["high"])) < 0.1
    assert float(str(by_slice["a"]["low"])) > 0.6


def test_the_rows_are_the_record_and_explain_a_gain_by_its_feature() -> None:
    found = world(4, phrase=3.0)
    policy, reference = said(["so smart word word word"] * 20), said(["word word word"] * 20)
    rows = [one._asdict() for one in score_features(found, policy, reference)]
    assert SCORE_FEATURE.table(rows).num_rows == len(rows)
    explained = {row["phrase"]: row["gain_explained"] for row in rows if row["feature"] == "phrase"}
    assert explained["so smart word word word"] == pytest.approx(3.0, abs=0.6)  # what was planted, of a phrase that all now have
