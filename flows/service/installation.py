"""`overnight up` and `overnight down`: Prefect's server, its pools, the deployments and a worker for each pool, on this machine alone."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import InputError, StageError
from data_contracts.sharing.share import write_whole
from flows.service.api import SEEN_SECONDS, answers, auth_string, has_pool, silence
from flows.service.processes import Processes
from flows.variables import DATA, FUNCTIONS, RECIPE, RECIPE_FOLDER, STORE

PROJECT = Path(__file__).parents[2]
PREFECT_FILE = PROJECT / "prefect.yaml"
POOL_TEMPLATE = PROJECT / "deploy" / "work-pools" / "process.json"
"""Of the pools' jobs: who starts a run changes nothing of its command, environment and place. No run's output is a pipe to its worker."""
SETTINGS = "settings.json"
REMEMBERED = (STORE, RECIPE, RECIPE_FOLDER, DATA, FUNCTIONS)
"""Environment variables that say where runs work, and with what."""
HOST, PORT = "127.0.0.1", 4200
SERVER = "server"
ALERT_URL = "OVERNIGHT_ALERT_URL"
"""Environment variable with the URL that alerts go to; a secret, which no process that stays gets to see."""
HEARTBEAT_SECONDS = 30
"""Between two signs of life of a run; Prefect takes no less."""
QUERY_SECONDS = 3
"""Between two looks of a worker for runs; by Prefect's default of 10 a night that was asked for waits twice as long as it takes."""
POOLS = {"cpu": 4, "gpu": 1}
"""Pools of the deployments, and how many runs their worker takes at once: a night waits in `cpu` while it learns in `gpu`."""
START_SECONDS = 180.0


@dataclass(frozen=True)
class Installation:
    """What runs for one home."""

    root: Path
    """The home."""

    @property
    def folder(self) -> Path:
        """Prefect's own home, the logs, and what is known of the processes."""
        return self.root / "service"

    @property
    def given_up(self) -> Path:
        """Where Prefect's server leaves the events that it could not act on."""
        return self.folder / "prefect" / "dlq"

    @property
    def processes(self) -> Processes:
        """Server and workers."""
        return Processes(self.folder)

    @property
    def address(self) -> str | None:
        """Address of the server's pages, where it was ever started."""
        file = self.folder / "address"
        return file.read_text().strip() if file.exists() else None

    @property
    def api(self) -> str | None:
        """Address of the server's API while the server runs, or None."""
        return f"{self.address}/api" if SERVER in self.processes.running() else None

    def remember(self) -> None:
        """Keep where runs work, as the environment says it: what it does not say stays as it was at the last `up`.

        Raises:
            InputError: workers run that were told otherwise.
        """
        known = self.remembered()
        told = known | {name: os.environ[name] for name in REMEMBERED if os.environ.get(name)}
        if told == known:
            return
        if known and any(name != SERVER for name in self.processes.running()):
            what = ", ".join(f"{name}={known.get(name, '')}" for name in REMEMBERED if known.get(name) != told.get(name))
            raise InputError(f"workers are running with {what}", where=str(self.root), remedy="`overnight down`, then up again")
        write_whole(self.folder / SETTINGS, json.dumps(told, indent=2) + "\n")

    def remembered(self) -> dict[str, str]:
        """What `remember` kept, by environment variable."""
        file = self.folder / SETTINGS
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def environment(self, address: str) -> dict[str, str]:
        """The environment of server and workers: that of whoever starts them, with what was remembered."""
        own = {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{address}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            "PREFECT_WORKER_QUERY_SECONDS": str(QUERY_SECONDS),
            "OVERNIGHT_HOME": str(self.root),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH")))),
            "PYTHONSAFEPATH": "1",
        }
        if auth := auth_string():
            own["PREFECT_API_AUTH_STRING"] = auth
        return {**{name: value for name, value in os.environ.items() if name != ALERT_URL}, **self.remembered(), **own}


