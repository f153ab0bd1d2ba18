"""An installation of the tests' own: server, pools, deployments and two workers, asked through the server's API."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
POLL_SECONDS, BUSY_TRIES = 1.0, 30


def overnight(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env={**os.environ, **(env or {})})


@dataclass(frozen=True)
class Installed:
    """What a test asks of it."""

    home: Path
    address: str
    password: str = ""
    """`USER:PASSWORD`, where the server asks for one."""

    def ask(self, method: str, path: str, body: object = None) -> Any:
        response = self.response(method, path, body)
        assert response.is_success, f"{response.status_code} {response.text}"
        return response.json() if response.content else None

    def response(self, method: str, path: str, body: object) -> httpx.Response:
        """What the server answers, asked again while its database is busy, as Prefect's own client does."""
        user, _, word = self.password.partition(":")
        auth = (user, word) if user else None
        for _ in range(BUSY_TRIES):
            with suppress(httpx.TimeoutException):
                response = httpx.request(method, f"{self.address}/api{path}", json=body, timeout=60, trust_env=False, auth=auth)
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return response
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the server is busy for too long: {path}")

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/deployments/name/{name}")
        return found

    def refusal(self, name: str, parameters: dict[str, Any]) -> str:
        """What the server says against starting a run with these parameters."""
        response = self.response("POST", f"/deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters})
        assert response.status_code == httpx.codes.CONFLICT, response.text
        return str(response.json()["detail"])

    def start(self, name: str, **parameters: Any) -> str:
        """The id of a run that was started now."""
        return str(self.ask("POST", f"/deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters})["id"])

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/flow_runs/{run}")
        return found

    def wait(self, run: str, *states: str, seconds: float = 600) -> dict[str, Any]:
        """The run when it is in one of these states, or in any final one."""
        deadline = time.monotonic() + seconds
        while (found := self.run(run))["state_type"] not in {*states, *FINAL}:
            assert time.monotonic() < deadline, f"{found['name']} is still {found['state_name']}"
            time.sleep(POLL_SECONDS)
        return found

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", {"deployments": {"name": {"any_": [deployment]}}})
        return found

    def artifacts(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("POST", "/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return found

    def kill_worker(self) -> None:
        """SIGKILL of the worker of the pool cpu alone."""
        name = json.loads((self.home / "service" / "processes.json").read_text())["cpu worker"]
        os.kill(int(name.partition(":")[0]), signal.SIGKILL)

    def nights(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.home.glob("nights/*.json"))]
