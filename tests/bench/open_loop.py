"""A load generator that sends each request when it is due, whether or not the earlier ones were answered.

    python -m tests.bench.open_loop PORT

Reads windows as lines of JSON, ``{"rate": 500, "warm_up_s": 1.5, "seconds": 4, "seed": 1}``, and prints for each one line: the
latency of every request that was due after the warm-up, from the moment it was *due* to its last byte, in µs; and how late it was
sent. Requests come at random moments (Poisson), as those of many users do; the same seed means the same moments.
"""

from __future__ import annotations

import json
import random
import re
import select
import socket
import sys
import time
import uuid
from itertools import accumulate

from tests.bench.scoring_service import made_features

N_CONNECTIONS = 64
N_BODIES = 512
LONGEST_WAIT_S = 30.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def made_requests(port: int) -> list[bytes]:
    """Whole requests, ready to be sent."""
    rng = random.Random(11)
    requests = []
    for _ in range(N_BODIES):
        request_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        body = json.dumps({"request_id": request_id, "features": made_features(rng)}).encode()
        head = f"POST /score HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return requests


class Generator:
    """One thread, many connections. `select` wakes it to the microsecond, where an event loop's timers wake to the millisecond."""

    def __init__(self, port: int) -> None:
        self._requests = made_requests(port)
        self._idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(N_CONNECTIONS)]
        for connection in self._idle:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting: dict[socket.socket, tuple[float, bytearray]] = {}

    def window(self, rate: float, warm_up_s: float, seconds: float, seed: int) -> dict[str, list[float]]:
        """Send one window's requests and wait for all answers."""
        rng = random.Random(seed)
        gaps = (rng.expovariate(rate) for _ in range(int(rate * (warm_up_s + seconds) * 2)))
        due = [moment for moment in accumulate(gaps) if moment < warm_up_s + seconds]
        start = time.perf_counter() + 0.01
        counted_from = start + warm_up_s
        latencies, lateness, sent = [], [], 0
        while sent < len(due) or self._waiting:
            now = time.perf_counter()
            while sent < len(due) and self._idle and start + due[sent] <= now:
                connection = self._idle.pop()
                connection.sendall(self._requests[sent % N_BODIES])
                self._waiting[connection] = (start + due[sent], bytearray())
                if start + due[sent] >= counted_from:
                    lateness.append((time.perf_counter() - start - due[sent]) * 1e6)
                sent += 1
            until = start + due[sent] if sent < len(due) and self._idle else now + LONGEST_WAIT_S
            ready, _, _ = select.select(list(self._waiting), (), (), max(0.0, until - time.perf_counter()))
            if not ready and until - now >= LONGEST_WAIT_S:
                raise TimeoutError(f"{len(self._waiting)} requests were not answered within {LONGEST_WAIT_S} s")
            for connection in ready:
                was_due, answer = self._waiting[connection]
                answer += connection.recv(65_536)
                if is_complete(answer):
                    if was_due >= counted_from:
                        latencies.append((time.perf_counter() - was_due) * 1e6)
                    del self._waiting[connection]
                    self._idle.append(connection)
        return {"latencies": latencies, "lateness": lateness}


def is_complete(answer: bytearray) -> bool:
    """Whether all of an answer is there. Raises when it is no success."""
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"not a 200: {bytes(answer[:80])!r}")
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end)
    assert length is not None
    return len(answer) >= end + 4 + int(length[1])


def main() -> None:
    """Answer each line with a line."""
    generator = Generator(int(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(generator.window(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
