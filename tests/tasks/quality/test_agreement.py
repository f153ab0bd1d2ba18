"""Agreement from a lake: by hand, by brute force over pairs in Python, and against the figures that the real data's notes print."""

import csv
import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from data_contracts.home import Home
from data_contracts.quality_figures import AGREEMENT_FIGURES, QUALITY_FIGURES, SLICE_KINDS
from tasks.quality.quality import QualityConfig
from tests.tasks.deliveries import SHARED, deliver, deliver_files, needs_llmfao, needs_pandalm, swapped
from tests.tasks.quality.measuring import figures, measured, measured_quality, vote


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


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
    quality = measured_quality(home)
    found = figures(quality)
    assert (found["raw_agreement"]["value"], found["raw_agreement"]["n"]) == (2 / 4, 4)
    assert (found["raw_agreement_without_ties"]["value"], found["raw_agreement_without_ties"]["n"]) == (1 / 3, 3)
    assert (found["raw_agreement_macro"]["value"], found["raw_agreement_macro"]["n"]) == ((1 / 3 + 1) / 2, 2)
    assert (found["raw_agreement_macro_without_ties"]["value"], found["raw_agreement_macro_without_ties"]["n"]) == (1 / 3, 1)
    # Others of comparison 1: kim and lee face {a, b}, undecided; max faces {a, a} and disagrees.
    assert (found["leave_one_out_agreement"]["value"], found["leave_one_out_agreement"]["n"]) == (0, 1)
    assert found["krippendorff_alpha"]["n"] == 2
    assert found["presented_first_share"]["value"] is None
    assert (found["cyclic_triad_share"]["value"], found["cyclic_triad_share"]["n"]) == (None, 0)
    assert quality.manifest.headline["judgments"] == 6


def test_every_figure_is_there_for_all_judgments_and_has_a_known_name() -> None:
    rows = [vars(figure) for figure in measured([vote("a", None, 1)]).figures]
    elsewhere = {"quarantined_share"} | {name for name in QUALITY_FIGURES if name.startswith("human_")}
    """A lake's figure, and figures of models that judge."""
    assert {row["figure"] for row in rows if row["slice_kind"] == "all"} == set(QUALITY_FIGURES) - elsewhere
    assert {row["figure"] for row in rows} <= set(QUALITY_FIGURES)
    assert {row["slice_kind"] for row in rows} <= set(SLICE_KINDS)
    assert len({(row["slice_kind"], row["slice"], row["figure"]) for row in rows}) == len(rows)
    one = {row["figure"]: row for row in rows if row["slice_kind"] == "all"}
    assert [name for name in AGREEMENT_FIGURES if one[name]["value"] is not None] == []
    assert [name for name, row in one.items() if row["low"] is not None] == [], "one judgment gives no interval"


def test_nobody_is_paired_with_himself() -> None:
    times, later = {"event_time": "2026-11-02T10:00:00Z"}, {"event_time": "2026-11-03T10:00:00Z"}
    both = [vote("b", "kim", 1, **later), vote("a", "kim", 1, **times)]
    quality = measured([*both, vote("b", "lee", 1), vote("a", None, 2), vote("a", None, 2)])
    # The latest of kim; of nobody known every one. Before that rule kim's two are a pair, too: of 4 pairs 2 agree.
    assert [figures(quality)["raw_agreement"][name] for name in ("value", "n")] == [1, 2]
    assert [figures(quality, "filter", "every_judgment")["raw_agreement"][name] for name in ("value", "n")] == [2 / 4, 4]


