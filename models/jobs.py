"""The learning jobs: where each one's code stands, and the configuration that it takes."""

from typing import NamedTuple

from pydantic import BaseModel

from models.configs import EvaluationConfig, PretrainConfig, ProposalConfig, RewardModelConfig, SampleJobConfig
from models.measure_configs import CodeMeasure, EndpointJudge, FunctionMeasure, ModelJudge, RefusalMeasure
from models.policy_configs import DPOConfig, PPOConfig, SFTConfig


class JobKind(NamedTuple):
    """A job is the function `run` of its module, which is imported only when the job runs."""

    module: str
    config: type[BaseModel]
    torch: bool = True
    """Whether it computes with torch; a job that does not runs where there is none."""


JOBS = {
    "pretrain": JobKind("models.language.pretrain", PretrainConfig),
    "sample": JobKind("models.language.sample", SampleJobConfig),
    "train_reward_model": JobKind("models.reward.train_reward_model", RewardModelConfig),
    "train_sft": JobKind("models.sft.train_sft", SFTConfig),
    "train_policy": JobKind("models.ppo.train_policy", PPOConfig),
    "train_dpo": JobKind("models.dpo.train_dpo", DPOConfig),
    "evaluate_policy": JobKind("models.evaluation.evaluate_policy", EvaluationConfig),
    "judge_by_model": JobKind("models.evaluation.judges.judge_by_model", ModelJudge),
    "judge_by_endpoint": JobKind("models.evaluation.judges.judge_by_endpoint", EndpointJudge, torch=False),
    "measure_by_function": JobKind("models.evaluation.measures.by_function", FunctionMeasure),
    "measure_code": JobKind("models.evaluation.measures.code", CodeMeasure, torch=False),
    "measure_refusal": JobKind("models.evaluation.measures.refusal", RefusalMeasure, torch=False),
    "propose_pairs": JobKind("models.requests.propose_pairs", ProposalConfig),
}
