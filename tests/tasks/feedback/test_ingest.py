"""What a delivery adds to the lake. Expected values are by hand, from the rules of identity."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.artifact_store import ArtifactStore, publish, verify
from data_contracts.errors import InputError, RecipeError, StageError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.records import JUDGMENT
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest
from tasks.progress import StageProgress, listening
from tests.tasks.deliveries import (
    SHARED,
    comparisons,
    deliver,
    deliver_files,
    judgments,
    needs_llmfao,
    needs_pandalm,
    row,
    swapped,
    write_rows,
)

AT = "2026-11-02T09:30:00Z"
LATER = "2026-11-03T09:30:00Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def counts(headline: dict[str, Any]) -> tuple[int, int, int]:
    """Rows accepted, quarantined, known; together they must be the rows read."""
    found = (headline["rows_accepted"], headline["rows_quarantined"], headline["rows_known"])
    assert sum(found) == headline["rows_read"]
    return found


def verdicts(home: Home) -> dict[str, str]:
    return {judgment["judgment_id"]: judgment["verdict"] for judgment in judgments(home)}


# --- repeats and redeliveries ---


def test_true_repeats_of_nobody_known_stay_and_a_redelivery_adds_nothing(home: Home) -> None:
    three = [row(), row(), swapped(row())]
    assert counts(deliver(home, three)) == (3, 0, 0)
    assert counts(deliver(home, [*three, row()])) == (1, 0, 3), "a grown file adds what it has more"
    assert counts(deliver(home, [row()])) == (0, 0, 1), "a smaller file adds nothing"
    assert [judgment["verdict"] for judgment in judgments(home)] == [comparison_side(home, "Blue.")] * 4
    assert len(comparisons(home)) == 1


def comparison_side(home: Home, response: str) -> str:
    (comparison,) = comparisons(home)
    return "a" if comparison["response_a"] == response else "b"


def test_anonymous_judgments_of_two_sources_are_not_merged(home: Home) -> None:
    deliver(home, [row()], name="one")
    assert counts(deliver(home, [row()], name="two")) == (1, 0, 0)
    assert len(judgments(home)) == 2
    assert len(comparisons(home)) == 1


def test_the_larger_count_among_files_of_one_source_is_taken(home: Home, tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.jsonl", [row(), row()])
    write_rows(tmp_path / "in/b.jsonl", [row(), row(), row()])
    assert counts(dict(deliver_files(home, tmp_path / "in").manifest.headline)) == (3, 0, 2)


def test_the_same_delivery_is_the_same_batch_wherever_it_lies(home: Home, tmp_path: Path) -> None:
    first = deliver_files(home, write_rows(tmp_path / "here/rows.jsonl", [row()]))
    source = SourceConfig(name="export", format="native", path=str(write_rows(tmp_path / "there/rows.jsonl", [row()])))
    config = IngestConfig(sources=(source,), check_contracts=False)
    again = ingest(home, config)
    assert again.reused
    assert again.artifact.id == first.id
    elsewhere = ingest(Home(tmp_path / "elsewhere"), config)
    assert not elsewhere.reused
    assert (elsewhere.artifact.id, elsewhere.artifact.digest) == (first.id, first.digest)
    assert first.path.name == first.digest[:16]
    assert first.path.parent.name == f"ingest_date={first.manifest.created_at[:10]}"
    assert verify(first) == []
    assert set(judgments(home)[0]) == set(JUDGMENT.schema.names), "the folder's ingest date is no column"


def test_deliveries_that_bring_nothing_are_on_record_and_not_counted(home: Home) -> None:
    deliver(home, [row()])
    assert counts(deliver(home, [row(slice="other")])) == (0, 0, 1)
    assert counts(deliver(home, [row(), {"op": "retract"}])) == (0, 1, 1)
    lake = FeedbackLake(home.lake)
    assert (len(lake.batches()), len(lake.accepted())) == (3, 1)
    assert lake.find(lake.batches()[-1].id) is not None
    assert lake.find("0" * 64) is None


# --- orientation ---


def test_a_pair_that_arrives_both_ways_round_is_one_comparison(home: Home, tmp_path: Path) -> None:
    named = row("a", annotator_id="kim", presented_first="a", model_a="one", model_b="two", gold_verdict="a")
    deliver(home, [named])
    assert counts(deliver(home, [swapped(named)])) == (0, 0, 1)
    straight, other = Home(tmp_path / "straight"), Home(tmp_path / "other")
    deliver(straight, [named])
    deliver(other, [swapped(named)])
    assert judgments(straight) == judgments(other)
    assert comparisons(straight) == comparisons(other)
    (comparison,), (judgment,) = comparisons(home), judgments(home)
    side = comparison_side(home, "Blue.")
    assert comparison[f"model_{side}"] == "one"
    assert comparison["gold_verdict"] == judgment["verdict"] == judgment["presented_first"] == side


def test_hash_orientation_says_nothing_of_the_source(home: Home) -> None:
    deliver(home, [row(response_a=f"new {i}", response_b=f"old {i}") for i in range(200)])
    new_is_a = sum(comparison["response_a"].startswith("new") for comparison in comparisons(home))
    assert 70 <= new_is_a <= 130  # binomial(200, 1/2): outside with probability below 1e-4


def test_an_own_comparison_id_keeps_the_sources_orientation(home: Home) -> None:
    many = [row("a", response_a=f"left {i}", response_b=f"right {i}", comparison_id=i) for i in range(20)]
    deliver(home, many)
    assert all(comparison["response_a"].startswith("left") for comparison in comparisons(home))
    turned = deliver(home, [swapped(many[0]) | {"annotator_id": "kim", "presented_first": "a"}])
    assert counts(turned) == (1, 0, 0)
    (judgment,) = [one for one in judgments(home) if one["annotator_id"] == "kim"]
    assert (judgment["verdict"], judgment["presented_first"]) == ("a", "b")
    assert len(comparisons(home)) == 20


def test_an_own_comparison_id_with_other_texts_is_quarantined(home: Home) -> None:
    deliver(home, [row(comparison_id=1)])
    assert counts(deliver(home, [row(comparison_id=1, response_a="Red.")])) == (0, 1, 0)
    assert counts(deliver(home, [row(comparison_id=2), row(comparison_id=2, prompt="Other?")])) == (1, 1, 0)


def test_what_was_unknown_of_a_comparison_is_filled_in_and_what_was_known_stays(home: Home) -> None:
    deliver(home, [row(annotator_id="kim", slice="first")])
    headline = deliver(home, [row(annotator_id="kim", slice="second", model_a="one", model_b="two", gold_verdict="tie")])
    assert counts(headline) == (1, 0, 0)
    assert (headline["judgments"], headline["comparisons"]) == (0, 1)
    (comparison,) = comparisons(home)
    assert (comparison["slice"], comparison["gold_verdict"]) == ("first", "tie")
    assert {comparison["model_a"], comparison["model_b"]} == {"one", "two"}
    assert len(judgments(home)) == 1


def test_what_fills_in_a_known_comparison_is_the_row_that_brings_it(home: Home) -> None:
    known = {"comparison_id": "c", "verdict": "a", "annotator_id": "kim"}
    deliver(home, [known])
    deliver(home, [known, row("a", comparison_id="c", annotator_id="kim")])
    (batch,) = FeedbackLake(home.lake).accepted()[1:]
    rows = pq.read_table(batch.path / "comparisons.parquet", partitioning=None).to_pylist()
    assert [(one["response_a"], one["source_row"]) for one in rows] == [("Blue.", 2)]
    assert batch.manifest.headline["rows_known"] == 1


# --- corrections and retractions ---


def test_an_annotators_second_verdict_at_the_same_time_is_a_correction(home: Home) -> None:
    deliver(home, [row("a", annotator_id="kim", event_time=AT)])
    deliver(home, [row("b", annotator_id="kim", event_time=AT)])
    (judgment,) = judgments(home)
    assert judgment["revision"] == 1
    deliver(home, [row("b", annotator_id="kim", event_time=LATER)])
    assert len(judgments(home)) == 2


def test_an_old_export_undoes_neither_correction_nor_retraction(home: Home) -> None:
    first, second = row("a", judgment_id="j", comparison_id=1), row("b", judgment_id="j", comparison_id=1)
    deliver(home, [first])
    deliver(home, [second])
    assert counts(deliver(home, [first, second])) == (0, 0, 2)
    assert verdicts(home) == {"export/j": "b"}
    assert counts(deliver(home, [{"op": "retract", "judgment_id": "j"}])) == (1, 0, 0)
    assert verdicts(home) == {}
    assert counts(deliver(home, [first, second, {"op": "retract", "judgment_id": "j"}])) == (0, 0, 3)
    assert verdicts(home) == {}
    assert counts(deliver(home, [first | {"revision": 9}])) == (1, 0, 0), "its own number brings it back"
    assert verdicts(home) == {"export/j": "a"}


def test_corrections_within_one_file_follow_its_order(home: Home) -> None:
    rows = [row(verdict, judgment_id="j", comparison_id=1) for verdict in ("a", "tie", "b")]
    deliver(home, [*rows, {"op": "retract", "judgment_id": "j"}, row("b", judgment_id="j", comparison_id=1, seconds_spent=3)])
    (judgment,) = judgments(home)
    assert (judgment["verdict"], judgment["revision"], judgment["seconds_spent"]) == ("b", 4, 3.0)


def test_the_same_revision_with_other_content_is_quarantined(home: Home) -> None:
    deliver(home, [row("a", judgment_id="j", comparison_id=1, revision=3)])
    assert counts(deliver(home, [row("b", judgment_id="j", comparison_id=1, revision=3)])) == (0, 1, 0)
    assert counts(deliver(home, [row("b", judgment_id="j", comparison_id=1, revision=1)])) == (1, 0, 0), "a late, older revision"
    assert verdicts(home) == {"export/j": "a"}
    deliver(home, [row("tie", judgment_id="j", comparison_id=1)])
    assert [judgment["revision"] for judgment in judgments(home)] == [4]


def test_an_original_without_a_number_stands_below_its_numbered_corrections(home: Home, tmp_path: Path) -> None:
    original, corrected = row("a", judgment_id="j", comparison_id=1), row("b", judgment_id="j", comparison_id=1, revision=1)
    deliver(home, [original, corrected])
    assert verdicts(home) == {"export/j": "b"}
    assert counts(deliver(home, [original, corrected, row(comparison_id=2)])) == (1, 0, 2)
    apart = Home(tmp_path / "apart")
    deliver(apart, [original])
    deliver(apart, [corrected])
    assert verdicts(apart) == {"export/j": "b"}


def test_a_retraction_says_what_it_takes_back(home: Home) -> None:
    deliver(home, [row("b", judgment_id="j", comparison_id=1, annotator_id="kim"), {"op": "retract", "judgment_id": "j"}])
    assert judgments(home) == []
    assert counts(deliver(home, [{"op": "retract", "judgment_id": "never"}])) == (0, 1, 0)


def test_a_retraction_may_be_read_before_what_it_takes_back(home: Home, tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.jsonl", [{"op": "retract", "judgment_id": "j"}])
    write_rows(tmp_path / "in/b.jsonl", [row("a", judgment_id="j", comparison_id=1)])
    assert counts(dict(deliver_files(home, tmp_path / "in").manifest.headline)) == (2, 0, 0)
    assert verdicts(home) == {}


def test_an_old_retraction_undoes_no_later_correction(home: Home) -> None:
    taken_back = {"op": "retract", "judgment_id": "j"}
    for rows in ([row("a", judgment_id="j", comparison_id=1)], [taken_back], [row("b", judgment_id="j", comparison_id=1)]):
        deliver(home, rows)
    assert verdicts(home) == {"export/j": "b"}
    assert counts(deliver(home, [taken_back, row("a", comparison_id=2)])) == (1, 0, 1)
    assert verdicts(home)["export/j"] == "b"


# --- rows and files ---


@pytest.mark.parametrize("split", [False, True])
def test_texts_that_follow_an_id_are_oriented_by_each_other(home: Home, split: bool) -> None:
    """The first row tells only the comparison's id; then kim's pair stands one way round, and lee's the other."""
    bare = {"comparison_id": "c", "verdict": "a", "annotator_id": "max"}
    kim = row("a", comparison_id="c", annotator_id="kim", model_a="one", model_b="two")
    lee = swapped(row("a", comparison_id="c", annotator_id="lee", gold_verdict="a"))
    for rows in ([bare], [kim, lee]) if split else ([bare, kim, lee],):
        deliver(home, rows)
    (comparison,) = comparisons(home)
    assert {one["annotator_id"]: one["verdict"] for one in judgments(home)} == {"max": "a", "kim": "a", "lee": "a"}
    assert (comparison["response_a"], comparison["model_a"], comparison["gold_verdict"]) == ("Blue.", "one", "a")
    assert counts(deliver(home, [lee, kim, bare])) == (0, 0, 3)


