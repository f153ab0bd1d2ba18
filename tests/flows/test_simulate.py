"""`overnight simulate`: the ordinary pipeline over nights of a world, the table of what became of them, and going on where it stopped."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from data_contracts.home import Home
from flows.simulate_table import seeds_table
from tasks.simulation.people import read_lines
from tests.flows.nights import TINY


def simulated(home: Path, *arguments: str) -> str:
    result = begun(home, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def refused(home: Path, *arguments: str) -> str:
    result = begun(home, *arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    return result.stderr


def begun(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "flows.cli", "simulate", "--home", str(home), "--recipe", str(TINY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.flow
def test_a_world_is_played_night_after_night_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    asked = ("--first", "120", "--comparisons", "20", "--empty-night", "2")
    simulated(tmp_path, *asked, "--nights", "2")
    first, second = read_lines(tmp_path / "nights-0.jsonl")
    assert first["made"] > 10
    assert (second["delivery"], second["outcome"], second["true_reward"]) == ("empty", "nothing new", first["true_reward"])
    assert "nothing new" in (tmp_path / "nights.svg").read_text()
    simulated(tmp_path, *asked, "--nights", "2")
    assert read_lines(tmp_path / "nights-0.jsonl") == [first, second], "the nights were played before"
    assert len(list(Home(tmp_path / "seed-0").nights.glob("*.json"))) == 2
    assert "first: 120, and now 130" in refused(tmp_path, "--first", "130", "--comparisons", "20", "--nights", "2")
    assert "night 2 was played with a delivery that was empty, and is ordinary now" in refused(tmp_path, *asked[:-2], "--nights", "3")
    assert "simulation.prompts" in refused(tmp_path, *asked, "--set", "simulation.prompts=100")


def row(night: int, delivery: str, outcome: str, gain: float, *, promoted: bool = False, **step: float) -> dict[str, object]:
    costs = {"seconds": 3.0, "home_megabytes": 1.5, "memory_megabytes": 100 + night, "processes": 1}
    gains = {"true_reward": gain - 1, "gain_mean": gain, "gain_low": gain - 0.1, "gain_high": gain + 0.1}
    return {"night": night, "delivery": delivery, "outcome": outcome, "promoted": promoted, **gains, **costs, **step}


def test_a_row_per_seed_counts_what_matters() -> None:
    worse = {"step_mean": -0.5, "step_low": -0.7, "step_high": -0.3}
    rows = [
        row(1, "ordinary", "promoted (gate: pass)", 0.8, promoted=True),
        row(2, "poisoned", "stopped by the data gate: agreement", 0.8),
        row(3, "empty", "nothing new", 0.8),
        row(4, "ordinary", "promoted (gate: pass)", 0.3, promoted=True, **worse),
    ]
    console = Console(width=400, record=True)
    console.print(seeds_table({5: rows}))
    cells = [cell.strip() for cell in console.export_text().splitlines()[3].split("│")[1:-1]]
    expected = ["5", "4", "2", "-1.00", "-0.20", "-0.70", "0.30 [0.20, 0.40]", "1", "1 of 1 stopped", "nothing new", "3", "2", "101–104"]
    assert cells == expected
