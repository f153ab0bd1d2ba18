"""Job `train_sft`: a policy from demonstrations, before PPO starts from it and is held near it; the step with the lowest held-out loss.

Left out on purpose: more than one process. Nothing draws from a generator that has a state: orders are functions of the seed.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from data_contracts.errors import RecipeError, StageError
from models.batching import epoch_batches, token_batches
from models.checkpoint import Checkpoints, Part
from models.job import Headline, Job
from models.language.language_model import LanguageModel, context_length, load_language_model, save_language_model
from models.language.text import load_tokenizer, pad_token
from models.metrics import finite, write_metrics
from models.optimization import StepGuard, adamw, set_learning_rate, warmup_linear
from models.policy_configs import SFTConfig
from models.precision import check_precision
from models.sft.examples import Example, Examples, load_examples, response_loss


def run(job: Job[SFTConfig]) -> Headline:
    """Fine-tune; writes `model/` and `metrics.jsonl`.

    Inputs: `base_model`, `preferences` (the chosen responses, and the prompts of every split), and `demonstrations` where there are any.
    """
    accelerator = Accelerator()
    check_precision(job.config.precision, accelerator.device, "sft.precision")
    if accelerator.num_processes > 1:
        raise RecipeError("supervised fine-tuning runs in one process", remedy="ask for one process for this stage")
    directory = job.input("base_model", "model")
    tokenizer, model = load_tokenizer(directory), load_language_model(directory, accelerator.device)
    examples = load_examples(job, tokenizer)
    _check_context(examples, model)
    training = Training(job, model, examples, pad_token(tokenizer))
    training.run()
    save_language_model(model, tokenizer, job.output / "model")
    write_metrics(job.output / "metrics.jsonl", training.metrics)
    left_out = {f"left_out_{reason}": count for reason, count in examples.left_out.items()}
    losses = {"held_out_loss_before": training.metrics[0]["held_out_loss"], "held_out_loss": training.best_loss}
    return {**losses, "best_step": training.best_step, "examples": len(examples.train), "held_out": len(examples.held_out), **left_out}


class Training:
    """The training loop with what a checkpoint has to hold."""

    def __init__(self, job: Job[SFTConfig], model: LanguageModel, examples: Examples, pad_id: int) -> None:
        """Training that has not begun."""
        self.job, self.config, self.model, self.examples, self.pad_id = job, job.config, model, examples, pad_id
        self.optimizer = adamw(model, weight_decay=job.config.weight_decay)
        self.guard, self.checkpoints = StepGuard(job.config.max_grad_norm), Checkpoints(job.work, job.identity())
        self.metrics: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_step, self.best_loss, self.steps = 0, math.inf, 0
        self.parts: dict[str, Part] = {"model": model, "optimizer": self.optimizer, "best": self.best}

    def run(self) -> None:
        """Train the model in place; it ends with the weights of the lowest held-out loss, which may be those that it began with."""
        self._resume()
        config, lengths = self.config, [example.length for example in self.examples.train]
        per_epoch = math.ceil(len(lengths) / config.batch_size)
        total = config.epochs * per_epoch
        if not self.metrics:
            self.metrics.append({"step": 0, **self._validate()})
        while self.steps < total:
            epoch, place = divmod(self.steps, per_epoch)
            rows = epoch_batches(lengths, config.batch_size, config.seed, "sft", epoch)[place]
            learning_rate = config.learning_rate * warmup_linear(self.steps, total, config.warmup)
            set_learning_rate(self.optimizer, learning_rate)
            figures = self._step([self.examples.train[i] for i in rows])
            self.steps += 1
            row = {"step": self.steps, **figures, "learning_rate": learning_rate, "steps_skipped": self.guard.skipped}
            if self.steps * config.validations // total > (self.steps - 1) * config.validations // total:
                row |= self._validate()
            self.metrics.append(row)
            self.job.progress.report(self.steps, total, loss=figures["loss"])
            if self.checkpoints.due():
                self._save()
        if not self.best:
            raise StageError("the loss on the held-out demonstrations was never finite", remedy="lower sft.learning_rate and run again")
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(self.best[name])

    def _step(self, batch: Sequence[Example]) -> dict[str, float | None]:
        """One optimizer step on the mean loss over all response tokens of a batch; gradients add up over microbatches."""
        self.model.train()
        tokens, loss = sum(len(example.response) for example in batch), 0.0
        for part in self._microbatches(batch):
            share = response_loss(self.model, part, self.pad_id, self.config.precision) / tokens
            torch.autograd.backward(share)
            loss += share.item()
        grad_norm = self.guard.step(self.model.parameters(), self.optimizer)
        return {"loss": finite(loss), "grad_norm": finite(grad_norm)}

    @torch.no_grad()
    def _validate(self) -> dict[str, float | None]:
        """Mean loss per response token of the examples kept aside; keep the weights if it is the lowest so far."""
        self.model.eval()
        held_out = self.examples.held_out
        total = sum(float(response_loss(self.model, part, self.pad_id, self.config.precision)) for part in self._microbatches(held_out))
        loss = total / sum(len(example.response) for example in held_out)
        if loss < self.best_loss:
            self.best_step, self.best_loss = self.steps, loss
            self.best.update({name: weight.detach().cpu().clone() for name, weight in self.model.named_parameters()})
        return {"held_out_loss": finite(loss)}

    def _microbatches(self, examples: Sequence[Example]) -> list[list[Example]]:
        batches = token_batches([example.length for example in examples], self.config.microbatch_tokens)
        return [[examples[i] for i in rows] for rows in batches]

    def _save(self) -> None:
        guard, best = [self.guard.skipped, self.guard.in_a_row], {"best_step": self.best_step, "best_loss": self.best_loss}
        self.checkpoints.save(self.steps, self.parts, {"metrics": self.metrics, "guard": guard, **best})

    def _resume(self) -> None:
        """Go on where the last checkpoint stands, if there is one."""
        found = self.checkpoints.restore(self.parts)
        if found is None:
            return
        self.steps, state = found
        self.metrics, self.best_step, self.best_loss = state["metrics"], state["best_step"], state["best_loss"]
        self.guard.skipped, self.guard.in_a_row = state["guard"]
        self.job.progress.note(f"going on from the checkpoint of step {self.steps}")


def _check_context(examples: Examples, model: LanguageModel) -> None:
    longest, context = max(example.length for example in (*examples.train, *examples.held_out)), context_length(model.config)
    if context is not None and longest > context:
        raise RecipeError(
            f"a prompt with its response has {longest} tokens, more than the model's {context}",
            remedy="lower sft.max_prompt_tokens or sft.max_response_tokens in the recipe",
        )