def test_slices_are_made_of_their_own_judgments_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for comparison, who in itertools.product(range(30), ("kim", "lee", "max", "noa")):
        models = {"model_a": "m1", "model_b": f"m{2 + comparison % 2}"}
        day = f"2026-11-{1 + int(rng.integers(3)):02d}T10:00:00Z"
        about = {"slice": f"s{comparison % 3}", "event_time": day, **models}
        rows.append(vote(str(rng.choice(["a", "b", "tie"])), who, comparison, **about))
    sources = {"kim": "one", "lee": "one", "max": "two", "noa": "two"}
    again = [row | {"source": "two"} for row in rows if row["annotator_id"] == "kim" and row["comparison_id"] == 0]
    quality = measured([row | {"source": sources[row["annotator_id"]]} for row in rows] + again)

    def brute_force(kept: Any) -> tuple[float, int]:
        pairs = [
            one["verdict"] == other["verdict"]
            for one, other in itertools.combinations(rows, 2)
            if one["comparison_id"] == other["comparison_id"] and kept(one) and kept(other)
        ]
        return float(np.mean(pairs)), len(pairs)

    cases = {
        ("domain", "s1"): lambda row: row["slice"] == "s1",
        ("annotator_group", "two"): lambda row: row["annotator_id"] in ("max", "noa"),
        ("day", "2026-11-02"): lambda row: row["event_time"].startswith("2026-11-02"),
        ("model_pair", "m1 | m3"): lambda row: row["model_b"] == "m3",
        ("period", "recent"): lambda row: row["event_time"].startswith("2026-11-03"),
        ("period", "trailing"): lambda row: not row["event_time"].startswith("2026-11-03"),
    }
    for part, kept in cases.items():
        found = figures(quality, *part)["raw_agreement"]
        assert (found["value"], found["n"]) == pytest.approx(brute_force(kept), abs=1e-12), part
    groups = {figure.slice for figure in quality.figures if figure.slice_kind == "annotator_group"}
    assert groups == {"one", "two", "one + two"}
    change = figures(quality)["krippendorff_alpha_change"]["value"]
    alphas = [figures(quality, "period", name)["krippendorff_alpha"]["value"] for name in ("recent", "trailing")]
    assert change == pytest.approx(alphas[0] - alphas[1], abs=1e-12)


def test_only_the_largest_slices_of_a_kind_get_figures() -> None:
    rows = [vote("a", who, c, slice=f"s{c}") for c in range(3) for who in ("kim", "lee", "max")[: c + 1]]
    quality = measured(rows, QualityConfig(resamples=100, max_slices=2))
    assert {figure.slice for figure in quality.figures if figure.slice_kind == "domain"} == {"s1", "s2"}
    assert quality.slices_left_out == 2, "one domain, which is one of the new judgments' domains, too"


def test_people_and_models_by_hand() -> None:
    """Three people and a model on two comparisons: of its six pairs with people three agree, and it sides once with the majority."""
    people = [vote(v, who, c) for c, verdicts in ((1, "aab"), (2, "bba")) for who, v in zip(("kim", "lee", "max"), verdicts, strict=True)]
    models = [vote("a", "bot", c, annotator_kind="model") for c in (1, 2)]
    quality = measured([*people, *models, vote("a", "bat", 1, annotator_kind="model")])
    bot = figures(quality, "judge_model", "bot")
    assert [bot["human_model_agreement"][name] for name in ("value", "n")] == [3 / 6, 6]
    assert [bot["human_majority_agreement"][name] for name in ("value", "n")] == [1 / 2, 2]
    assert bot["human_model_kappa"]["value"] == 0, "who says one thing always agrees as chance does"
    assert [figures(quality, "annotator_kind", "model")["raw_agreement"][name] for name in ("value", "n")] == [1, 1]
    assert figures(quality)["raw_agreement"]["n"] == 6


def test_what_leaving_annotators_out_would_do() -> None:
    rows = [vote(verdict, who, c) for c in range(3) for who, verdict in (("kim", "a"), ("lee", "a"), ("max", "b"))]
    quality = measured(rows, excluded=["max"])
    assert figures(quality)["raw_agreement"]["value"] == 1 / 3
    assert figures(quality, "filter", "without_excluded_annotators")["raw_agreement"]["value"] == 1


VOTES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "tie"]), st.sampled_from(["kim", "lee", "max", "noa"]), st.integers(0, 4), st.booleans()),
    min_size=1,
    max_size=20,
    unique_by=lambda values: values[1:3],
)
FREE_OF_SIDES = {
    "raw_agreement",
    "raw_agreement_without_ties",
    "raw_agreement_macro",
    "leave_one_out_agreement",
    "presented_first_share",
} | {
    "tie_share",
    "longer_preferred_share",
    "length_coefficient",
    "cyclic_triad_share",
    "self_agreement",
    "tie_share_spread",
    "volume_gini",
}
"""Figures that no pair's orientation can change; the others are corrected for chance by the shares of a, tie and b."""


