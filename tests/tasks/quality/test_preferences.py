"""From judgments to preferences and splits. Expected values are by hand."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.artifact_store import Artifact
from data_contracts.errors import RecipeError
from data_contracts.home import Home
from data_contracts.records import PREFERENCE, PROMPT
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.aggregation.aggregation import AggregationConfig, aggregate_judgments
from tasks.quality.preferences import PreferencesConfig, build_preferences, split_of
from tests.tasks.deliveries import SHARED, deliver, deliver_files, needs_llmfao, needs_pandalm, row, swapped, write_rows

TRAIN_ONLY = PreferencesConfig(train=1, validation=0, test=0, judge=0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


SHARES = AggregationConfig(aggregator="majority")


def build(home: Home, config: PreferencesConfig = TRAIN_ONLY, aggregated: AggregationConfig = SHARES, **duplicates: Any) -> Artifact:
    snapshot = take_snapshot(home, SnapshotConfig()).artifact
    found = find_duplicates(home, DuplicatesConfig(**duplicates), snapshot=snapshot).artifact
    aggregation = aggregate_judgments(home, aggregated, snapshot=snapshot).artifact
    return build_preferences(home, config, snapshot=snapshot, duplicates=found, aggregation=aggregation).artifact


def read(artifact: Artifact, name: str = "preferences") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(artifact.file(f"{name}.parquet")).to_pylist()
    return found


def votes(comparison: int, *verdicts: str, **values: Any) -> list[dict[str, Any]]:
    texts = {"prompt": f"p{comparison}", "response_a": "good", "response_b": "poor"}
    return [row(verdict, **(texts | values), comparison_id=comparison, annotator_id=f"w{i}") for i, verdict in enumerate(verdicts)]


def test_votes_become_probability_ties_and_weight(home: Home) -> None:
    deliver(home, [*votes(1, "a", "a", "tie", "b"), *votes(2, "b", "tie"), *votes(3, "b", "b", "b")])
    first, second, third = read(build(home))
    assert (first["chosen"], first["rejected"], first["probability"], first["tie_probability"]) == ("good", "poor", 2.5 / 4, 1 / 4)
    assert (second["chosen"], second["probability"], second["tie_probability"], second["n_judgments"]) == ("poor", 1.5 / 2, 1 / 2, 2)
    assert (third["probability"], third["n_judgments"]) == (1, 3)
    assert [one["weight"] for one in (first, second, third)] == [4 / 3, 2 / 3, 3 / 3]
    assert first["prompt"] == [{"role": "user", "content": "p1"}]


def by_split(home: Home, aggregated: AggregationConfig) -> dict[str, set[tuple[str, int]]]:
    """What was chosen in each split, and by how many."""
    found: dict[str, set[tuple[str, int]]] = {}
    for one in read(build(home, PreferencesConfig(train=0.5, validation=0, test=0, judge=0.5), aggregated)):
        found.setdefault(one["split"], set()).add((one["chosen"], one["n_judgments"]))
    return found


def test_the_held_out_judge_learns_from_its_own_annotators_and_nothing_else_does(home: Home) -> None:
    """Two of the crowd say `good` everywhere, three experts `poor`; an anonymous judgment is the crowd's."""
    crowd = [one for i in range(20) for one in votes(i, "a", "a")]
    anonymous = [row("a", prompt=f"p{i}", response_a="good", response_b="poor", comparison_id=i) for i in range(20)]
    experts = [one | {"annotator_id": f"expert-{one['annotator_id']}"} for i in range(20) for one in votes(i, "b", "b", "b")]
    deliver(home, [*crowd, *anonymous, *experts])
    assert by_split(home, SHARES) == {}  # three against three decide nothing
    own = SHARES.model_copy(update={"judge_annotators": ("expert-*",)})
    assert by_split(home, own) == {"train": {("good", 3)}, "judge": {("poor", 3)}}


