"""Child processes that end when asked, and end by themselves when the demo is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_TIMEOUT_S = 10.0
TAIL_LINES = 15
STDIN = 0


class DemoError(RuntimeError):
    """The demo cannot go on; the message says what happened and where to look."""


class Child:
    """A Python module running as a process of its own, its output in a log file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, module: str, arguments: Sequence[str], inherit: Sequence[int] = ()) -> None:
        """Run ``python -m module arguments``; ``inherit`` are file descriptors it may use."""
        # numpy's and scikit-learn's own threads would fight over the same two cores; one each is faster here.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=inherit,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops its children in order
            )

    @property
    def pid(self) -> int:
        """Its process ID. Raises ``ValueError`` before it was started."""
        if self._process is None:
            raise ValueError(f"the {self.name} was not started")
        return self._process.pid

    def check(self) -> None:
        """Raise :class:`DemoError`, with the last lines it wrote, when it has ended."""
        status = None if self._process is None else self._process.poll()
        if status is not None:
            raise DemoError(
                f"the {self.name} ended with status {status}; its last words in {self._log}:\n{self.last_words()}"
            )

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def stop(self) -> None:
        """Ask it to end, and end it when it does not within ten seconds."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def child_process(name: str, log: Path) -> Iterator[Child]:
    """A child to be started inside, and stopped on the way out, whatever the reason: there is no moment in which it is
    forgotten."""
    child = Child(name, log)
    try:
        yield child
    finally:
        child.stop()


def end_with_parent() -> None:
    """In a child: end like on SIGTERM when the process that started this one is gone, however it went."""

    def watch() -> None:
        while os.read(STDIN, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
