"""Free ports for servers that tests start, and start again on the same one.

What ``bind(0)`` gives is taken from the ports that outgoing connections get: while a killed server is away, a connection of another
test may take its port. These are below them, and those of each test process apart.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket

_FIRST, _EACH, _PROCESSES = 12_000, 2_000, 8
_ours = _FIRST + _EACH * (int(os.environ.get("PYTEST_XDIST_WORKER", f"gw{os.getpid()}")[2:]) % _PROCESSES)
_offsets = itertools.count(random.Random(os.getpid()).randrange(_EACH))


def free_port() -> int:
    """A port of the loopback interface that nobody listens at, and that this process has not given out for long."""
    for _ in range(_EACH):
        port = _ours + next(_offsets) % _EACH
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def free_ports(n: int) -> list[int]:
    """So many."""
    return [free_port() for _ in range(n)]
