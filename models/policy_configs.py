"""The configurations of the policy's training, apart from the code that reads them so that reading a recipe needs no torch."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.configs import Labels, LearningConfig, LoRAConfig, Precision, SamplingConfig
from models.reward_terms import RewardModelTerm, RewardTerm

MissingEnd = Literal["subtract", "replace"]
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
        default=0.15,
        gt=0,
        description="fall of the held-out judge's mean score from its best, while the reward model's is above what it was then",
    )
    disagreement_growth: float = Field(
        default=2.0, gt=0, description="disagreement of the reward model's members, as a multiple of what it was at first"
    )
    length_growth: float = Field(default=1.5, gt=0, description="mean response length, as a multiple of what it was at first")
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


class PTXConfig(BaseModel):
    """A mix of the pretraining loss into the policy's updates, so that less of what the base model knew is forgotten."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coef: float = Field(default=1.0, gt=0, description="weight of the corpus's mean loss per token beside the policy's loss")
    corpus: str | None = Field(
        default=None, description="text file in UTF-8, whose texts blank lines divide; by default the simulated world's corpus"
    )
    batch_size: int = Field(default=16, ge=1, description="texts per optimizer step, over all processes, in one forward pass of each")
    max_tokens: int = Field(default=256, ge=2, description="longest text, in tokens; a longer one is cut into several")


class PPOConfig(LearningConfig):
    """Proximal policy optimisation against the reward model, or a relative of it in the same loop, held near the reference policy."""

    method: Literal["ppo", "reinforce", "rloo", "grpo"] = Field(
        default="ppo",
        description="how advantages are told: `ppo` from a value model; without one, `reinforce` less the mean of the rollout, `rloo` less "
        "that of the other responses to the prompt, `grpo` less and by the group's mean and deviation, with the KL in the loss",
    )
    rewards: tuple[RewardTerm, ...] = Field(
        default=(RewardModelTerm(),),
        min_length=1,
        description="what the policy is rewarded for, as a sum of terms; by default the reward model alone",
    )
    samples_per_prompt: int = Field(
        default=1, ge=1, description="responses to each prompt of a rollout; `rloo` and `grpo` need two or more"
    )
    lora: LoRAConfig | None = Field(
        default=None,
        description="train matrices of low rank instead of the policy itself, whose weights without them are the reference: one model in "
        "memory for two; they are added into the weights at the end; suits learning rates about ten times as high; needs the extra `lora`",
    )
    start: Literal["base_model", "champion"] = Field(
        default="base_model",
        description="what the policy is at first: the base model (what `sft` made of it, where there is that), or the recipe's champion, "
        "where there is one that came from the same base model; not with `lora`. The same preferences always start where they first did, "
        "so it counts from the next new feedback on. The KL is from the base model in both cases",
    )
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how rollouts are sampled")
    updates: int = Field(default=100, ge=1, description="rollouts, each followed by its PPO epochs")
    precision: Precision = Field(
        default="float32",
        description="what policy, reference and value model compute in, sampling included; weights, losses and all scoring stay float32. "
        "`bfloat16` is for GPUs: on a CPU it is many times slower",
    )
    processes: int = Field(default=1, ge=1, description="processes that train together, each on a GPU of its own where there are GPUs")
    shard: bool = Field(
        default=False,
        description="divide all models, gradients and optimizers among the processes (FSDP), for models that outgrow a GPU; each is put "
        "together only while it samples or scores. Every process makes as many passes, so the batch sizes must share out evenly",
    )
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
    value: Literal["separate", "shared"] = Field(
        default="separate", description="whether values (`ppo`) come from a model of their own, or from a head on the policy's trunk"
    )
    vf_coef: float = Field(
        default=0.1, ge=0, description="weight of the value loss beside the policy's, where they share the trunk (`shared`)"
    )
    value_warmup: int = Field(default=0, ge=0, description="first updates in which only the value model, or the value head, learns (`ppo`)")
    value_from: Literal["reward_model", "base_model"] = Field(
        default="reward_model", description="where a `separate` value model starts: the reward model, or the base model with a zero head"
    )
    prompt_files: tuple[str, ...] = Field(
        default=(),
        description="files of further prompts, JSON lines (`.jsonl`, `.ndjson`) or Parquet: rows of `prompt`, a text or messages; those "
        "that are too long, known already or held out are left out and counted",
    )
    ptx: PTXConfig | None = Field(default=None, description="a mix of the pretraining loss into the updates; by default none")
    monitors: MonitorsConfig = Field(default_factory=MonitorsConfig, description="when training is said, or stopped, to go wrong")
    checkpoint_every: int = Field(default=5, ge=1, description="updates between checkpoints")
    validation_every: int = Field(default=5, ge=1, description="updates between scorings on the validation prompts")
    validation_prompts: int = Field(
        default=256, ge=0, description="most validation prompts used to choose the best update; 0 keeps the last one"
    )

    @property
    def needs_reward_model(self) -> bool:
        """Whether the policy is rewarded by the reward model, or its value model starts from it."""
        starts = self.method == "ppo" and self.value == "separate" and self.value_from == "reward_model"
        return starts or any(isinstance(term, RewardModelTerm) for term in self.rewards)

    @model_validator(mode="after")
    def _check_rewards(self) -> Self:
        labels = [term.label for term in self.rewards]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two terms of rewards are called {', '.join(twice)}: give each a `name` of its own")
        return self

    @model_validator(mode="after")
    def _check_batch_sizes(self) -> Self:
        if not self.rollout_batch_size >= self.minibatch_size >= self.microbatch_size:
            raise ValueError("rollout_batch_size, minibatch_size and microbatch_size must not rise in this order")
        if self.microbatch_size % self.processes:
            raise ValueError("microbatch_size, which is over all processes, must be a multiple of processes")
        if self.shard:
            self._check_shares()
        if self.rollout_batch_size % self.samples_per_prompt:
            raise ValueError("rollout_batch_size must be a multiple of samples_per_prompt")
        if self.method != "ppo" and (self.value == "shared" or self.value_warmup):
            raise ValueError(f"method = {self.method!r} has no values: leave out value = 'shared' and value_warmup")
        if self.start == "champion" and self.lora:
            raise ValueError("with LoRA the reference is the policy without it, so it starts from the base model: leave out start or lora")
        if self.value_warmup >= self.updates:
            raise ValueError("value_warmup must be less than updates, or the policy never learns")
        if self.method in ("rloo", "grpo") and self.samples_per_prompt == 1:
            raise ValueError(f"method = {self.method!r} compares responses to one prompt: samples_per_prompt of 2 or more, such as 4")
        return self

    def _check_shares(self) -> None:
        """Layers are gathered by all processes together, so each must make as many passes as the others."""
        if self.processes == 1:
            raise ValueError("shard divides models among processes: set processes to 2 or more")
        if self.minibatch_size % self.processes or self.rollout_batch_size % self.minibatch_size:
            raise ValueError("with shard, rollout_batch_size must be a multiple of minibatch_size, and minibatch_size of processes")
        if self.ptx and self.ptx.batch_size < self.processes:
            raise ValueError("with shard, ptx.batch_size must be processes or more, so that each has a text")


