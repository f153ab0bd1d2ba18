"""The LLMFAO export: crowd judgments of real responses in one CSV file, prompts, models and responses in three files beside it.

    crowd-comparisons.csv.gz   id,prompt,model_x,model_y,worker,winner,left,right
                               0,8,97,98,58,tie,Airoboros L2 70B,Weaver 12k

gives comparison 0 of prompt 8, whose response a is the left one, by Airoboros L2 70B, and response b the right one, by
Weaver 12k; and annotator 58's judgment `tie`, with a presented first. The comparison's id is the export's own.

The files gpt4-crowd-comparisons.csv.gz and gpt3-crowd-comparisons.csv.gz, which have no column worker, are read where they are
there: the same comparisons judged by the models GPT-4 and GPT-3, whose judgments are of the annotator kind `model`.
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
MODEL_JUDGMENTS = {"gpt4-crowd-comparisons.csv.gz": "GPT-4", "gpt3-crowd-comparisons.csv.gz": "GPT-3"}
"""Files that may be there, and the models that judged."""
WORKER = "worker"
COLUMNS = ("id", "prompt", "model_x", "model_y", "winner", "left", "right")
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
    """The export's four files, and those of the models that judge."""
    judged_by_models = [path / name for name in MODEL_JUDGMENTS if (path / name).exists()]
    return [*listed(path, (JUDGMENTS, PROMPTS, MODELS, RESPONSES)), *judged_by_models]


def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    """The rows of the people's judgments, and then of the models'."""
    judgments, *others = files(path)
    texts = _texts(path)
    for file in (judgments, *(other for other in others if other.name in MODEL_JUDGMENTS)):
        yield from _judgments(file, texts, default_slice)


def _judgments(file: Path, texts: Texts, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    judge = MODEL_JUDGMENTS.get(file.name)
    header, parsed = csv_rows(file)
    require_columns(file, header, COLUMNS if judge else (*COLUMNS, WORKER))

    def judgment(row: Mapping[str, Any]) -> tuple[Judged]:
        return (Judged(_pair(row, texts, default_slice), (_vote(row, judge),)),)

    for row in parsed:
        yield file.name, row if isinstance(row, BadRow) else rows.read_row(*row, make=judgment)


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


def _vote(row: Mapping[str, Any], judge: str | None) -> Vote:
    """The judgment of a row: a model's where one judged the file, else a person's."""
    winner = rows.choice(row, "winner", tuple(VERDICTS))
    if winner is None:
        raise RowError("missing_winner", "the row has no winner")
    kind = "model" if judge else "human"
    return Vote(VERDICTS[winner], annotator_id=judge or rows.required_name(row, WORKER), annotator_kind=kind, presented_first="a")
