"""A small real job for the tests of what runs it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import MESSAGES
from models.configs import PretrainConfig
from tasks.learning.worker import run_job

ROOT = Path(__file__).parents[3]
TINY = PretrainConfig(hidden_size=16, layers=1, heads=2, vocab_size=280, batch_size=4, epochs=60)
ENDLESS = TINY.model_copy(update={"epochs": 1e6})


def make_corpus(folder: Path) -> Path:
    """What the job learns from, in a folder `corpus`."""
    (folder / "corpus").mkdir()
    rows = [{"prompt": [{"role": "user", "content": f"count to {n}"}], "response": " ".join(map(str, range(n)))} for n in range(40)]
    schema = pa.schema([("prompt", MESSAGES), ("response", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "corpus" / "corpus.parquet")
    return folder / "corpus"


def run(folder: Path, config: Any = TINY, job: str = "pretrain", output: str = "output", **options: Any) -> Any:
    """Run a job in a folder, on its corpus if there is one."""
    corpus = folder / "corpus"
    inputs = {"corpus": corpus} if corpus.exists() else {}
    return run_job(job, config, inputs, folder / output, folder / f"work-{output}", folder / "logs" / "job.log", **options)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether something comes true within so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def job_of(work: Path) -> str:
    """The name of the process that works in a folder."""
    return (work / "pid").read_text().strip()
