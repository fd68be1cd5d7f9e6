"""Where the measured tools send to: a small HTTP server in a process of its own, which answers as theirs would and counts.

`SinkProcess` starts it. What Upshot sends is counted at once, because its answer names the count; the bodies of the others
are kept and counted when somebody asks, between two runs, so that the counting takes no CPU from what is being measured.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import zstandard

__all__ = ["SinkProcess", "sink_process"]

_MAX_HEAD_BYTES = 65_536


def count_upshot(body: bytes) -> int:
    """Events in zstd frames: one MessagePack array each, or lines of JSON."""
    n_events = 0
    while body:
        frame = zstandard.ZstdDecompressor().decompressobj()
        array = frame.decompress(body)
        body = frame.unused_data
        n_events += int.from_bytes(array[1:5], "big") if array[:1] == b"\xdd" else array.count(b"\n")
    return n_events


def count_otlp_logs(body: bytes) -> int:
    """Log records of an OTLP request."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest.FromString(body)
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


def count_otlp_spans(body: bytes) -> int:
    """Spans of an OTLP request."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def count_posthog(body: bytes) -> int:
    """Events of a PostHog batch."""
    return len(json.loads(body)["batch"])


LATER: dict[str, Callable[[bytes], int]] = {
    "/v1/logs": count_otlp_logs,
    "/v1/traces": count_otlp_spans,
    "/batch": count_posthog,
}
UPSHOT = "/v1/predictions"


class Sink:
    """What arrived since it was last asked."""

    def __init__(self) -> None:
        self.n_upshot = 0
        self.kept: list[tuple[str, bytes]] = []

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        path = path.partition("?")[0].rstrip("/")
        if method == "GET" and path == "/counts":
            return 200, json.dumps(self.counts()).encode()
        if path in LATER:
            kept = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.kept.append((path, kept))
            return 200, b'{"status": "Ok"}' if path == "/batch" else b""
        if path.startswith("/v1/"):
            n_events = count_upshot(body)
            self.n_upshot += n_events if path == UPSHOT else 0
            return 200, b'{"accepted": %d, "duplicates": 0, "rejected": 0, "errors": []}' % n_events
        return 404, b""

    def counts(self) -> dict[str, int]:
        """Events by path since the last time, and forget them."""
        counts = {UPSHOT: self.n_upshot, **dict.fromkeys(LATER, 0)}
        for path, body in self.kept:
            counts[path] += LATER[path](body)
        self.n_upshot = 0
        self.kept.clear()
        return counts


class Connection(asyncio.Protocol):
    """One keep-alive connection: requests with a Content-Length, one after the other."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.received = bytearray()
        self.needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self.received += data
        while len(self.received) > self.needed:
            end = self.received.find(b"\r\n\r\n", 0, _MAX_HEAD_BYTES)
            if end < 0:
                return
            first, *lines = self.received[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = end + 4 + int(headers.get("content-length", "0"))
            if len(self.received) < size:
                self.needed = size - 1
                return
            body = bytes(self.received[end + 4 : size])
            del self.received[:size]
            self.needed = 0
            method, path, _ = first.split(" ", 2)
            status, answer = self.sink.answer(method, path, headers, body)
            head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            self.transport.write(head.encode() + answer)  # type: ignore[attr-defined]  # a TCP transport can be written to


async def serve() -> None:
    """Print the port, and answer until standard input ends: the sink dies with the process that started it."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


class SinkProcess:
    """A running sink: ``url``, ``pid``, and what it counted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.logger_sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self.pid = self._process.pid

    def counts(self) -> dict[str, int]:
        """Events by path since the last call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/counts")
        counts: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return counts

    def stop(self) -> None:
        """Hang: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """End the process, stopped or not."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def sink_process() -> Iterator[SinkProcess]:
    """A sink for the length of the block."""
    sink = SinkProcess()
    try:
        yield sink
    finally:
        sink.end()


if __name__ == "__main__":
    asyncio.run(serve())
