"""The simulated world as it is outside of the pipeline: each night's prompts, the responses that people see, and what they say.

On the first night, and as long as there is no champion, people compare two responses of the base model. Later half of the prompts show two
responses of the champion, and half one of the champion beside one of the base model.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions
from data_contracts.sharing.share import write_whole
from models.configs import SampleJobConfig
from models.evaluation.intervals import Interval, bootstrap_interval
from models.randomness import derive_seed, generator
from tasks.learning.training import make_learned
from tasks.simulation.annotators import Pair
from tasks.simulation.deliveries import named
from tasks.simulation.feedback import PoisonConfig, Rows, night_of_feedback
from tasks.simulation.grammar import understand
from tasks.simulation.stages import PROMPT_SCHEMA, RESPONSES_PER_PROMPT, SimulationConfig
from tasks.simulation.truth import RESAMPLES, with_true_reward

Texts = Mapping[str, Sequence[str]]
"""The responses of a model to each prompt, by the prompt's text."""
POISON_SHARE = 0.8
"""Share of the annotators who answer at random on a poisoned night."""


@dataclass(frozen=True)
class People:
    """The world of one seed."""

    home: Home
    """Where the world keeps its own artifacts; the pipeline has another home."""
    world: SimulationConfig
    corpus: Artifact
    base_model: Artifact
    seed: int
    nights: int
    first: int
    """Prompts of the first night, from which a first reward model has to come."""
    comparisons: int
    """Prompts of every other night."""
    truth_prompts: int
    """Prompts that nobody is ever asked about: what models are truly worth is told from them."""

    def prompts(self, nights: Sequence[int], *, truth: bool) -> Artifact:
        """The prompts of some nights, with those that the truth is told from, as an artifact.

        Raises:
            InputError: the corpus has kept too few prompts aside for so many nights.
        """
        pool = pq.read_table(self.corpus.file("prompts.parquet")).to_pylist()
        if (needed := self.truth_prompts + self._asked_before(self.nights + 1)) > len(pool):
            asked = f"{self.first} comparisons at first and {self.comparisons} on each other night"
            what = f"{self.nights} nights of {asked} need {needed} prompts, and the world has {len(pool)}"
            raise InputError(what, remedy="play fewer nights, or fewer comparisons a night")
        order = generator(self.seed, "prompts").permutation(len(pool)).tolist()
        places = order[: self.truth_prompts] if truth else []
        for night in nights:
            places = places + order[self.truth_prompts :][self._asked_before(night) : self._asked_before(night + 1)]
        identity = Identity(
            kind="simulated_prompts",
            code_version=code_version("tasks.simulation.people"),
            libraries=library_versions(("numpy", "pyarrow")),
            config={"places": sorted(places)},
            inputs=(self.corpus.manifest.as_input("corpus"),),
        )
        return self.home.artifacts.make(identity, lambda directory: _write_prompts(directory, [pool[i] for i in sorted(places)])).artifact

    def _asked_before(self, night: int) -> int:
        """Prompts of the nights before this one."""
        return self.first + self.comparisons * (night - 2) if night > 1 else 0

    def truth_texts(self) -> list[str]:
        """The texts of the prompts that the truth is told from."""
        return [row["prompt"][0]["content"] for row in pq.read_table(self.prompts([], truth=True).file("prompts.parquet")).to_pylist()]

    def answers(self, model: Artifact, nights: Sequence[int]) -> Texts:
        """What a model answers to the prompts of some nights and to those of the truth, twice to each."""
        prompts = self.prompts(nights, truth=True)
        job = SampleJobConfig(
            seed=derive_seed(self.seed, "answers"), sampling=self.world.sampling, responses_per_prompt=RESPONSES_PER_PROMPT
        )
        made: Made = make_learned(self.home, "simulated_responses", "sample", job, {"base_model": model, "prompts": prompts})
        texts = {row["prompt_id"]: row["prompt"][0]["content"] for row in pq.read_table(prompts.file("prompts.parquet")).to_pylist()}
        found: dict[str, list[str]] = {}
        for row in pq.read_table(made.artifact.file("samples.parquet"), columns=["prompt_id", "response"]).to_pylist():
            found.setdefault(texts[row["prompt_id"]], []).append(row["response"])
        return found

    def base_answers(self) -> Texts:
        """What the base model answers to every prompt of every night."""
        return self.answers(self.base_model, range(1, self.nights + 1))

    def judgments(self, night: int, champion: Texts | None, *, poisoned: bool) -> Rows:
        """What people say on a night of the responses that they are shown, with ids.

        Args:
            night: the night, from 1.
            champion: what the champion answers, where there is one.
            poisoned: whether most of them answer at random.
        """
        poison = PoisonConfig(night=night, random_share=POISON_SHARE) if poisoned else None
        config = self.world.model_copy(update={"seed": self.seed, "nights": self.nights, "night": night, "poison": poison})
        asked = pq.read_table(self.prompts([night], truth=False).file("prompts.parquet")).to_pylist()
        pairs = shown([row["prompt"][0]["content"] for row in asked], self.base_answers(), champion)
        return named(night_of_feedback(config, pairs, night), night)

    def true_rewards(self, answers: Texts) -> np.ndarray:
        """Mean true reward of a model's answers to each prompt of the truth (prompts,)."""
        texts = self.truth_texts()
        rows = [{"prompt": [{"role": "user", "content": text}], "response": one} for text in texts for one in answers[text]]
        values: np.ndarray = with_true_reward(pl.DataFrame(rows))["true_reward"].to_numpy().reshape(len(texts), -1).mean(1)
        return values


def shown(prompts: Sequence[str], base: Texts, champion: Texts | None) -> list[Pair]:
    """The pair of responses that is shown for each prompt, without the pairs of equal ones."""
    pairs = []
    for place, prompt in enumerate(prompts):
        one, two = base[prompt] if champion is None else (champion[prompt][0], (champion if place % 2 else base)[prompt][1])
        first = "simulated-base" if champion is None else "simulated-champion"
        second = "simulated-champion" if champion is not None and place % 2 else "simulated-base"
        if one != two:
            pairs.append(Pair(prompt, understand(prompt).slice, one, two, first, second))
    return pairs


def gained(own: np.ndarray, other: np.ndarray, seed: int) -> Interval:
    """What one model's true rewards (n,) are above another's on the same prompts, with a 95 % interval over prompts."""
    return bootstrap_interval(own - other, resamples=RESAMPLES, seed=seed)


def _write_prompts(directory: Path, rows: Sequence[Mapping[str, object]]) -> Headline:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=PROMPT_SCHEMA), directory / "prompts.parquet")
    return {"prompts": len(rows)}


def write_lines(rows: Rows, path: Path) -> None:
    """Write rows as JSON lines, whole or not at all."""
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path) -> Rows:
    """Rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
