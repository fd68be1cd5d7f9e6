"""Starting services that fail, and judging what arrived by what they were promised."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import require
from tests.faults.logger_service import Board, Job, features
from upshot.wire import Prediction

SERVICE = Path(__file__).with_name("logger_service.py")


def built_shim(folder: Path) -> Path:
    """The library that makes system calls fail, compiled."""
    gcc = shutil.which("gcc")
    require("gcc", gcc is not None, "apt-get install gcc")
    library = folder / "shim.so"
    subprocess.run(
        [str(gcc), "-shared", "-fPIC", "-O2", "-o", str(library), str(Path(__file__).with_name("shim.c")), "-ldl"],
        check=True,
    )
    return library


def lives(jobs: list[Job], folder: Path, shim: Path | None = None, timeout_s: float = 150) -> list[dict[str, Any]]:
    """Run the jobs, one after the other, and return how each ended."""
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    env = {**os.environ, **({"LD_PRELOAD": str(shim)} if shim else {})}
    done = subprocess.run(
        [sys.executable, str(SERVICE), str(path)],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_empty(spool_dir: Path) -> bool:
    """Whether no event waits there."""
    for folder, _, names in os.walk(spool_dir):  # folders may go meanwhile, which this function does not mind
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if name.endswith(".seg") and Path(folder, name).stat().st_size:
                    return False
    return True


class Loss(NamedTuple):
    """What of one life did not arrive: its newest events. ``lasted_s``: for how long no call of it was kept."""

    n_events: int
    lasted_s: float


def judge(
    board: Board, prefix: str, predictions: Iterable[Prediction], text_bytes: int = 0, *, survives: str = "kill"
) -> Loss:
    """Every promise was kept, nothing arrived that was not logged, all of it as logged; returns what is missing.

    ``predictions`` may hold the same event twice, and those of other lives. ``survives``: "kill"; "power cut" takes what was
    not synced; "bad disk" too, and that need not be the newest.
    """
    mine = {event.request_id: event for event in predictions if event.request_id.startswith(f"{prefix}-")}
    numbers = sorted(int(request_id.rpartition("-")[2]) for request_id in mine)
    n_arrived = len(numbers)
    assert set(numbers) >= set(range(board.synced)), f"{board.synced} were synced, {n_arrived} arrived"
    if survives != "bad disk":
        assert numbers == list(range(n_arrived)), "only the newest may be missing"
    if survives == "kill":
        assert n_arrived >= board.spooled, f"{board.spooled} were spooled, {n_arrived} arrived"
    assert len({event.writer_id for event in mine.values()}) <= 1
    for i in numbers:
        event = mine[f"{prefix}-{i}"]
        assert event.seq == i, "the number of an event is its place, so that a loss is a gap of its size"
        assert event.features == features(prefix, i, text_bytes)
        assert event.prediction == i % 2
    # The last call may have been killed before it returned.
    assert n_arrived <= board.accepted + 1, f"{board.accepted} calls returned, {n_arrived} arrived"
    n_lost = max(0, board.accepted - n_arrived)
    lasted_s = board.time_of(board.accepted - 1) - board.time_of(n_arrived) if n_lost else 0.0
    assert math.isfinite(lasted_s)
    return Loss(n_lost, lasted_s)
