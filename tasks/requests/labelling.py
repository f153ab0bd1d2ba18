"""Labelling: a model is asked, by written rules, which response of each pair is the better one; what it says are judgments of an annotator.

A pair is asked about in both orders. What both say is the verdict, a disagreement is a tie (`tie_reason` says so), and a pair without an
answer in one of the orders has no verdict and is left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, Headline
from data_contracts.code_version import code_version
from data_contracts.errors import InputError, examples
from data_contracts.home import Home
from data_contracts.manifest import Identity, content_hash
from data_contracts.records import SAMPLE
from models.evaluation.judges.judge_figures import Pair, pairs_of
from models.measure_configs import EndpointAnnotator, ModelAnnotator
from tasks.learning.judges import ask_judge
from tasks.sources import places
from tasks.sources.files import Parsed, rows_of
from tasks.sources.formats import native
from tasks.sources.rows import BadRow

SIDES = {"policy": "response_a", "reference": "response_b"}
"""The judges compare a policy's responses with a reference's: here these are the first and the second ones."""
DISAGREED = "orders_disagree"
NOT_MEASURED = {"n_tokens": 0, "ended": True, "score": 0.0, "disagreement": 0.0, "judge_score": 0.0, "kl_k1": None}
"""What an evaluation knows of its samples and nobody asks about here."""
Row = dict[str, Any]


class Labels(NamedTuple):
    """What a model said of the pairs of a file."""

    rows: list[Row]
    """The file's rows that have a verdict now, in the native format."""
    unanswered: int
    verdicts: Artifact
    """Every answer, in both orders."""


def read_pairs(path: Path) -> list[Row]:
    """The rows of a file in the native format that have no verdict, with their prompts as messages.

    Raises:
        InputError: a row has a verdict already, or is none that the native format reads once it has one.
    """
    parsed = [row for _, file in places.opened(path) for row in rows_of(file)]
    read = [_pair(one) for one in parsed]
    if wrong := [f"row {number}: {problem}" for number, row in enumerate(read, 1) if (problem := row.get("problem"))]:
        raise InputError(
            f"pairs that cannot be labelled: {examples(wrong)}", where=str(path), remedy="give a request.jsonl as it was written"
        )
    if not read:
        raise InputError("there is no pair to be labelled", where=str(path), remedy="give a request.jsonl as it was written")
    return read


def _pair(parsed: Parsed | BadRow) -> Row:
    """A row and its prompt's messages, or the `problem` with it."""
    if isinstance(parsed, BadRow):
        return {"problem": parsed.detail}
    number, raw, content = parsed
    if not isinstance(content, dict) or content.get("verdict") is not None:
        return {"problem": "it has a verdict already" if isinstance(content, dict) else "no named values"}
    row = native.judged((number, raw, {**content, "verdict": "tie"}), None)
    if isinstance(row, BadRow):
        return {"problem": row.detail}
    pair = row.judged[0].pair
    if pair is None or pair.prompt is None:
        return {"problem": "its texts are not there"}
    return {"content": content, "prompt": pair.prompt, "slice": pair.slice or "all"}


def label(home: Home, annotator: ModelAnnotator | EndpointAnnotator, pairs: Sequence[Row], *, model: Artifact | None = None) -> Labels:
    """Ask about every pair; answers that are there are not asked for again.

    Args:
        home: the installation.
        annotator: who is asked.
        pairs: rows of `read_pairs`.
        model: the annotator itself, where it is a local one.
    """
    asked = _as_samples(home, pairs)
    verdicts = ask_judge(home, annotator.as_judge(len(pairs)), evaluation=asked, model=model).artifact
    said = {pair["prompt_id"]: pair for pair in pairs_of(pq.read_table(verdicts.file("verdicts.parquet")).to_pylist())}
    rows = [_labelled(row["content"], said[_name(place)], annotator.name) for place, row in enumerate(pairs)]
    told = [row for row in rows if row is not None]
    return Labels(told, len(rows) - len(told), verdicts)


def _as_samples(home: Home, pairs: Sequence[Row]) -> Artifact:
    """The pairs as the judges read them: samples of an evaluation, the first responses as the policy's."""
    rows = list(_samples(pairs))
    identity = Identity(kind="pairs", code_version=code_version("tasks.requests.labelling"), config={"rows": content_hash(rows)})

    def build(directory: Path) -> Headline:
        pq.write_table(SAMPLE.table(rows), directory / "samples.parquet")
        return {"pairs": len(pairs)}

    return home.artifacts.make(identity, build).artifact


def _samples(pairs: Sequence[Row]) -> Iterator[Row]:
    for place, row in enumerate(pairs):
        for model, side in SIDES.items():
            about = {"prompt_id": _name(place), "slice": row["slice"], "prompt": row["prompt"]}
            yield {**about, "model": model, "response": row["content"][side], **NOT_MEASURED}


def _name(place: int) -> str:
    """Stands for a pair's prompt, since a prompt may come in several pairs."""
    return f"{place:08d}"


def _labelled(content: Row, said: Pair, annotator: str) -> Row | None:
    """The row with its verdict; None where there is none. It was shown in both orders, so none is told."""
    if not said["answered"]:
        return None
    verdict = {1.0: "a", 0.5: "tie", 0.0: "b"}[float(said["win"])]
    told = {name: value for name, value in content.items() if name != "presented_first"}
    reason = {"tie_reason": DISAGREED} if said["inconsistent"] else {}
    return {**told, "verdict": verdict, "annotator_id": f"ai:{annotator}", "annotator_kind": "model", **reason}
