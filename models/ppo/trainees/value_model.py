"""The value model: what score a response will get, told at each of its tokens before the token is known.

It is a reward model read at every position, which starts from the trained reward model, or from the base model with a head of zeros,
and reads the policy's tokens; or no more than a head on the policy's own trunk.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from data_contracts.errors import RecipeError
from models.language.language_model import LanguageModel, ResponseBatch, llama_states
from models.language.text import Tokenizer
from models.policy_configs import PPOConfig
from models.reward.reward_model import RewardModel, load_reward_model, new_reward_model


class ValueHead(nn.Module):
    """A value on the policy's own trunk: it reads what the policy's head reads, and starts by forecasting 0."""

    def __init__(self, policy: LanguageModel) -> None:
        super().__init__()
        self.linear = nn.Linear(policy.config.hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor, response_mask: Tensor) -> Tensor:
        """Values (B, T) of hidden states (B, T, width) in front of response tokens, 0 where there is none."""
        with torch.autocast(hidden.device.type, enabled=False):
            values: Tensor = self.linear(hidden.float()).squeeze(-1)
        return values.masked_fill(~response_mask, 0.0)


def load_value_model(config: PPOConfig, reward_model: Path, base_model: Path, tokenizer: Tokenizer, device: torch.device) -> RewardModel:
    """The value model of its own that training starts with; of an ensemble of full models, from the first of them.

    Raises:
        RecipeError: the reward model cannot read the policy's tokens, or sees tokens before they are sampled.
    """
    if config.value_from == "base_model":
        longest = config.sampling.max_prompt_tokens + config.sampling.max_new_tokens
        model = new_reward_model(base_model, longest, eos_token_id=config.sampling.eos_token_id)
        nn.init.zeros_(model.head.weight)
        return model.to(device)
    found = load_reward_model(reward_model, device)
    model = found if isinstance(found, RewardModel) else found.members[0]
    if model.settings.pooling != "last":
        raise _not_from_reward_model("is an encoder, and would see tokens before they are sampled", reward_model)
    if model.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise _not_from_reward_model("has another vocabulary than the policy, whose tokens the value model reads", reward_model)
    return model


def response_values(model: RewardModel, batch: ResponseBatch) -> Tensor:
    """Value (B, T) of the state in front of each response token, 0 where there is none."""
    hidden = llama_states(model.backbone, batch)
    if hidden is None:
        hidden = model.hidden_states(batch.padded)[:, -batch.responses.shape[1] - 1 : -1]
    return model.scalar(hidden.to(model.dtype)).masked_fill(~batch.response_mask, 0.0)


def _not_from_reward_model(why: str, where: Path) -> RecipeError:
    return RecipeError(
        f"the value model cannot start from the reward model, which {why}",
        where=str(where),
        remedy='set value_from = "base_model" in the recipe',
    )
