"""The format of a source is told from its rows; what fits none or several is one error that lists the formats."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from data_contracts.errors import InputError
from data_contracts.home import Home
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest
from tasks.progress import Event, StageProgress, listening
from tasks.sources import FORMATS, format_of
from tests.tasks.deliveries import row
from tests.tasks.sources.reading import SHARED, chat, needs, write

FOLDERS = {"llmfao": "llmfao", "pandalm/testset-v1.json.gz": "pandalm", "qa_feedback_dev/dev_feedback.json.gz": "qa_feedback"}
FOLDERS |= {"scratchplot_toloka/ending__full-annotation-result.tsv.gz": "toloka"}


@pytest.mark.parametrize("path", FOLDERS)
def test_the_shared_data_sets_are_told(path: str) -> None:
    if not (SHARED / path).exists():
        pytest.skip(f"../shared/data/{path} is not there")
    name, why = format_of("auto", SHARED / path)
    assert name == FOLDERS[path]
    assert FORMATS[name].detected_by in why


@needs("scratchplot_toloka")
def test_a_toloka_export_of_single_texts_is_no_comparison() -> None:
    with pytest.raises(InputError, match="no format fits"):
        format_of("auto", SHARED / "scratchplot_toloka/coherence__full-annotation-result.tsv.gz")


def test_broken_rows_do_not_hide_the_format(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{broken\n[1]\n{"prompt": "p", "chosen": "x", "rejected": "y"}\n')
    assert format_of("auto", path)[0] == "chosen_rejected"


def test_what_fits_several_formats_or_none_lists_them(tmp_path: Path) -> None:
    both = {"prompt": "p", "chosen": chat("p", "x"), "rejected": chat("p", "y"), "response": "x", "rating": 1}
    with pytest.raises(InputError, match="more than one format") as error:
        format_of("auto", write(tmp_path / "both.jsonl", [both]))
    assert all(name in error.value.remedy for name in ("chosen_rejected: ", "rated_responses: "))
    assert "native: " not in error.value.remedy
    with pytest.raises(InputError, match=r"no format fits .* colour") as error:
        format_of("auto", write(tmp_path / "none.jsonl", [{"colour": 1}]))
    assert all(f"{name}: " in error.value.remedy for name in FORMATS)
    with pytest.raises(InputError, match="columns are none"):
        format_of("auto", write(tmp_path / "empty.jsonl", []))


def test_a_recipe_may_leave_the_format_out_and_hears_what_was_told(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [row(), row("b")])
    heard: list[Event] = []
    with listening(heard.append):
        told = ingest(Home(tmp_path / "home"), IngestConfig(sources=(SourceConfig(name="export", path=str(path)),), check_contracts=False))
    assert told.artifact.manifest.headline["rows_accepted"] == 2
    event = next(event for event in heard if isinstance(event, StageProgress))
    assert "native" in str(event.figures["export"])
    source = SourceConfig(name="export", format="native", path=str(path))
    again = ingest(Home(tmp_path / "home"), IngestConfig(sources=(source,), check_contracts=False))
    assert again.reused


def test_a_format_that_does_not_exist_is_an_error_of_the_recipe() -> None:
    with pytest.raises(ValidationError, match="there is no format 'arean'; there are auto, native, "):
        SourceConfig(name="export", format="arean", path="x")
