"""Mutants of the policy's and its evaluation's mathematics, each of which the tests must kill: `make mutate` (`python -m tests.mutants`).

A mutant is one textual change to a copy of the package, of a kind that has stood in released libraries under green tests. The copy's
own tests run on it, in a process of their own; a mutant on which all pass has survived, and that is an error.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("models", "data_contracts", "tests")
TESTS = tuple(
    f"tests/models/{name}.py"
    for name in (
        "ppo/test_ppo_math",
        "ppo/test_group_advantages",
        "dpo/test_dpo_math",
        "ppo/test_ppo_update",
        "ppo/test_rewards",
        "ppo/test_policy_model",
        "ppo/test_ptx",
        "sft/test_train_sft",
        "evaluation/test_intervals",
        "evaluation/test_length_control",
        "evaluation/test_best_of_n",
        "evaluation/test_overoptimization",
    )
)
PASSED, FAILED = 0, 1
"""Exit statuses of pytest; any other says that the tests did not run, which kills no mutant."""
MATH, UPDATE, GROUPS = "models/ppo/ppo_math.py", "models/ppo/ppo_update.py", "models/ppo/group_advantages.py"
DPO = "models/dpo/dpo_math.py"
TERMS, RULES = "models/ppo/rewards/terms.py", "models/ppo/rewards/rules.py"
SFT, PTX = "models/sft/examples.py", "models/ppo/ptx.py"
LENGTH, BEST, CURVE, SPREAD = (f"models/evaluation/{name}.py" for name in ("length_control", "best_of_n", "overoptimization", "intervals"))


class Mutant(NamedTuple):
    """One change of one file."""

    name: str
    file: str
    text: str
    """Stands once in the file."""
    instead: str


MUTANTS = (
    Mutant("length left in the win rate", LENGTH, "np.exp(-coefficients[:, 0])", "np.exp(-coefficients.sum(1))"),
    Mutant("lengths the other way round", LENGTH, "a * slope[:, 1] - b * slope[:, 0]", "b * slope[:, 0] - a * slope[:, 1]"),
    Mutant("one degree of freedom too many for the judge", SPREAD, "stdtrit(members.size - 1,", "stdtrit(members.size,"),
    Mutant("the judge's members as all there are", SPREAD, "members.std(ddof=1)", "members.std()"),
    Mutant("the errors of prompts and judge as one", SPREAD, "math.hypot(mean - low, half)", "max(mean - low, half)"),
    Mutant("worst of n", BEST, "scores.argsort(1", "(-scores).argsort(1"),
    Mutant("best of n with replacement", BEST, "math.comb(i, n - 1)", "math.comb(i + 1, n - 1)"),
    Mutant("KL of the best of n without its second term", CURVE, "return math.log(n) - (n - 1) / n", "return math.log(n)"),
    Mutant(
        "the best of n passed where the policy is still below", CURVE, "(gain - before) / (reached - before)", "(gain - before) / reached"
    ),
    Mutant("a curve that bends up", CURVE, "self.alpha - self.beta * math.log(d)", "self.alpha + self.beta * math.log(d)"),
    Mutant("a curve over the KL and not its root", CURVE, "d = np.sqrt([kl for kl, _ in found])", "d = np.array([kl for kl, _ in found])"),
    Mutant("no clipping", MATH, "-torch.minimum(unclipped, clipped).sum()", "-unclipped.sum()"),
    Mutant("max for min", MATH, "-torch.minimum(unclipped, clipped)", "-torch.maximum(unclipped, clipped)"),
    Mutant("inverted ratio", MATH, "torch.where(mask, logprobs - old_logprobs, 0)", "torch.where(mask, old_logprobs - logprobs, 0)"),
    Mutant("policy loss of the wrong sign", MATH, "loss=-torch.minimum(", "loss=torch.minimum("),
    Mutant("mask inverted in means", MATH, "return torch.where(mask, values, 0).sum()", "return torch.where(~mask, values, 0).sum()"),
    Mutant("padding counted in means", MATH, "/ mask.sum()", "/ mask.numel()"),
    Mutant("mean kept in whitening", MATH, "whitened + mean if keep_mean else whitened", "whitened + mean"),
    Mutant("mean lost from whitened rewards", MATH, "whitened + mean if keep_mean else whitened", "whitened"),
    Mutant("KL of the wrong sign", MATH, "    return logprobs - ref_logprobs", "    return ref_logprobs - logprobs"),
    Mutant("k3 the other way round", MATH, "    d = ref_logprobs - logprobs", "    d = logprobs - ref_logprobs"),
    Mutant("KL paid out as a reward", MATH, "-kl_coef * kl_k1(", "kl_coef * kl_k1("),
    Mutant(
        "score one token after the end",
        MATH,
        "mask.sum(dim=1, keepdim=True) - 1",
        "mask.sum(dim=1, keepdim=True).clamp(max=mask.shape[1] - 1)",
    ),
    Mutant(
        "a value behind the last token", MATH, "torch.cat([values[:, 1:], torch.zeros_like(", "torch.cat([values[:, 1:], torch.ones_like("
    ),
    Mutant("advantages summed backwards", MATH, "deltas @ weights", "deltas @ weights.T"),
    Mutant("lambda left out", MATH, "(gamma * gae_lambda) ** distance", "gamma ** distance"),
    Mutant("value loss takes the better error", MATH, "torch.maximum(error, clipped_error)", "torch.minimum(error, clipped_error)"),
    Mutant("values clipped around themselves", MATH, "torch.clamp(values, old_values - clip_range, old_values + clip_range)", "values"),
    Mutant("a missing end is rewarded", MATH, "torch.where(ended, scores,", "torch.where(~ended, scores,"),
    Mutant("controller of the wrong sign", MATH, "1 + error * episodes", "1 - error * episodes"),
    Mutant("KL loss of k1", MATH, "torch.where(mask, kl_k3(logprobs", "torch.where(mask, kl_k1(logprobs"),
    Mutant("a baseline that knows the response", GROUPS, "groups.sum(1, keepdim=True) - groups", "groups.sum(1, keepdim=True)"),
    Mutant("groups across prompts", GROUPS, "groups = returns.view(-1, group_size)", "groups = returns.view(group_size, -1).T"),
    Mutant("no deviation in GRPO", GROUPS, "/ (spread + GROUP_EPSILON)", "/ (1 + GROUP_EPSILON)"),
    Mutant("preferences turned round", DPO, "-(probabilities * F.logsigmoid(margins)", "-(probabilities * F.logsigmoid(-margins)"),
    Mutant("labels always certain", DPO, "(1 - probabilities) * F.logsigmoid(-margins)", "0 * F.logsigmoid(-margins)"),
    Mutant("no reference in DPO", DPO, "beta * (policy.rejected - reference.rejected)", "beta * policy.rejected"),
    Mutant(
        "a term clipped after its weight",
        TERMS,
        "config.weight * clipped(scored.score, config.clip)",
        "clipped(config.weight * scored.score, config.clip)",
    ),
    Mutant("a cap that pays for what is short", RULES, "-max(0, length - most)", "-abs(length - most)"),
    Mutant(
        "value loss dropped", UPDATE, "value_part.loss if learner.policy.head is None", "0 * value_part.loss if learner.policy.head is None"
    ),
    Mutant("weight of the value loss dropped", UPDATE, "else config.vf_coef * value_part.loss", "else value_part.loss"),
    Mutant("a policy that learns in the warm-up", UPDATE, "set_grad_enabled(not only_value)", "set_grad_enabled(True)"),
    Mutant(
        "prompts learned by fine-tuning", SFT, "padded.mask & (torch.arange(length, device=model.device) >= starts[:, None])", "padded.mask"
    ),
    Mutant("the first response token left out", SFT, ">= starts[:, None]", "> starts[:, None]"),
    Mutant("a corpus's shares not weighted", PTX, "* own_tokens / tokens", ""),
    Mutant("coefficient of the corpus dropped", UPDATE, "mix.config.coef * loss", "loss"),
    Mutant("KL loss dropped", UPDATE, "lesson.kl_loss_coef * kl)", "0 * kl)"),
    Mutant("KL paid twice", UPDATE, "scores, mask, kl_coef - kl_loss_coef)", "scores, mask, kl_coef)"),
    Mutant("values learn whitened returns", UPDATE, "Lesson(rewards, returns, ", "Lesson(rewards, masked_whiten(returns, mask), "),
    Mutant("advantages not whitened", UPDATE, "masked_whiten(advantages, mask)", "advantages"),
    Mutant("tokens of the microbatch", UPDATE, "config, part, tokens,", "config, part, sum(len(rollout.responses[i]) for i in part),"),
)


def main() -> int:
    """Try every mutant, print a table, and give the exit status: 1 if one survived."""
    _import_what_is_slow()
    if _is_killed(None):
        print("the tests fail without any mutant: mend that first")
        return 1
    survivors = []
    for mutant in MUTANTS:
        started = time.monotonic()
        killed = _is_killed(mutant)
        print(f"{mutant.name:36} {'killed' if killed else 'SURVIVED'}  {time.monotonic() - started:5.1f} s", flush=True)
        survivors += [] if killed else [mutant.name]
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} mutants killed")
    return 1 if survivors else 0


def _import_what_is_slow() -> None:
    """Libraries that all tests import, so that the processes forked from this one need not."""
    import accelerate  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pytest  # noqa: F401
    from transformers import (  # noqa: F401
        AutoModelForCausalLM,
        AutoTokenizer,
        BertModel,
        BertTokenizer,
        GPT2LMHeadModel,
        LlamaForCausalLM,
    )


def _is_killed(mutant: Mutant | None) -> bool:
    """Whether a test fails on a copy of the package with the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            _apply(mutant, copy)
        child = os.fork()
        if child == 0:
            _run_tests(copy)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (PASSED, FAILED):
        raise SystemExit(f"the tests could not run on {mutant.name if mutant else 'the copy'!r}: pytest ended with {status}")
    return status == FAILED


def _apply(mutant: Mutant, copy: Path) -> None:
    source = (copy / mutant.file).read_text()
    if source.count(mutant.text) != 1:
        raise SystemExit(f"the mutant {mutant.name!r} does not fit: its text stands {source.count(mutant.text)} times in {mutant.file}")
    (copy / mutant.file).write_text(source.replace(mutant.text, mutant.instead))


def _run_tests(copy: Path) -> None:
    """In a forked process: pytest on the copy, up to the first failure, without a word; it does not come back."""
    import pytest

    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if Path(path).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        del sys.modules[name]
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    status = -1
    try:
        imported = "ignore::pytest.PytestAssertRewriteWarning"  # by the parent, and no test of ours
        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", imported, "-m", "not slow", *TESTS]))
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
