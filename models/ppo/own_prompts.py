"""Prompts of one's own that rollouts answer beside those of the preferences: what is usable of the recipe's files, and what is not."""

from typing import NamedTuple

from data_contracts.manifest import content_hash
from models.job import Job
from models.language.own_files import held_out_prompts, keep_apart, read_rows
from models.language.prompts import Prompt, load_prompts
from models.language.text import Tokenizer, encode_prompt
from models.policy_configs import PPOConfig

SLICE = "prompt_files"
"""The slice of these prompts: they are of no source of feedback."""


class OwnPrompts(NamedTuple):
    """The prompts that are used, and how many there were of each sort; both empty where the job has no such files."""

    prompts: list[Prompt]
    counts: dict[str, int]


def load_own_prompts(job: Job[PPOConfig], tokenizer: Tokenizer) -> OwnPrompts:
    """The prompts of the job's input `prompt_files`, without what is too long, known already or held out, ordered by id."""
    if "prompt_files" not in job.inputs:
        return OwnPrompts([], {})
    path, longest = job.input("prompts", "prompts.parquet"), job.config.sampling.max_prompt_tokens
    known = [prompt.messages for prompt in load_prompts(path, "train")]
    kept = keep_apart(read_rows(job.input("prompt_files"), responses=False), held_out_prompts(path), known)
    fits = [row for row in kept.rows if not encode_prompt(tokenizer, row.messages, longest).cut]
    prompts = sorted(Prompt(content_hash(row.messages), SLICE, row.messages) for row in fits)
    counts = {"used": len(fits), "too_long": len(kept.rows) - len(fits), "known": kept.repeated, "held_out": kept.held_out}
    return OwnPrompts(prompts, {f"own_prompts_{name}": count for name, count in counts.items()})
