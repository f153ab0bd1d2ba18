"""PPO and its relatives against answers that are known exactly: the best policy under a price of KL, of responses of one token.

Oracle: no policy has a larger E[score] − kl_coef · KL(policy ‖ reference) than the one that is ∝ p_ref · exp(score / kl_coef), which has
kl_coef · log Σ p_ref · exp(score / kl_coef) (the Gibbs variational principle). With responses of one token all of this is sums over
the vocabulary, and nothing is sampled.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import Checkpoints
from models.configs import SamplingConfig
from models.language.language_model import load_language_model
from models.language.text import decode_response
from models.ppo.rollout import Actors
from models.ppo.train_policy import train
from models.progress import Progress
from models.reward.ensemble import Scored
from tests.models.learning import agreed, ground_of, ppo_config

KL_COEF = 0.5
PROMPTS = 4


def starts_evenly(_: Sequence[object], responses: Sequence[str]) -> Scored:
    """1 for a response whose first character has an even code, 0 for others: about half of all tokens."""
    return agreed(torch.tensor([float(response != "" and ord(response[0]) % 2 == 0) for response in responses]))


class Answer:
    """What is known of the one-token responses to the prompts: the reference's distributions (N, V) and every token's score (V,)."""

    def __init__(self, actors: Actors, prompts: list[list[int]]) -> None:
        self.prompts, self.reference, tokenizer = prompts, actors.reference, actors.tokenizer
        self.ref_logprobs = self.logprobs(self.reference)
        text = [decode_response(tokenizer, [token], tokenizer.eos_token_id) for token in range(self.ref_logprobs.shape[1])]
        self.scores = starts_evenly([], text).score.double()

    @torch.no_grad()
    def logprobs(self, model: torch.nn.Module) -> Tensor:
        return torch.stack([model(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for ids in self.prompts])

    def score(self, model: torch.nn.Module) -> float:
        """E[score] of the model's policy."""
        return float((self.logprobs(model).exp() @ self.scores).mean())

    def objective(self, model: torch.nn.Module) -> float:
        """E[score] − kl_coef · KL."""
        logprobs = self.logprobs(model)
        kl = (logprobs.exp() * (logprobs - self.ref_logprobs)).sum(1)
        return self.score(model) - KL_COEF * float(kl.mean())

    @property
    def best(self) -> float:
        """The largest objective of any policy."""
        return float(KL_COEF * (self.ref_logprobs + self.scores / KL_COEF).logsumexp(1).mean())


ONE_TOKEN = {
    "sampling": SamplingConfig(max_new_tokens=1),
    "updates": 20,
    "rollout_batch_size": 256,
    "minibatch_size": 256,
    "microbatch_size": 256,
    "learning_rate": 1e-2,
    "value_learning_rate": 3e-3,
    "kl_coef": KL_COEF,
    "kl_control": "fixed",
    "missing_eos_penalty": 0,
    "validation_prompts": 0,
}


def trained(model: Path, work: Path, **changes: object) -> tuple[Answer, torch.nn.Module]:
    """The answer, and the policy that training came to."""
    config = ppo_config(**{**ONE_TOKEN, **changes})
    learner, ground = ground_of(model, config, starts_evenly, prompts=PROMPTS)
    train(learner, ground, config, Progress(None), Checkpoints(work, "identity"))
    return Answer(ground.actors, ground.prompts.ids), learner.policy.model


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "reinforce"},
        {"method": "rloo", "samples_per_prompt": 8},
    ],
    ids=["ppo", "reinforce", "rloo"],
)
def test_the_best_policy_under_the_price_of_kl_is_come_near(changes: dict[str, object], chat_model: Path, tmp_path: Path) -> None:
    answer, policy = trained(chat_model, tmp_path, **changes)
    before = answer.objective(answer.reference)
    assert before + 0.7 * (answer.best - before) < answer.objective(policy) < answer.best


@pytest.mark.slow
def test_lora_and_a_value_head_come_near_the_best_that_leaves_the_head_as_it_is(chat_model: Path, tmp_path: Path) -> None:
    # LoRA leaves the embeddings alone, which are the head, too, and that bounds what it can say. The best hidden states in front of the
    # responses, found here by following the objective's gradient, are better than any that its matrices come to.
    answer, policy = trained(chat_model, tmp_path, lora={"rank": 8}, value="shared", value_warmup=1, learning_rate=1e-2, updates=30)
    base = load_language_model(chat_model)
    with torch.no_grad():
        start = torch.stack([base.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in answer.prompts])
    hidden = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([hidden], lr=0.05)
    for _ in range(300):
        logprobs = base.lm_head(base.model.norm(hidden)).double().log_softmax(-1)
        objective = (logprobs.exp() * (answer.scores - KL_COEF * (logprobs - answer.ref_logprobs))).sum(1).mean()
        optimizer.zero_grad()
        torch.autograd.backward(-objective)
        optimizer.step()
    before, reachable = answer.objective(answer.reference), objective.item()
    assert before + 0.75 * (reachable - before) < answer.objective(policy) < reachable < answer.best


@pytest.mark.slow
def test_grpo_comes_near_its_fixed_point(chat_model: Path, tmp_path: Path) -> None:
    # Theorem: with scores of 0 and 1 and large groups, a response's advantage is √((1−p)/p) or −√(p/(1−p)), p the probability of a 1, and
    # the loss k3 pulls as the gradient of KL(reference ‖ policy) does. So it stands still where π·A = β·(π − π_ref): summed over the
    # responses of score 1, where β·p − √(p(1−p)) = β·p_ref. Solved here by bisection.
    price = 1.0
    answer, policy = trained(chat_model, tmp_path, method="grpo", samples_per_prompt=32, kl_coef=price)
    of_one = answer.logprobs(answer.reference).exp() @ answer.scores
    low, high = of_one.clamp(min=0.5), torch.ones_like(of_one)
    for _ in range(50):
        middle = (low + high) / 2
        is_above = price * middle - (middle * (1 - middle)).sqrt() > price * of_one
        low, high = torch.where(is_above, low, middle), torch.where(is_above, middle, high)
    found = answer.logprobs(policy).exp() @ answer.scores
    assert (found - of_one).mean() > 0.2
    torch.testing.assert_close(found, low, atol=0.08, rtol=0)
