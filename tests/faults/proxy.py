"""A TCP proxy that treats the bytes between a client and a server badly."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import ClassVar, Self
from urllib.parse import urlsplit


class Proxy:
    """Forwards connections to ``url``; `url` is its own address. Its behaviour may be changed while it runs.

    ``delay_s``: how long each piece of bytes waits. ``piece_bytes``: bytes are passed on in pieces of at most this size.
    ``bytes_per_s``: how many a connection may pass on in each direction. ``is_black_hole``: nothing is passed on any more, and
    nothing is closed; ``loses_answers``: only towards the client. ``reset_answers``: so many answers are replaced by a reset, after
    the server sent them. ``break_share``: which part of connections breaks in the middle of a request: by a reset, or, with
    ``half_closes``, so that the server is told that no more comes while the client goes on waiting.
    """

    GOOD: ClassVar[dict[str, float]] = {
        "delay_s": 0.0,
        "piece_bytes": 65536,
        "bytes_per_s": 0.0,
        "is_black_hole": False,
        "loses_answers": False,
        "break_share": 0.0,
        "half_closes": False,
    }

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = parts.hostname or "", parts.port or 80
        self.delay_s = 0.0
        self.piece_bytes = 65536
        self.bytes_per_s = 0.0
        self.is_black_hole = False
        self.loses_answers = False
        self.requests_at: list[float] = []
        """When a client began to send, in monotonic seconds."""
        self.reset_answers = 0
        self.break_share = 0.0
        self.half_closes = False
        self.n_resets = 0
        self._rng = random.Random(3)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_ended = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._is_ended:
                client.close()
                return
            try:
                server = socket.create_connection(self._to, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            is_doomed = self._rng.random() < self.break_share
            self._start(self._forward, client, server, False, is_doomed)
            self._start(self._forward, server, client, True, False)

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool, is_doomed: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not is_answer and data.startswith(b"POST"):
                    self.requests_at.append(time.monotonic())
                if is_doomed:
                    target.sendall(data[: len(data) // 2])
                    if not self.half_closes:
                        self._reset(source, target)
                        return
                    break
                if is_answer and self._takes_reset():
                    self._reset(target, source)
                    return
                for at in range(0, len(data), self.piece_bytes):
                    piece = data[at : at + self.piece_bytes]
                    while self.is_black_hole or (is_answer and self.loses_answers):
                        if self._is_ended:
                            return
                        time.sleep(0.01)
                    if self.delay_s:
                        time.sleep(self.delay_s)
                    if self.bytes_per_s:
                        time.sleep(len(piece) / self.bytes_per_s)
                    target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def drop_connections(self) -> None:
        """Close those that are open: the next request begins with a new one."""
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _takes_reset(self) -> bool:
        with self._lock:
            if not self.reset_answers:
                return False
            self.reset_answers -= 1
            self.n_resets += 1
            return True

    @staticmethod
    def _reset(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() then sends a reset
                one.shutdown(socket.SHUT_RD)  # wakes the other thread, which holds it open
                one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._listening.getsockname(), 1).close()  # wakes accept()
        self._listening.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()
