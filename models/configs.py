"""The configurations of the learning stages, apart from the code that reads them so that reading a recipe needs no torch.

The defaults suit pretrained models of about a billion parameters; recipes for smaller models say what they change.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Likelihood = Literal["bradley_terry", "rao_kupper", "davidson"]
Labels = Literal["soft", "hard"]
Together = Literal["rankings", "prompts"]
Combination = Literal["mean", "worst_case", "uncertainty_weighted"]
MissingEnd = Literal["subtract", "replace"]


class LearningConfig(BaseModel):
    """Base of the learning stages' configurations: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="seed of the stage's random numbers")


class SamplingConfig(BaseModel):
    """How responses are sampled: pure sampling at one temperature, in rollouts and in evaluation alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(default=128, ge=1, description="longest response, in tokens, the end token included")
    max_prompt_tokens: int = Field(default=512, ge=1, description="longest prompt, in tokens; a longer one keeps its end and is counted")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature; logprobs everywhere are those at this temperature")
    batch_size: int = Field(default=256, ge=1, description="prompts sampled together")
    eos_token_id: int | None = Field(default=None, ge=0, description="token that ends a response; by default the tokenizer's own")


class PretrainConfig(LearningConfig):
    """The built-in base model, pretrained from scratch on the simulated corpus."""

    hidden_size: int = Field(default=128, ge=8, description="width of the model")
    layers: int = Field(default=4, ge=1, description="decoder layers")
    heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    vocab_size: int = Field(default=1024, ge=64, description="most tokens in the vocabulary that is trained on the corpus")
    context_length: int = Field(default=256, ge=16, description="longest text, in tokens")
    learning_rate: float = Field(default=3e-3, gt=0, description="peak learning rate of AdamW")
    epochs: float = Field(default=1.5, gt=0, description="passes over the corpus")
    batch_size: int = Field(default=16, ge=1, description="texts per optimizer step")
    warmup: float = Field(default=0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")


class SampleJobConfig(LearningConfig):
    """Responses sampled from a model, for people or simulated annotators to compare."""

    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how responses are sampled")
    responses_per_prompt: int = Field(default=2, ge=1, description="responses to each prompt, sampled independently")


class LoRAConfig(BaseModel):
    """Matrices of low rank beside the backbone's linear layers (Hu et al., 2021), which learn in its place; needs the extra `lora`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1, description="rank of the matrices")
    alpha: float = Field(default=32.0, gt=0, description="what they add is multiplied by alpha / rank")


