"""What holds for every test."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import settings

# The tests' models are tiny: a second thread costs more than it gives, and very much more on a machine that does something else too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No example has a deadline: on a busy machine it would fail what is right. What has to pass everywhere must not depend on the day either:
# elsewhere every run looks at other examples.
settings.register_profile("ours", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "ours")

SERVER = """
import os, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app))
threading.Thread(target=lambda: os._exit(len(sys.stdin.read())), daemon=True).start()  # ends with the tests
print(server.server_port, flush=True)
server.serve_forever()
"""
"""One request at a time: the server looks at a condition and writes in two steps, and only so are they one."""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An S3-compatible server of its own on a free port of this machine; gives the environment that leads to it."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'overnight[s3]'")
    pytest.importorskip("moto", reason="moto is not installed: it is the S3 server of the tests (requirements-dev.txt)")
    log = tmp_path_factory.mktemp("s3") / "requests.log"
    with (
        log.open("w") as errors,
        subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("PUT", "/overnight-tests")
        connection.getresponse().close()
        connection.close()
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "OVERNIGHT_TEST_REQUESTS": str(log),
        }
        server.kill()


@pytest.fixture
def store(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a store of a test's own, in the environment of this process and its children."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return f"s3://overnight-tests/{uuid4().hex}"
