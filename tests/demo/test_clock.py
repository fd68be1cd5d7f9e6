"""The clock that several processes share."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upshot_server.demo.clock import SharedClock

APRIL = datetime(2013, 4, 1, 4, tzinfo=UTC)

READER = """
import sys
from pathlib import Path
from upshot_server.demo.clock import SharedClock
clock = SharedClock(Path(sys.argv[1]))
for line in sys.stdin:
    print(clock.now().isoformat(), flush=True)
"""


def test_another_process_sees_every_step_at_once(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock", APRIL)
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path / "clock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for step in range(50):
            moment = APRIL + timedelta(hours=3 * step, microseconds=step)
            clock.advance(moment)
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline().strip() == moment.isoformat()
        reader.stdin.close()
    clock.close()


def test_time_is_exact_to_the_microsecond(tmp_path: Path) -> None:
    moment = datetime(2013, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    clock = SharedClock.create(tmp_path / "clock", moment)
    assert clock.now() == moment
    clock.close()


def test_the_replay_cannot_go_back(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock", APRIL)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(APRIL - timedelta(microseconds=1))
    assert clock.now() == APRIL
    clock.close()
