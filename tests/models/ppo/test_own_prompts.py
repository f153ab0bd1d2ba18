"""Prompts of one's own: used beside the preferences', without what is too long, known or held out, all of it counted."""

import json
from pathlib import Path

from accelerate import Accelerator

from models.language.own_files import FOLDER
from models.ppo.ground import set_up
from models.ppo.train_policy import run
from tests.models.conftest import user
from tests.models.learning import SAMPLING, make_job, ppo_config, some_prompts, write_inputs


def test_files_of_prompts_are_used_as_far_as_they_may_be(chat_model: Path, tmp_path: Path) -> None:
    inputs, texts = write_inputs(tmp_path, chat_model), [prompt.messages[0]["content"] for prompt in some_prompts(20)]
    rows = [
        {"prompt": "a new one"},
        {"prompt": user("A  new one")},  # the same
        {"prompt": [*user("another"), {"role": "assistant", "content": "yes"}, *user("really")]},
        {"prompt": texts[0]},  # of the split train
        {"prompt": texts[3]},  # of the split validation
        {"prompt": texts[4] + " "},  # of the split test
        {"prompt": "long " * 60},
    ]
    (tmp_path / "own" / FOLDER).mkdir(parents=True)
    (tmp_path / "own" / FOLDER / "000-prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = ppo_config(
        updates=1, rewards=[{"kind": "length_cap", "most": 1}], sampling=SAMPLING.model_copy(update={"max_prompt_tokens": 50})
    )
    job = make_job(tmp_path / "job", config, {**inputs, "prompt_files": tmp_path / "own"})
    del job.inputs["reward_model"]  # which a policy that is rewarded by rules alone does not need
    counts = {"own_prompts_used": 2, "own_prompts_too_long": 1, "own_prompts_known": 2, "own_prompts_held_out": 2}
    headline = run(job)
    assert {name: headline[name] for name in counts} == counts
    _, _, ground = set_up(job, Accelerator())
    contents = [prompt.messages[-1]["content"] for prompt in ground.prompts.prompts]
    assert len(contents) == 12 + 2
    assert sorted(contents[12:]) == ["a new one", "really"]
