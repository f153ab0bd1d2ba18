"""`python -m models <job>`: runs one learning job as a process of its own."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ValidationError

from data_contracts.errors import (
    FREE_SPACE,
    OvernightError,
    RecipeError,
    StageError,
    StorageError,
    examples,
    is_disk_full,
    is_out_of_memory,
)
from models.job import Headline, Job
from models.jobs import JOBS
from models.progress import DISK_FULL, USER_ERROR, Progress

HEADLINE_NAME = "headline.json"
SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""Ask accelerate to divide a model among processes in ways of its own; here a recipe asks for that."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the arguments name; the exit status: 0, or one of `models.progress`."""
    options = _parser().parse_args(arguments)
    is_main = os.environ.get("RANK", "0") == "0"
    progress = Progress(options.progress, errors_only=not is_main)
    try:
        if os.environ.get("OVERNIGHT_SUPERVISOR"):
            from models.lifeline import hold

            hold()
        headline = _run(options, progress)
        if is_main:
            aside = options.work / f"{HEADLINE_NAME}.aside"
            aside.write_text(json.dumps(dict(headline)) + "\n")
            aside.replace(options.work / HEADLINE_NAME)
    except OvernightError as error:
        return _refuse(error, progress)
    except Exception as error:
        if (short := _short_of(error, options)) is None:
            raise
        return _refuse(short, progress)
    return 0


def _short_of(error: Exception, options: argparse.Namespace) -> OvernightError | None:
    """An error of a full disk, or of memory that ran out, in the user's words; None of any other error."""
    again = "run again: it goes on from its last checkpoint"
    if is_disk_full(error):
        what = f"the disk is full: the job {options.job} could not write"
        return StorageError(what, where=str(options.work), remedy=f"{FREE_SPACE} and {again}")
    if is_out_of_memory(error):
        what = f"out of memory in the job {options.job}: {str(error).partition(chr(10))[0] or type(error).__name__}"
        less = JOBS[options.job].less_memory
        return StageError(what, remedy=f"{less or 'run it where there is more'}; then {again}")
    return None


def _refuse(error: OvernightError, progress: Progress) -> int:
    """Tell the supervisor and the log why the job ends without a result; on a full disk the exit status has to do."""
    with suppress(OSError):
        progress.error(error)
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return DISK_FULL if isinstance(error, StorageError) else USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Runs one learning job.")
    parser.add_argument("job", choices=sorted(JOBS), help="the job")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the job's configuration, as JSON")
    parser.add_argument("--input", action="append", default=[], metavar="ROLE=DIR", help="an input directory; may be repeated")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the artifact's files go")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where checkpoints and the headline go")
    parser.add_argument("--progress", type=Path, metavar="FILE", help="file that progress is appended to, as JSON lines")
    return parser


def _run(options: argparse.Namespace, progress: Progress) -> Headline:
    config = _read_config(JOBS[options.job].config, options.config)
    inputs = dict(_role_and_path(text) for text in options.input)
    for directory in (options.output, options.work):
        directory.mkdir(parents=True, exist_ok=True)
    if JOBS[options.job].torch:
        _settle_torch()
    job = Job(config, inputs, options.output, options.work, progress)
    headline: Headline = import_module(JOBS[options.job].module).run(job)
    return headline


def _role_and_path(text: str) -> tuple[str, Path]:
    role, separator, path = text.partition("=")
    if not separator or not role or not path:
        raise RecipeError(f"cannot read --input {text!r}", remedy="write it as ROLE=DIRECTORY")
    return role, Path(path)


def _read_config(kind: type[BaseModel], path: Path) -> BaseModel:
    try:
        return kind.model_validate_json(path.read_text())
    except OSError as error:
        raise RecipeError("the job's configuration cannot be read", where=str(path), remedy="check the path given as --config") from error
    except ValidationError as error:
        problems = examples(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"the job's configuration is wrong: {problems}", where=str(path), remedy="correct these fields") from error


def _settle_torch() -> None:
    """Results that repeat bit for bit on one machine, with as many threads as were asked for."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if asked := [name for name in SHARDING if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")]:
        remedy = "unset it; policy.shard in the recipe divides the models of PPO"
        raise RecipeError(f"{asked[0]} has no effect: no model here is divided by accelerate", where="the environment", remedy=remedy)
    import torch

    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"  # without it several CPU processes would each believe to be alone
    elif (ranks := int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > torch.cuda.device_count():
        raise RecipeError(f"{ranks} processes need a GPU each, and there are {torch.cuda.device_count()}", remedy="lower `processes`")
    torch.use_deterministic_algorithms(True)
    # Another pass over every new tensor, and no result depends on it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


if __name__ == "__main__":
    sys.exit(main())
