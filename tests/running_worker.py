"""A worker as an operator starts it: ``upshot work`` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests import launcher
from tests.ports import free_port
from tests.waiting import eventually

START_TIMEOUT_S = 90


class RunningWorker:
    """One worker process; its log is in ``folder``."""

    def __init__(self, folder: Path, clickhouse: str, kafka: str, *options: str, session_timeout_s: float = 6) -> None:
        self.folder = folder
        self.port = free_port()
        self._command = [sys.executable, "-m", "upshot_server", "work", "--clickhouse", clickhouse, "--kafka", kafka]
        self._command += ["--health-port", str(self.port), "--session-timeout", str(session_timeout_s), *options]
        self._process: launcher.ForkedProcess | subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = launcher.start(self._command, self.folder / "worker.log", dict(os.environ))

    def start(self) -> None:
        """Start it and wait until it works."""
        self.launch()
        eventually(self.is_ready, START_TIMEOUT_S)

    def status(self) -> dict[str, Any]:
        """What it says of itself; empty while it does not answer."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the worker ended with status {self._process.returncode}: {self.log[-3000:]}")
        try:
            found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/v1/status", timeout=5).json()
        except httpx.TransportError:
            time.sleep(0.1)
            return {}
        return found

    def is_ready(self) -> bool:
        """Whether it has partitions, and nothing is in its way."""
        status = self.status()
        return bool(status.get("partitions")) and not status["reasons"]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def end(self) -> int:
        """Ask it to end, as a supervisor does; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "worker.log").read_text(errors="replace")
