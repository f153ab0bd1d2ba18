"""Checkpoints: what a learning job needs to go on after a kill exactly as if nothing had happened.

A checkpoint is a directory `step-<step>` with tensors (safetensors) and everything else (JSON). It is written aside, flushed
and renamed, so it is whole or not there. The last two are kept. Nothing is pickled. Sharded tensors are written whole.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from data_contracts.errors import StorageError
from models.processes import Stored, given_by_main
from models.sharding import is_sharded, share_of, whole

Part = nn.Module | Optimizer | MutableMapping[str, Tensor]
"""Something whose tensors are saved, and put back in place by `restore`."""

KEEP = 2
TENSORS_NAME, STATE_NAME = "tensors.safetensors", "state.json"
MOST_OVERHEAD = 1 / 30
"""Largest share of a job's time that goes into checkpoints taken when `due`."""
LEAST_SECONDS = 2.0
"""Shortest time between checkpoints taken when `due`."""


class Checkpoints:
    """The checkpoints of one job in its work directory."""

    def __init__(self, work: Path, identity: str) -> None:
        """`identity` is the hash of what the job makes: checkpoints of anything else are refused."""
        self._folder, self._identity = work / "checkpoints", identity
        self._saved_at, self._cost = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether enough time has passed since the last one. When one is taken never changes the result, only what a kill costs."""
        return time.monotonic() - self._saved_at >= max(LEAST_SECONDS, self._cost / MOST_OVERHEAD)

    def save(self, step: int, parts: Mapping[str, Part], state: Mapping[str, Any]) -> None:
        """Keep the parts' tensors, torch's random generators and a state of JSON values after so many steps.

        Where parts are sharded, all processes call it, and the main one writes.
        """
        started, is_main = time.monotonic(), os.environ.get("RANK", "0") == "0"
        tensors: dict[str, Tensor] = {}
        extras: dict[str, Any] = {}
        for name, part in [*parts.items(), ("torch_rng", _random_states())]:
            own, extras[name] = _take(part)
            every = ((key, _detached(tensor)) for key, tensor in own.items() if is_main or is_sharded(tensor))
            tensors |= {f"{name}/{key}": tensor for key, tensor in every if is_main}
        if not is_main:
            return
        for left in self._folder.glob(".aside-*"):  # of a process that was killed while it saved
            shutil.rmtree(left)
        aside = self._folder / f".aside-{os.getpid()}"
        aside.mkdir(parents=True)
        save_file(tensors, aside / TENSORS_NAME)
        record = {"identity": self._identity, "step": step, "extras": extras, "state": dict(state)}
        (aside / STATE_NAME).write_text(json.dumps(record))
        self._publish(aside, step)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started

    def restore(self, parts: Mapping[str, Part]) -> tuple[int, dict[str, Any]] | None:
        """Put the newest readable checkpoint back into the parts; its step and state, or None when there is none.

        Of processes on several machines the main one reads it, and the others are given what it read.

        Raises:
            StorageError: the checkpoint belongs to another configuration or other inputs.
        """
        found = given_by_main(self._read)
        if found is None:
            return None
        record, tensors = found
        random_states = _random_states()
        for name, part in [*parts.items(), ("torch_rng", random_states)]:
            _put(part, {key: tensors[f"{name}/{key}"] for key in _below(name, tensors)}, record["extras"][name])
        _set_random_states(random_states)
        return record["step"], record["state"]

    def _read(self) -> Stored | None:
        for folder in reversed(self._folders()):
            try:
                record = json.loads((folder / STATE_NAME).read_text())
                tensors = load_file(folder / TENSORS_NAME)
            except (OSError, ValueError, SafetensorError):
                continue  # damaged on disk; the one before it will do
            if record["identity"] != self._identity:
                raise StorageError(
                    "a checkpoint of another configuration or other inputs", where=str(folder), remedy="remove the work folder"
                )
            return record, tensors
        return None

    def _folders(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _publish(self, aside: Path, step: int) -> None:
        for path in (aside / TENSORS_NAME, aside / STATE_NAME, aside):
            _flush(path)
        destination = self._folder / f"step-{step:010d}"
        shutil.rmtree(destination, ignore_errors=True)
        aside.rename(destination)
        _flush(self._folder)
        for old in self._folders()[:-KEEP]:
            shutil.rmtree(old)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _below(name: str, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    return (key.removeprefix(f"{name}/") for key in tensors if key.startswith(f"{name}/"))


def _detached(tensor: Tensor) -> Tensor:
    return whole(tensor.detach()).cpu().contiguous()


def _changing(part: nn.Module) -> dict[str, Tensor]:
    """What training changes in a module, by name: no parameter that does not learn, and tied ones once."""
    return {name: p for name, p in part.named_parameters() if p.requires_grad} | dict(part.named_buffers())


def _take(part: Part) -> tuple[dict[str, Tensor], Any]:
    """A part's tensors by name, and what else it has as JSON values."""
    if isinstance(part, nn.Module):
        return _changing(part), None
    if not isinstance(part, Optimizer):
        return dict(part), None
    saved = part.state_dict()
    tensors = {f"{index}.{name}": value for index, values in saved["state"].items() for name, value in values.items()}
    return tensors, saved["param_groups"]


def _put(part: Part, tensors: dict[str, Tensor], extra: Any) -> None:
    if isinstance(part, nn.Module):
        with torch.no_grad():
            for name, tensor in _changing(part).items():
                tensor.copy_(share_of(tensors[name], tensor))
    elif isinstance(part, Optimizer):
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in part.param_groups for parameter in group["params"]]
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = share_of(tensor, parameters[int(index)])
        part.load_state_dict({"state": state, "param_groups": extra})
    else:
        part.clear()
        part.update(tensors)


def _random_states() -> dict[str, Tensor]:
    """States of torch's generators, on the CPU and on each GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])}


def _set_random_states(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        here = [states[f"cuda{i}"] for i in range(torch.cuda.device_count()) if f"cuda{i}" in states]
        if len(here) == torch.cuda.device_count():  # a checkpoint made elsewhere, on a CPU perhaps, knows nothing of these GPUs
            torch.cuda.set_rng_state_all(here)
