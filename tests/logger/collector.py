"""A real HTTP server that answers by script and keeps what it was sent, decoded as the server would decode it."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
import pytest
import zstandard

from upshot.wire import NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, LabelEvent, Prediction, WriterReport


@dataclass
class Request:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    events: list[Any]
    connection: tuple[str, int]


@dataclass
class Reply:
    """What to answer. Without a body: everything was stored."""

    status: int = 200
    body: dict[str, Any] | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    """How long to wait before answering; ends early when the test does."""
    drop: bool = False
    """Close the connection after the request, without an answer: what was sent is stored, and nobody knows."""


class Collector:
    """Answers from `replies`, then `always`. `stored` holds the events of requests answered with 200 or dropped."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.replies: deque[Reply] = deque()
        self.always = Reply()
        self.requests: list[Request] = []
        self.stored: list[Any] = []
        self.reports: list[WriterReport] = []
        self.refuse: Callable[[list[Any]], bool] = lambda events: False
        """Which batches are answered with 400."""
        self.ending = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # header and body are two writes: without this each answer waits 40 ms

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.answer(self, body)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                """A client that gave up is part of these tests."""

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer one request by script."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        if handler.path == "/v1/writers":
            self.reports += decode(handler.path, headers, body)
            respond(handler, 200, {}, b'{"accepted": 1, "duplicates": 0, "rejected": 0, "errors": []}')
            return
        reply = self.replies.popleft() if self.replies else self.always
        try:
            events = decode(handler.path, headers, body)
        except msgspec.ValidationError:
            events = []
            reply = Reply(
                422, {"accepted": 0, "duplicates": 0, "rejected": 1, "errors": [{"index": 0, "code": "type"}]}
            )
        if self.refuse(events):
            reply = Reply(400)
        request = Request(handler.path, headers, events, handler.client_address)
        self.requests.append(request)
        if reply.hang_s:
            self.ending.wait(reply.hang_s)
        if reply.status == 200:
            self.stored += request.events
        if reply.drop:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        content = reply.body
        if content is None and reply.status == 200:
            content = {"accepted": len(request.events), "duplicates": 0, "rejected": 0, "errors": []}
        data = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        respond(handler, reply.status, reply.headers, data)

    @property
    def predictions(self) -> list[Prediction]:
        """The stored predictions, in the order of their arrival."""
        return [event for event in self.stored if isinstance(event, Prediction)]

    @property
    def labels(self) -> list[LabelEvent]:
        """The stored label events, in the order of their arrival."""
        return [event for event in self.stored if isinstance(event, LabelEvent)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop; every hanging answer ends."""
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def respond(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    """Send an answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def decode(path: str, headers: dict[str, str], body: bytes) -> list[Any]:
    """A body as the wire format says: told apart by path and headers alone."""
    event = {"/v1/predictions": Prediction, "/v1/labels": LabelEvent, "/v1/writers": WriterReport}[path]
    if headers["content-encoding"] == "gzip":
        body = zstandard.ZstdCompressor().compress(gzip.decompress(body))
    else:
        assert headers["content-encoding"] == "zstd"
    events: list[Any] = []
    while body:
        frame = zstandard.ZstdDecompressor().decompressobj()
        raw = frame.decompress(body)
        assert frame.eof
        body = frame.unused_data
        if headers["content-type"] == PACKED_CONTENT_TYPE:
            events += msgspec.msgpack.decode(raw, type=list[event])
        else:
            assert headers["content-type"] == NDJSON_CONTENT_TYPE
            events += [msgspec.convert(json.loads(line), event) for line in raw.split(b"\n") if line]
    return events


def eventually(check: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until ``check`` is true; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s")
        time.sleep(0.005)


def balance(stats: dict[str, int]) -> int:
    """Accepted events that are in no counter; 0 when the books balance."""
    return (
        stats["accepted"]
        + stats["recovered"]
        - sum(stats[name] for name in ("stored", "duplicates", "rejected", "dropped", "queued", "spooled", "in_flight"))
    )
