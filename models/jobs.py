"""The learning jobs: where each one's code stands, and the configuration that it takes."""

from typing import NamedTuple

from models.configs import EvaluationConfig, LearningConfig, PretrainConfig, ProposalConfig, RewardModelConfig, SampleJobConfig
from models.policy_configs import DPOConfig, PPOConfig, SFTConfig


class JobKind(NamedTuple):
    """A job is the function `run` of its module, which is imported only when the job runs."""

    module: str
    config: type[LearningConfig]


JOBS = {
    "pretrain": JobKind("models.language.pretrain", PretrainConfig),
    "sample": JobKind("models.language.sample", SampleJobConfig),
    "train_reward_model": JobKind("models.reward.train_reward_model", RewardModelConfig),
    "train_sft": JobKind("models.sft.train_sft", SFTConfig),
    "train_policy": JobKind("models.ppo.train_policy", PPOConfig),
    "train_dpo": JobKind("models.dpo.train_dpo", DPOConfig),
    "evaluate_policy": JobKind("models.evaluation.evaluate_policy", EvaluationConfig),
    "propose_pairs": JobKind("models.requests.propose_pairs", ProposalConfig),
}