class DPOConfig(LearningConfig):
    """Direct preference optimisation: the policy learns from the preferences themselves, without rollouts."""

    method: Literal["dpo"] = Field(default="dpo", description="direct preference optimisation, in place of PPO")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="how validation responses are sampled")
    precision: Precision = Field(
        default="float32",
        description="what policy and reference compute in, the sampling of validation responses included; weights, losses and all scoring "
        "stay float32. `bfloat16` is for GPUs: on a CPU it is many times slower",
    )
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


class SFTConfig(LearningConfig):
    """Supervised fine-tuning on demonstrations before the policy's training, which starts from what it gives and is held near it."""

    demonstrations: str | None = Field(
        default=None,
        description="file of demonstrations, JSON lines (`.jsonl`, `.ndjson`) or Parquet: rows of `prompt`, a text or messages, and "
        "`response`; by default the chosen responses of the preferences' train split",
    )
    precision: Precision = Field(
        default="float32",
        description="what the model computes in; weights and losses stay float32. `bfloat16` is for GPUs: on a CPU it is many times slower",
    )
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate of AdamW; it decays to 0 linearly")
    epochs: int = Field(default=1, ge=1, description="passes over the demonstrations")
    batch_size: int = Field(default=64, ge=1, description="demonstrations per optimizer step")
    microbatch_tokens: int = Field(default=16384, ge=64, description="most padded tokens in one forward pass")
    max_prompt_tokens: int = Field(
        default=512, ge=1, description="longest prompt, in tokens; demonstrations with a longer one are left out"
    )
    max_response_tokens: int = Field(
        default=512, ge=1, description="longest response, in tokens, the end token included; longer ones are left out, and counted"
    )
    eos_token_id: int | None = Field(default=None, ge=0, description="token that ends a response; by default the tokenizer's own")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW weight decay")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    held_out: float = Field(
        default=0.05, gt=0, lt=1, description="share of the prompts that are kept aside, one at least, to choose the step"
    )
    validations: int = Field(
        default=5, ge=1, description="measurements of the loss on what is kept aside, at equal distances; the weights with the lowest stay"
    )
