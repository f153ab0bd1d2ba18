"""What learns in PPO: the policy and its value model or value head, with their optimizers and the guards over their steps."""

from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from models.language.language_model import LanguageModel
from models.optimization import StepGuard, adamw, set_learning_rate
from models.policy_configs import PPOConfig
from models.ppo.trainees.value_model import ValueHead
from models.processes import sum_gradients
from models.reward.reward_model import RewardModel


@dataclass(frozen=True)
class Trainee:
    """A model that learns, with its optimizer and the guard over its steps."""

    model: Any
    optimizer: Optimizer
    guard: StepGuard
    head: ValueHead | None = None
    """Learns with the model whose hidden states it reads; its parameters are the optimizer's last group."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What learns, and what of the model does not."""
        return [*self.model.parameters(), *(() if self.head is None else self.head.parameters())]

    def step(self, accelerator: Accelerator) -> float:
        """Take the step that the gradients of all processes say, unless they are not finite; their norm before clipping."""
        sum_gradients(self.parameters, accelerator)
        return self.guard.step(self.parameters, self.optimizer)


@dataclass(frozen=True)
class Learner:
    """The policy, and the value model where the method has one of its own."""

    policy: Trainee
    value: Trainee | None
    accelerator: Accelerator
    pad_id: int

    @property
    def trainees(self) -> dict[str, Trainee]:
        """The models that learn, by name."""
        return {"policy": self.policy} | ({"value": self.value} if self.value else {})

    @property
    def steps_skipped(self) -> int:
        """Steps of either model, so far, whose gradient was not finite."""
        return sum(trainee.guard.skipped for trainee in self.trainees.values())

    def set_learning_rates(self, policy: float, value: float) -> None:
        """The learning rates of the steps to come, of the policy and of what forecasts values."""
        set_learning_rate(self.policy.optimizer, policy)
        if self.policy.head is not None:
            self.policy.optimizer.param_groups[-1]["lr"] = value
        if self.value is not None:
            set_learning_rate(self.value.optimizer, value)


def new_learner(
    policy: LanguageModel, value: RewardModel | ValueHead | None, config: PPOConfig, accelerator: Accelerator, pad_id: int
) -> Learner:
    """A learner at its first step."""

    def trainee(model: Any, head: ValueHead | None = None) -> Trainee:
        optimizer = adamw(model, weight_decay=0.0, eps=config.adam_epsilon)
        if head is not None:
            optimizer.add_param_group({"params": list(head.parameters()), "weight_decay": 0.0})
        return Trainee(model, optimizer, StepGuard(config.max_grad_norm), head)

    if isinstance(value, ValueHead):
        return Learner(trainee(policy, value), None, accelerator, pad_id)
    return Learner(trainee(policy), None if value is None else trainee(value), accelerator, pad_id)
