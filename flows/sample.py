"""`overnight sample`: what a version answers to prompts that somebody types or pipes in."""

import json
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from data_contracts.errors import InputError
from data_contracts.home import Home
from flows.console import new_console
from models.configs import SamplingConfig
from models.language.language_model import load_language_model
from models.language.prompts import Prompt, encode_prompts
from models.language.text import load_tokenizer
from models.ppo.rollout import Response, respond
from models.randomness import derive_seed
from tasks.decision.approval import evidence_of, find_version


def sample_and_tell(root: Path, name: str, prompts: Sequence[str], *, n: int, seed: int, form: str) -> None:
    """Print a version's responses.

    Args:
        root: the home.
        name: the version: an alias, or the first digits of its id.
        prompts: the prompts, each a user's message.
        n: responses to each.
        seed: equal seeds give equal responses, whatever else is asked.
        form: `text`, or `json`: a line per response.
    """
    console = new_console()
    for prompt, responses in zip(prompts, sample_version(Home(root), name, prompts, n=n, seed=seed), strict=True):
        if form == "text":
            console.print(prompt, style="bold", highlight=False, markup=False, soft_wrap=True)
        for place, response in enumerate(responses):
            if form == "json":
                print(json.dumps({"prompt": prompt, "index": place, "response": response.text, "ended": response.ended}))
            else:
                cut = "" if response.ended else " …"
                console.print(f"{place + 1}. {response.text}{cut}", highlight=False, markup=False, soft_wrap=True)


def sample_version(home: Home, name: str, prompts: Sequence[str], *, n: int, seed: int) -> list[list[Response]]:
    """`n` responses of a version to each prompt, sampled as it was trained: at its temperature, up to its longest response.

    Raises:
        InputError: there is no such version, or no prompt.
    """
    if not prompts:
        raise InputError("there is no prompt", remedy="give --prompt TEXT, once or several times, or lines on the standard input")
    policy = evidence_of(home, find_version(home, name))["policy"]
    sampling = SamplingConfig.model_validate(policy.manifest.identity.config["sampling"])
    policy.file("model/config.json")  # says so where the files were collected
    directory = policy.path / "model"
    tokenizer, model = load_tokenizer(directory), load_language_model(directory, Accelerator().device).eval()
    asked = [Prompt(str(place), "", [{"role": "user", "content": text}]) for place, text in enumerate(prompts)]
    ids = encode_prompts(tokenizer, asked, sampling.max_prompt_tokens).ids
    seeds = [derive_seed(seed, "sample", text, place) for text in prompts for place in range(n)]
    responses = respond(model, tokenizer, [one for one in ids for _ in range(n)], sampling, seeds=seeds)
    return [responses[start : start + n] for start in range(0, len(responses), n)]
