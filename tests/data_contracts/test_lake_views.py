"""The views "current judgments" and "current comparisons", on batches written by hand."""

from pathlib import Path

from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS
from data_contracts.lake_views import current_comparisons, current_judgments
from data_contracts.parquet import write_records
from data_contracts.records import COMPARISON, JUDGMENT

SOURCE = {"source": "s", "source_file": "f", "source_row": 1}


def judgment(judgment_id: str, revision: int, verdict: str, op: str = "assert") -> dict[str, object]:
    says = {"judgment_id": judgment_id, "revision": revision, "verdict": verdict, "op": op}
    return SOURCE | says | {"comparison_id": "c", "annotator_kind": "human"}


def comparison(comparison_id: str, response_a: str | None, model_a: str | None = None) -> dict[str, object]:
    texts = {"response_a": response_a, "response_b": "b", "model_a": model_a}
    return SOURCE | texts | {"comparison_id": comparison_id, "prompt_id": "p", "slice": "s", "prompt": [{"role": "user", "content": "p"}]}


def write_batch(path: Path, judgments: list[dict[str, object]], comparisons: list[dict[str, object]]) -> Path:
    path.mkdir()
    write_records(JUDGMENT, JUDGMENT.table(judgments), path / JUDGMENTS)
    write_records(COMPARISON, COMPARISON.table(comparisons), path / COMPARISONS)
    return path


def test_the_latest_revision_stands_unless_it_retracts(tmp_path: Path) -> None:
    first = write_batch(tmp_path / "z", [judgment("j", 1, "b"), judgment("k", 0, "a"), judgment("l", 0, "tie")], [])
    second = write_batch(tmp_path / "a", [judgment("j", 0, "a"), judgment("k", 1, "a", "retract")], [])
    found = current_judgments([first, second])
    assert [(row["judgment_id"], row["verdict"]) for row in found.to_pylist()] == [("j", "b"), ("l", "tie")]
    assert found.schema.names == JUDGMENT.schema.names
    assert [row["judgment_id"] for row in current_judgments([first]).to_pylist()] == ["j", "k", "l"]


def test_the_fullest_row_of_a_comparison_stands_whatever_the_order_of_batches(tmp_path: Path) -> None:
    first = write_batch(tmp_path / "1", [], [comparison("c", None), comparison("d", "a")])
    second = write_batch(tmp_path / "2", [], [comparison("c", "a", "m")])
    for batches in ([first, second], [second, first]):
        rows = current_comparisons(batches).to_pylist()
        assert [(row["comparison_id"], row["response_a"], row["model_a"]) for row in rows] == [("c", "a", "m"), ("d", "a", None)]
        assert rows[0]["prompt"] == [{"role": "user", "content": "p"}]
