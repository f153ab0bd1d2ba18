"""Job `sample`: responses of a model to prompts, for people or simulated annotators to compare."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import Accelerator

from data_contracts.errors import InputError
from models.configs import SampleJobConfig
from models.job import Headline, Job
from models.language.generation import Generation, generate
from models.language.language_model import load_language_model
from models.language.text import Tokenizer, decode_response, encode_prompt, end_token, load_tokenizer, pad_token
from models.randomness import derive_seed

SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("ended", pa.bool_(), nullable=False),
    ]
)
"""One row per prompt and response; `index` counts a prompt's responses from 0, `n_tokens` includes the end token."""


def run(job: Job[SampleJobConfig]) -> Headline:
    """Sample the responses; writes `samples.parquet`, in the prompts' order."""
    config, sampling = job.config, job.config.sampling
    prompts = read_prompts(job)
    directory = job.input("base_model", "model")
    tokenizer = load_tokenizer(directory)
    model = load_language_model(directory, Accelerator().device)
    eos_id = end_token(tokenizer, sampling.eos_token_id)
    encoded = [encode_prompt(tokenizer, row["prompt"], sampling.max_prompt_tokens) for row in prompts]
    keys = [(row["prompt_id"], index) for row in prompts for index in range(config.responses_per_prompt)]
    generations = generate(
        model,
        [prompt.ids for prompt in encoded for _ in range(config.responses_per_prompt)],
        sampling,
        seeds=[derive_seed(config.seed, "sample", *key) for key in keys],
        eos_id=eos_id,
        pad_id=pad_token(tokenizer),
        progress=job.progress,
    )
    rows = [sample_row(tokenizer, eos_id, *key, generation) for key, generation in zip(keys, generations, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), job.output / "samples.parquet")
    return {
        "responses": len(rows),
        "mean_tokens": sum(len(g.ids) for g in generations) / len(rows),
        "ended_share": sum(g.ended for g in generations) / len(rows),
        "prompts_cut": sum(prompt.cut for prompt in encoded),
    }


def read_prompts(job: Job[SampleJobConfig]) -> Sequence[dict[str, Any]]:
    """The prompts to respond to: `prompt_id` and `prompt` (messages) of each."""
    path = job.input("prompts", "prompts.parquet")
    rows: list[dict[str, Any]] = pq.read_table(path, columns=["prompt_id", "prompt"]).to_pylist()
    if not rows:
        raise InputError("there are no prompts to respond to", where=str(path), remedy="give the source some, or lower the split fractions")
    return rows


def sample_row(tokenizer: Tokenizer, eos_id: int, prompt_id: str, index: int, generation: Generation) -> dict[str, object]:
    """One row of `samples.parquet`."""
    text = decode_response(tokenizer, generation.ids, eos_id)
    return {"prompt_id": prompt_id, "index": index, "response": text, "n_tokens": len(generation.ids), "ended": generation.ended}
