"""The PandaLM test set: a JSON array with one comparison and its three annotators' verdicts per row.

    {"idx": 0, "motivation_app": "Grammarly", "cmp_key": "bloom-7b_llama-7b", "instruction": "Rewrite …", "input": "If you …",
     "response1": "If you have …", "response2": "If …", "annotator1": 2, "annotator2": 2, "annotator3": 2}

gives comparison 0 in the slice Grammarly, whose prompt is instruction and input, response a is response1 by bloom-7b and
response b is response2 by llama-7b; and three judgments `b`, with the ids 0/annotator1 to 0/annotator3. A verdict is 0 for a
tie, 1 for response1, 2 for response2. Which response stood first is not told.

An empty input means there is none, and an empty response is what a model answered: both are legitimate. In six rows the
export turned a response's text into a JSON truth value. What the annotators read there is lost but their verdicts are not: the
row is accepted, that response is unknown, and the comparison is left out of the preferences with this reason.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.sources import rows
from tasks.sources.files import json_array, listed, require_columns
from tasks.sources.format import Sample
from tasks.sources.rows import Judged, Pair, Row, RowError, Vote

FILE = "testset-v1.json.gz"
ANNOTATORS = ("annotator1", "annotator2", "annotator3")
COLUMNS = ("idx", "motivation_app", "cmp_key", "instruction", "input", "response1", "response2", *ANNOTATORS)
VERDICTS = ("tie", "a", "b")
DETECTED_BY = f"the file {FILE}, or the columns cmp_key, instruction, response1, response2 and annotator1 to annotator3"


def recognises(sample: Sample) -> bool:
    """Whether the rows are those of the test set, or a folder has it under the name of its release."""
    return sample.has(*COLUMNS) or FILE in sample.files


def files(path: Path) -> list[Path]:
    """The test set at a path, or in a folder under the name of its release."""
    return listed(path, [FILE]) if path.is_dir() else listed(path.parent, [path.name])


def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    """The rows of the test set."""
    (file,) = files(path)
    parsed = list(json_array(file))
    objects = [row[2] for row in parsed if isinstance(row[2], dict)]
    require_columns(file, set().union(*objects) if objects else set(), COLUMNS)
    for row in parsed:
        yield file.name, rows.read_row(*row, make=lambda content: _judgments(content, default_slice))


def _judgments(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    key = rows.required_name(row, "idx")
    models = (rows.name(row, "cmp_key") or "").split("_")
    pair = Pair(
        prompt=_prompt(row),
        response_a=_response(row, "response1"),
        response_b=_response(row, "response2"),
        slice=rows.slice_name(row, "motivation_app") or default_slice,
        key=key,
        model_a=models[0] if len(models) == 2 else None,
        model_b=models[1] if len(models) == 2 else None,
    )
    votes = tuple(Vote(_verdict(row, annotator), annotator_id=annotator, key=f"{key}/{annotator}") for annotator in ANNOTATORS)
    return (Judged(pair, votes),)


def _prompt(row: Mapping[str, Any]) -> list[rows.Message]:
    instruction, given = rows.required_text(row, "instruction"), rows.required_text(row, "input")
    return rows.prompt({"instruction": f"{instruction}\n\n{given}" if given else instruction}, "instruction")


def _response(row: Mapping[str, Any], column: str) -> str | None:
    return None if isinstance(row.get(column), bool) else rows.required_text(row, column)


def _verdict(row: Mapping[str, Any], annotator: str) -> str:
    value = row.get(annotator)
    if not isinstance(value, int) or isinstance(value, bool) or value not in range(len(VERDICTS)):
        raise RowError(f"invalid_{annotator}", f"{annotator}: expected 0, 1 or 2, found {value!r:.80}")
    return VERDICTS[value]