def up(installation: Installation, port: int | None, say: Callable[[str], None], alert_url: str | None = None) -> str:
    """Have everything running; what runs already is left as it is.

    Args:
        installation: what runs for a home.
        port: port of the server, where it is to be started; by default the one it had, or else `PORT`.
        say: told what is done.
        alert_url: where alerts are posted from now on; see `flows.service.alerts`.

    Returns:
        Address of the server's pages.

    Raises:
        InputError: the port is taken, there is no `prefect.yaml`, the URL is no web address, or workers run with another recipe or place.
        StageError: server or deployments failed, with the end of the log; or no message reaches the URL.
    """
    if not PREFECT_FILE.exists():
        raise InputError("there is no prefect.yaml", where=str(PROJECT), remedy="run it from a checkout: pip install --editable .")
    installation.remember()
    address, environment = _serve(installation, port, say)
    if _deploy(installation, environment, say) or alert_url:
        _watch(environment, alert_url, say)
    running = installation.processes.running()
    for pool, limit in POOLS.items():
        if f"{pool} worker" not in running:
            say(f"starting a worker for the pool {pool}")
            command = _prefect("worker", "start", "--pool", pool, "--type", "process", "--limit", str(limit), "--name", f"{pool}-1")
            installation.processes.start(f"{pool} worker", command, environment)
    for pool in POOLS:
        _await(installation.processes, f"{pool} worker", lambda pool=pool: silence(f"{address}/api", pool) < SEEN_SECONDS)  # type: ignore[misc]
    return address


def down(installation: Installation) -> list[str]:
    """Stop what `up` started, the workers first so that running nights can still say how they ended; gives what was stopped."""
    processes = installation.processes
    return [what for what in (*(f"{pool} worker" for pool in POOLS), SERVER) if processes.stop(what)]


def _prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def _serve(installation: Installation, port: int | None, say: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """The server's address and the environment that leads to it, once it answers."""
    processes = installation.processes
    if SERVER in processes.running() and installation.address:
        return installation.address, installation.environment(installation.address)
    port = port or int((installation.address or f":{PORT}").rpartition(":")[2])
    address = f"http://{HOST}:{port}"
    if installation.address not in (None, address):
        down(installation)  # workers of the old address
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} is taken", where=address, remedy="give another one: --port") from error
    say("starting Prefect's server")
    write_whole(installation.folder / "address", address + "\n")
    environment = installation.environment(address)
    processes.start(SERVER, _prefect("server", "start", "--host", HOST, "--port", str(port)), environment)
    _await(processes, SERVER, lambda: answers(f"{address}/api"))
    return address, environment


def _await(processes: Processes, what: str, there: Callable[[], bool]) -> None:
    """Wait for a process that was started to be there; a `StageError` when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not there():
        if what not in processes.running():
            raise processes.failure(what, "ended")
        if time.monotonic() > deadline:
            raise processes.failure(what, f"was not there within {START_SECONDS:.0f} seconds")
        time.sleep(0.5)


def _deploy(installation: Installation, environment: dict[str, str], say: Callable[[str], None]) -> bool:
    """Make pools and deployments, unless these very ones are there: what was changed on the server stays; whether they were made."""
    mark, version = installation.folder / "deployed", _version()
    if mark.exists() and mark.read_text().strip() == version:
        return False
    for pool in POOLS:
        known = has_pool(environment["PREFECT_API_URL"], pool)
        what = ("update", pool) if known else ("create", pool, "--type", "process")
        _run(_prefect("work-pool", *what, "--base-job-template", str(POOL_TEMPLATE)), environment)
    say("deploying the flows")
    _run(_prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)), environment)
    write_whole(mark, version + "\n")
    return True


def _watch(environment: dict[str, str], alert_url: str | None, say: Callable[[str], None]) -> None:
    say("having the server watch over runs" + (", and send alerts" if alert_url else ""))
    os.environ.setdefault("PREFECT_HOME", environment["PREFECT_HOME"])  # Prefect reads it when it is imported
    from flows.service.alerts import watch

    watch(environment["PREFECT_API_URL"], environment.get("PREFECT_API_AUTH_STRING"), alert_url)


def _version() -> str:
    """Changes with the deployments and with the source that their forms are drawn from."""
    sources = [PREFECT_FILE, *sorted(path for folder in ("flows", "tasks", "models") for path in (PROJECT / folder).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise StageError(f"`prefect {' '.join(command[3:])}` failed:\n  {said}\n", remedy="mend the cause and run `overnight up` again")
