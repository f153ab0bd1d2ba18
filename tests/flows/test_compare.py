"""Two versions on common ground: figures by hand, and what is no common ground."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.records import PROMPT, SAMPLE
from flows.compare import compare_versions
from models.configs import EvaluationConfig
from tasks.decision.promotion import RegistryConfig, register

SAYS = {"policy": [3.0, 2.0, 1.0, 5.0], "champion": [1.0, 2.0, 4.0, 1.0]}
"""The judge's scores of four prompts."""


class Lake:
    """A home with policies that were trained on made prompts."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)

    def make(self, kind: str, name: str, config: dict[str, Any], inputs: dict[str, Artifact], write: Any = None) -> Artifact:
        refs = tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items())

        def build(directory: Path) -> dict[str, str]:
            (directory / "name").write_text(name)
            if write:
                write(directory)
            return {"verdict": "pass"}

        return self.home.artifacts.make(Identity(kind=kind, code_version=name, config=config, inputs=refs), build).artifact

    def prompts(self, test: int) -> Artifact:
        """Four prompts, of which the first ones are in the test split."""
        rows = [{"prompt_id": f"p{i}", "split": "test" if i < test else "train", "slice": "ab"[i % 2], "prompt": user(i)} for i in range(4)]
        return self.make("preferences", f"{test}", {}, {}, lambda to: pq.write_table(PROMPT.table(rows), to / "prompts.parquet"))

    def version(self, name: str, prompts: Artifact, champion: Artifact | None = None) -> tuple[Artifact, Artifact]:
        """A policy, and its version, evaluated on all four prompts."""
        policy = self.make("policy", name, {}, {"prompts": prompts})
        inputs = {"policy": policy, "judge": self.make("reward_model", "judge", {}, {}), **({"champion": champion} if champion else {})}
        rows = [sample(i, model, score) for model, scores in SAYS.items() for i, score in enumerate(scores)]
        config = EvaluationConfig(resamples=100).model_dump(mode="json")
        evaluation = self.make("evaluation", name, config, inputs, lambda to: pq.write_table(SAMPLE.table(rows), to / "samples.parquet"))
        gate = self.make("gate", name, {}, {"evaluation": evaluation})
        made = register(self.home, RegistryConfig(line="l", promotion="never"), policy=policy, evaluation=evaluation, gate=gate)
        return policy, made.artifact


def user(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"prompt {number}"}]


def sample(number: int, model: str, judge_score: float) -> dict[str, Any]:
    told = {"prompt_id": f"p{number}", "slice": "ab"[number % 2], "model": model, "prompt": user(number), "response": f"{model} {number}"}
    return told | {"n_tokens": 3, "ended": True, "score": 0.0, "disagreement": 0.0, "judge_score": judge_score, "kl_k1": 0.0}


@pytest.mark.parametrize("swapped", [False, True])
def test_an_evaluation_that_has_both_is_used(tmp_path: Path, swapped: bool) -> None:
    lake = Lake(tmp_path)
    prompts = lake.prompts(4)
    champion, first = lake.version("first", prompts)
    _, second = lake.version("second", prompts, champion)
    names = (first.id, second.id) if swapped else (second.id, first.id)
    found = compare_versions(lake.home, *names)
    value = {(row["slice"], row["figure"]): row["value"] for row in found.figures}
    # Scores of the policy less the champion's: 2, 0, -3, 4.
    assert value["all", "win_rate"] == (2.5 / 4 if not swapped else 1.5 / 4)
    assert value["all", "judge_score_gain"] == (0.75 if not swapped else -0.75)
    assert value["a", "judge_score_gain"] == (-0.5 if not swapped else 0.5)
    assert (len(found.pairs), found.left_out) == (4, 0)
    assert found.figures[0]["judge_half_width"] is None  # this judge has one member


def test_where_the_judge_has_members_they_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: one sees a gain of 0.75, the other, who says the opposite, of -0.75; t at 1 degree of freedom is 12.706."""

    def said(number: int, model: str, judge_score: float) -> dict[str, Any]:
        return alone(number, model, 0.0) | {"judge_member_scores": [judge_score, -judge_score]}

    alone = sample
    monkeypatch.setattr("tests.flows.test_compare.sample", said)
    lake = Lake(tmp_path)
    prompts = lake.prompts(4)
    champion, first = lake.version("first", prompts)
    _, second = lake.version("second", prompts, champion)
    figures = {(row["slice"], row["figure"]): row for row in compare_versions(lake.home, second.id, first.id).figures}
    assert figures["all", "judge_score_gain"]["value"] == 0
    assert figures["all", "judge_score_gain"]["judge_half_width"] == pytest.approx(12.7062 * 1.5 / 2**0.5, abs=1e-3)


def test_prompts_that_one_of_them_has_seen_are_left_out(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    champion, first = lake.version("first", lake.prompts(2))
    _, second = lake.version("second", lake.prompts(4), champion)
    found = compare_versions(lake.home, second.id, first.id)
    assert ([own["prompt_id"] for own, _ in found.pairs], found.left_out) == (["p0", "p1"], 2)


def test_without_common_ground_there_is_no_comparison(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    champion, first = lake.version("first", lake.prompts(1))
    _, second = lake.version("second", lake.prompts(4), champion)
    with pytest.raises(InputError, match="no common ground: one of them has seen all but 1 of the 4"):
        compare_versions(lake.home, second.id, first.id)
    with pytest.raises(InputError, match="the same policy"):
        compare_versions(lake.home, first.id, first.id)
