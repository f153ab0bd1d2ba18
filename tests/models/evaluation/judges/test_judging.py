"""Questions, verdicts read from replies, and figures from both orders. Expected: by hand."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.judges.judge_figures import judge_figures
from models.evaluation.judges.questions import questions_of, verdict_in
from models.measure_configs import EndpointJudge
from tests.models.evaluation.judges.pairs import PROMPTS, evaluation

JUDGE = EndpointJudge(kind="endpoint", name="j", url="https://host/v1", model="m")
VERDICTS = ("policy", "opponent", "tie", None)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Verdict: A", "A"),
        ("B is wrong.\n\n**Verdict:** B", "B"),
        ("verdict: Tie.", "tie"),
        ("Verdict: Response B", "B"),
        ("Verdict: A\nNo, I was mistaken.\nVerdict: B", "B"),
        ("A", "A"),
        (" **B**\n", "B"),
        ("**Response A**\nshort\n**Response B**\nlong", None),  # headings, and no verdict
        ("My verdict: a close call", None),
        ("Verdict: A and B are equal", None),
        ("Verdict: C", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_from_a_line_of_its_own(reply: str, verdict: str | None) -> None:
    assert verdict_in(reply) == verdict


def test_every_pair_is_asked_about_in_both_orders(tmp_path: Path) -> None:
    both = ("policy", "reference", "champion")
    questions = questions_of(evaluation(tmp_path, both) / "samples.parquet", JUDGE.model_copy(update={"max_prompts": 3}))
    asked = [(question.opponent, question.prompt_id, question.policy_first) for question in questions]
    assert asked == list(product(("reference", "champion"), ("p0", "p1", "p2"), (True, False)))
    first = questions[0].text
    assert first.index("good answer of the policy") < first.index("bad answer of the reference")
    assert questions[1].text.index("bad answer of the reference") < questions[1].text.index("good answer of the policy")
    assert len({question.key for question in questions}) == 12
    alone = questions_of(evaluation(tmp_path / "first_night") / "samples.parquet", JUDGE)
    assert len(alone) == 2 * PROMPTS  # of a champion that is not there nothing is asked


def row(prompt: int, first: str, verdict: str | None) -> dict[str, object]:
    return {"prompt_id": f"p{prompt}", "slice": "s", "opponent": "reference", "presented_first": first, "verdict": verdict}


@given(st.lists(st.tuples(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS)), min_size=1, max_size=20))
def test_figures_by_counting(pairs: list[tuple[str | None, str | None]]) -> None:
    """A win needs both orders; what else has two verdicts is a tie; the rest is left out."""
    rows = [row(i, first, verdict) for i, both in enumerate(pairs) for first, verdict in zip(("policy", "opponent"), both, strict=True)]
    found = {one["figure"]: one["value"] for one in judge_figures(rows, "j") if one["slice"] == "all"}
    answered = [both for both in pairs if None not in both]
    wins, losses = (answered.count((side, side)) for side in ("policy", "opponent"))
    n = len(answered)
    assert found["unanswered_share_reference_by_j"] == pytest.approx(1 - n / len(pairs))
    if n:
        assert found["win_rate_reference_by_j"] == pytest.approx((wins + (n - wins - losses) / 2) / n)
        swapped = answered.count(("policy", "opponent")) + answered.count(("opponent", "policy"))
        assert found["position_inconsistent_share_reference_by_j"] == pytest.approx(swapped / n)
    else:
        assert "win_rate_reference_by_j" not in found


def test_a_slice_has_figures_of_its_own_and_an_interval_over_prompts() -> None:
    """Won in every pair of one slice, lost in every one of the other: the interval of the whole is no point, that of a slice is."""
    rows = [
        {**row(i, first, side), "slice": part}
        for i, (part, side) in enumerate([("a", "policy"), ("b", "opponent")] * 10)
        for first in ("policy", "opponent")
    ]
    found = {one["slice"]: one for one in judge_figures(rows, "j") if one["figure"] == "win_rate_reference_by_j"}
    assert [(found[part]["value"], found[part]["n"]) for part in ("all", "a", "b")] == [(0.5, 20), (1, 10), (0, 10)]
    assert float(str(found["all"]["low"])) < 0.5 < float(str(found["all"]["high"]))
    assert found["a"]["low"] == found["a"]["high"] == 1
