"""Agreement figures against reference values, three libraries, the textbook, and definitions written out."""

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import evalica
import krippendorff
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from data_contracts.home import Home
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.agreement import AgreementConfig, agreement_figures, annotator_pairs, annotator_table, human_votes, measure_agreement
from tasks.quality.agreement_figures import (
    CountTable,
    clustered_share,
    cohen_kappa,
    fleiss_kappa,
    gwet_coefficient,
    interval,
    krippendorff_alpha,
    leave_one_out_agreement,
    ordinal_agreement,
    pairwise_agreement,
)
from tests.tasks.deliveries import SHARED, deliver, deliver_files, needs_llmfao, needs_pandalm, needs_textbook, row, swapped

CONFIG = AgreementConfig(resamples=200)
METRICS = ("nominal", "ordinal", "interval")
RATINGS = arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(2, 8)), elements=st.integers(-1, 2))
"""Coders by units; -1 is missing, 0 to 2 are a, tie, b."""


def counts_of(ratings: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Units by categories, from coders by units; units nobody coded are left out."""
    counts = np.stack([(ratings == category).sum(axis=0) for category in range(3)], axis=1)
    return counts[counts.sum(axis=1) > 0].astype(float)


def measured(home: Home, config: AgreementConfig = CONFIG) -> dict[tuple[str, str], dict[str, Any]]:
    artifact = measure_agreement(home, config, snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact
    return {(figure["slice"], figure["figure"]): figure for figure in pq.read_table(artifact.file("agreement.parquet")).to_pylist()}


# --- the figures as functions ---


@needs_textbook
@pytest.mark.parametrize(("metric", "expected"), [("nominal", 904 / 1216), ("ordinal", 0.815388), ("interval", 0.849107)])
def test_alpha_of_the_textbook_table(metric: Any, expected: float) -> None:
    coders = list(csv.reader((SHARED / "krippendorff_textbook/codings.csv").read_text().splitlines()))
    counts = np.array([[sum(coder[unit] == str(c) for coder in coders) for c in range(1, 6)] for unit in range(12)], float)
    table = CountTable.of(counts)
    assert krippendorff_alpha(table.counts, table.weights, metric) == pytest.approx(expected, abs=1e-6)


@given(RATINGS)
@settings(max_examples=60, deadline=None)
def test_alpha_equals_the_krippendorff_and_evalica_libraries(ratings: np.ndarray[Any, Any]) -> None:
    counts = counts_of(ratings)
    paired = counts[counts.sum(axis=1) >= 2]
    values = {category for category in range(3) if paired[:, category].any()} if paired.size else set()
    table = CountTable.of(counts) if counts.size else CountTable(np.zeros((1, 3)), np.ones(1))
    for metric in METRICS:
        ours = float(krippendorff_alpha(table.counts, table.weights, metric))
        if len(values) < 2:
            assert math.isnan(ours)  # 0/0 is undefined
            continue
        theirs = krippendorff.alpha(value_counts=paired, value_domain=[0, 1, 2], level_of_measurement=metric)
        assert ours == pytest.approx(theirs, abs=1e-9)
        frame = pd.DataFrame(np.where(ratings < 0, np.nan, ratings.astype(float)))
        assert ours == pytest.approx(evalica.alpha(frame, distance=metric).alpha, abs=1e-9)


@given(RATINGS)
@settings(max_examples=60, deadline=None)
def test_pair_figures_equal_their_definitions_written_out(ratings: np.ndarray[Any, Any]) -> None:
    counts = counts_of(ratings)
    if not counts.size:
        return
    table = CountTable.of(counts)
    units = [[int(r) for r in unit if r >= 0] for unit in ratings.T]
    units = [unit for unit in units if unit]
    pairs = [pair for unit in units for pair in itertools.combinations(unit, 2)]
    expected = np.mean([x == y for x, y in pairs]) if pairs else math.nan
    assert float(pairwise_agreement(table.counts, table.weights)) == pytest.approx(expected, abs=1e-12, nan_ok=True)

    paired = [unit for unit in units if len(unit) >= 2]
    shares = np.mean([[unit.count(k) / len(unit) for k in range(3)] for unit in units], axis=0)
    for weights in (np.eye(3), ordinal_agreement(3)):
        each = [np.mean([weights[x, y] for x, y in itertools.permutations(unit, 2)]) for unit in paired]
        observed = np.mean(each) if each else math.nan
        by_chance = weights.sum() / 6 * sum(p * (1 - p) for p in shares)
        expected = (observed - by_chance) / (1 - by_chance)
        assert float(gwet_coefficient(table.counts, table.weights, weights)) == pytest.approx(expected, abs=1e-9, nan_ok=True)

    agreeing = compared = 0
    for unit in units:
        for place, own in enumerate(unit):
            others = unit[:place] + unit[place + 1 :]
            margin = others.count(0) - others.count(2)
            compared += own != 1 and margin != 0
            agreeing += own != 1 and margin != 0 and (margin > 0) == (own == 0)
    expected = agreeing / compared if compared else math.nan
    assert float(leave_one_out_agreement(table.counts, table.weights)) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_ordinal_weights_by_hand() -> None:
    assert ordinal_agreement(3) == pytest.approx(np.array([[1, 2 / 3, 0], [2 / 3, 1, 2 / 3], [0, 2 / 3, 1]]))


def test_high_raw_agreement_on_a_rare_class_by_hand() -> None:
    # 95 comparisons of two who both say a, 5 where one says b: alpha = 1 - 199·10/(2·195·5) = -0.0205; AC1 over two categories .9448.
    table = CountTable.of(np.array([[2, 0]] * 95 + [[1, 1]] * 5, float))
    assert float(pairwise_agreement(table.counts, table.weights)) == pytest.approx(0.95)
    assert float(krippendorff_alpha(table.counts, table.weights, "nominal")) == pytest.approx(1 - 199 * 10 / (2 * 195 * 5))
    chance = 2 * 0.975 * 0.025
    assert float(gwet_coefficient(table.counts, table.weights, np.eye(2))) == pytest.approx((0.95 - chance) / (1 - chance))
    by_chance = 0.975**2 + 0.025**2
    assert float(fleiss_kappa(table.counts, table.weights)) == pytest.approx((0.95 - by_chance) / (1 - by_chance))


@given(arrays(np.int64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.integers(0, 2)))
@settings(max_examples=60, deadline=None)
def test_kappa_equals_scikit_learn(ratings: np.ndarray[Any, Any]) -> None:
    table = np.zeros((3, 3))
    np.add.at(table, (ratings[:, 0], ratings[:, 1]), 1)
    if len(set(ratings.ravel())) == 1:
        assert math.isnan(cohen_kappa(table))
    else:
        assert cohen_kappa(table) == pytest.approx(cohen_kappa_score(ratings[:, 0], ratings[:, 1]), abs=1e-9)


def test_the_bootstrap_of_a_share_is_the_binomial_one() -> None:
    # 400 comparisons of two annotators, 100 of them in disagreement: the resampled share is binomial(400, 3/4)/400.
    table = CountTable.of(np.array([[2, 0, 0]] * 300 + [[1, 0, 1]] * 100))
    low, high = interval(pairwise_agreement(table.counts, table.resampled(np.random.default_rng(0), 20_000)))
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.004)


def test_a_clustered_share_resamples_clusters() -> None:
    # Four annotators of 100 votes each, two always for the first side: the share is binomial(4, 1/2)/4, whose 2.5 % end is 0.
    share, low, high = clustered_share(np.array([100.0, 100, 0, 0]), np.full(4, 100.0), np.random.default_rng(0), 4000)
    assert (share, low, high) == (0.5, 0.0, 1.0)


# --- from the lake ---


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def vote(verdict: str, annotator: str | None, comparison: int, **values: Any) -> dict[str, Any]:
    texts = {"response_a": f"x{comparison}", "response_b": f"y{comparison}"}
    return row(verdict, annotator_id=annotator, comparison_id=comparison, **texts) | values


def test_figures_of_a_small_lake_by_hand(home: Home) -> None:
    rows = [
        vote("a", "kim", 1),
        vote("a", "lee", 1),
        vote("b", "max", 1),
        vote("tie", "kim", 2),
        vote("tie", "lee", 2),
        vote("b", "kim", 3),
    ]
    deliver(home, [*rows, vote("b", "bot", 1, annotator_kind="model")])
    figures = {name: figure for (part, name), figure in measured(home).items() if part == "all"}
    assert (figures["raw_agreement"]["value"], figures["raw_agreement"]["n"]) == (2 / 4, 4)
    assert (figures["raw_agreement_without_ties"]["value"], figures["raw_agreement_without_ties"]["n"]) == (1 / 3, 3)
    # Others of comparison 1: kim and lee face {a, b}, undecided; max faces {a, a} and disagrees.
    assert (figures["leave_one_out_agreement"]["value"], figures["leave_one_out_agreement"]["n"]) == (0, 1)
    assert figures["krippendorff_alpha"]["n"] == 2
    assert figures["presented_first_share"]["value"] is None
    assert (figures["cyclic_triad_share"]["value"], figures["cyclic_triad_share"]["n"]) == (None, 0)


def test_nobody_is_paired_with_himself(home: Home) -> None:
    times = {"event_time": "2026-11-02T10:00:00Z"}
    later = {"event_time": "2026-11-03T10:00:00Z"}
    deliver(home, [vote("b", "kim", 1, **later), vote("a", "kim", 1, **times), vote("b", "lee", 1), vote("a", None, 2), vote("a", None, 2)])
    figures = measured(home)
    assert (figures["all", "raw_agreement"]["value"], figures["all", "raw_agreement"]["n"]) == (
        1,
        2,
    )  # the latest of kim; nobody known twice


def test_a_cycle_is_counted_once_and_an_undecided_pair_makes_no_triad(home: Home) -> None:
    def pair(one: str, other: str, verdict: str, prompt: str) -> dict[str, Any]:
        return row(verdict, prompt=prompt, response_a=one, response_b=other)

    cycle = [pair("x", "y", "a", "p"), pair("y", "z", "a", "p"), pair("z", "x", "a", "p")]
    order = [pair("x", "y", "a", "q"), pair("y", "z", "a", "q"), pair("z", "x", "b", "q")]
    undecided = [pair("x", "y", "a", "r"), pair("y", "z", "tie", "r"), pair("z", "x", "a", "r")]
    deliver(home, [*cycle, *order, *undecided])
    triads = measured(home)["all", "cyclic_triad_share"]
    assert (triads["value"], triads["n"]) == (0.5, 2)


def test_the_annotators_table_by_hand(home: Home) -> None:
    first = {"presented_first": "a"}
    rows = [
        vote("a", "kim", 1, seconds_spent=2, **first),
        vote("a", "lee", 1),
        vote("b", "max", 1),
        vote("b", "kim", 2, seconds_spent=4, **first),
    ]
    deliver(home, [*rows, vote("a", "lee", 2), vote("tie", "kim", 3)])
    artifact = measure_agreement(home, CONFIG, snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact
    kim, lee, most = pq.read_table(artifact.file("annotators.parquet")).to_pylist()
    # Of kim's judgments the others favour a side only in comparison 2, where lee alone says a. lee: comparison 2, kim alone says b.
    assert kim == {
        "annotator_id": "kim",
        "n_judgments": 3,
        "majority_agreement": 0.0,
        "n_majority": 1,
        "presented_first_share": 0.5,
        "tie_share": 1 / 3,
        "median_seconds": 3.0,
    }
    assert (lee["majority_agreement"], lee["n_majority"], lee["presented_first_share"]) == (0.0, 1, None)
    assert (most["majority_agreement"], most["n_majority"]) == (0.0, 1)
    pairs = pq.read_table(artifact.file("annotator_pairs.parquet")).to_pylist()
    assert [(p["annotator_1"], p["annotator_2"], p["n_comparisons"], p["raw_agreement"]) for p in pairs] == [
        ("kim", "lee", 2, 0.5),
        ("kim", "max", 1, 0.0),
        ("lee", "max", 1, 0.0),
    ]
    assert artifact.manifest.headline["annotators"] == 3


VOTES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "tie"]), st.sampled_from(["kim", "lee", "max", "noa"]), st.integers(0, 4), st.booleans()),
    min_size=1,
    max_size=20,
    unique_by=lambda values: values[1:3],
)


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Votes as the figures take them, without a lake."""
    votes = [
        {"judgment_id": f"{r['comparison_id']}/{r['annotator_id']}", "comparison_id": str(r["comparison_id"]), "verdict": r["verdict"]}
        | {"annotator_id": r["annotator_id"], "annotator_kind": "human", "presented_first": r["presented_first"], "event_time": None}
        | {"seconds_spent": None}
        for r in rows
    ]
    pairs = {r["comparison_id"]: r for r in rows}
    about = [
        {"comparison_id": str(c), "prompt_id": "p", "slice": "s", "model_a": None, "model_b": None}
        | {side: r[side] for side in ("response_a", "response_b")}
        for c, r in pairs.items()
    ]
    text = {"seconds_spent": pl.Float64, "model_a": pl.String, "model_b": pl.String}
    comparisons = pl.DataFrame(about).cast({k: v for k, v in text.items() if k != "seconds_spent"})
    return human_votes(pl.DataFrame(votes).cast({"seconds_spent": pl.Float64}), comparisons)


FREE_OF_SIDES = {"raw_agreement", "raw_agreement_without_ties", "leave_one_out_agreement", "presented_first_share", "cyclic_triad_share"}
"""Figures that no pair's orientation can change; the others are corrected for chance by the shares of a, tie and b."""


@given(votes=VOTES, data=st.data(), all_turned=st.booleans())
@settings(max_examples=15, deadline=None)
def test_neither_row_order_nor_which_response_is_a_matters(
    votes: list[tuple[str, str, int, bool]], data: st.DataObject, all_turned: bool
) -> None:
    rows = [vote(verdict, who, c, presented_first="a" if first else "b") for verdict, who, c, first in votes]
    turned = {c: all_turned or data.draw(st.booleans()) for c in range(5)}
    others = [swapped(values) if turned[values["comparison_id"]] else values for values in data.draw(st.permutations(rows))]
    frame, other = frame_of(rows), frame_of(others)
    for ours, theirs in zip(agreement_figures(frame, CONFIG), agreement_figures(other, CONFIG), strict=True):
        assert (ours.figure, ours.n) == (theirs.figure, theirs.n)
        if all_turned or ours.figure in FREE_OF_SIDES:
            assert ours.value == pytest.approx(theirs.value, abs=1e-12)
    assert annotator_table(frame).equals(annotator_table(other))
    kappas, others_kappas = annotator_pairs(frame), annotator_pairs(other)
    assert kappas["raw_agreement"].to_list() == others_kappas["raw_agreement"].to_list()


def test_intervals_are_a_function_of_the_votes_and_the_seed(home: Home) -> None:
    rows = [vote("ab"[i % (who + 2) == 0], f"annotator-{who}", i) for i in range(12) for who in range(3)]
    frame, shuffled = (
        frame_of([r | {"presented_first": "a"} for r in rows]),
        frame_of([r | {"presented_first": "a"} for r in reversed(rows)]),
    )
    assert agreement_figures(frame, CONFIG) == agreement_figures(shuffled, CONFIG)
    assert agreement_figures(frame, CONFIG) != agreement_figures(frame, AgreementConfig(seed=1, resamples=200))


# --- real data ---

LLMFAO = {
    "krippendorff_alpha": 0.290595,
    "krippendorff_alpha_ordinal": 0.287553,
    "krippendorff_alpha_interval": 0.287761,
    "gwet_ac1": 0.29579,
    "fleiss_kappa": 0.28687,
    "gwet_ac2_ordinal": 0.34587,
    "raw_agreement": 0.532226,
    "raw_agreement_without_ties": 0.701258,
    "presented_first_share": 0.53315,
    "leave_one_out_agreement": 0.7439,
    "cyclic_triad_share": 12 / 253,
}
"""As printed in the data's note, computed there with three independent libraries."""


@needs_llmfao
def test_real_llmfao_reproduces_the_figures_of_its_note(home: Home) -> None:
    deliver_files(home, SHARED / "llmfao", "llmfao", "llmfao")
    figures = {name: figure for (part, name), figure in measured(home, AgreementConfig()).items() if part == "all"}
    for name, expected in LLMFAO.items():
        decimals = len(str(expected).partition(".")[2]) if name != "cyclic_triad_share" else 12
        assert figures[name]["value"] == pytest.approx(expected, abs=0.5000001 * 10**-decimals), name
    ns = {"raw_agreement": 15_112, "raw_agreement_without_ties": 6_755, "presented_first_share": 5_460, "cyclic_triad_share": 253}
    assert {name: figures[name]["n"] for name in ns} == ns
    ends = {"krippendorff_alpha": (0.272, 0.309), "presented_first_share": (0.509, 0.562)}
    for name, (low, high) in ends.items():
        assert (figures[name]["low"], figures[name]["high"]) == pytest.approx((low, high), abs=0.002)


@needs_pandalm
def test_real_pandalm_reproduces_its_three_kappas(home: Home) -> None:
    deliver_files(home, SHARED / "pandalm", "pandalm", "pandalm")
    artifact = measure_agreement(home, CONFIG, snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact
    pairs = pq.read_table(artifact.file("annotator_pairs.parquet")).to_pylist()
    assert [round(pair["cohen_kappa"], 4) for pair in pairs] == [0.8520, 0.8789, 0.8617]
    headline = artifact.manifest.headline
    assert (round(float(headline["krippendorff_alpha"] or 0), 4), round(float(headline["raw_agreement"] or 0), 4)) == (0.8642, 0.9199)
