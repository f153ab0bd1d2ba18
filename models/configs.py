"""The configurations of the learning stages, apart from the code that reads them so that reading a recipe needs no torch.

The defaults suit pretrained models of about a billion parameters; recipes for smaller models say what they change.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Likelihood = Literal["bradley_terry", "rao_kupper", "davidson"]
Labels = Literal["soft", "hard"]
Together = Literal["rankings", "prompts"]
Combination = Literal["mean", "worst_case", "uncertainty_weighted"]
Precision = Literal["float32", "bfloat16"]


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
    """Matrices of low rank beside a model's linear layers (Hu et al., 2021), which learn in its place; needs the extra `lora`."""

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
    members: int = Field(
        default=1,
        ge=1,
        description="members of the ensemble, each fitted to its own bootstrap resample of the prompts. How far those of the held-out "
        "judge differ is in the win rates' intervals: take 4 models or more there, since how far two differ is mostly chance",
    )
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
    precision: Precision = Field(
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
