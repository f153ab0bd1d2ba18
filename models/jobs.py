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
    less_memory: str = ""
    """What to set so that it takes less memory."""


RESPONSES = "sampling.batch_size (responses sampled together) or sampling.max_new_tokens"
JOBS = {
    "pretrain": JobKind("models.language.pretrain", PretrainConfig, less_memory="lower base_model.pretrain.batch_size or context_length"),
    "sample": JobKind("models.language.sample", SampleJobConfig, less_memory=f"lower {RESPONSES}"),
    "train_reward_model": JobKind(
        "models.reward.train_reward_model",
        RewardModelConfig,
        less_memory="lower microbatch_tokens or max_length of [reward_model] or [judge], or train with its lora or gradient_checkpointing",
    ),
    "train_sft": JobKind("models.sft.train_sft", SFTConfig, less_memory="lower sft.microbatch_tokens or max_response_tokens"),
    "train_policy": JobKind(
        "models.ppo.train_policy",
        PPOConfig,
        less_memory="lower policy.microbatch_size (activations), policy.sampling.batch_size (cache) or policy.sampling.max_new_tokens "
        "(both), train with [policy.lora] and policy.value = 'shared', which keep fewer models, or divide them among GPUs: policy.shard",
    ),
    "train_dpo": JobKind("models.dpo.train_dpo", DPOConfig, less_memory="lower policy.microbatch_tokens"),
    "evaluate_policy": JobKind("models.evaluation.evaluate_policy", EvaluationConfig, less_memory=f"lower evaluation.{RESPONSES}"),
    "judge_by_model": JobKind(
        "models.evaluation.judges.judge_by_model", ModelJudge, less_memory="lower the judge's batch_size or max_new_tokens"
    ),
    "judge_by_endpoint": JobKind("models.evaluation.judges.judge_by_endpoint", EndpointJudge, torch=False),
    "measure_by_function": JobKind("models.evaluation.measures.by_function", FunctionMeasure),
    "measure_code": JobKind("models.evaluation.measures.code", CodeMeasure, torch=False),
    "measure_refusal": JobKind("models.evaluation.measures.refusal", RefusalMeasure, torch=False),
    "propose_pairs": JobKind("models.requests.propose_pairs", ProposalConfig, less_memory=f"lower {RESPONSES}"),
}
