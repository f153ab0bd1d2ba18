"""The benchmark of the rates, small: two seeds, on which the gate does what the full benchmark counts."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "data_gate.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("data_gate_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_poisoned_nights_are_stopped_and_normal_ones_are_not(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        benchmark.play_seed(tmp_path, seed, nights=3, prompts=1400)
    rows = list(benchmark.results(tmp_path))
    assert {(row["seed"], row["kind"]) for row in rows} == {(seed, kind) for seed in (1, 2) for kind in benchmark.KINDS}
    decisions = {(row["kind"], row["decision"]) for row in rows if not row["kind"].startswith("30 %")}
    assert decisions == {
        ("normal", "go on"),
        ("50 % of the annotators at random", "stop"),
        ("everybody turns one slice round", "stop"),
    }
    played = (tmp_path / "results.jsonl").read_text()
    benchmark.play_seed(tmp_path, 1, nights=3, prompts=1400)
    assert (tmp_path / "results.jsonl").read_text() == played, "what was played is not played again"
    assert json.loads((tmp_path / "evidence.jsonl").read_text().splitlines()[0])["rule"]
    benchmark.show(rows)
    assert "| normal | 0 of 2 |" in capsys.readouterr().out
