"""What orchestration costs: a night with nothing new on a running server, and the share of a whole night that is in no stage.

    python benchmarks/orchestration.py [--recipe built-in] [--home DIR] [--repeats 5]

The first night runs as `overnight run`. Its overhead is what its process took beside its stages: imports, Prefect, the server that
it begins, the record and the audit database. Then `overnight up` starts a server and two workers, and the same night, which has
nothing new, is started there through the API and timed from the request to the final state.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

CLI = [sys.executable, "-m", "flows.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="built-in", help="a recipe of the project, or a TOML file")
    parser.add_argument("--home", type=Path, help="keep the home there instead of in a temporary folder")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}", flush=True)
    print("| what | seconds |\n|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder) / "home"
        whole_night(home, options.recipe)
        on_a_server(home, options.recipe, options.repeats)


def whole_night(home: Path, recipe: str) -> None:
    """One night by hand: all of it, and what was in no stage."""
    before = time.perf_counter()
    subprocess.run([*CLI, "run", "--home", str(home), "--recipe", recipe], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - before
    record = json.loads(max(home.glob("nights/*.json")).read_text())
    stages = sum(stage["seconds"] for stage in record["stages"])
    show("whole night", [wall])
    show(f"in no stage ({1 - stages / wall:.1%})", [wall - stages])
    show(
        f"of these between the stages ({1 - stages / record['seconds']:.1%} of the night without start and end)",
        [record["seconds"] - stages],
    )


def on_a_server(home: Path, recipe: str, repeats: int) -> None:
    """The same night again, through a server."""
    with tempfile.TemporaryDirectory() as recipes, socket.socket() as probe:
        if Path(recipe).is_file():
            shutil.copy(recipe, recipes)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        service = ["--home", str(home)]
        up = [*CLI, "up", *service, "--port", str(port), "--recipe", Path(recipe).stem, "--recipes", recipes]
        try:
            subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
            runs = [through_server(f"http://127.0.0.1:{port}/api") for _ in range(repeats)]
        finally:
            subprocess.run([*CLI, "down", *service], check=False, stdout=subprocess.DEVNULL)
    show("night with nothing new on a running server", [total for total, _ in runs])
    show("of it the flow itself", [inside for _, inside in runs])


def through_server(api: str) -> tuple[float, float]:
    """Seconds from the request to the final state, and of the flow itself."""
    with httpx.Client(base_url=api, timeout=60, trust_env=False) as client:

        def ask(method: str, path: str, **body: Any) -> Any:
            while (response := client.request(method, path, **body)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
                time.sleep(0.1)  # SQLite is written by one at a time
            return response.raise_for_status().json()

        deployment = ask("GET", "/deployments/name/nightly/nightly")["id"]
        before = time.perf_counter()
        run = ask("POST", f"/deployments/{deployment}/create_flow_run", json={})["id"]
        while (found := ask("GET", f"/flow_runs/{run}"))["state_type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            time.sleep(0.1)
        total = time.perf_counter() - before
    if found["state_type"] != "COMPLETED":
        raise SystemExit(f"the night ended as {found['state_name']}: {found['state']['message']}")
    return total, found["total_run_time"]


def show(what: str, seconds: list[float]) -> None:
    spread = f" (median of {len(seconds)}, {min(seconds):.1f} to {max(seconds):.1f})" if len(seconds) > 1 else ""
    print(f"| {what} | {statistics.median(seconds):.1f}{spread} |", flush=True)


if __name__ == "__main__":
    main()
