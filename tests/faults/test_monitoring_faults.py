"""What monitoring does when it fails, and what nobody else notices of it (row F41)."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.books import assert_books_balance
from tests.running import RunningServer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)

N_FEATURES = 1_000 if os.environ.get("UPSHOT_TEST_LONG") else 300
ROWS = 150
BROKEN: dict[str, Any] = {"constant": 7.0, "empty": None, "nothing": float("nan"), "new": "never seen in training"}


class Sender:
    """Predictions of another model, one request after the other, while something happens; each must be answered."""

    def __init__(self, server: RunningServer) -> None:
        self.refused: list[int] = []
        self.sent = 0
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _work(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=120) as http:
            while not self._done.is_set():
                event = {"request_id": f"other-{self.sent}", "model": "other", "features": {"x": self.sent}}
                status = http.post("/v1/predictions", json=[event]).status_code
                self.sent += 1
                if status != 200:
                    self.refused.append(status)
                time.sleep(0.02)


def reference() -> bytes:
    """A training set of as many columns, as Parquet."""
    rng = np.random.default_rng(7)
    columns: dict[str, Any] = {f"f{n}": rng.normal(size=ROWS) for n in range(N_FEATURES)}
    columns |= {"constant": [7.0] * ROWS, "empty": [1.0] * ROWS, "nothing": [1.0] * ROWS, "new": ["a"] * ROWS}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def serve(server: RunningServer) -> None:
    """As many rows of as many features, four of them broken."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(ROWS, N_FEATURES))
    for start in range(0, ROWS, 50):
        events = [
            {
                "request_id": f"r{row}",
                "model": "wide",
                "features": {f"f{n}": value for n, value in enumerate(values[row].tolist())}
                | {name: value for name, value in BROKEN.items() if name != "nothing"},
            }
            for row in range(start, start + 50)
        ]
        for event in events:
            event["features"]["nothing"] = "NaN"
        body = "[" + ",".join(map(_as_json, events)) + "]"
        answer = server.http.post("/v1/predictions", content=body, headers={"content-type": "application/json"})
        assert answer.json()["accepted"] == 50, answer.text[:300]


def _as_json(event: dict[str, Any]) -> str:
    import json

    return json.dumps(event).replace('"nothing": "NaN"', '"nothing": NaN')


def worker_of(server: RunningServer) -> int | None:
    """The process that makes a report for the server."""
    assert server._process is not None
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"evidently_worker" in command and parent == server._process.pid:
            return int(folder.name)
    return None


def test_a_report_that_dies_is_failed_and_nothing_else_notices(server: RunningServer) -> None:
    """F41: hundreds of features, four of them broken; the report's process is killed; intake, drift and the page go on."""
    serve(server)
    uploaded = server.http.post("/v1/models/wide/references", content=reference(), timeout=120)
    assert uploaded.status_code in (200, 201), uploaded.text

    alarms: set[str] = set()  # also while nothing, or a part, is rolled up

    def judged() -> dict[str, dict[str, Any]]:
        answer = server.http.get("/v1/models/wide/skew", timeout=120)
        assert answer.status_code == 200, answer.text
        found = {row["feature"]: row for row in answer.json()["features"]}
        alarms.update(name for name, row in found.items() if name.startswith("f") and row["verdict"] == "drift")
        assert {row["rows_current"] for name, row in found.items() if name.startswith("f")} == {ROWS}
        assert found["f0"]["rows_reference"] == ROWS
        return found

    with Sender(server) as sender:
        found = eventually(judged, 240, 2.0)
        asked = server.post("/v1/models/wide/reports", {})
        assert asked.status_code in (200, 201, 202), asked.text
        report = f"/v1/reports/{asked.json()['id']}"
        victim = eventually(lambda: worker_of(server), 120)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        told = eventually(lambda: (one := server.http.get(report).json())["status"] == "failed" and one, 60)
        page = server.http.get("/models/wide")
    assert told["error"]
    assert told["html"] is None
    assert server.http.get(f"{report}/html").status_code == 404
    assert (sender.refused, page.status_code) == ([], 200)
    assert sender.sent > 0
    assert alarms == set()
    assert found["constant"]["verdict"] == "ok"
    for name in ("empty", "nothing", "new"):
        assert found[name]["verdict"] == "drift", found[name]
    assert {row["verdict"] for row in found.values()} <= {"ok", "drift", "no_verdict"}
    assert_books_balance(server)
    assert server.http.get("/v1/models").json()["models"][0]["predictions"] > 0
