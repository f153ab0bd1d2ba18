"""Prefect's server for the nights of this process, where they report to no other: begun before their imports, and gone with the process.

Prefect would begin one by itself, but only when everything is imported, and a night that is killed would leave it behind.
"""

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO

from data_contracts.errors import StageError
from flows.ports import free_port
from flows.service.api import answers, auth_string
from models.lifeline import SOURCE_ROOT, worker_env

HOST = "127.0.0.1"
COMMAND = ("models.lifeline", "uvicorn", "--app-dir", str(SOURCE_ROOT), "--factory", "prefect.server.api.server:create_app")
QUIET = ("--lifespan", "on", "--log-level", "error")
TEMPORARY = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""What Prefect tells a server that it begins by itself: no pages, and no services."""
START_SECONDS, GRACE_SECONDS, POLL_SECONDS = 120.0, 5.0, 0.05
LOG_LINES = 8


def begin_server() -> Callable[[], None]:
    """Begin a server and name it to Prefect, which must not be imported yet; nothing where the environment names one.

    It ends with this process, after everything that Prefect does at its exit.

    Returns:
        What waits until it answers; it raises a `StageError` where it does not.
    """
    if os.environ.get("PREFECT_API_URL"):
        return lambda: None
    port = free_port(HOST)
    command = [sys.executable, "-m", *COMMAND, "--host", HOST, "--port", str(port), *QUIET]
    said = TemporaryFile()  # noqa: SIM115  (as long as the server)
    # In a group of its own: what interrupts the night must not end the server before it, since the night still has to tell it how it ended.
    process = subprocess.Popen(command, env=worker_env() | TEMPORARY, stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0)
    atexit.register(_end, process, said)
    api = os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    if auth := auth_string():
        os.environ["PREFECT_API_AUTH_STRING"] = auth
    return lambda: _wait(process, api, said)


def _wait(process: "subprocess.Popen[bytes]", api: str, said: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(api):
        if process.poll() is not None or time.monotonic() > deadline:
            said.seek(0)
            lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
            raise StageError("\n  ".join(["Prefect's server did not begin; it said:", *(lines[-LOG_LINES:] or ["nothing"])]))
        time.sleep(POLL_SECONDS)


def _end(process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said.close()
