"""The command line answers at once, and a user's mistake is one message without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "prefect", "great_expectations", "polars", "duckdb", "matplotlib", "transformers")


def overnight(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows.cli", *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_help_imports_nothing_heavy() -> None:
    """What makes it answer in under a second; the second itself is a figure of the benchmarks."""
    run = "try: flows.cli.main(['--help'])\nexcept SystemExit: pass"
    code = f"import sys, flows.cli\n{run}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert "run one night" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--recipe", "none.toml"], "the recipe cannot be read"),
        (["run", "--recipe", "none"], "there is no recipe 'none'"),
        (["show", "--home", "nowhere"], "nothing has been run there"),
        (["verify", "--home", "nowhere"], "nothing has been run there"),
        (["forget", "--home", "nowhere", "--annotator", "kim"], "nothing has been run there"),
        (["forget", "--annotator", "kim"], "no judgment is by annotator 'kim'"),
        (["forget"], "forget what?"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    home = [] if "--home" in arguments else ["--home", str(tmp_path)]
    result = overnight(*arguments, *home)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_night_s_own_process_loads_no_torch() -> None:
    """Learning has processes of its own. What a night's process loads, every night pays, also one with nothing new."""
    learning = ("torch", "transformers", "accelerate")
    code = f"import sys, flows.nightly\nprint([name for name in {(*learning, 'pandas', 'scipy.stats')!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
