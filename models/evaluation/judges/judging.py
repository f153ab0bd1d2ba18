"""A judge's job from the responses to its verdicts and figures, whoever is asked."""

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from data_contracts.records import ALL_SLICES, FIGURE, VERDICT
from models.evaluation.judges.answers import Answer, Asking, answers_to
from models.evaluation.judges.judge_figures import OPPONENT, POLICY, judge_figures
from models.evaluation.judges.questions import Question, questions_of
from models.job import Headline, Job
from models.measure_configs import EndpointJudge, ModelJudge


def judged(job: Job[ModelJudge] | Job[EndpointJudge], ask: Asking) -> Headline:
    """Ask about every pair of the input `evaluation`, in both orders; writes `verdicts.parquet` and `figures.parquet`."""
    config = job.config
    questions = questions_of(job.input("evaluation", "samples.parquet"), config)
    answers = answers_to(questions, ask, job.work, job.progress)
    rows = [_row(config.name, question, answer) for question, answer in zip(questions, answers, strict=True)]
    figures = judge_figures(rows, config.name)
    pq.write_table(VERDICT.table(rows), job.output / "verdicts.parquet")
    pq.write_table(FIGURE.table(figures), job.output / "figures.parquet")
    return {**_headline(figures, config.name), "questions": len(rows), "attempts": sum(answer.attempts for answer in answers)}


def _row(judge: str, question: Question, answer: Answer) -> dict[str, object]:
    first, second = (POLICY, OPPONENT) if question.policy_first else (OPPONENT, POLICY)
    return {
        "judge": judge,
        "prompt_id": question.prompt_id,
        "slice": question.slice,
        "opponent": question.opponent,
        "presented_first": first,
        "verdict": {"A": first, "B": second, "tie": "tie", None: None}[answer.verdict],
        "probability_first": answer.probability_a,
        "reply": answer.reply,
        "attempts": answer.attempts,
        "failure": answer.failure,
    }


def _headline(figures: Sequence[dict[str, Any]], judge: str) -> dict[str, float | None]:
    shown = ("win_rate", "position_inconsistent_share", "unanswered_share")
    overall = {row["figure"]: row["value"] for row in figures if row["slice"] == ALL_SLICES}
    names = [f"{name}_{other}" for other in ("reference", "champion") for name in shown]
    return {name: overall[f"{name}_by_{judge}"] for name in names if f"{name}_by_{judge}" in overall}
