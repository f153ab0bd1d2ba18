"""The report's part on feedback quality: the stage's own rows, the largest slices, and annotators with flags first."""

from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data_contracts.home import Home
from data_contracts.parquet import write_records
from data_contracts.quality_figures import FLAGS, HUMAN_MODEL_FIGURES
from data_contracts.records import ANNOTATOR, QUALITY_FIGURE
from tasks.decision.quality_tables import quality_content
from tasks.decision.report import TEMPLATES, figure_text
from tests.tasks.deliveries import deliver
from tests.tasks.quality.measuring import figures, measured_quality, vote


def test_the_rows_of_the_stage_are_shown_as_they_are(tmp_path: Path) -> None:
    home = Home(tmp_path)
    people = [
        vote("ab"[c % 2], who, c, slice=f"s{min(c, 2)}", model_a="<m1>", model_b="m2") for c in range(6) for who in ("kim", "lee", "max")
    ]
    deliver(home, [*people[:-1], vote("a", "<bot>", 1, annotator_kind="model")])
    quality = measured_quality(home)
    content = quality_content(quality, slices_per_kind=2, annotators=2)
    shown = {row["figure"]: row for row in content["overall"]["agreement"]}
    assert shown == {name: row for name, row in figures(quality).items() if name in shown}
    assert "gold_passed_share" not in {row["figure"] for row in content["overall"]["shares of judgments"]}, "nothing was gold"
    assert [part["slice"] for part in content["by_slice"] if part["slice_kind"] == "domain"] == ["s2", "s0"]
    assert [part["slice"] for part in content["judge_models"]] == ["<bot>"]
    assert set(HUMAN_MODEL_FIGURES) <= set(content["judge_models"][0])
    assert [row["annotator_id"] for row in content["annotators"]] == ["kim", "lee"]
    html = rendered(content)
    assert "&lt;bot&gt;" in html
    assert "<bot>" not in html


def rendered(content: dict[str, object]) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["figure"] = figure_text
    return environment.get_template("quality.html.j2").render(quality=content, plots={"annotators": ""})


@pytest.mark.parametrize("flag", [None, *FLAGS])
def test_annotators_with_flags_come_first_with_a_mark_in_their_column(flag: str | None, tmp_path: Path) -> None:
    zeros = {column.name: 0 for column in ANNOTATOR.columns if not column.nullable}
    rows = [zeros | {"annotator_id": who, "n_judgments": n, "flags": []} for who, n in (("busy", 9), ("idle", 1))]
    rows[1]["flags"] = [flag] if flag else []
    write_records(ANNOTATOR, ANNOTATOR.table(rows), tmp_path / "annotators.parquet")
    write_records(QUALITY_FIGURE, QUALITY_FIGURE.table([]), tmp_path / "quality.parquet")

    class Stored:
        def file(self, name: str) -> Path:
            return tmp_path / name

    content = quality_content(Stored(), slices_per_kind=1, annotators=9)  # type: ignore[arg-type]
    assert [row["annotator_id"] for row in content["annotators"]] == (["idle", "busy"] if flag else ["busy", "idle"])
    assert rendered(content).count("●") == (1 if flag else 0)
