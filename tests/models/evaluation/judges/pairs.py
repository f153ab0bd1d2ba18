"""An evaluation whose responses are told apart by one word, that the tests of judges share."""

from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel

from data_contracts.records import SAMPLE
from models.job import Job
from models.progress import Progress

PROMPTS = 6


def response(model: str, place: int) -> str:
    """The policy's is good but for the last two prompts: of one both are bad, and of the other both are the same text."""
    if place == PROMPTS - 1:
        return "the same"
    return f"{'good' if model == 'policy' and place < PROMPTS - 2 else 'bad'} answer of the {model}"


def evaluation(root: Path, models: tuple[str, ...] = ("policy", "reference")) -> Path:
    told = {"n_tokens": 3, "ended": True, "score": 0.0, "disagreement": 0.0, "judge_score": 0.0, "kl_k1": 0.0}
    rows: list[dict[str, object]] = [
        {"prompt_id": f"p{place}", "slice": "ab"[place % 2], "model": model, "response": response(model, place), **told}
        | {"prompt": [{"role": "user", "content": f"question {place}"}]}
        for model in models
        for place in range(PROMPTS)
    ]
    (root / "evaluation").mkdir(parents=True)
    pq.write_table(SAMPLE.table(rows), root / "evaluation" / "samples.parquet")
    return root / "evaluation"


def job(root: Path, config: BaseModel, **inputs: Path) -> Job:  # type: ignore[type-arg]
    for name in ("output", "work"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return Job(config, inputs, root / "output", root / "work", Progress(root / "progress.jsonl"))
