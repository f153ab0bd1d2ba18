"""How long the main job takes: a first night, a night with nothing new, a night in which only PPO changed, and `--help`.

    python benchmarks/night.py [--repeats 5] [--home DIR]

Whole processes are timed, imports and all. The repeated figures are medians; the first night and the changed night are single runs.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--home", type=Path, help="keep the home there instead of in a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = str(options.home or Path(folder) / "home")
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
        print("| what | seconds |\n|---|---|", flush=True)
        show("first night, built-in recipe", [timed("run", "--home", home)])
        show("night with nothing new", [timed("run", "--home", home) for _ in range(options.repeats)])
        show("night in which only a PPO setting changed", [timed("run", "--home", home, "--set", "policy.kl_coef=0.06")])
        show("`overnight --help`", [timed("--help") for _ in range(options.repeats)])


def timed(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def show(what: str, seconds: list[float]) -> None:
    spread = f" (median of {len(seconds)}, {min(seconds):.1f} to {max(seconds):.1f})" if len(seconds) > 1 else ""
    print(f"| {what} | {statistics.median(seconds):.1f}{spread} |", flush=True)


if __name__ == "__main__":
    main()
