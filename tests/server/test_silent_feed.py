"""A silent label feed is not a negative: the whole server, on a clock of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.running import START_TIMEOUT_S, RunningServer
from tests.waiting import eventually
from upshot_server.cli import app
from upshot_server.demo.clock import SharedClock

T0 = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEN_MINUTES = timedelta(minutes=10)
CONFIG = {"labels": {"fraud": {"window": "2h", "default": 0, "feed": {"expect": {"every": "1h", "at_least": 2}}}}}


class ClockedServer(RunningServer):
    """The server on a clock that the test moves, as the demo runs it."""

    clock: SharedClock

    def start(self) -> None:
        """Start it, on the clock of its last start."""
        file = self.data.parent / "clock"
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            self.clock = SharedClock.create(file, T0)
        with (self.data.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "upshot_server.demo.server", "--data", self.data, "--clock", file, "--port", str(self.port)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ, "UPSHOT_URL": self.url},
            )  # fmt: skip
        eventually(self._answers, START_TIMEOUT_S)

    def kill(self) -> None:
        """kill -9."""
        super().kill()
        self._let_go()

    def end(self) -> None:
        """Ask it to stop."""
        super().end()
        self._let_go()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def feed(self) -> dict[str, Any]:
        """What is said of the feed."""
        [label] = self.http.get("/v1/models/m/labels").json()["labels"]
        assert label["name"] == "fraud"
        found: dict[str, Any] = label["feed"]
        return found

    def label(self) -> dict[str, Any]:
        """The counts of the label."""
        self.until_joined()
        [label] = self.http.get("/v1/models/m/labels").json()["labels"]
        found: dict[str, Any] = label
        return found

    def judged(self, at: datetime) -> bool:
        """Whether the feed was looked at as of a moment."""
        until = self.feed()["observed"]["until"]
        return until is not None and datetime.fromisoformat(until) >= at

    def pass_time(self, to: datetime) -> None:
        """Half an hour at a time: further than that would be a leap, after which nothing is judged for a while."""
        while self.clock.now() < to:
            self.clock.advance(min(to, self.clock.now() + 3 * TEN_MINUTES))
            judged = self.clock.now() - timedelta(minutes=1)
            at = judged - (judged - T0) % TEN_MINUTES
            eventually(partial(self.judged, at), 30)


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[ClockedServer]:
    """It, running."""
    server = ClockedServer(tmp_path / "data")
    server.start()
    yield server
    server.end()


def export(server: ClockedServer, **asked: Any) -> tuple[bytes, bytes, dict[str, str]]:
    """The bytes of an export, and the state of each row."""
    found = server.export(model="m", **asked)
    folder = Path(found["location"])
    rows = pq.read_table(folder / "part-00000.parquet").to_pylist()
    states = {row["request_id"]: row["label_state__fraud"] for row in rows}
    return (folder / "part-00000.parquet").read_bytes(), (folder / "manifest.json").read_bytes(), states


@pytest.mark.timeout(600)
def test_a_feed_that_falls_silent_censors_rows_and_exports_refuse(clocked: ClockedServer) -> None:
    """Opened by itself, as of the last label; refused and forced exports; as of a moment before, the same bytes as then."""
    assert clocked.http.put("/v1/models/m", json=CONFIG).status_code == 200
    events = [
        {"request_id": f"{hour}-{n}", "model": "m", "prediction": 0.5, "predicted_at": (T0 + hour * HOUR).isoformat()}
        for hour in range(6)
        for n in range(4)
    ]
    assert clocked.post("/v1/predictions", events).json()["accepted"] == 24
    labels = [{"request_id": f"{hour}-{n}", "name": "fraud", "value": 1} for hour in range(1) for n in range(3)]
    clocked.pass_time(T0 + 0.5 * HOUR)
    assert clocked.post("/v1/labels", labels).json()["accepted"] == 3
    clocked.until_joined()
    clocked.pass_time(T0 + 1.2 * HOUR)
    assert clocked.feed()["state"] == "closed"
    more = [{"request_id": f"1-{n}", "name": "fraud", "value": 1} for n in range(2)]
    assert clocked.post("/v1/labels", more).json()["accepted"] == 2
    clocked.until_joined()
    last = clocked.clock.now()
    clocked.pass_time(T0 + 2.1 * HOUR)
    before = clocked.clock.now()  # 0-3 is defaulted by now, 1-2 and 1-3 will not be
    clocked.clock.advance(before + timedelta(seconds=1))
    first = export(clocked, as_of=before.isoformat())
    assert first[2]["0-3"] == "defaulted"

    clocked.pass_time(T0 + 3.1 * HOUR)
    told = clocked.feed()
    assert (told["state"], told["opened_by"]) == ("open", "breaker")
    assert abs(datetime.fromisoformat(told["since"]) - last) < timedelta(seconds=1)
    label = clocked.label()
    # Closed are the windows of 00:00 (with one row without a label) and of 01:00 (with two).
    assert (label["labelled"], label["defaulted"], label["censored"], label["matured"]) == (5, 0, 3, 8)
    assert label["coverage"] == pytest.approx(5 / 8)
    [outcome] = clocked.story("1-3")["outcomes"]
    assert (outcome["state"], outcome["value"]) == ("censored", None)

    refused = clocked.post("/v1/exports", {"model": "m"})
    assert (refused.status_code, refused.json()["code"]) == (409, "label_feed_silent")
    assert refused.json()["censored"] == {"fraud": 3}
    *_, states = export(clocked, force=True)
    assert sorted(id_ for id_, state in states.items() if state == "censored") == ["0-3", "1-2", "1-3"]
    # Whoever asks as of a moment at which nobody knew gets what was known then, to the byte.
    assert export(clocked, as_of=before.isoformat()) == first
    clocked.kill()
    clocked.start()
    assert export(clocked, as_of=before.isoformat()) == first
    assert clocked.label()["censored"] == 3

    # Performance goes by whole hours: that of 01:00 is not closed yet.
    eventually(lambda: clocked.http.get("/v1/models/m/performance").json()["overall"]["censored"] == 1, 120)

    # Back again, and with the labels that were held back.
    clocked.pass_time(clocked.clock.now() + 0.5 * HOUR)
    back = [{"request_id": f"{hour}-{n}", "name": "fraud", "value": 0} for hour in (1, 2) for n in range(2, 4)]
    assert clocked.post("/v1/labels", back).json()["accepted"] == 4
    clocked.until_joined()
    clocked.pass_time(clocked.clock.now() + 0.4 * HOUR)
    told = clocked.feed()
    assert told["state"] == "closed"
    assert [one["action"] for one in told["changes"]] == ["open", "close"]
    label = clocked.label()
    assert (label["labelled"], label["censored"]) == (9, 1)

    runner = CliRunner()
    said = [
        "labels",
        "feed",
        "void",
        "--model",
        "m",
        "--label",
        "fraud",
        "--since",
        T0.isoformat(),
        "--url",
        clocked.url,
    ]
    done = runner.invoke(app, [*said, "--reason", "all labels came"])
    assert (done.exit_code, done.output) == (0, "not silent\n")
    label = clocked.label()
    assert (label["censored"], label["defaulted"]) == (0, 3)
    assert export(clocked)[2]["0-3"] == "defaulted"
    assert export(clocked, as_of=before.isoformat()) == first
