"""The real server as a user starts it: ``upshot up`` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests import launcher
from tests.ports import free_port
from tests.waiting import eventually

START_TIMEOUT_S = 300


class RunningServer:
    """One server process; it can be killed and started again on the same folder and port."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._options = options
        self._process: launcher.ForkedProcess | subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._process = launcher.start(self.command(), self.log_file, {**os.environ, "UPSHOT_URL": self.url})
        eventually(self._answers, START_TIMEOUT_S)

    def command(self) -> list[str]:
        """What is run."""
        up = [sys.executable, "-m", "upshot_server", "up", "--data", str(self.data), "--port", str(self.port)]
        return [*up, *self._options]

    @property
    def log_file(self) -> Path:
        """Where it writes its log."""
        return self.data.parent / "server.log"

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def signalled(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def suspend(self) -> None:
        """Stop it where it is, as a machine without memory or a debugger does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask it to stop, as Ctrl-C or a supervisor does."""
        self.http.close()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self.log_file.read_text()

    def post(self, path: str, content: Any, **headers: str) -> httpx.Response:
        """POST a JSON document."""
        return self.http.post(path, json=content, headers=headers)

    def story(self, request_id: str) -> dict[str, Any]:
        """The story of a request."""
        answer = self.http.get(f"/v1/predictions/{quote(request_id, safe='')}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def export(self, **request: Any) -> dict[str, Any]:
        """Make an export and wait for it."""
        asked = self.post("/v1/exports", request)
        assert asked.status_code == 202, asked.text
        id_ = asked.json()["id"]

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.http.get(f"/v1/exports/{id_}").json()
            assert found["status"] != "failed", found
            return found if found["status"] == "done" else None

        return eventually(done, 60) or {}

    def until_joined(self, timeout_s: float = 30) -> None:
        """Wait until nothing is left to join."""
        waiting = ("entities_to_attribute", "requests_to_join")

        def joined() -> bool:
            status = self.http.get("/v1/status").json()
            return all(status[name] == 0 for name in waiting)

        eventually(joined, timeout_s)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the server ended with status {self._process.returncode}: {self.log}")
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)
            return False
