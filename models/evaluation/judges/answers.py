"""Answers of a judge, kept line by line as they come, so that a job that was killed asks nothing twice."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from models.evaluation.judges.questions import Letter, Question
from models.progress import Progress

FILE = "answers.jsonl"


class Answer(NamedTuple):
    """What became of one question."""

    verdict: Letter | None
    """None where the judge gave none, or nothing at all."""
    reply: str = ""
    probability_a: float | None = None
    """Probability of the letter A over that of B, where the verdict was read from them."""
    attempts: int = 1
    failure: str = ""
    """Why there is no reply; such an answer is not kept, and asked for again by the next run."""


Answers = Generator[tuple[Question, Answer], None, None]
"""Questions with their answers, as they come."""
Asking = Callable[[Sequence[Question]], Answers]
"""Asks questions."""


def answers_to(questions: Sequence[Question], ask: Asking, work: Path, progress: Progress) -> list[Answer]:
    """The answers in the questions' order: those that are kept in the work folder, and new ones, kept as they come."""
    keys = [question.key for question in questions]
    found = {key: Answer("tie", attempts=0) for key, question in zip(keys, questions, strict=True) if question.same} | _kept(work / FILE)
    waiting = [question for key, question in zip(keys, questions, strict=True) if key not in found]
    with (work / FILE).open("a", encoding="utf-8") as file, closing(ask(waiting)) as coming:
        for done, (question, answer) in enumerate(coming, len(questions) - len(waiting) + 1):
            found[question.key] = answer
            if not answer.failure:
                file.write(json.dumps({"key": question.key, **answer._asdict()}) + "\n")
                file.flush()
            progress.report(done, len(questions))
    return [found[key] for key in keys]


def _kept(path: Path) -> dict[str, Answer]:
    """The answers of earlier runs; a line that a kill tore counts as nothing, and is ended so that the next one stands by itself."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    return {row.pop("key"): Answer(**row) for row in rows}
