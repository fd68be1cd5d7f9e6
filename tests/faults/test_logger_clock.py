"""Clocks that jump or stand still under a service (row F34): identifiers stay unique, nothing hangs, nothing is lost."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import upshot
from tests.faults.judging import built_shim, is_empty
from tests.logger.collector import Collector, Reply, eventually

YEAR = 365.25 * 86400

JUMPS = {
    "an hour on": (3600.0, 0.0),
    "an hour back": (-3600.0, 0.0),
    "ten years on": (10 * YEAR, 0.0),
    "1970": (-time.time() + 60, 0.0),
    "a leap second": (-1.0, 0.0),
    "the monotonic clock stands still": (0.0, 1000.0),
    "both": (-3600.0, 1000.0),
}

LOGS = """
    import sys, time, upshot
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.05)
    def work(n):
        for i in range(n):
            print(upshot.log_prediction({"i": i}, 0))
            if i % 100 == 0: sys.stdout.flush()
    work(1000)
    assert upshot.flush(10, to="disk")
    print("READY", flush=True)
    sys.stdin.readline()
    work(1000)
    print("DONE", flush=True)
    upshot.close(5)
"""


def jumped(clock: Path, shift_s: float, frozen_s: float) -> None:
    """Set a process's clocks while it runs."""
    with clock.open("r+b") as file:
        file.write(struct.pack("<2d", shift_s, frozen_s))


@pytest.mark.parametrize("jump", [*JUMPS, "summer time"])
def test_a_clock_that_jumps_loses_and_repeats_nothing(
    jump: str, tmp_path: Path, spool_dir: Path, collector: Collector
) -> None:
    """F34: between two calls of a running service that spools; then the next one starts at the right time."""
    collector.always = Reply(503)
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(16))
    shim = built_shim(tmp_path)
    env = {**os.environ, "LD_PRELOAD": str(shim), "SHIM_CLOCK": str(clock)}
    if jump == "summer time":
        env["TZ"] = "Europe/Berlin"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LOGS), collector.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stdout is not None
    made = []
    while (line := process.stdout.readline().strip()) != "READY":
        assert line, process.communicate()[1]
        made.append(line)
    jumped(clock, *JUMPS.get(jump, (180 * 86400.0, 0.0)))
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    while (line := process.stdout.readline().strip()) != "DONE":
        assert line, process.communicate()[1]
        made.append(line)
    if jump in ("the monotonic clock stands still", "both"):  # the deadline of its end never comes; a supervisor's does
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    else:
        _, error = process.communicate(timeout=20)
        assert process.returncode == 0, error
        assert "Traceback" not in error, error
    assert len(set(made)) == len(made) == 2000, "request IDs are unique"
    collector.always = Reply()
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as heir:
        heir.log_prediction({}, 0, request_id="heir")
        eventually(lambda: is_empty(spool_dir), 30)
        assert heir.flush(10)
    arrived = {event.request_id for event in collector.predictions} - {"heir"}
    assert arrived == set(made)
    mine = {event.request_id: event for event in collector.predictions if event.request_id != "heir"}
    assert sorted(event.seq for event in mine.values()) == list(range(2000))
    shift_s = JUMPS.get(jump, (180 * 86400.0, 0.0))[0]
    first, last = (mine[made[i]].predicted_at for i in (0, -1))
    assert last - first == pytest.approx(shift_s, abs=30), "the clock did jump for the service"
