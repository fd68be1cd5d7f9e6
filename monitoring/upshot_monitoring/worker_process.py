"""Short-lived worker processes: what takes much memory, a slow import or another's code is done in one, not in the server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from upshot.errors import UpshotError

_log = logging.getLogger("upshot.monitoring")

MAX_STDERR_BYTES = 16_384
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT")
"""Nothing else of the server's environment: secrets are in there."""


class WorkerStopped(UpshotError):
    """The server is stopping."""


class WorkerLate(UpshotError):
    """The worker was not done in time, and was ended."""


class WorkerBroken(UpshotError):
    """The worker ended with an error; its last words are in the log."""


class WorkerProcess:
    """Runs one worker at a time: ``python -m MODULE FOLDER``. :meth:`end` may be called from any thread, :meth:`run` from one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self._lock = threading.Lock()

    def run(self, module: str, folder: Path, timeout_s: float, environment: Mapping[str, str]) -> None:
        """Run a worker over a folder and wait for it. Raises WorkerStopped, WorkerLate or WorkerBroken."""
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        with (folder / "stderr.txt").open("wb+") as stderr:
            with self._lock:
                if self._ended:
                    raise WorkerStopped
                self._process = subprocess.Popen(
                    [sys.executable, "-m", module, str(folder.resolve())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    env={**kept, **environment},
                    start_new_session=True,
                )
            try:
                code = self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._kill()
                raise WorkerLate from None
            if self._ended:
                raise WorkerStopped
            if code != 0:
                stderr.seek(0, os.SEEK_END)
                stderr.seek(max(0, stderr.tell() - MAX_STDERR_BYTES))
                words = stderr.read().decode("utf-8", "replace")
                _log.error("%s failed with exit code %d: %s", module, code, words)
                raise WorkerBroken
        (folder / "stderr.txt").unlink(missing_ok=True)

    def end(self) -> None:
        """End the worker that runs, and run no more."""
        with self._lock:
            self._ended = True
        self._kill()

    def _kill(self) -> None:
        with self._lock:
            process = self._process
            if process is not None and process.poll() is None:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    return
                process.wait(10)