def test_a_file_without_rows_takes_nothing_from_the_next(home: Home, tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.jsonl", [])
    write_rows(tmp_path / "in/b.jsonl", [row()])
    assert counts(dict(deliver_files(home, tmp_path / "in").manifest.headline)) == (1, 0, 0)


def test_files_of_one_source_are_read_in_their_order_whatever_their_kind(home: Home, tmp_path: Path) -> None:
    """The correction stands in the last file, so it holds only if that one counts as later; every row has its file and number."""
    names = [f"{i:02}.jsonl" for i in range(12)]
    for number, name in enumerate(names):
        write_rows(tmp_path / "in" / name, [row(judgment_id=f"{name} {i}", comparison_id=f"{number} {i}") for i in range(number)])
    (tmp_path / "in/05.csv").write_text("prompt,response_a,response_b,verdict,judgment_id,comparison_id\np,x,y,a,csv,c\n\np,x,y,b,csv,c\n")
    csv = {"judgment_id": "csv", "comparison_id": "c", "prompt": "p", "response_a": "x", "response_b": "y"}
    write_rows(tmp_path / "in/99.jsonl", [{"op": "assert"}, row("tie", **csv)])
    batch = deliver_files(home, tmp_path / "in")
    assert counts(dict(batch.manifest.headline)) == (sum(range(12)) + 3, 1, 0)
    assert verdicts(home)["export/csv"] == "tie"
    stood = {one["judgment_id"]: (one["source_file"], one["source_row"]) for one in judgments(home)}
    expected = {f"export/{name} {i}": (name, i + 1) for n, name in enumerate(names) for i in range(n)}
    assert stood == expected | {"export/csv": ("99.jsonl", 2)}


def test_progress_tells_bytes_of_all_files_and_rows(home: Home, tmp_path: Path) -> None:
    line = json.dumps(row()) + "\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text(line * 3)
    (tmp_path / "in/b.jsonl.gz").write_bytes(gzip.compress(line.encode() * 4))
    (tmp_path / "in/c.csv").write_text("prompt,response_a,response_b,verdict\np,x,y,a\n")
    with zipfile.ZipFile(tmp_path / "in/d.zip", "w") as archive:
        archive.writestr("rows.jsonl", line * 2)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "in").iterdir()}
    heard: list[StageProgress] = []
    with listening(lambda event: heard.append(event) if isinstance(event, StageProgress) else None):
        deliver_files(home, tmp_path / "in")
    assert {event.total for event in heard} == {sum(sizes.values())}
    assert all(event.in_bytes for event in heard)
    done = [event.done for event in heard]
    assert done == sorted(done)
    assert (done[-1], heard[-1].figures["rows"]) == (sum(sizes.values()), 10)


