"""What a stage costs, against processes that are known to compute or to hold memory. Expected: what they were told to use."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.home import Home
from data_contracts.manifest import Identity
from tasks.costs import add_peak_memory, metered
from tasks.learning.memory import MemoryWatch, memory_there_is
from tasks.progress import costs_text, describe
from tasks.stage import StageResult

BURN = "import time\nwhile time.process_time() < 0.3: pass"
HOLD = "import sys\nheld = b'x' * (64 << 20)\nprint(flush=True)\nsys.stdin.read()"


def test_processors_are_counted_in_threads_children_and_their_children() -> None:
    grandchild = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True)"
    with metered() as cost:
        subprocess.run([sys.executable, "-c", grandchild], check=True)
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert 0.5 <= cost.cpu_seconds <= 1.5  # type: ignore[operator]
    assert cost.seconds > 0.2
    assert cost.peak_memory is None


def test_waiting_costs_no_processor() -> None:
    with metered() as cost:
        time.sleep(0.2)
    assert cost.seconds >= 0.2
    assert cost.cpu_seconds < 0.1  # type: ignore[operator]


def test_the_largest_process_of_a_block_is_its_peak_memory() -> None:
    with metered() as cost:
        for size in (5, None, 9, 7):
            add_peak_memory(size)
    assert cost.peak_memory == 9
    add_peak_memory(100)
    assert cost.peak_memory == 9


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("launched", [False, True])
def test_peak_memory_is_that_of_the_job_and_not_of_who_started_it(launched: bool) -> None:
    """This process holds more than its child: `ru_maxrss` of the child would tell that."""
    mine = bytearray(200 << 20)
    command = [sys.executable, "-c", HOLD]
    if launched:
        command = [sys.executable, "-c", f"import subprocess; subprocess.run({command!r}, check=True)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        watch = MemoryWatch(process.pid, launched=launched)
        watch.look()
        process.kill() if launched else process.communicate()
        watch.look()
    assert watch.peak is not None
    assert 64 << 20 < watch.peak < len(mine)


def test_there_is_as_much_memory_as_the_machine_says() -> None:
    psutil = pytest.importorskip("psutil")
    assert 0 < memory_there_is() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("costs", "text"),
    [
        ((61.94, None, None), "61.9 s"),
        ((61.94, 118.25, None), "61.9 s (118.2 s of processors)"),
        ((61.94, 118.25, 1_300_000_000), "61.9 s (118.2 s of processors, at most 1.21 GiB)"),
    ],
)
def test_costs_are_told_as_far_as_they_are_known(costs: tuple[float, float | None, int | None], text: str) -> None:
    assert costs_text(*costs) == text


def test_a_result_hands_them_on_and_one_of_an_older_version_has_none(tmp_path: Path) -> None:
    made = Home(tmp_path).artifacts.make(Identity(kind="policy", code_version="1"), lambda directory: (directory / "x").touch() or {})
    with metered() as cost:
        add_peak_memory(1 << 30)
    result = StageResult.of("policy", made.artifact, reused=False, cost=cost)
    assert StageResult.model_validate_json(result.model_dump_json()) == result
    assert describe(result.ended()).endswith("s of processors, at most 1.00 GiB)")
    old = {name: value for name, value in json.loads(result.model_dump_json()).items() if name not in ("cpu_seconds", "peak_memory")}
    read = StageResult.model_validate(old)
    assert (read.cpu_seconds, read.peak_memory) == (None, None)
    assert describe(read.ended()) == "policy: made in 0.0 s"
