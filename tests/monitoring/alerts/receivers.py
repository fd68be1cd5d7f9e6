"""Receivers of alerts that really run: a web server that answers by script, and a mail server."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as default_policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from aiosmtpd.controller import Controller

from tests.ports import free_port


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


@dataclass
class HttpReceiver:
    """Answers with the statuses of its script, one after the other, then with 200. It can go away and come back on its port."""

    script: list[int] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    port: int = field(default_factory=free_port)
    got: list[Got] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> HttpReceiver:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers: dict[str, list[str]] = {}
                for name, value in self.headers.items():
                    headers.setdefault(name.lower(), []).append(value)
                time.sleep(receiver.delay_s)
                receiver.got.append(Got(self.path, headers, body))
                self.send_response(receiver.script.pop(0) if receiver.script else 200)
                for name, value in receiver.answer_headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def kinds(self) -> list[str]:
        """What the webhook messages it got were about."""
        return [one.json["type"].removeprefix("alert.") for one in self.got]


class MailServer:
    """A real SMTP server that keeps what it takes."""

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        self.mails: list[EmailMessage] = []
        self.refuses = list(refuses)
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # as aiosmtpd calls it
        """Take a mail, or refuse it by script."""
        if self.refuses:
            return self.refuses.pop(0)
        mail = BytesParser(policy=default_policy).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    def start(self) -> MailServer:
        """Listen."""
        self._controller.start()
        return self

    def stop(self) -> None:
        """Go away."""
        self._controller.stop()
