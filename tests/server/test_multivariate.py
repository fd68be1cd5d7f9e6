"""Multivariate drift as a user has it: over HTTP, on the command line, as Python, after a kill; embedded and on ClickHouse."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.running import RunningServer
from tests.running_clickhouse import RunningClickHouse, require_clickhouse
from tests.waiting import eventually

MODEL = "shop/fraud"
HOSTILE = '\'; DROP TABLE x --\n"""'
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
ROWS = 400


class OnClickHouse(RunningServer):
    """A server whose store is a ClickHouse server."""

    def __init__(self, data: Path, store: RunningClickHouse) -> None:
        super().__init__(data)
        self._store = store

    def command(self) -> list[str]:
        """What is run."""
        up = [sys.executable, "-m", "upshot_server", "serve", "--clickhouse", self._store.url]
        return [*up, "--data", str(self.data), "--port", str(self.port)]

    def end(self) -> None:
        """The server first, then its store."""
        super().end()
        self._store.stop()


@pytest.fixture(scope="module", params=["embedded", "clickhouse"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Yesterday's predictions, whose two features do not hang together any more as they did in the training set."""
    folder = tmp_path_factory.mktemp("multivariate")
    if request.param == "clickhouse":
        require_clickhouse()
        store = RunningClickHouse(folder / "store")
        store.start()
        running: RunningServer = OnClickHouse(folder / "data", store)
    else:
        running = RunningServer(folder / "data")
    running.start()
    rng = np.random.default_rng(1)
    pair = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], ROWS)
    table = pa.table({"a": pair[:, 0], HOSTILE: pair[:, 1], "kind": rng.choice(["x", "y"], ROWS)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    kind = {"content-type": "application/vnd.apache.parquet"}
    added = running.http.post(f"/v1/models/{MODEL}/references", content=buffer.getvalue(), headers=kind)
    assert added.status_code == 201, added.text
    events = [
        {
            "request_id": f"r{i}", "model": MODEL, "prediction": 0.5,
            "predicted_at": (DAY + i * timedelta(minutes=3)).isoformat(),
            "features": {"a": rng.normal(), HOSTILE: rng.normal(), "kind": ["x", "y"][i % 2]},
        }
        for i in range(ROWS)
    ]  # fmt: skip
    assert running.post("/v1/predictions", events).json()["accepted"] == ROWS
    running.until_joined()
    yield running
    running.end()


def finished(server: RunningServer, id_: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = server.http.get(f"/v1/multivariate-drifts/{id_}").json()
        return found if found["status"] in ("done", "failed") else None

    found = eventually(look, 240)
    assert found is not None
    return found


def upshot(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "upshot_server", "multivariate", "--model", MODEL, "--url", server.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_comparison_is_asked_for_made_listed_and_made_again_by_its_own_lines(
    server: RunningServer, tmp_path: Path
) -> None:
    """Both methods say drift of a broken correlation; the lines of Python come to the same two numbers."""
    asked = server.post(f"/v1/models/{quote(MODEL, safe='')}/multivariate-drifts", {})
    assert asked.status_code == 202, asked.text
    assert asked.json()["status"] == "queued"
    found = finished(server, asked.json()["id"])
    assert found["error"] is None
    result = found["result"]
    assert result["baseline"] == "reference"
    assert result["rows"] == {"reference": ROWS, "current": ROWS}
    assert result["features"] == sorted(["a", HOSTILE, "kind"])
    assert {one["method"]: one["verdict"] for one in result["methods"]} == {
        "domain_classifier": "drift",
        "pca_reconstruction": "drift",
    }
    assert {one["feature"] for one in result["methods"][0]["importance"][:2]} == {"a", HOSTILE}
    listed = server.http.get(f"/v1/models/{MODEL}/multivariate-drifts").json()["multivariate_drifts"]
    assert listed[0]["id"] == found["id"]
    assert "features" not in listed[0]["result"]
    lines = server.http.get(found["code"])
    assert lines.headers["content-type"].startswith("text/x-python")
    assert HOSTILE not in lines.text
    (tmp_path / "again.py").write_text(lines.text)
    ran = subprocess.run(
        [sys.executable, tmp_path / "again.py"], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    again = {line.split()[0]: float(line.split()[1]) for line in ran.stdout.splitlines()}
    assert again == pytest.approx({one["method"]: one["statistic"] for one in result["methods"]}, rel=1e-9)
    missing = server.http.get(f"/v1/multivariate-drifts/{found['id']}/files/reference.parquet")
    assert (missing.status_code, missing.json()["code"]) == (404, "samples_not_kept")


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_the_command_ends_with_3_where_a_method_says_drift(server: RunningServer) -> None:
    """For a pipeline; and a hostile name is shown as it is, without its line break. What is left out is none of it."""
    ran = upshot(server, "--method", "pca_reconstruction")
    assert ran.returncode == 3, ran.stderr
    assert "pca_reconstruction" in ran.stdout
    quiet = upshot(server, "--method", "domain_classifier", "--without", HOSTILE, "--json")
    assert quiet.returncode == 0, quiet.stdout + quiet.stderr
    told = json.loads(quiet.stdout)["result"]
    assert {"feature": HOSTILE, "reason": "it was asked to be left out"} in told["left_out"]
    asked = upshot(server, "--no-wait", "--json")
    assert (asked.returncode, json.loads(asked.stdout)["status"]) == (0, "queued")
    assert upshot(server, "--method", "magic").returncode == 1


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_bad_questions_have_a_place_and_unknown_ones_are_404(server: RunningServer) -> None:
    path = f"/v1/models/{MODEL}/multivariate-drifts"
    for body, loc in (({"rows": -1}, "rows"), ({"thresholds": {"x": 1}}, "thresholds"), ({"window": "soon"}, "window")):
        refused = server.post(path, body)
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, loc)
    assert server.post(path, {"revision": 1}).status_code == 422
    assert server.http.get("/v1/multivariate-drifts/nothing").json()["code"] == "unknown_multivariate_drift"
    assert server.http.get("/v1/models/nobody/multivariate-drifts").json()["code"] == "unknown_model"


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_a_killed_server_leaves_no_comparison_hanging(server: RunningServer) -> None:
    """kill -9 while one is made: failed after the restart, with the reason; its worker does not live on; the next one is made."""
    path = f"/v1/models/{MODEL}/multivariate-drifts"
    id_ = server.post(path, {}).json()["id"]
    eventually(lambda: server.http.get(f"/v1/multivariate-drifts/{id_}").json()["status"] == "running", 60)
    server.kill()
    server.start()
    found = finished(server, id_)
    assert (found["status"], found["error"]) == (
        "failed",
        "the server stopped before it was compared; ask for it again",
    )
    assert not (server.data / "multivariate" / id_).exists()
    assert not [one for one in Path("/proc").glob("[0-9]*/cmdline") if id_ in _read(one)]
    again = server.post(path, {"methods": ["pca_reconstruction"]}).json()["id"]
    assert finished(server, again)["status"] == "done"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