@given(votes=VOTES, data=st.data(), all_turned=st.booleans())
@settings(max_examples=8)
def test_neither_row_order_nor_which_response_is_a_matters(
    votes: list[tuple[str, str, int, bool]], data: st.DataObject, all_turned: bool
) -> None:
    rows = [vote(verdict, who, c, presented_first="a" if first else "b", model_a=f"m{c}") for verdict, who, c, first in votes]
    rows = [row | {"model_b": "m9", "response_a": "x" * (row["comparison_id"] + 1)} for row in rows]
    turned = {c: all_turned or data.draw(st.booleans()) for c in range(5)}
    others = [swapped(values) if turned[values["comparison_id"]] else values for values in data.draw(st.permutations(rows))]
    ours, theirs = measured(rows), measured(others)
    for one, other in zip(ours.figures, theirs.figures, strict=True):
        assert (one.slice_kind, one.slice, one.figure, one.n) == (other.slice_kind, other.slice, other.figure, other.n)
        if all_turned or one.figure in FREE_OF_SIDES:
            assert one.value == pytest.approx(other.value, abs=1e-9), one.figure
    assert ours.annotators.drop("favouritism", "favouritism_z").equals(theirs.annotators.drop("favouritism", "favouritism_z"))
    assert ours.pairs["raw_agreement"].to_list() == theirs.pairs["raw_agreement"].to_list()


def test_figures_are_a_function_of_the_votes_and_the_seed() -> None:
    rows = [vote("ab"[i % (who + 2) == 0], f"annotator-{who}", i, presented_first="a") for i in range(12) for who in range(3)]
    figures_of = [measured(rows).figures, measured(rows[::-1]).figures, measured(rows, QualityConfig(resamples=100, seed=1)).figures]
    assert figures_of[0] == figures_of[1]
    assert figures_of[0] != figures_of[2]


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
    found = figures(measured_quality(home, QualityConfig()))
    for name, expected in LLMFAO.items():
        decimals = len(str(expected).partition(".")[2]) if name != "cyclic_triad_share" else 12
        assert found[name]["value"] == pytest.approx(expected, abs=0.5000001 * 10**-decimals), name
    ns = {"raw_agreement": 15_112, "raw_agreement_without_ties": 6_755, "presented_first_share": 5_460, "cyclic_triad_share": 253}
    assert {name: found[name]["n"] for name in ns} == ns
    ends = {"krippendorff_alpha": (0.272, 0.309), "presented_first_share": (0.509, 0.562)}
    for name, (low, high) in ends.items():
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high), abs=0.004)


@needs_pandalm
def test_real_pandalm_reproduces_its_three_kappas(home: Home) -> None:
    deliver_files(home, SHARED / "pandalm", "pandalm", "pandalm")
    quality = measured_quality(home)
    assert [round(pair["cohen_kappa"], 4) for pair in pq.read_table(quality.file("annotator_pairs.parquet")).to_pylist()] == [
        0.8520,
        0.8789,
        0.8617,
    ]
    headline = quality.manifest.headline
    assert (round(float(headline["krippendorff_alpha"] or 0), 4), round(float(headline["raw_agreement"] or 0), 4)) == (0.8642, 0.9199)


@needs_llmfao
def test_real_judges_of_llmfao_against_its_people_by_plain_counting_and_scikit_learn(home: Home) -> None:
    folder = SHARED / "llmfao"
    deliver_files(home, folder, "llmfao", "llmfao")
    quality = measured_quality(home)
    people = csv_rows(folder / "crowd-comparisons.csv.gz")
    for judge, file in (("GPT-4", "gpt4-crowd-comparisons.csv.gz"), ("GPT-3", "gpt3-crowd-comparisons.csv.gz")):
        verdicts = {row["id"]: row["winner"] for row in csv_rows(folder / file)}
        pairs = [(row["winner"], verdicts[row["id"]]) for row in people]
        decided = [pair for pair in pairs if "tie" not in pair]
        expected = {
            "human_model_agreement": (np.mean([one == other for one, other in pairs]), 8931),
            "human_model_agreement_without_ties": (np.mean([one == other for one, other in decided]), len(decided)),
            "human_model_kappa": (cohen_kappa_score(*zip(*pairs, strict=True)), 8931),
        }
        found = figures(quality, "judge_model", judge)
        for name, told in expected.items():
            assert (found[name]["value"], found[name]["n"]) == pytest.approx(told, abs=1e-9), (judge, name)
    assert figures(quality)["raw_agreement"]["n"] == 15_112, "models are no part of human agreement"


def csv_rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))
