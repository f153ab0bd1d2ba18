"""The LLMFAO export: crowd judgments of real responses in one CSV file, prompts, models and responses in three files beside it.

    crowd-comparisons.csv.gz   id,prompt,model_x,model_y,worker,winner,left,right
                               0,8,97,98,58,tie,Airoboros L2 70B,Weaver 12k

gives comparison 0 of prompt 8, whose response a is the left one, by Airoboros L2 70B, and response b the right one, by
Weaver 12k; and annotator 58's judgment `tie`, with a presented first. The comparison's id is the export's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.sources import rows
from tasks.sources.files import csv_rows, json_lines, listed, require_columns
from tasks.sources.format import Sample
from tasks.sources.rows import BadRow, Judged, Pair, Row, RowError, Vote

JUDGMENTS, PROMPTS, MODELS, RESPONSES = "crowd-comparisons.csv.gz", "prompts.jsonl", "models.jsonl", "results.jsonl.gz"
COLUMNS = ("id", "prompt", "model_x", "model_y", "worker", "winner", "left", "right")
VERDICTS = {"left": "a", "right": "b", "tie": "tie"}
DETECTED_BY = f"the files {JUDGMENTS}, {PROMPTS}, {MODELS} and {RESPONSES}"


def recognises(sample: Sample) -> bool:
    """Whether a folder is the export."""
    return sample.files.issuperset((JUDGMENTS, PROMPTS, MODELS, RESPONSES))


@dataclass(frozen=True)
class Texts:
    """What the judgments refer to by id; ids are texts."""

    prompts: Mapping[str, tuple[str, str]]
    """Text and type of each prompt."""
    models: Mapping[str, str]
    responses: Mapping[tuple[str, str], str]
    """Responses by prompt and model."""


def files(path: Path) -> list[Path]:
    """The export's four files."""
    return listed(path, (JUDGMENTS, PROMPTS, MODELS, RESPONSES))


def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    """The rows of the judgments' file."""
    judgments, *_ = files(path)
    texts = _texts(path)
    header, parsed = csv_rows(judgments)
    require_columns(judgments, header, COLUMNS)

    def judgment(row: Mapping[str, Any]) -> tuple[Judged]:
        return (Judged(_pair(row, texts, default_slice), (_vote(row),)),)

    for row in parsed:
        yield JUDGMENTS, row if isinstance(row, BadRow) else rows.read_row(*row, make=judgment)


def _texts(path: Path) -> Texts:
    prompts = {str(row["id"]): (row["text"], row["type"]) for row in _lookup(path / PROMPTS, ("id", "text", "type"))}
    models = {str(row["id"]): row["name"] for row in _lookup(path / MODELS, ("id", "name"))}
    responses = {(str(row["prompt"]), str(row["model"])): row["result"] for row in _lookup(path / RESPONSES, ("prompt", "model", "result"))}
    return Texts(prompts, models, responses)


def _lookup(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The usable lines of a file that is only referred to: a judgment that needs a broken one goes to quarantine."""
    lines = [row[2] for row in json_lines(path) if not isinstance(row, BadRow) and isinstance(row[2], dict)]
    require_columns(path, set().union(*lines) if lines else set(), columns)
    return (line for line in lines if all(column in line for column in columns))


def _pair(row: Mapping[str, Any], texts: Texts, default_slice: str | None) -> Pair:
    prompt_id, left, right = (rows.required_name(row, column) for column in ("prompt", "left", "right"))
    if prompt_id not in texts.prompts:
        raise RowError("unknown_prompt", f"{PROMPTS} has no prompt {prompt_id}")
    text, kind = texts.prompts[prompt_id]
    ids = {texts.models.get(model_id): model_id for model_id in (row["model_x"], row["model_y"])}
    return Pair(
        prompt=rows.prompt({"prompt": text}),
        response_a=_response(prompt_id, left, ids, texts),
        response_b=_response(prompt_id, right, ids, texts),
        slice=rows.slice_name({"slice": kind}) or default_slice,
        key=rows.required_name(row, "id"),
        model_a=left,
        model_b=right,
    )


def _response(prompt_id: str, model: str, ids: Mapping[str | None, str], texts: Texts) -> str:
    if model not in ids:
        raise RowError("unknown_model", f"{model!r} is the name of neither model_x nor model_y in {MODELS}")
    response = texts.responses.get((prompt_id, ids[model]))
    if response is None:
        raise RowError("unknown_response", f"{RESPONSES} has no response of model {ids[model]} to prompt {prompt_id}")
    return rows.required_text({"response": response}, "response")


def _vote(row: Mapping[str, Any]) -> Vote:
    winner = rows.choice(row, "winner", tuple(VERDICTS))
    if winner is None:
        raise RowError("missing_winner", "the row has no winner")
    return Vote(verdict=VERDICTS[winner], annotator_id=rows.required_name(row, "worker"), presented_first="a")
