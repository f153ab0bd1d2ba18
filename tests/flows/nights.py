"""Whole nights of the tiny world, run as a user runs them."""

import subprocess
import sys
from pathlib import Path

TINY = Path(__file__).parent / "tiny.toml"


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "run", "--home", str(home), "--recipe", str(TINY), *arguments]


def run(home: Path, *arguments: str, code: int = 0) -> str:
    result = subprocess.run(command(home, *arguments), capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout
