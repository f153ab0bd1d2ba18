"""The stages of the simulated world that come before ingest: its corpus, the responses to be judged, and the judgments."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions
from data_contracts.records import MESSAGES
from models.configs import SampleJobConfig, SamplingConfig
from tasks.learning.training import make_learned
from tasks.simulation.annotators import Pair
from tasks.simulation.feedback import FeedbackConfig, feedback
from tasks.simulation.grammar import all_prompts_but, draw_prompts, understand, write_response
from tasks.stage import stage

CORPUS_SCHEMA = pa.schema([pa.field("prompt", MESSAGES, nullable=False), pa.field("response", pa.string(), nullable=False)])
PROMPT_SCHEMA = pa.schema([pa.field("prompt_id", pa.string(), nullable=False), pa.field("prompt", MESSAGES, nullable=False)])
RESPONSES_PER_PROMPT = 2


class SimulationConfig(FeedbackConfig):
    """The simulated world: how much of it there is, and who judges."""

    corpus_texts: int = Field(default=12000, ge=100, description="texts that the base model is pretrained on")
    prompts: int = Field(default=1600, ge=40, description="prompts whose responses are compared; none of them is in the corpus")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how the base model's responses are sampled")


def write_corpus(home: Home, config: SimulationConfig) -> Made:
    """Have the grammar write the corpus for pretraining, and prompts that are not in it."""
    inputs = config.model_dump(include={"seed", "corpus_texts", "prompts"})
    identity = _identity("corpus", inputs, "tasks.simulation.grammar", "tasks.simulation.stages")
    return home.artifacts.make(identity, lambda directory: _write_corpus(directory, config))


def _write_corpus(directory: Path, config: SimulationConfig) -> Headline:
    rng = np.random.default_rng(config.seed)
    held_out = draw_prompts(rng, config.prompts)
    known = all_prompts_but(held_out)
    texts = [known[i] for i in rng.integers(len(known), size=config.corpus_texts)]
    corpus = [{"prompt": as_messages(prompt), "response": write_response(rng, prompt)} for prompt in texts]
    prompts = [{"prompt_id": f"simulated-{i:05d}", "prompt": as_messages(prompt)} for i, prompt in enumerate(held_out)]
    pq.write_table(pa.Table.from_pylist(corpus, schema=CORPUS_SCHEMA), directory / "corpus.parquet")
    pq.write_table(pa.Table.from_pylist(prompts, schema=PROMPT_SCHEMA), directory / "prompts.parquet")
    return {"texts": len(corpus), "prompts": len(prompts)}


def sample_responses(home: Home, config: SimulationConfig, *, corpus: Artifact, base_model: Artifact) -> Made:
    """Sample the responses to be compared from the base model, two for each prompt."""
    job = SampleJobConfig(seed=config.seed, sampling=config.sampling, responses_per_prompt=RESPONSES_PER_PROMPT)
    return make_learned(home, "simulated_responses", "sample", job, {"base_model": base_model, "prompts": corpus})


def judge_responses(home: Home, config: SimulationConfig, *, responses: Artifact, corpus: Artifact) -> Made:
    """Have the simulated annotators judge the responses; what comes out is a file in the native format, like any export."""
    identity = _identity(
        "simulated_feedback",
        config.model_dump(include=set(FeedbackConfig.model_fields)),
        "tasks.simulation.feedback",
        "tasks.simulation.stages",
        inputs={"responses": responses, "corpus": corpus},
    )
    return home.artifacts.make(identity, lambda directory: _write_feedback(directory, config, responses, corpus))


def _write_feedback(directory: Path, config: SimulationConfig, responses: Artifact, corpus: Artifact) -> Headline:
    rows = feedback(config, _pairs(responses, corpus))
    with (directory / "feedback.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    compared = {(row["prompt"], row["response_a"], row["response_b"]): row["gold_verdict"] for row in rows}
    return {
        "comparisons": len(compared),
        "gold": sum(verdict is not None for verdict in compared.values()),
        "judgments": len(rows),
        "annotators": len({row["annotator_id"] for row in rows}),
    }


def _pairs(responses: Artifact, corpus: Artifact) -> list[Pair]:
    """The two responses to each prompt, without the pairs of equal ones: nobody would be asked to compare those."""
    prompts = {row["prompt_id"]: row["prompt"][0]["content"] for row in pq.read_table(corpus.file("prompts.parquet")).to_pylist()}
    texts: dict[str, list[str]] = {}
    for row in pq.read_table(responses.file("samples.parquet"), columns=["prompt_id", "response"]).to_pylist():
        texts.setdefault(row["prompt_id"], []).append(row["response"])
    return [
        Pair(prompts[prompt_id], understand(prompts[prompt_id]).slice, *pair)
        for prompt_id, pair in sorted(texts.items())
        if len(set(pair)) == RESPONSES_PER_PROMPT
    ]


def as_messages(text: str) -> list[dict[str, str]]:
    """A prompt's text as messages."""
    return [{"role": "user", "content": text}]


def _identity(kind: str, config: dict[str, object], *modules: str, inputs: dict[str, Artifact] | None = None) -> Identity:
    return Identity(
        kind=kind,
        code_version=code_version(*modules),
        libraries=library_versions(("numpy", "pyarrow")),
        config=config,
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in (inputs or {}).items()),
    )


corpus_stage = stage("corpus")(write_corpus)
simulated_responses_stage = stage("simulated responses")(sample_responses)
simulated_feedback_stage = stage("simulated feedback")(judge_responses)
