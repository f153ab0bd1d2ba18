"""A web server of the tests' own that keeps what is posted to it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

SECRET = "T0KEN-that-nobody-may-read"  # noqa: S105  (made up)


@dataclass
class Inbox:
    """What arrived so far."""

    url: str
    server_log: Path
    """Of the server whose alerts come here: what it says where one does not."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    answer: int = 200
    """Status with which messages are answered."""

    def wait(self, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """The first message of a kind, once it is there."""
        deadline = time.monotonic() + seconds
        while not (found := [message for message in self.messages if wanted(message)]):
            assert time.monotonic() < deadline, f"{self.messages}\nthe server says:\n{self.server_log.read_text()[-20_000:]}"
            time.sleep(0.5)
        return found[0]


@contextmanager
def open_inbox(server_log: Path) -> Iterator[Inbox]:
    """A server on a free port, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(inbox.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox = Inbox(f"http://127.0.0.1:{server.server_port}/{SECRET}", server_log)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield inbox
        finally:
            server.shutdown()
