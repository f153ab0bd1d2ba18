"""Rollouts: the policy answers prompts, and everything that PPO needs to know about the answers is gathered once.

Shapes: B responses, T response tokens of the longest one.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from data_contracts.errors import StageError
from models.batching import CPU_PASS_TOKENS
from models.configs import Precision, SamplingConfig
from models.language.generation import generate
from models.language.language_model import LanguageModel, ResponseBatch, logprobs_of, read_responses, response_batch, response_logprobs
from models.language.prompts import EncodedPrompts
from models.language.text import Tokenizer, decode_response, end_token, pad_token
from models.ppo.ppo_math import entropy
from models.ppo.scoring import Scorer, module_behind, score_responses
from models.ppo.trainees.value_model import ValueHead, response_values
from models.precision import computing_in
from models.processes import own_share, total
from models.reward.reward_model import RewardModel
from models.sharding import gathered

LOGPROB_TOLERANCE = 1e-4
"""How far, absolutely and relatively, the sampler's logprobs may be from those of a whole forward pass in float32."""
MEAN_LOGPROB_TOLERANCE = 0.05
"""How far, in the mean over all tokens, they may be in bfloat16, whose logits have 8 bits: for one near 16 that is a step of 1/16."""


class Response(NamedTuple):
    """One sampled response."""

    ids: list[int]
    """Its tokens, the end token included when it ended."""
    logprobs: list[float]
    """Log-probability of each token, as the sampler saw it."""
    ended: bool
    """Whether it ended by itself within the length limit."""
    text: str
    """What a reader, and a reward model, sees of it."""


class Rollout(NamedTuple):
    """B prompts, the policy's responses to them, and what the models say of each response token before any update."""

    prompts: list[list[int]]
    """Tokens of each prompt."""
    responses: list[list[int]]
    """Tokens of each response, the end token included when it ended."""
    text: list[str]
    """Each response as the reward model saw it."""
    response_mask: Tensor
    """(B, T), True = the token counts; responses start at column 0."""
    logprobs: Tensor
    """(B, T), the policy's log-probability of each token, by the forward pass that training uses; 0 on padding."""
    entropy: Tensor
    """(B, T), entropy in nats of the distribution that each token was sampled from; 0 on padding."""
    ref_logprobs: Tensor
    """(B, T), the same tokens' log-probability under the reference policy; 0 on padding."""
    values: Tensor | None
    """(B, T), the value model's forecast in front of each token; 0 on padding; None without a value model."""
    scores: Tensor
    """(B,), the score of each response, without any penalty."""
    disagreement: Tensor
    """(B,), standard deviation of that score between the reward model's members."""
    terms: Mapping[str, Tensor]
    """(B,) each, the parts that the score is the sum of, by the name of the reward's term."""
    ended: Tensor
    """(B,), True where the response ended by itself."""


class Actors(NamedTuple):
    """The models that take part in a rollout."""

    policy: LanguageModel
    reference: LanguageModel
    value: RewardModel | ValueHead | None
    """A model of its own, or a head on the policy's trunk; None where the method does without."""
    tokenizer: Tokenizer
    """The policy's and the reference's; the scorer has its own."""
    precision: Precision = "float32"
    """What policy, reference and value model compute in; the scorer has its own."""


def respond(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, *, seeds: Sequence[int]
) -> list[Response]:
    """One response to each prompt, in order; a prompt's seed decides its response."""
    eos_id = end_token(tokenizer, sampling.eos_token_id)
    generations = generate(model, prompts, sampling, seeds=seeds, eos_id=eos_id, pad_id=pad_token(tokenizer))
    return [Response(g.ids, g.logprobs, g.ended, decode_response(tokenizer, g.ids, eos_id)) for g in generations]