def test_broken_rows_are_kept_and_counted_per_file(home: Home, tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.jsonl", [row(), row("left")])
    (tmp_path / "in/b.jsonl").write_text(json.dumps(row("b")) + "\n{broken\n")
    batch = deliver_files(home, tmp_path / "in")
    files = json.loads((batch.path / "delivery.json").read_text())["files"]
    assert [(file["source_file"], file["rows_read"], file["rows_accepted"], file["rows_quarantined"]) for file in files] == [
        ("a.jsonl", 2, 1, 1),
        ("b.jsonl", 2, 1, 1),
    ]


def test_a_row_of_several_judgments_is_quarantined_as_a_whole(home: Home, tmp_path: Path) -> None:
    pandalm = {"idx": 5, "motivation_app": "Mail", "cmp_key": "x_y", "instruction": "Do.", "input": "", "response1": "A", "response2": "B"}
    pandalm |= {"annotator1": 0, "annotator2": 1, "annotator3": 2}
    file = tmp_path / "set.json.gz"
    file.write_bytes(gzip.compress(json.dumps([pandalm, pandalm | {"response1": "C"}, pandalm | {"annotator1": 2}]).encode()))
    headline = dict(deliver_files(home, file, form="pandalm").manifest.headline)
    assert counts(headline) == (2, 1, 0)
    assert headline["judgments"] == 4  # three, and the correction of the first
    assert len(judgments(home)) == 3


def test_too_little_memory_says_which_setting_to_raise_and_nothing_lands(home: Home, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [row(prompt=f"{number} {'text ' * 200}") for number in range(2000)])
    source = SourceConfig(name="s", format="native", path=str(tmp_path / "rows.jsonl"))
    with pytest.raises(StageError, match=r"more memory at once than the 1MB it may have.*raise ingest\.memory_limit"):
        ingest(home, IngestConfig(sources=(source,), memory_limit="1MB"))
    assert not FeedbackLake(home.lake).batches()


def test_simulated_feedback_is_read_as_the_source_of_that_name(home: Home) -> None:
    feedback = publish(
        Identity(kind="simulated_feedback", code_version="0"),
        lambda directory: {"rows": write_rows(directory / "feedback.jsonl", [row(annotator_id="kim")]).stat().st_size},
        staging=home.root / ".staging",
        place=lambda manifest: ArtifactStore(home.root).root / manifest.id[:16],
    )
    batch = ingest(home, IngestConfig(check_contracts=False), simulated=feedback).artifact
    assert [(ref.role, ref.id) for ref in batch.manifest.identity.inputs] == [("simulated", feedback.id)]
    assert {judgment["source"] for judgment in judgments(home)} == {"simulated"}


def test_a_delivery_that_fails_leaves_nothing(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        deliver_files(home, tmp_path / "missing.jsonl")
    with pytest.raises(InputError):
        deliver_files(home, write_rows(tmp_path / "rows.jsonl", [{"prompt": "p"}]))
    assert FeedbackLake(home.lake).batches() == []
    assert not list((home.lake / ".staging").glob("*"))


def test_sources_must_be_there_and_distinct() -> None:
    with pytest.raises(RecipeError, match="no source"):
        ingest(Home(Path("unused")), IngestConfig())
    source = {"name": "simulated", "format": "native", "path": "x"}
    with pytest.raises(ValidationError, match="distinct"):
        IngestConfig.model_validate({"sources": [source]})


# --- properties ---

ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["a", "b", "tie"]),
        response_a=st.sampled_from(["x", "y", "z"]),
        response_b=st.sampled_from(["x", "v", "w"]),
        annotator_id=st.sampled_from([None, "kim", "lee"]),
        event_time=st.sampled_from([None, AT, LATER]),
        presented_first=st.sampled_from([None, "a", "b"]),
    ).filter(lambda values: values["response_a"] != values["response_b"]),
    min_size=1,
    max_size=12,
)
few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fresh(tmp_path: Path) -> Home:
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    return Home(tmp_path / "fresh")