def test_a_comparison_that_the_judges_annotators_did_not_see_is_left_out_of_its_split(home: Home) -> None:
    seen = [one | {"annotator_id": "expert-1"} for i in range(10) for one in votes(i, "b")]
    deliver(home, [*(one for i in range(20) for one in votes(i, "a")), *seen])
    artifact = build(
        home, PreferencesConfig(train=0, validation=0, test=0, judge=1), SHARES.model_copy(update={"judge_annotators": ("expert-1",)})
    )
    assert len(read(artifact)) == 10
    assert [one["reason"] for one in read(artifact, "excluded")] == ["no_judgments"] * 10


@pytest.mark.parametrize(
    ("pattern", "message"), [("exprt-*", "no annotator is called 'exprt-\\*'; there are w0"), ("*", "reward model from none")]
)
def test_a_judge_with_nobody_or_everybody_is_refused(home: Home, pattern: str, message: str) -> None:
    deliver(home, votes(1, "a", "b"))
    with pytest.raises(RecipeError, match=message):
        build(home, TRAIN_ONLY, SHARES.model_copy(update={"judge_annotators": (pattern,)}))


def test_strength_is_the_mean_of_the_votes_that_have_one_towards_the_chosen_response(home: Home) -> None:
    strengths = {1: (2.0, 1.0, 1.0), 2: (None, 3.0, None), 3: (None, None, None)}
    verdicts = {1: ("a", "a", "b"), 2: ("b", "tie", "b"), 3: ("a", "a", "b")}
    rows = [
        {**one, "preference_strength": strength}
        for comparison in strengths
        for one, strength in zip(votes(comparison, *verdicts[comparison]), strengths[comparison], strict=True)
    ]
    rows += [{**one, "preference_strength": 4.0} for one in votes(4, "b", "b", "a")]
    deliver(home, rows)
    found = [one["preference_strength"] for one in read(build(home))]
    assert found == [pytest.approx((2 + 1 - 1) / 3), 0, None, pytest.approx((4 + 4 - 4) / 3)]


def test_the_pairs_of_a_ranking_carry_its_name_and_count_as_one_comparison(home: Home, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Name a colour.", "responses": ["Seven.", "Blue.", "Red."], "ranks": [3, 1, 2], "ranking_id": "r1"},
        {"prompt": "Name a fish.", "responses": ["Cod.", "Dog."], "ranks": [1, 2], "ranking_id": "r2"},
    ]
    deliver_files(home, write_rows(tmp_path / "rankings.jsonl", rows), "people", "rankings")
    deliver(home, votes(7, "a"))
    found = read(build(home))
    weights: dict[str | None, list[float]] = {}
    for one in found:
        weights.setdefault(one["ranking_id"], []).append(one["weight"])
    # By hand: three pairs at a third, one at 1, one by itself at 1; their mean is 3/5.
    assert weights == {"people/r1": [pytest.approx(5 / 9)] * 3, "people/r2": [pytest.approx(5 / 3)], None: [pytest.approx(5 / 3)]}


def test_every_comparison_is_a_preference_or_excluded_with_a_reason(home: Home) -> None:
    undecided = [*votes(1, "a", "b"), *votes(2, "tie")]
    retracted = [row("a", judgment_id="j", comparison_id=4), {"op": "retract", "judgment_id": "j"}]
    deliver(home, [*undecided, *votes(3, "a", response_b="good"), *retracted, *votes(5, "a", annotator_kind="model"), *votes(6, "a")])
    artifact = build(home)
    reasons = {one["comparison_id"]: one["reason"] for one in read(artifact, "excluded")}
    assert reasons == {
        "export/1": "undecided",
        "export/2": "undecided",
        "export/3": "identical_responses",
        "export/4": "no_judgments",
        "export/5": "no_judgments",
    }
    assert [one["comparison_id"] for one in read(artifact)] == ["export/6"]
    assert len(read(artifact, "prompts")) == 6
    with_models = build(home, aggregated=SHARES.model_copy(update={"annotators": ("human", "model")}))
    assert [one["comparison_id"] for one in read(with_models)] == ["export/5", "export/6"]


