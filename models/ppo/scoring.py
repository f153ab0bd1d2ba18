"""What scores responses, and what is done when it fails: a reward model, or any function that somebody brought along."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from data_contracts.errors import OvernightError, StageError, examples
from data_contracts.texts import Message
from models.processes import own_share, total
from models.reward.ensemble import Scored
from models.sharding import gathered

Scorer = Callable[[Sequence[Sequence[Message]], Sequence[str]], Scored]
"""Scores of B responses, as text, to B prompts: a reward model's `score`, or any other function."""
LONGEST_EXAMPLE = 60
"""Characters of a response that a message quotes."""


def score_responses(scorer: Scorer, prompts: Sequence[Sequence[Message]], responses: Sequence[str], *, name: str = "the reward") -> Scored:
    """Scores and disagreement of B responses, each (B,), which are numbers; `name` is what the scorer is called in an error.

    Raises:
        StageError: the scorer failed, or gave another number of scores, or something that is not finite.
    """
    try:
        scored = scorer(prompts, responses)
    except OvernightError:
        raise
    except Exception as error:
        raise StageError(f"{name} could not score responses: {type(error).__name__}: {error}", remedy="correct the function") from error
    for what, values in (("score", scored.score), ("disagreement", scored.disagreement)):
        if tuple(values.shape) != (len(responses),):
            raise StageError(
                f"{name} gave a {what} of shape {tuple(values.shape)} for {len(responses)} responses",
                remedy="give one number for each response, in their order",
            )
        if wrong := [response for response, fine in zip(responses, torch.isfinite(values).tolist(), strict=True) if not fine]:
            quoted = examples(repr(text[:LONGEST_EXAMPLE]) for text in wrong)
            raise StageError(
                f"{name} gave a {what} that is not finite for {len(wrong)} of {len(responses)} responses: {quoted}",
                remedy="give every response a finite score",
            )
    return scored


def score_together(scorer: Scorer, prompts: Sequence[Sequence[Message]], responses: Sequence[str], *, name: str) -> torch.Tensor:
    """The same scores (B,), of which processes that train together compute a share each."""
    accelerator = Accelerator()
    own = own_share(range(len(responses)), accelerator)
    scores = torch.zeros(len(responses))
    with gathered(module_behind(scorer)):
        if own:
            scored = score_responses(scorer, [prompts[i] for i in own], [responses[i] for i in own], name=name)
            scores[list(own)] = scored.score.float().cpu()
    return total(scores, accelerator)


def module_behind(scorer: Any) -> nn.Module | None:
    """The model that scores: the scorer itself, the one whose method it is, or the reward model among its terms; None without one."""
    found = (scorer, getattr(scorer, "__self__", None), getattr(scorer, "model", None))
    return next((one for one in found if isinstance(one, nn.Module)), None)
