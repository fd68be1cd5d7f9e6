"""Answers and reports as Python: the lines that were downloaded are run, and find the numbers of the page."""

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
from tests.waiting import eventually

MODEL = "as \"code\" '''{x}<b>\u2028"
NAME = 'x"""\\<script>\'{y}'
PATH = f"/v1/models/{quote(MODEL)}"
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A model whose names try to break out of the lines, with a reference from which one feature drifted."""
    running = RunningServer(tmp_path_factory.mktemp("as-code") / "data")
    running.start()
    config = {"labels": {"y": {"window": "1h", "default": 0}}, "primary_label": "y"}
    running.http.put(PATH, json=config).raise_for_status()
    rng = np.random.default_rng(3)
    events = [
        {
            "request_id": f"c{n}", "model": MODEL, "prediction": float(rng.random()),
            "predicted_at": (START + timedelta(minutes=n)).isoformat(),
            "features": {NAME: float(rng.normal(1, 1)), "same": float(rng.normal(0, 1)), "c": "ab"[n % 2], "empty": None},
            "feature_times": {NAME: (START + timedelta(minutes=n - 5 - n % 7)).isoformat()},
            "attributions": {NAME: float(rng.normal(0, 1)), "same": 0.1},
        }
        for n in range(1200)
    ]  # fmt: skip
    assert running.post("/v1/predictions", events).json()["accepted"] == 1200
    labels = [{"request_id": f"c{n}", "name": "y", "value": n % 2} for n in range(1200)]
    assert running.post("/v1/labels", labels).json()["accepted"] == 1200
    table = pa.table(
        {NAME: rng.normal(0, 1, 2000), "same": rng.normal(0, 1, 2000), "c": ["a", "b"] * 1000, "empty": pa.nulls(2000)}
    )
    pq.write_table(table, body := io.BytesIO())
    running.http.post(f"{PATH}/references", content=body.getvalue()).raise_for_status()
    running.until_joined()
    eventually(lambda: _verdicts(running).get(NAME) == "drift" and _verdicts(running).get("same") == "ok", 60)
    yield running
    running.end()


def _verdicts(server: RunningServer) -> dict[str, str]:
    found = server.http.get(f"{PATH}/skew").json()["features"]
    return {one["feature"]: one["verdict"] for one in found}


def run(lines: str, more: str, folder: Path) -> str:
    """Run downloaded lines, and more after them, as a person would: a file, an interpreter, nothing of ours."""
    file = folder / "downloaded.py"
    file.write_text(lines + more, "ascii")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "UPSHOT_URL")}
    done = subprocess.run(
        [sys.executable, file.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "question",
    [
        "drift", "drift?baseline=previous&window=6h", "drift?exact=true", "skew", "skew?window=12h",
        "performance?window=6h", "performance?segment=features.c", f"features/{quote(NAME)}?window=12h",
        "freshness?window=12h", "attributions?window=12h",
    ],
)  # fmt: skip
def test_the_lines_of_an_answer_find_its_numbers(server: RunningServer, tmp_path: Path, question: str) -> None:
    """Drift, skew, performance, one feature: with the range as it was resolved, so that tomorrow they ask for the same."""
    address = f"{PATH}/{question}"
    shown = server.http.get(address).raise_for_status().json()
    got = server.http.get(f"{address}{'&' if '?' in address else '?'}code=true")
    assert got.headers["content-type"].startswith("text/x-python")
    assert got.headers["content-disposition"].startswith("attachment;")
    assert "httpx.get(" in got.text
    again = json.loads(run(got.text, "\nimport json\nprint('\\n' + json.dumps(answer))\n", tmp_path).splitlines()[-1])
    for name in ("features", "ranking", "windows", "overall", "histogram", "statistic", "segments"):
        assert again.get(name) == shown.get(name), name


def test_the_lines_of_a_report_make_the_same_report(server: RunningServer, tmp_path: Path) -> None:
    """Every metric and every test of the page, from the report's own samples; what was downloaded needs nothing of ours."""
    found = made(server)
    lines = server.http.get(found["code"]).raise_for_status().text
    assert "upshot_monitoring" not in lines
    run(lines, "", tmp_path)
    again = json.loads((tmp_path / f"report-{found['id']}.json").read_text())
    theirs = json.loads(json.dumps(found["result"]["evidently"]))
    assert [one["value"] for one in again["metrics"]] == [one["value"] for one in theirs["metrics"]]
    assert [one["config"] for one in again["metrics"]] == [one["config"] for one in theirs["metrics"]]
    assert [(one["name"], one["status"]) for one in again["tests"]] == [
        (one["name"], one["status"]) for one in theirs["tests"]
    ]
    assert "<html" in (tmp_path / f"report-{found['id']}.html").read_text()[:2000]


def test_a_report_is_a_test_suite_as_well(server: RunningServer) -> None:
    """One test for each feature with our verdict, also of the one that nobody can judge; the list has it, too."""
    found = made(server)
    suite = found["result"]["suite"]
    assert {one["feature"]: one["status"] for one in suite["tests"] if one["feature"]} == {
        NAME: "failed", "same": "passed", "c": "passed", "empty": "no_verdict",
    }  # fmt: skip
    assert (suite["status"], suite["failed"], suite["no_verdict"]) == ("failed", 1, 1)
    assert suite["passed"] == 3, "two features, and the share of features that drifted"
    listed = server.http.get(f"{PATH}/reports").json()["reports"]
    assert found["id"] in {one["id"] for one in listed if one["result"]["suite"]["status"] == "failed"}


def test_no_other_file_of_a_report_can_be_had(server: RunningServer) -> None:
    found = made(server)
    for name in ("report.html", "..%2freport.html", "stderr.txt"):
        assert server.http.get(f"/v1/reports/{found['id']}/files/{name}").status_code == 404, name
    assert server.http.get("/v1/reports/nothing/code").json()["code"] == "unknown_report"


def made(server: RunningServer) -> dict[str, Any]:
    """The one report of these tests."""
    known = server.http.get(f"{PATH}/reports").json()["reports"]
    id_ = known[0]["id"] if known else server.post(f"{PATH}/reports", {"baseline": "reference"}).json()["id"]

    def look() -> dict[str, Any] | None:
        report: dict[str, Any] = server.http.get(f"/v1/reports/{id_}").json()
        return report if report["status"] in ("done", "failed") else None

    found = eventually(look, 150)
    assert found is not None
    assert found["status"] == "done", found["error"]
    return found
