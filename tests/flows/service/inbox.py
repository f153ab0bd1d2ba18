"""A web server of the tests' own that keeps what is posted to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

SECRET = "T0KEN-that-nobody-may-read"  # noqa: S105  (made up)


@dataclass
class Inbox:
    """What arrived so far."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """A server on a free port, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox = Inbox(f"http://127.0.0.1:{server.server_port}/{SECRET}")
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield inbox
        finally:
            server.shutdown()