def test_a_preference_carries_what_the_aggregation_says(home: Home) -> None:
    """One who always takes the first place against two who agree, on pairs turned both ways; then one whom only that one judged."""
    rows = []
    for i in range(40):
        good, first = "ab"[i % 2], "ab"[i // 2 % 2]
        said = {"x": good, "y": good, "left": first}
        rows += [row(verdict, prompt=f"p{i}", comparison_id=i, annotator_id=name, presented_first=first) for name, verdict in said.items()]
    deliver(home, [*rows, row(prompt="alone", comparison_id="alone", annotator_id="left", presented_first="a")])
    counted = {one["comparison_id"]: one for one in read(build(home, aggregated=AggregationConfig()))}
    assert counted["export/1"]["chosen"] == "Seven."
    assert counted["export/1"]["probability"] > 0.9 > 2 / 3
    artifact = build(home, aggregated=AggregationConfig(flagged="exclude"))
    assert [(one["comparison_id"], one["reason"]) for one in read(artifact, "excluded")] == [("export/alone", "annotators_excluded")]
    assert {one["n_judgments"] for one in read(artifact)} == {2}


def test_empty_responses_are_responses(home: Home) -> None:
    deliver(home, votes(1, "a", response_b=""))
    assert read(build(home))[0]["rejected"] == ""


def test_sides_do_not_matter(home: Home, tmp_path: Path) -> None:
    rows = [row(v, prompt=f"p{i}", annotator_id=f"w{j}", presented_first="a") for i in range(6) for j, v in enumerate(("a", "b", "a"))]
    deliver(home, rows)
    other = Home(tmp_path / "other")
    deliver(other, [swapped(values) if i % 2 else values for i, values in enumerate(reversed(rows))])
    one, two = build(home, PreferencesConfig()), build(other, PreferencesConfig())
    assert read(one) == read(two)
    assert one.digest == two.digest


def test_added_data_moves_no_prompt_and_no_prompt_stands_in_two_splits(home: Home) -> None:
    rows = [row("a", prompt=f"prompt {i}", slice=f"s{i % 3}", annotator_id="w") for i in range(120)]
    deliver(home, rows[:40])
    before = {one["prompt_id"]: one["split"] for one in read(build(home, PreferencesConfig()), "prompts")}
    deliver(home, [row("b", prompt="prompt 3", response_b="Other.", slice="z"), *reversed(rows)])
    artifact = build(home, PreferencesConfig())
    after = {one["prompt_id"]: one["split"] for one in read(artifact, "prompts")}
    assert before.items() <= after.items()
    assert len(after) == 120
    assert {(one["prompt_id"], one["split"]) for one in read(artifact)} <= set(after.items())
    assert set(after.values()) == {"train", "validation", "test", "judge"}
    assert {one["slice"] for one in read(artifact, "prompts")} == {"s0", "s1", "s2"}, "the first slice by name"
    headline = artifact.manifest.headline
    assert sum(int(headline[f"{split}_pairs"] or 0) for split in set(after.values())) == headline["pairs"] == 121
    assert pq.read_schema(artifact.file("preferences.parquet")).equals(PREFERENCE.schema)
    assert pq.read_schema(artifact.file("prompts.parquet")).equals(PROMPT.schema)


def test_near_duplicates_stand_in_one_split(home: Home) -> None:
    long = "please tell me in a few plain words what this thing does and why anybody would want one at home number"
    deliver(home, [row("a", prompt=f"{long} {i}{end}", annotator_id="w") for i in range(40) for end in ("", "!", "?!")])
    duplicates = {"prompt_similarity": 1.0}  # of equal words; the numbers tell the groups apart
    prompts = read(build(home, PreferencesConfig(), **duplicates), "prompts")
    splits: dict[str, set[str]] = {}
    for one in prompts:
        splits.setdefault(one["prompt"][0]["content"].rstrip("?!"), set()).add(one["split"])
    assert len(prompts) == 120
    assert [len(found) for found in splits.values()] == [1] * 40
    assert set.union(*splits.values()) == {"train", "validation", "test", "judge"}


def test_near_identical_responses_are_left_out_only_if_asked(home: Home) -> None:
    deliver(home, [*votes(1, "a", response_b="Good!"), *votes(2, "a", response_b="good"), *votes(3, "a")])
    kept = build(home)
    assert [one["comparison_id"] for one in read(kept)] == ["export/1", "export/3"]
    left_out = build(home, TRAIN_ONLY.model_copy(update={"exclude_near_identical": True}))
    reasons = {one["comparison_id"]: one["reason"] for one in read(left_out, "excluded")}
    assert reasons == {"export/1": "near_identical_responses", "export/2": "identical_responses"}


def test_prompts_of_an_evaluation_set_stay_out_of_all_that_learns(home: Home, tmp_path: Path) -> None:
    deliver(home, [row("a", prompt=f"prompt {i}", annotator_id="w") for i in range(100)])
    plain = build(home, PreferencesConfig())
    splits = {one["prompt"][0]["content"]: one["split"] for one in read(plain, "prompts")}
    exam = tmp_path / "exam.txt"
    exam.write_text("".join(f"PROMPT {i}\n" for i in range(60)))
    artifact = build(home, PreferencesConfig(), evaluation_sets=[{"name": "exam", "path": str(exam)}])
    held_out = {f"prompt {i}" for i in range(60) if splits[f"prompt {i}"] != "test"}
    assert {splits[text] for text in held_out} == {"train", "validation", "judge"}
    for name in ("prompts", "preferences"):
        assert {one["prompt"][0]["content"]: one["split"] for one in read(artifact, name)} == {
            text: split for text, split in splits.items() if text not in held_out
        }
    assert [one["reason"] for one in read(artifact, "excluded")] == ["contaminated"] * len(held_out)
    assert artifact.manifest.headline["prompts_held_out"] == len(held_out)
    assert plain.manifest.headline["prompts_held_out"] == 0


def test_a_splits_weights_have_mean_one(home: Home) -> None:
    deliver(home, [row("a", prompt=f"p{i}", annotator_id=f"w{j}") for i in range(60) for j in range(1 + i % 3)])
    weights: dict[str, list[float]] = {}
    for one in read(build(home, PreferencesConfig())):
        weights.setdefault(one["split"], []).append(one["weight"])
    assert all(math.fsum(each) / len(each) == pytest.approx(1) for each in weights.values())


def test_splits_have_their_shares() -> None:
    shares = {"train": 0.6, "validation": 0.1, "test": 0.15, "judge": 0.15}
    found = Counter(split_of(f"prompt {i}", "salt", shares) for i in range(10_000))
    for split, share in shares.items():  # binomial: five standard deviations
        assert abs(found[split] / 10_000 - share) < 5 * math.sqrt(share * (1 - share) / 10_000)
    moved = sum(split_of(f"prompt {i}", "salt", shares) != split_of(f"prompt {i}", "pepper", shares) for i in range(1000))
    assert moved > 400  # unrelated splits differ for 1 - Σ share² = 58.5 % of the prompts


@given(prompt=st.text(), salt=st.text())
def test_a_split_without_a_share_gets_nothing(prompt: str, salt: str) -> None:
    prompt, salt = (text.encode("utf-8", "replace").decode() for text in (prompt, salt))
    assert split_of(prompt, salt, {"train": 0.0, "validation": 1.0, "test": 0.0, "judge": 0.0}) == "validation"


def test_shares_must_add_up() -> None:
    with pytest.raises(ValidationError, match="add up to 1"):
        PreferencesConfig(train=0.9)


@needs_llmfao
def test_real_llmfao_gives_preferences_for_every_decided_comparison(home: Home) -> None:
    deliver_files(home, SHARED / "llmfao", "llmfao", "llmfao")
    headline = build(home, PreferencesConfig()).manifest.headline
    assert (headline["pairs"], headline["excluded"], headline["prompts"]) == (1704, 435, 13)


@needs_pandalm
def test_real_pandalm_leaves_out_the_six_unknown_texts(home: Home) -> None:
    deliver_files(home, SHARED / "pandalm", "pandalm", "pandalm")
    artifact = build(home, PreferencesConfig())
    assert Counter(one["reason"] for one in read(artifact, "excluded")) == {"undecided": 85, "unknown_response": 6}
    assert (artifact.manifest.headline["pairs"], artifact.manifest.headline["prompts"]) == (999 - 91, 170)
