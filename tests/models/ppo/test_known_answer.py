"""PPO against an answer that is known exactly: the best policy under a price of KL, of responses of one token.

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
from models.language.text import decode_response
from models.ppo.train_policy import Ground, train
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

    def __init__(self, ground: Ground) -> None:
        self.prompts, tokenizer = ground.prompts.ids, ground.actors.tokenizer
        self.ref_logprobs = self.logprobs(ground.actors.reference)
        text = [decode_response(tokenizer, [token], tokenizer.eos_token_id) for token in range(self.ref_logprobs.shape[1])]
        self.scores = starts_evenly([], text).score.double()

    @torch.no_grad()
    def logprobs(self, model: torch.nn.Module) -> Tensor:
        return torch.stack([model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for ids in self.prompts])

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


@pytest.mark.slow
def test_ppo_comes_near_the_best_policy_under_the_price_of_kl(chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config(**ONE_TOKEN)
    learner, ground = ground_of(chat_model, config, starts_evenly, prompts=PROMPTS)
    answer = Answer(ground)
    before = answer.objective(learner.policy)
    train(learner, ground, config, Progress(None), Checkpoints(tmp_path, "identity"))
    assert before + 0.75 * (answer.best - before) < answer.objective(learner.policy) < answer.best
