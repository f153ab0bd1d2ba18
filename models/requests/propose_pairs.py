"""Job `propose_pairs`: pairs of responses that people could compare next, each with how much its verdict would tell.

Each prompt gives one pair: the champion's response and the base model's; before there is a champion, two of the base model's.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
from accelerate import Accelerator

from data_contracts.records import PROPOSED_PAIR
from data_contracts.texts import Message
from models.configs import ProposalConfig
from models.job import Headline, Job
from models.language.language_model import load_language_model
from models.language.prompts import Prompt, encode_prompts, load_prompts
from models.language.text import load_tokenizer
from models.ppo.rollout import respond
from models.randomness import derive_seed, generator
from models.requests.information import Floats, information
from models.reward.reward_model import load_reward_model
from models.reward.scoring import Scoring

BASE, CHAMPION = "base_model", "champion"


def run(job: Job[ProposalConfig]) -> Headline:
    """Sample and score; writes `pairs.parquet`, without pairs of equal responses.

    Inputs: `base_model`, `reward_model`, `prompts`, and `champion` where there is one.
    """
    prompts = _drawn(load_prompts(job.input("prompts", "prompts.parquet"), job.config.split), job.config)
    sides = (CHAMPION, BASE) if CHAMPION in job.inputs else (BASE, BASE)
    responses = []
    for number, side in enumerate(sides):
        responses.append(_responses(job, side, number, prompts))
        job.progress.report(number + 1, len(sides) + 1, model=side)
    different = [place for place, pair in enumerate(zip(*responses, strict=True)) if pair[0] != pair[1]]
    model = load_reward_model(job.input("reward_model", "model"), Accelerator().device)
    told = bits_of(model, [prompts[i].messages for i in different], [[texts[i] for i in different] for texts in responses])
    rows = [_row(prompts[i], sides, [texts[i] for texts in responses], float(bits)) for i, bits in zip(different, told, strict=True)]
    pq.write_table(PROPOSED_PAIR.table(rows), job.output / "pairs.parquet")
    told_mean = float(np.mean(told)) if len(told) else None
    return {"prompts": len(prompts), "pairs": len(rows), "mean_information": told_mean, "members": model.settings.members}


def bits_of(model: Scoring, prompts: Sequence[Sequence[Message]], sides: Sequence[Sequence[str]]) -> Floats:
    """Bits (N,) that the verdict on each pair of responses, one of each side, is expected to tell this reward model."""
    first, second = (
        model.score_encoded([model.encode(*pair).ids for pair in zip(prompts, texts, strict=True)]).double() for texts in sides
    )
    return information((first - second).numpy())


def _drawn(prompts: Sequence[Prompt], config: ProposalConfig) -> list[Prompt]:
    """As many prompts as are asked for, at random."""
    order = generator(config.seed, "proposals").permutation(len(prompts))[: config.max_prompts]
    return [prompts[i] for i in sorted(order)]


def _responses(job: Job[ProposalConfig], side: str, number: int, prompts: Sequence[Prompt]) -> list[str]:
    directory, config = job.input(side, "model"), job.config
    tokenizer = load_tokenizer(directory)
    encoded = encode_prompts(tokenizer, prompts, config.sampling.max_prompt_tokens)
    seeds = [derive_seed(config.seed, "proposals", number, prompt.prompt_id) for prompt in prompts]
    model = load_language_model(directory, Accelerator().device).eval()
    return [response.text for response in respond(model, tokenizer, encoded.ids, config.sampling, seeds=seeds)]


def _row(prompt: Prompt, sides: Sequence[str], texts: Sequence[str], bits: float) -> dict[str, object]:
    about = {"prompt_id": prompt.prompt_id, "slice": prompt.slice, "prompt": prompt.messages, "information": bits}
    return about | {"response_a": texts[0], "response_b": texts[1], "model_a": sides[0], "model_b": sides[1]}
