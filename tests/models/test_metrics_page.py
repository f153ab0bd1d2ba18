"""`docs/metrics.md` defines every key that a training job logs, and none that no job does."""

import json
import re
from pathlib import Path

from models.dpo import train_dpo
from models.policy_configs import SFTConfig
from models.ppo.monitors import MONITORS
from models.ppo.train_policy import run
from models.sft import train_sft
from tests.models.dpo.test_train_dpo import dpo_config, inputs_of
from tests.models.learning import make_job, ppo_config, write_inputs
from tests.models.ppo.test_ptx import with_corpus

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def defined(section: str) -> set[str]:
    """The keys of one section's table."""
    body = re.split(r"^##+ ", PAGE.read_text(), flags=re.MULTILINE)
    own = next(part for part in body if part.startswith(section))
    return set(re.findall(r"^\| `(\w+)` \|", own, flags=re.MULTILINE))


def logged(work: Path, model: Path, **changes: object) -> set[str]:
    """The keys that a job's metrics have."""
    job = make_job(work / "job", ppo_config(updates=1, **changes), write_inputs(work, model))
    run(job)
    term = re.compile(r"^term_\w+$")
    return {term.sub("term_NAME", key) for line in (job.output / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}


def test_every_key_of_ppo_is_defined(chat_model: Path, tmp_path: Path) -> None:
    assert logged(tmp_path, chat_model) == defined("`train_policy`") | defined("With a value model")


def test_every_key_with_a_corpus_is_defined(chat_model: Path, tmp_path: Path) -> None:
    inputs = with_corpus(tmp_path, write_inputs(tmp_path, chat_model))
    job = make_job(tmp_path / "job", ppo_config(updates=1, method="reinforce", ptx={"max_tokens": 32}), inputs)
    run(job)
    keys = {key for line in (job.output / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert keys - {"term_reward_model"} | {"term_NAME"} == defined("`train_policy`") | defined("With a corpus")


def test_every_key_without_a_value_model_is_defined(chat_model: Path, tmp_path: Path) -> None:
    assert logged(tmp_path, chat_model, method="grpo", samples_per_prompt=2) == defined("`train_policy`")


def test_every_key_of_dpo_is_defined(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", dpo_config(), inputs_of(tmp_path, chat_model))
    train_dpo.run(job)
    keys = {key for line in (job.output / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert keys == defined("`train_dpo`")


def test_every_key_of_sft_is_defined(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", SFTConfig(batch_size=8), inputs_of(tmp_path, chat_model) | {"preferences": tmp_path / "prompts"})
    train_sft.run(job)
    keys = {key for line in (job.output / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert keys == defined("`train_sft`")


def test_every_monitor_is_defined() -> None:
    assert set(MONITORS) == defined("Alarms")
