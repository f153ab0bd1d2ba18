"""Functions of one's own: scores and figures by hand, intervals by a t-distribution of SciPy's, and what happens where one fails."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from data_contracts.errors import RecipeError, StageError
from data_contracts.policy_figures import figures_by_function
from models.evaluation.measures.by_function import run
from models.evaluation.measures.measure_figures import measure_figures
from models.measure_configs import FunctionMeasure
from tests.models.evaluation.judges.pairs import PROMPTS, evaluation, job

FUNCTIONS = """
def good(prompts, responses):
    assert all(messages[-1]["content"].startswith("question") for messages in prompts)
    return [float("good" in response) for response in responses]
def too_few(prompts, responses):
    return [0.0]
def not_a_number(prompts, responses):
    return [float("nan")] * len(responses)
def words(prompts, responses):
    return responses
def raises(prompts, responses):
    return {}["quality"]
constant = 3
"""
BOTH = ("policy", "reference", "champion")


def measure(root: Path, function: str, models: tuple[str, ...] = BOTH) -> dict[tuple[str, str], tuple[float, int]]:
    """The figures by slice and name, each with its n."""
    (root / "own_measures.py").write_text(FUNCTIONS)
    config = FunctionMeasure(name="kind", function=f"own_measures:{function}", folder=str(root))
    of = job(root, config, evaluation=evaluation(root, models))
    run(of)
    rows = pq.read_table(of.output / "figures.parquet").to_pylist()
    return {(row["slice"], row["figure"]): (row["value"], row["n"]) for row in rows}


def test_the_figures_of_a_function_by_hand(tmp_path: Path) -> None:
    """The policy's first four of six responses are good, and nobody else's."""
    found = measure(tmp_path, "good")
    assert {figure for _, figure in found} == set(figures_by_function("kind"))
    assert found["all", "score_by_kind"] == (pytest.approx(4 / 6), PROMPTS)
    for other in ("reference", "champion"):
        assert found["all", f"score_{other}_by_kind"] == (0, PROMPTS)
        assert found["all", f"score_gain_{other}_by_kind"] == (pytest.approx(4 / 6), PROMPTS)
    assert found["a", "score_by_kind"] == found["b", "score_by_kind"] == (pytest.approx(2 / 3), 3)
    rows = pq.read_table(tmp_path / "output" / "measurements.parquet").to_pylist()
    assert [(row["figure"], row["model"], row["value"]) for row in rows if row["prompt_id"] == "p0"] == [
        ("score_by_kind", "champion", 0.0),
        ("score_by_kind", "policy", 1.0),
        ("score_by_kind", "reference", 0.0),
    ]


def test_of_a_champion_that_is_not_there_nothing_is_told(tmp_path: Path) -> None:
    assert not [figure for _, figure in measure(tmp_path, "good", BOTH[:2]) if "champion" in figure]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("too_few", StageError, r"measure kind \(own_measures:too_few\) gave a score of shape \(1,\) for 6 .*one number for each"),
        ("not_a_number", StageError, r"own_measures:not_a_number\) gave a score that is not finite for 6 of 6.*finite score"),
        ("words", StageError, r"own_measures:words\) gave no numbers but \['bad answer"),
        ("raises", StageError, r"own_measures:raises\) could not score responses: KeyError: 'quality'.*correct the function"),
        ("absent", RecipeError, r"own_measures:absent\) cannot be imported: AttributeError.*measures\.functions"),
        ("constant", RecipeError, r"own_measures:constant\) is no function but 3.*measures\.functions"),
    ],
)
def test_a_function_that_fails_is_named_with_what_to_do(function: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        measure(tmp_path, function)


def row(model: str, prompt: int, value: float | None) -> dict[str, object]:
    return {"figure": "f", "prompt_id": f"p{prompt}", "slice": "s", "model": model, "value": value}


def test_the_interval_of_a_gain_is_over_pairs() -> None:
    """What both models share cancels: the interval is that of the differences, by Student's t, and not that of two means."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 10, 400), rng.normal(0.3, 1, 400)
    rows = [row("policy", i, float(shared[i] + own[i])) for i in range(400)] + [row("reference", i, float(shared[i])) for i in range(400)]
    found = {one["figure"]: one for one in measure_figures(rows, by="_by_x") if one["slice"] == "all"}
    gain = found["f_gain_reference_by_x"]
    low, high = t.interval(0.95, 399, own.mean(), own.std(ddof=1) / 20)
    assert [gain["value"], gain["low"], gain["high"]] == pytest.approx([own.mean(), low, high], abs=0.02)


VALUES = st.one_of(st.none(), st.floats(-5, 5))


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12))
def test_a_gain_is_over_the_prompts_that_both_have_a_value_of(pairs: list[tuple[float | None, float | None]]) -> None:
    """By counting."""
    rows = [row(model, i, pair[place]) for i, pair in enumerate(pairs) for place, model in enumerate(("policy", "reference"))]
    found = {one["figure"]: (one["value"], one["n"]) for one in measure_figures(rows) if one["slice"] == "all"}
    own, both = [a for a, _ in pairs if a is not None], [a - b for a, b in pairs if a is not None and b is not None]
    for name, values in (("f", own), ("f_gain_reference", both)):
        assert found.get(name) == ((pytest.approx(sum(values) / len(values)), len(values)) if values else None)
