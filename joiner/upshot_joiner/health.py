"""A small endpoint on the loopback interface by which a supervisor sees a process that serves nothing else.

``GET /healthz`` (it runs), ``/readyz`` (503 with the reasons when it does not do its work), ``/v1/status`` (JSON).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HealthEndpoint:
    """Answers from the start until `close`. ``port`` 0 takes any free one. Raises OSError when the port cannot be had."""

    def __init__(self, port: int, status: Callable[[], dict[str, Any]]) -> None:
        """``status`` is called for each question, in another thread; its ``reasons`` say why the process is not ready."""

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                answered = _answer(self.path.partition("?")[0], status)
                body = json.dumps(answered[1]).encode()
                self.send_response(answered[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing: a supervisor asks every few seconds."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="upshot-health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _answer(path: str, status: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    if path == "/healthz":
        return 200, {"status": "ok"}
    if path == "/readyz":
        reasons = status()["reasons"]
        return (503 if reasons else 200), {"status": "not ready" if reasons else "ok", "reasons": reasons}
    if path == "/v1/status":
        return 200, status()
    return 404, {"status": 404, "code": "not_found"}