class RewardModelConfig(LearningConfig):
    """The reward model: a scalar head on a pretrained backbone, fitted to preferences."""

    split: Literal["train", "judge"] = Field(default="train", description="the split it learns from; `judge` makes a held-out judge")
    likelihood: Likelihood = Field(
        default="bradley_terry",
        description="what a score difference says of a judgment; the other two learn how likely ties are, Bradley-Terry halves them",
    )
    labels: Labels = Field(
        default="soft", description="`soft` fits each comparison's probability, `hard` its most frequent outcome as if all had said so"
    )
    weighting: Literal["preferences", "equal"] = Field(
        default="preferences",
        description="`preferences` takes the rows' weights (by default their judgments), `equal` counts every row once",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of the judgments for a response that is taken to have meant the other one"
    )
    margin_per_strength: float = Field(
        default=0.0,
        ge=0,
        description="score difference asked for in training per unit of mean preference strength, on top of the likelihood's",
    )
    length_term: bool = Field(
        default=False,
        description="learn beside the score how much annotators like length for its own sake; the score leaves it out, and with it "
        "whatever good grows in proportion to length",
    )
    members: int = Field(default=1, ge=1, description="members of the ensemble, each fitted to its own bootstrap resample of the prompts")
    ensemble: Literal["heads", "models"] = Field(
        default="heads",
        description="what the members are: heads on one backbone, at the price of one model; or models trained one after the other, whose "
        "backbones differ, too, at the price of as many",
    )
    combination: Combination = Field(
        default="mean",
        description="the score of an ensemble: its members' mean, the lowest, or mean − uncertainty_coef · variance between them",
    )
    uncertainty_coef: float = Field(
        default=0.1, ge=0, description="price of one unit of variance between the members, for `uncertainty_weighted`"
    )
    lora: LoRAConfig | None = Field(
        default=None,
        description="train matrices of low rank instead of the backbone itself, and add them into its weights at the end; suits learning "
        "rates about ten times as high; needs the extra `lora`",
    )
    freeze_backbone: bool = Field(default=False, description="train the heads alone, on the backbone as it is")
    gradient_checkpointing: bool = Field(
        default=False, description="keep only each layer's input for the backward pass and compute the rest again: less memory, more time"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="what the backbone computes in while it learns; weights, heads, losses and all scoring stay float32. `bfloat16` is for "
        "GPUs: on a CPU it is many times slower",
    )
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate of AdamW")
    epochs: int = Field(default=1, ge=1, description="passes over the split")
    likelihood_learning_rate: float = Field(
        default=1e-2, gt=0, description="peak learning rate of what is learned beside the score: the likelihood's ties, and the length term"
    )
    processes: int = Field(default=1, ge=1, description="processes that train together, each on a GPU of its own where there are GPUs")
    batch_size: int = Field(
        default=64, ge=1, description="pairs per optimizer step, over all processes; pairs that stay `together` count as one"
    )
    together: Together = Field(
        default="rankings",
        description="which pairs are learned from in one step and count as one of its batch: those of a ranking, or all of a prompt; "
        "a response that stands in several of them is encoded once",
    )
    validations_per_epoch: int = Field(
        default=1, ge=1, description="how often in an epoch the validation loss is measured; the weights with the lowest one are kept"
    )
    patience: int = Field(default=2, ge=1, description="validations in a row without a lower loss after which training stops")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW weight decay")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    max_length: int = Field(default=1024, ge=8, description="longest prompt with response, in tokens; the prompt's start is cut first")
    microbatch_tokens: int = Field(default=16384, ge=64, description="most padded tokens in one forward pass")

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        if self.combination != "mean" and self.members == 1:
            raise ValueError(f"combination = {self.combination!r} needs an ensemble: members of 2 or more")
        if self.ensemble == "models" and self.members == 1:
            raise ValueError("ensemble = 'models' needs members of 2 or more")
        if self.ensemble == "models" and self.freeze_backbone:
            raise ValueError("with freeze_backbone all models of an ensemble have one backbone: take ensemble = 'heads'")
        return self

    @model_validator(mode="after")
    def _check_backbone(self) -> Self:
        if self.freeze_backbone and (self.lora or self.gradient_checkpointing):
            raise ValueError("with freeze_backbone nothing of the backbone learns: leave out lora and gradient_checkpointing")
        return self


MonitorName = Literal[
    "negative_kl",
    "kl_acceleration",
    "judge_fall",
    "disagreement_growth",
    "length_growth",
    "repetition_rise",
    "distinct_2_fall",
    "entropy_fall",
    "missing_end_rise",
]


