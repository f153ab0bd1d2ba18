"""A whole night on a store, and the same night on another machine that shares nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.cli import main

pytestmark = pytest.mark.flow

TINY = Path(__file__).parent / "tiny.toml"


def run(home: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "flows.cli", "run", "--home", str(home), "--recipe", str(TINY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout


def last_night(home: Path) -> dict[str, list[dict[str, Any]]]:
    record: dict[str, list[dict[str, Any]]] = json.loads(max((home / "nights").glob("*.json")).read_text())
    return record


def test_a_second_machine_finds_everything_made(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu, gpu = tmp_path / "cpu", tmp_path / "gpu"
    assert "(gate: " in run(cpu, "--store", store)
    assert "nothing new" in run(gpu, "--store", store)
    assert all(stage["reused"] for stage in last_night(gpu)["stages"])
    made = [{name: stage[name] for name in ("stage", "artifact_id", "digest")} for stage in last_night(cpu)["stages"]]
    assert [{name: stage[name] for name in ("stage", "artifact_id", "digest")} for stage in last_night(gpu)["stages"]] == made
    with duckdb.connect(gpu / "audit.duckdb", read_only=True) as audit:
        assert audit.execute("select count(*), count(distinct outcome) from nights").fetchone() == (2, 2)
        landed = next(stage["headline"]["judgments"] for stage in last_night(cpu)["stages"] if stage["stage"] == "ingest")
        assert audit.execute("select count(*) from judgments").fetchone() == (landed,)
    assert not list(gpu.glob("artifacts/*/*/*/*.safetensors")), "models are fetched when they are learned from, not before"
    assert (gpu / "report.html").read_bytes() == (cpu / "report.html").read_bytes()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in "".join(
        path.read_text(errors="replace") for home in (cpu, gpu) for path in home.rglob("*") if path.is_file()
    )
    assert main(["verify", "--home", str(gpu)]) == 0
    assert main(["show", "--home", str(tmp_path / "laptop"), "--store", store]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["run", "--home", str(gpu), "--store", f"{store}-2", "--recipe", str(TINY)]) == 2
    assert f"shares {store} already" in capsys.readouterr().err