def said(home: Home) -> list[dict[str, Any]]:
    return [{k: v for k, v in judgment.items() if k != "source_row"} for judgment in judgments(home)]


@pytest.mark.slow
@given(rows=ROWS, data=st.data())
@few
def test_neither_row_order_nor_sides_matter(tmp_path: Path, rows: list[dict[str, Any]], data: st.DataObject) -> None:
    # Verdicts at the same time by the same person are corrections, and for them the order is what tells.
    keyed = {(r["annotator_id"], r["event_time"], *sorted((r["response_a"], r["response_b"]))): r for r in rows}
    rows = [*keyed.values(), *(r for r in rows if r["annotator_id"] is None or r["event_time"] is None)]
    home = fresh(tmp_path)
    deliver(home, rows)
    expected = said(home)
    turned = [swapped(values) if data.draw(st.booleans()) else values for values in data.draw(st.permutations(rows))]
    home = fresh(tmp_path)
    deliver(home, turned)
    assert said(home) == expected


@pytest.mark.slow
@given(rows=ROWS, cut=st.integers(0, 12))
@few
def test_a_file_in_parts_then_whole_then_again_is_the_whole_file(tmp_path: Path, rows: list[dict[str, Any]], cut: int) -> None:
    home = fresh(tmp_path)
    deliver(home, rows)
    expected = said(home)
    home = fresh(tmp_path)
    deliver(home, rows[:cut])
    deliver(home, rows)
    assert said(home) == expected
    deliver(home, [*rows, {"op": "retract"}])  # a broken row makes it another delivery
    assert said(home) == expected
    assert len(FeedbackLake(home.lake).accepted()) <= 2