class MonitorsConfig(BaseModel):
    """The thresholds above which a monitor of the policy's training alarms, and what an alarm does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    negative_kl: float = Field(
        default=0.1, ge=0, description="−kl_k1, in nats per response: a mean KL that far below 0 says that sampler and training disagree"
    )
    kl_acceleration: float = Field(
        default=3.0, gt=0, description="rise of kl_k1 over the last 3 updates less that over the 3 before them, in nats per response"
    )
    judge_fall: float = Field(
        default=0.5,
        gt=0,
        description="fall of the held-out judge's mean score from its best, while the reward model's is above what it was then",
    )
    disagreement_growth: float = Field(
        default=2.0, gt=0, description="disagreement of the reward model's members, as a multiple of what it was at first"
    )
    length_growth: float = Field(default=2.0, gt=0, description="mean response length, as a multiple of what it was at first")
    repetition_rise: float = Field(default=0.2, gt=0, description="repetition within responses, less what it was at first")
    distinct_2_fall: float = Field(default=0.5, gt=0, lt=1, description="share of distinct_2 that has gone since the beginning")
    entropy_fall: float = Field(default=0.8, gt=0, lt=1, description="share of the entropy that has gone since the beginning")
    missing_end_rise: float = Field(
        default=0.2, gt=0, lt=1, description="share of responses that did not end by themselves, less what it was at first"
    )
    stop: tuple[MonitorName, ...] = Field(default=(), description="monitors whose alarm ends training; the others warn")
    off: tuple[MonitorName, ...] = Field(default=(), description="monitors that are not looked at")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if both := set(self.stop) & set(self.off):
            raise ValueError(f"{', '.join(sorted(both))} cannot be off and stop training")
        return self


class PPOConfig(LearningConfig):
    """Proximal policy optimisation against the reward model, or a relative of it in the same loop, held near the reference policy."""

    method: Literal["ppo", "reinforce", "rloo", "grpo"] = Field(
        default="ppo",
        description="how advantages are told: `ppo` from a value model; without one, `reinforce` less the mean of the rollout, `rloo` less "
        "that of the other responses to the prompt, `grpo` less and by the group's mean and deviation, with the KL in the loss",
    )
    samples_per_prompt: int = Field(
        default=1, ge=1, description="responses to each prompt of a rollout; `rloo` and `grpo` need two or more"
    )
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how rollouts are sampled")
    updates: int = Field(default=100, ge=1, description="rollouts, each followed by its PPO epochs")
    rollout_batch_size: int = Field(default=512, ge=1, description="episodes per update, over all processes")
    minibatch_size: int = Field(default=128, ge=1, description="episodes per optimizer step, over all processes")
    microbatch_size: int = Field(default=16, ge=1, description="episodes in one forward pass, over all processes")
    epochs: int = Field(default=4, ge=1, description="passes over each rollout")
    learning_rate: float = Field(default=3e-6, gt=0, description="initial learning rate of the policy; it decays to 0 linearly")
    value_learning_rate: float = Field(
        default=3e-6, gt=0, description="initial learning rate of the value model (`ppo`); it decays to 0 linearly"
    )
    adam_epsilon: float = Field(default=1e-5, gt=0, description="Adam's epsilon")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount per token (`ppo`)")
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="lambda of generalised advantage estimation (`ppo`)")
    clip_range: float = Field(default=0.2, gt=0, description="clip range of the probability ratio")
    value_clip_range: float = Field(default=0.2, gt=0, description="clip range of the value around its rollout value (`ppo`)")
    kl_coef: float = Field(
        default=0.05,
        ge=0,
        description="initial price of one nat of KL from the reference, in units of score (`grpo`: of advantage)",
    )
    kl_control: Literal["adaptive", "fixed"] = Field(
        default="adaptive", description="whether kl_coef moves so that the KL comes to kl_target, or stays"
    )
    kl_target: float = Field(default=6.0, gt=0, description="KL in nats per response that an adaptive kl_coef is moved towards")
    kl_horizon: int = Field(default=10000, ge=1, description="episodes over which an adaptive kl_coef moves")
    kl_stop: float = Field(default=15.0, gt=0, description="budget of the mean KL, in nats per response: above it training stops")
    approx_kl_stop: float | None = Field(
        default=None,
        gt=0,
        description="an update ends early after a step whose approx_kl, in nats per token, is above this; by default none does",
    )
    score_clip: float | None = Field(default=None, gt=0, description="scores are limited to this size on both sides; by default to none")
    missing_eos: MissingEnd = Field(
        default="subtract",
        description="a response that did not end by itself gets its score less missing_eos_penalty, or minus that penalty instead",
    )
    missing_eos_penalty: float = Field(default=1.0, ge=0, description="what a response that did not end by itself pays, in units of score")
    whiten_rewards: bool = Field(
        default=False, description="divide per-token rewards by their standard deviation, keeping the mean (`ppo`)"
    )
    value_from: Literal["reward_model", "base_model"] = Field(
        default="reward_model", description="where the value model of `ppo` starts: the reward model, or the base model with a zero head"
    )
    monitors: MonitorsConfig = Field(default_factory=MonitorsConfig, description="when training is said, or stopped, to go wrong")
    checkpoint_every: int = Field(default=5, ge=1, description="updates between checkpoints")
    validation_every: int = Field(default=5, ge=1, description="updates between scorings on the validation prompts")
    validation_prompts: int = Field(
        default=256, ge=0, description="most validation prompts used to choose the best update; 0 keeps the last one"
    )

    @model_validator(mode="after")
    def _check_batch_sizes(self) -> Self:
        if not self.rollout_batch_size >= self.minibatch_size >= self.microbatch_size:
            raise ValueError("rollout_batch_size, minibatch_size and microbatch_size must not rise in this order")
        if self.rollout_batch_size % self.samples_per_prompt:
            raise ValueError("rollout_batch_size must be a multiple of samples_per_prompt")
        if self.method in ("rloo", "grpo") and self.samples_per_prompt == 1:
            raise ValueError(f"method = {self.method!r} compares responses to one prompt: samples_per_prompt of 2 or more, such as 4")
        return self


class DPOConfig(LearningConfig):
    """Direct preference optimisation: the policy learns from the preferences themselves, without rollouts."""

    method: Literal["dpo"] = Field(default="dpo", description="direct preference optimisation, in place of PPO")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how validation responses are sampled")
    beta: float = Field(
        default=0.1, gt=0, description="price of KL from the reference in the loss: the smaller, the further the policy goes"
    )
    labels: Labels = Field(default="soft", description="`soft` fits each comparison's probability, `hard` its more frequent outcome")
    learning_rate: float = Field(default=5e-7, gt=0, description="peak learning rate of AdamW; it decays to 0 linearly")
    epochs: int = Field(default=1, ge=1, description="passes over the preferences of the train split")
    batch_size: int = Field(default=64, ge=1, description="pairs per optimizer step")
    microbatch_tokens: int = Field(default=16384, ge=64, description="most padded tokens in one forward pass")
    max_response_tokens: int = Field(default=512, ge=1, description="longest response of a pair, in tokens; a longer one loses its end")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    kl_stop: float = Field(default=15.0, gt=0, description="budget of the mean KL, in nats per response: above it training stops")
    validations: int = Field(default=5, ge=1, description="scorings on the validation prompts, at equal distances")
    validation_prompts: int = Field(
        default=256, ge=0, description="most validation prompts used to choose the best step; 0 keeps the last one"
    )


class EvaluationConfig(LearningConfig):
    """Evaluation of a policy on held-out prompts against the reference and the champion."""

    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how responses are sampled")
    split: Literal["validation", "test"] = Field(
        default="test",
        description="the split whose prompts are used; `validation` only where no prompts of it chose among the policy's states",
    )
    max_prompts: int = Field(default=256, ge=1, description="most prompts that are evaluated, the first by prompt id")
    resamples: int = Field(default=2000, ge=100, description="bootstrap resamples of prompts behind each interval")
    best_of: int = Field(
        default=32,
        ge=1,
        le=256,
        description="responses of the base model to a prompt, of which the reward model picks the best: the yardstick of what its score is "
        "worth at a KL; 1 does without",
    )
    best_of_prompts: int = Field(default=64, ge=2, description="most prompts that the base model answers so often, the first by prompt id")


class ProposalConfig(LearningConfig):
    """Pairs of responses that people could compare next."""

    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how responses are sampled")
    split: Literal["train", "validation", "test", "judge"] = Field(default="train", description="the split whose prompts are answered")
    max_prompts: int = Field(default=4096, ge=1, description="most prompts that are answered, drawn at random; each gives one pair")
