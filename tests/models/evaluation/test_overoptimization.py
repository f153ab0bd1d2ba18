"""The fitted curves give back the coefficients that made the points; their peak is where the derivative is 0."""

import math

import pytest

from models.evaluation.overoptimization import Curve, curve_figures, fitted, points


def row(kl: float, score: float, judge_score: float | None = None) -> dict[str, float | None]:
    return {"validation_kl_k1": kl, "validation_score": score, "validation_judge_score": judge_score}


def test_the_curve_gives_back_what_made_the_points() -> None:
    made = [(kl, math.sqrt(kl) * (0.9 - 0.3 * math.log(math.sqrt(kl)))) for kl in (0.2, 1.0, 3.0, 9.0)]
    curve = fitted(made)
    assert curve is not None
    assert curve == pytest.approx((0.9, 0.3))
    assert [curve.gain(kl) for kl, _ in made] == pytest.approx([gain for _, gain in made])


def test_the_peak_is_where_more_kl_gains_nothing() -> None:
    """ln d = alpha / beta - 1 = 1, so d = e and the KL is e squared."""
    curve = Curve(alpha=0.6, beta=0.3)
    assert curve.peak_kl == pytest.approx(math.e**2)
    assert curve.gain(math.e**2) > max(curve.gain(math.e**2 - 0.1), curve.gain(math.e**2 + 0.1))
    assert Curve(alpha=0.6, beta=-0.1).peak_kl is None


def test_gains_are_over_the_base_model() -> None:
    metrics = [row(0.0, -0.5, 0.1), {"update": 1.0}, row(1.0, 0.5, 0.4), row(4.0, 1.5, None), row(-0.01, 0.0, 0.0)]
    assert points(metrics, "validation_score") == [(1.0, 1.0), (4.0, 2.0)]
    assert points(metrics, "validation_judge_score") == [(1.0, pytest.approx(0.3))]
    assert points([{"update": 1.0}], "validation_score") == []


def test_a_curve_needs_three_states() -> None:
    metrics = [row(0.0, 0.0, 0.0), row(1.0, 1.0), row(2.0, 1.2), row(3.0, 1.3)]
    found = {name: n for name, _, n in curve_figures(metrics)}
    assert found == {"overoptimization_alpha_score": 3, "overoptimization_beta_score": 3}