MUTATIONS = st.sampled_from(
    [
        lambda line: line[: len(line) // 2],
        lambda line: line.replace('"verdict"', '"vredict"'),
        lambda line: line.replace('"Blue."', "null"),
        lambda line: line.replace('"Blue."', '"\\ud800"'),
        lambda line: "",
        lambda line: "[]",
        lambda line: line + "\n" + line,
        lambda line: json.dumps({"op": "retract", "judgment_id": "j0"}),
    ]
)


@pytest.mark.slow
@given(mutations=st.lists(st.tuples(st.integers(1, 7), MUTATIONS), max_size=6))
@few
def test_rows_are_conserved_whatever_happens_to_the_file(tmp_path: Path, mutations: list[tuple[int, Any]]) -> None:
    home = fresh(tmp_path)
    lines = [json.dumps(row(judgment_id=f"j{i}", comparison_id=i)) for i in range(8)]
    deliver_files(home, write_rows(tmp_path / "fresh/whole.jsonl", [json.loads(line) for line in lines[:3]]))
    for place, mutate in mutations:
        lines[place] = mutate(lines[place])
    file = tmp_path / "fresh/mutated.jsonl"
    file.write_text("\n".join(lines))
    headline = dict(deliver_files(home, file).manifest.headline)
    assert headline["rows_read"] == sum(bool(line) for line in "\n".join(lines).split("\n"))
    assert sum(counts(headline)) == headline["rows_read"]


# --- real files ---


@needs_llmfao
def test_real_llmfao_is_taken_whole_and_once(home: Home) -> None:
    batch = deliver_files(home, SHARED / "llmfao", "llmfao", "llmfao")
    headline = dict(batch.manifest.headline)
    assert counts(headline) == (8931 + 2 * 2139, 0, 0)
    assert (headline["judgments"], headline["comparisons"]) == (8931 + 2 * 2139, 2139)
    source = SourceConfig(name="llmfao", format="llmfao", path=str(SHARED / "llmfao"), slice="x")
    again = ingest(home, IngestConfig(sources=(source,), check_contracts=False))
    assert counts(dict(again.artifact.manifest.headline)) == (0, 0, 8931 + 2 * 2139)


@needs_pandalm
def test_real_pandalm_is_taken_whole_with_six_texts_unknown(home: Home) -> None:
    headline = dict(deliver_files(home, SHARED / "pandalm", "pandalm", "pandalm").manifest.headline)
    assert counts(headline) == (999, 0, 0)
    assert (headline["judgments"], headline["comparisons"]) == (2997, 999)
    assert sum(one["response_a"] is None or one["response_b"] is None for one in comparisons(home)) == 6
