"""How a night ends that does not end by itself, and what keeps another one out while it runs."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from data_contracts.errors import BusyError, StageError
from data_contracts.home import Home
from flows.night import Night, night_of
from flows.placement import RunConfig, run_stage
from flows.recipe import load_recipe
from models.lifeline import alive
from tasks.stage import StageResult
from tests.flows.nights import command

HOLD = """
import sys
from pathlib import Path
from data_contracts.home import Home
from flows.night import night_of
with night_of(Home(Path(sys.argv[1])), "mine"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_two_nights_of_a_recipe_cannot_run_together_and_a_killed_one_frees_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = rf"a night of the recipe mine is running: process {holder.pid} since \d{{4}}-.* UTC is at work here"
        with pytest.raises(BusyError, match=message), night_of(home, "mine"):
            pass
        with night_of(home, "another"):
            pass
        holder.kill()
    with night_of(home, "mine"):
        pass


class Ended(BaseException):
    """Stands for Prefect's signal that a run was cancelled, which is no Exception."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Ended])
def test_whatever_ends_a_night_is_recorded(tmp_path: Path, error: type[BaseException]) -> None:
    recipe = load_recipe("built-in")
    night = Night.begin(recipe, Home(tmp_path))
    with pytest.raises(error):
        night.run(Fake(error()), recipe.ingest)  # type: ignore[arg-type]
    (record,) = [json.loads(path.read_text()) for path in night.home.nights.glob("*.json")]
    assert record["outcome"] == "interrupted in ingest"


class Fake:
    """A stage that raises, and knows what it was started with."""

    name = "ingest"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def with_options(self, **options: Any) -> "Fake":
        self.options = options
        return self

    def __call__(self, home: str, config: BaseModel) -> StageResult:
        raise self.error


def test_a_time_limit_is_given_in_minutes_by_the_name_of_the_stage_and_told_in_words(tmp_path: Path) -> None:
    stage, run = Fake(TimeoutError()), RunConfig(time_limits={"held-out judge": 30})
    with pytest.raises(StageError, match="held-out judge took longer than its limit of 30 minutes"):
        run_stage(run, stage, "held-out judge", Home(tmp_path), run, {})  # type: ignore[arg-type]
    assert stage.options == {"task_run_name": "held-out judge", "timeout_seconds": 1800}
    with pytest.raises(TimeoutError):
        run_stage(run, stage, "policy", Home(tmp_path), run, {})  # type: ignore[arg-type]
    assert stage.options["timeout_seconds"] is None


def test_judges_and_measures_are_limited_each_by_what_they_are(tmp_path: Path) -> None:
    run = RunConfig(time_limits={"judges": 30, "measures": 5})
    for task, label, limit in (("judge", "judge big", 30), ("function", "measure politeness", 5), ("measure", "measure of code", 5)):
        stage = Fake(TimeoutError())
        stage.name = task
        with pytest.raises(StageError, match=f"{label} took longer than its limit of {limit} minutes"):
            run_stage(run, stage, label, Home(tmp_path), run, {})  # type: ignore[arg-type]


@pytest.mark.flow
@pytest.mark.slow
def test_a_signal_to_the_process_group_ends_a_night_without_a_traceback(tmp_path: Path) -> None:
    """As a service manager or a closed terminal does it. The server of its own stays until the night has told it how it ended."""
    home = tmp_path / "home"
    started = command(home, "--set", "base_model.pretrain.epochs=500")
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as night:
        assert night.stdout is not None
        assert night.stderr is not None
        for line in night.stdout:
            if re.search(r"made\s+corpus", line):
                break
        while not (pids := list(home.glob("work/*/pid"))):
            assert night.poll() is None
        job = pids[0].read_text().strip()
        os.killpg(night.pid, signal.SIGTERM)
        said = night.stderr.read()
    assert night.returncode == 130, said
    assert said.strip() == "overnight: interrupted; run the same command again to go on from here"
    (record,) = [json.loads(path.read_text()) for path in home.glob("nights/*.json")]
    assert record["outcome"] == "interrupted in base model"
    assert not alive(job)
