"""What is asked of a Prefect server without loading Prefect, which takes seconds."""

import os
import time
from datetime import UTC, datetime
from math import inf
from typing import Any

import httpx

BUSY_TRIES = 10
SEEN_SECONDS = 90.0
"""A worker tells every 30 seconds that it lives; one that was silent for so long counts as gone."""


def answers(api: str) -> bool:
    """Whether a server answers at an address."""
    try:
        return _client(api).get("/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def has_pool(api: str, pool: str) -> bool:
    """Whether there is a pool of this name."""
    return _client(api).get(f"/work_pools/{pool}").status_code == httpx.codes.OK


def silence(api: str, pool: str) -> float:
    """Seconds since a worker of a pool was last heard of; infinite where none ever was."""
    beats = [worker["last_heartbeat_time"] for worker in _asked(api, f"/work_pools/{pool}/workers/filter", {})]
    return min(((datetime.now(UTC) - datetime.fromisoformat(beat)).total_seconds() for beat in beats if beat), default=inf)


def late_runs(api: str) -> list[str]:
    """Names of the runs that should have begun and did not."""
    late = {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}}
    return [str(run["name"]) for run in _asked(api, "/flow_runs/filter", late)]


def _asked(api: str, path: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    for _ in range(BUSY_TRIES):
        response = _client(api).post(path, json=question)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # SQLite is written by one at a time
            break
        time.sleep(1)
    if response.status_code == httpx.codes.NOT_FOUND:
        return []
    found: list[dict[str, Any]] = response.raise_for_status().json()
    return found


def auth_string() -> str:
    """`USER:PASSWORD` for the server, where the environment has them: as who asks it, or as who starts it."""
    return os.environ.get("PREFECT_API_AUTH_STRING") or os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")


def _client(api: str) -> httpx.Client:
    """With the server's password, where the environment has one."""
    name, _, password = auth_string().partition(":")
    return httpx.Client(base_url=api, auth=(name, password) if name else None, timeout=10, trust_env=False)