def collect_rollout(
    actors: Actors, scorer: Scorer, batch: EncodedPrompts, sampling: SamplingConfig, *, seeds: Sequence[int], microbatch_size: int
) -> Rollout:
    """Sample one response per prompt and gather all about it; no gradients are kept.

    Of processes that train together each does a share, and all have the whole rollout afterwards.

    Args:
        microbatch_size: responses in one forward pass, over all processes.

    Raises:
        StageError: the scorer failed, or the sampler's logprobs differ from those of the forward pass, so that ratios would be wrong.
    """
    accelerator = Accelerator()
    count = accelerator.num_processes
    if count == 1 or len(batch.ids) < count:  # fewer prompts than processes are everybody's
        return _collect(actors, scorer, batch, sampling, seeds, microbatch_size)
    own = own_share(range(len(batch.ids)), accelerator)
    share = EncodedPrompts([batch.prompts[i] for i in own], [batch.ids[i] for i in own], cut=0)
    found = _collect(actors, scorer, share, sampling, [seeds[i] for i in own], max(1, microbatch_size // count))
    return put_together(found, own, batch.ids, actors.tokenizer, sampling)


def put_together(found: Rollout, own: Sequence[int], prompts: list[list[int]], tokenizer: Tokenizer, sampling: SamplingConfig) -> Rollout:
    """The rollout of all prompts, from the rows that each process has `found` of it."""
    accelerator, rows = Accelerator(), torch.tensor(list(own))
    shape = (len(prompts), sampling.max_new_tokens)

    def whole(part: Tensor) -> Tensor:
        """Rows (b,) or (b, t) of this process as those of all, (B,) or (B, T)."""
        space = torch.zeros(shape[: part.ndim], dtype=part.dtype, device=part.device)
        space[(rows, slice(part.shape[1])) if part.ndim == 2 else rows] = part
        return total(space, accelerator)

    mask = whole(found.response_mask.long()).bool()
    width, device = int(mask.sum(1).max()), mask.device
    ids = whole(torch.nn.utils.rnn.pad_sequence([torch.tensor(r, device=device) for r in found.responses], batch_first=True))
    responses = [row[:length] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
    eos_id = end_token(tokenizer, sampling.eos_token_id)
    of_tokens = {name: whole(getattr(found, name))[:, :width] for name in ("logprobs", "entropy", "ref_logprobs")}
    return Rollout(
        prompts=prompts,
        responses=responses,
        text=[decode_response(tokenizer, response, eos_id) for response in responses],
        response_mask=mask[:, :width],
        values=None if found.values is None else whole(found.values)[:, :width],
        scores=whole(found.scores),
        disagreement=whole(found.disagreement),
        terms={name: whole(part) for name, part in found.terms.items()},
        ended=whole(found.ended.long()).bool(),
        **of_tokens,
    )


def _collect(
    actors: Actors, scorer: Scorer, batch: EncodedPrompts, sampling: SamplingConfig, seeds: Sequence[int], microbatch_size: int
) -> Rollout:
    """The same by one process alone."""
    device, pad_id = actors.policy.device, pad_token(actors.tokenizer)

    def gather(compute: Callable[[ResponseBatch], Tensor]) -> Tensor:
        return over_microbatches(compute, batch.ids, responses, pad_id=pad_id, device=device, size=microbatch_size)

    computing = partial(computing_in, actors.precision, device)
    with gathered(actors.policy, None if isinstance(actors.value, RewardModel) else actors.value), computing():
        answers = respond(actors.policy, actors.tokenizer, batch.ids, sampling, seeds=seeds)
        responses, text = [answer.ids for answer in answers], [answer.text for answer in answers]
        logprobs, entropies, *values = gather(lambda part: _policy_says(actors, part, sampling.temperature))
    with gathered(getattr(actors.reference, "trunk", actors.reference)), computing():
        ref_logprobs = gather(lambda part: response_logprobs(actors.reference, part, sampling.temperature))
    if isinstance(actors.value, RewardModel):
        with gathered(actors.value), computing():
            values = [gather(partial(response_values, actors.value))]
    with gathered(module_behind(scorer)):
        scored = score_responses(scorer, [prompt.messages for prompt in batch.prompts], text)
    rollout = Rollout(
        prompts=batch.ids,
        responses=responses,
        text=text,
        response_mask=length_mask(responses, device),
        logprobs=logprobs,
        entropy=entropies,
        ref_logprobs=ref_logprobs,
        values=values[0] if values else None,
        scores=scored.score.to(device),
        disagreement=scored.disagreement.to(device),
        terms={name: part.to(device) for name, part in scored.terms.items()},
        ended=torch.tensor([answer.ended for answer in answers], device=device),
    )
    _check_logprobs(rollout, [answer.logprobs for answer in answers], actors.precision)
    return rollout


def over_microbatches(
    compute: Callable[[ResponseBatch], Tensor],
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    pad_id: int,
    device: torch.device,
    size: int,
) -> Tensor:
    """What `compute` says (…, b, t) of every response, without gradients, put together as (…, B, T) with 0 on padding.

    Responses of similar length are computed together, so that little of the work is padding.
    """
    width = max(map(len, responses))
    whole = torch.empty(0)
    for rows in microbatches(range(len(responses)), prompts, responses, size, pass_tokens(device)):
        with torch.inference_mode():
            part = compute(response_batch([prompts[i] for i in rows], [responses[i] for i in rows], pad_id, device))
        if whole.numel() == 0:
            whole = torch.zeros(*part.shape[:-2], len(responses), width, device=device)
        whole[..., torch.tensor(rows, device=device), : part.shape[-1]] = part
    return whole


def microbatches(
    rows: Sequence[int], prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], size: int, most_tokens: int = sys.maxsize
) -> list[list[int]]:
    """The rows in groups of at most `size` and so many padded tokens, those of similar length together."""
    groups: list[list[int]] = []
    for row in by_length(rows, prompts, responses):
        longest = len(prompts[row]) + len(responses[row])
        if groups and len(groups[-1]) < size and longest * (len(groups[-1]) + 1) <= most_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def pass_tokens(device: torch.device) -> int:
    """Padded tokens that are read at once: on a CPU no more than its caches hold."""
    return CPU_PASS_TOKENS if device.type == "cpu" else sys.maxsize


def by_length(rows: Sequence[int], prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[int]:
    """The rows in the order of the lengths of prompt and response together."""
    return sorted(rows, key=lambda i: (len(prompts[i]) + len(responses[i]), i))


def length_mask(responses: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """The response mask (B, T) of responses of these lengths."""
    lengths = torch.tensor([len(response) for response in responses], device=device)
    return torch.arange(max(map(len, responses)), device=device) < lengths.unsqueeze(1)


def _policy_says(actors: Actors, batch: ResponseBatch, temperature: float) -> Tensor:
    """Logprobs and entropies of the response tokens, and values where a head on the policy's trunk gives them: (2 or 3, B, T)."""
    found, hidden = read_responses(actors.policy, batch, temperature, _logprobs_and_entropies)
    if isinstance(actors.value, ValueHead):
        found = torch.cat([found, actors.value(hidden, batch.response_mask)[None]])
    return found.masked_fill(~batch.response_mask, 0.0)


def _logprobs_and_entropies(logits: Tensor, tokens: Tensor) -> Tensor:
    return torch.stack([logprobs_of(logits, tokens), entropy(logits)])


def _check_logprobs(rollout: Rollout, sampled: Sequence[Sequence[float]], precision: Precision) -> None:
    """The forward pass must see the sampled tokens as the sampler saw them, as far as the precision goes."""
    seen = torch.tensor([value for row in sampled for value in row], device=rollout.logprobs.device)
    computed = rollout.logprobs[rollout.response_mask]
    off = (computed - seen).abs()
    if precision == "float32":
        agree = torch.allclose(computed, seen, rtol=LOGPROB_TOLERANCE, atol=LOGPROB_TOLERANCE)
    else:
        agree = float(off.mean()) < MEAN_LOGPROB_TOLERANCE
    if not agree:
        raise StageError(
            f"the sampler's logprobs differ from the forward pass by {float(off.mean()):.2g} on average, {float(off.max()):.2g} at most",
            remedy=f"check that the model computes in {precision} and gives the same logits with and without a key-value cache",
        )
