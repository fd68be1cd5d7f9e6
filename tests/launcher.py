"""Servers and workers of tests start in half the time: forked from a process that has imported what they import.

What is run is the ``upshot`` command from its first line on; only the imports are done. Nothing is opened and no thread of ours
runs before the fork. What is about the start itself (`tests/server/test_command_line.py`, the README's commands) starts as a user
does.

Run as a script this is that process: it reads one JSON line per process to start from standard input, and writes a line when one
was started and when one has ended. It ends with its input.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "upshot_server")


class ForkedProcess:
    """A process of the launcher, with what tests ask of a ``subprocess.Popen``."""

    stdin = None

    def __init__(self, pid: int, ended: Future[int]) -> None:
        self.pid = pid
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        """The exit status (minus the signal that ended it); None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        try:
            return self._ended.result(timeout)
        except NotYetError:
            raise subprocess.TimeoutExpired(list(COMMAND), timeout or 0) from None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if not self._ended.done():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(15)


class Launcher:
    """The process that forks, started at first use; one for a process of tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._started: Future[int] = Future()
        self._ended: dict[int, Future[int]] = {}

    def start(self, arguments: list[str], log: Path, env: dict[str, str]) -> ForkedProcess:
        """Run ``upshot`` with these arguments; both of its outputs are appended to ``log``."""
        with self._lock:
            process = self._launcher()
            assert process.stdin is not None
            self._started = Future()
            process.stdin.write(json.dumps({"arguments": arguments, "log": str(log), "env": env}) + "\n")
            process.stdin.flush()
            pid = self._started.result(60)
            return ForkedProcess(pid, self._ended[pid])

    def _launcher(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.launcher"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if "started" in told:
                self._ended[told["started"]] = Future()
                self._started.set_result(told["started"])
            else:
                self._ended[told["ended"]].set_result(told["status"])


_launcher = Launcher()


def start(command: list[str], log: Path, env: dict[str, str]) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start a process; by the launcher where it is an ``upshot`` command and nothing is before it."""
    if tuple(command[:3]) == COMMAND:
        return _launcher.start(command[3:], log, env)
    with log.open("ab") as opened:
        return subprocess.Popen(command, stdout=opened, stderr=opened, env=env)


# ---- the process that forks ----------------------------------------------------------------------------------------------


def serve() -> dict[str, Any]:
    """Fork for every line of standard input; in the child, return what it is to be."""
    running: dict[int, int] = {}
    lines = b""
    while True:
        ready, _, _ = select.select([0, *running], [], [])
        for descriptor in ready:
            if descriptor:
                pid = running.pop(descriptor)
                os.close(descriptor)
                _tell(ended=pid, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                continue
            read = os.read(0, 1 << 20)
            if not read:
                os._exit(0)
            *whole, lines = (lines + read).split(b"\n")
            for line in whole:
                pid = os.fork()
                if not pid:
                    for other in running:
                        os.close(other)
                    return dict(json.loads(line))
                running[os.pidfd_open(pid)] = pid
                _tell(started=pid)


def _tell(**told: int) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def become(wanted: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    from upshot_server.cli import main

    log = os.open(wanted["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.close(log)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(wanted["env"])
    random.seed()
    gc.unfreeze()
    sys.argv = ["upshot", *wanted["arguments"]]
    main()


if __name__ == "__main__":
    import upshot_server.app
    import upshot_server.cli
    import upshot_server.work  # noqa: F401

    gc.collect()
    gc.freeze()  # the children share what is there
    become(serve())
