"""Fault row F37: an embedded store belongs to one process, and whoever comes second is told at once whose it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from upshot_joiner.store.client import Store

OPEN = """
import sys, time
from pathlib import Path
from upshot_joiner.errors import StoreLocked
from upshot_joiner.store.client import Store
began = time.monotonic()
try:
    store = Store.open_embedded(Path(sys.argv[1]))
except StoreLocked as error:
    print("locked", time.monotonic() - began, error, flush=True)
else:
    print("open", flush=True)
    sys.stdin.read()
"""


def opener(folder: Path) -> subprocess.Popen[str]:
    """A process that opens the store in a folder and keeps it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    """Its one line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_owner_is_told_within_a_second_who_the_first_is_and_a_dead_one_is_none(tmp_path: Path) -> None:
    """The process that has it is named by its number; when that was killed, the folder is free."""
    first = opener(tmp_path)
    assert said(first) == "open"
    second = opener(tmp_path)
    state, seconds, message = said(second).split(" ", 2)
    assert state == "locked"
    assert float(seconds) < 1
    assert f"(process {first.pid})" in message
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = opener(tmp_path)
    assert said(third) == "open"
    for process in (first, second, third):
        process.communicate()


def test_this_process_is_named_to_others(embedded_store: Store) -> None:
    """The number in the lock is that of its owner, while it lives."""
    folder = Path(str(embedded_store._lock_file.name)).parent  # type: ignore[union-attr]
    other = opener(folder)
    assert f"(process {os.getpid()})" in said(other)
    other.communicate()
