"""A model service that logs through the SDK while something goes wrong, and the board on which it notes what it was promised.

Run as ``python logger_service.py JOBS`` with a JSON list of `Job`s. Each runs in a forked child (one interpreter started, many
lives), one after the other; a line of JSON says how it ended. The tests judge what arrived by the board: it is mapped memory, so
nothing of it is lost when the child is killed between two instructions.

Which row of the fault matrix is tested where:

==== ======================================= ====================================================
F01  kill -9 of the service                  test_logger_kill
F02  kill -9 inside a write                  test_logger_kill
F03  power cut                               power_cut (``make test-power``)
F04  fdatasync fails                         test_logger_disk
F05  disk full                               test_logger_disk
F06  folder read-only, deleted, refused      test_logger_disk, tests/logger/test_spool
F07  bit rot                                 test_logger_disk, tests/logger/test_spool
F08  fork                                    test_logger_fork
F09  spawn, threads, os._exit, signals       test_logger_fork
F10  exit without a server                   test_logger_exit
F11  signals, exceptions, abort              test_logger_exit
F12  asyncio                                 test_logger_asyncio
F14  unreachable, DNS, port, TLS, key        test_logger_network
F16  server stopped                          test_logger_network
F18  answer lost                             test_logger_network
F19  bad networks                            test_logger_network
F34  clocks                                  test_logger_clock
F36  no file descriptors                     test_logger_disk
F39  huge backlog                            test_logger_disk
==== ======================================= ====================================================
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TypedDict

import upshot

CAPACITY = 400_000
_N_HEADS = 8
_NUMBER_BYTES = 8


class Board:
    """What a service noted: how many calls returned, and how many of the first of them are promised to survive what.

    ``accepted``: A0, the calls that returned. ``spooled``: A1, by `upshot.stats`. ``synced``: A2, by ``flush(to="disk")``.
    ``time_of(i)``: when call i returned, in monotonic seconds. ``took_of(i)``: how long it took, in seconds.
    """

    def __init__(self, path: Path) -> None:
        size = (_N_HEADS + 2 * CAPACITY) * _NUMBER_BYTES
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, size)
        # Numbers of a view are written whole; `struct` would write zeros first, and a kill may come between.
        self._numbers = memoryview(mmap.mmap(fd, size)).cast("d")
        os.close(fd)

    def _head(self, index: int) -> int:
        return int(self._numbers[index])

    def _set_head(self, index: int, value: int) -> None:
        self._numbers[index] = value

    accepted = property(lambda self: self._head(0), lambda self, n: self._set_head(0, n))
    spooled = property(lambda self: self._head(1), lambda self, n: self._set_head(1, n))
    synced = property(lambda self: self._head(2), lambda self, n: self._set_head(2, n))

    def note(self, i: int, returned_at: float, took_s: float) -> None:
        """Call ``i`` returned."""
        self._numbers[_N_HEADS + 2 * i] = returned_at
        self._numbers[_N_HEADS + 2 * i + 1] = took_s
        self.accepted = i + 1

    def time_of(self, i: int) -> float:
        """See above."""
        return self._numbers[_N_HEADS + 2 * i]

    def took_of(self, i: int) -> float:
        """See above."""
        return self._numbers[_N_HEADS + 2 * i + 1]

    def calm_p999_s(self, first: int, end: int, window: int = 1000) -> float:
        """The 99.9th percentile of calls ``first`` to ``end`` in the calmer half of windows.

        A call that waits for a disk or a server waits in every window; one that a busy machine interrupted does not.
        """
        found = []
        for start in range(first, end - window + 1, window):
            took = sorted(self.took_of(i) for i in range(start, start + window))
            found.append(took[-2])
        return sorted(found)[(len(found) - 1) // 2]


class Job(TypedDict, total=False):
    """One life of the service. Only ``board``, ``prefix`` and ``options`` are needed."""

    board: str
    prefix: str
    options: dict[str, Any]
    env: dict[str, str]
    rate_per_s: float
    n: int
    """How many calls; without it, until it is killed."""
    sync_every_call: bool
    sync_every_s: float
    kill_after_s: float
    """Kill it so long after its first promise."""
    flush_s: float
    """Wait so long for the server, at the end."""
    file_bytes: int
    """No file may grow beyond this."""
    text_bytes: int
    """Random text in each event, which does not compress."""


def features(prefix: str, i: int, text_bytes: int = 0) -> dict[str, Any]:
    """What call ``i`` logs, from its number alone: 100 bytes to some kilobytes, now and then an edge of a type."""
    digest = hashlib.blake2b(f"{prefix}-{i}".encode()).hexdigest()
    made: dict[str, Any] = {"n": i, "x": i / 7, "text": digest * (1 + i % 7 if i % 100 else 20)}
    if i % 100 == 50:
        made |= {"none": None, "long": 2**63 - 1, "inf": math.inf, "odd": "\u2028é\x00", "empty": ""}
    if text_bytes:
        made["noise"] = random.Random(f"{prefix}-{i}").randbytes(text_bytes // 2).hex()
    return made


def serve(job: Job) -> dict[str, int]:
    """Log until told to stop; returns the counters at the end."""
    os.environ.update(job.get("env", {}))
    board = Board(Path(job["board"]))
    if "file_bytes" in job:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], resource.RLIM_INFINITY))
    prefix, n = job["prefix"], job.get("n")
    rate, text_bytes = job.get("rate_per_s", 3000.0), job.get("text_bytes", 0)
    sync_every_s, synced_at = job.get("sync_every_s", math.inf), time.monotonic()
    logger = upshot.Logger(**{"model": "m", **job["options"]})
    started, size_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    i = 0
    while n is None or i < n:
        due = int((time.monotonic() - started) * rate) + 1
        while i < (due if n is None else min(due, n)):
            values = features(prefix, i, text_bytes)
            called = time.perf_counter()
            logger.log_prediction(values, i % 2, request_id=f"{prefix}-{i}")
            took_s = time.perf_counter() - called
            board.note(i, time.monotonic(), took_s)
            i += 1
            if job.get("sync_every_call") and logger.flush(10, to="disk"):
                board.synced = board.spooled = i
        board.spooled = max(board.spooled, i - logger.stats()["queued"])
        if time.monotonic() - synced_at >= sync_every_s and logger.flush(10, to="disk"):
            synced_at, board.synced = time.monotonic(), i
        time.sleep(0.001)
    if "flush_s" in job:
        logger.flush(job["flush_s"])
    return {**logger.stats(), "grown_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size_kb}


def live(job: Job) -> dict[str, Any]:
    """Run a job in a child, kill it when the job says so, and tell how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            told = json.dumps(serve(job)).encode()
            os.write(writing, told)
            os.kill(os.getpid(), signal.SIGKILL)  # the end of the process must not help
        except BaseException:  # noqa: BLE001  # whatever it was, the parent must not run on twice
            traceback.print_exc()
        os._exit(1)
    os.close(writing)
    killed_at = 0.0
    if "kill_after_s" in job:
        board = Board(Path(job["board"]))
        while not max(board.spooled, board.synced):
            time.sleep(0.001)
        time.sleep(job["kill_after_s"])
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "killed_at": killed_at,
        "stats": json.loads(told) if told else None,
    }


if __name__ == "__main__":
    for one in json.loads(Path(sys.argv[1]).read_text()):
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(live(one)), flush=True)
