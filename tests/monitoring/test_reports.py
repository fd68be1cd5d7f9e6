"""Evidently reports: a process of its own, our scores, and failures that are a status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.monitoring.conftest import START, Flywheel
from tests.waiting import eventually
from upshot_joiner.errors import Problem
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.reports import reports as module
from upshot_monitoring.reports.reports import Reports


@pytest.fixture
def reports(flywheel: Flywheel, tmp_path: Path) -> Iterator[Reports]:
    """Reports of the monitor's own preparation, in a folder of this test."""
    made = Reports(flywheel.store, flywheel.clock, tmp_path / "reports", flywheel.monitor._reports._prepare)
    made.start()
    yield made
    made.stop()


def serve(flywheel: Flywheel, folder: Path, rows: int = 7_000) -> None:
    rng = np.random.default_rng(1)
    training = {
        "feature__x": rng.normal(0, 1, rows), "c": rng.choice(["a", "b"], rows), "b": rng.random(rows) < 0.5,
        "v": list(rng.normal(0, 1, (rows, 2))), "nothing": [None] * rows, "gone": rng.random(rows),
    }  # fmt: skip
    pq.write_table(pa.table(training), folder / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, folder / "training.parquet")
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{i}",
            "features": {
                "x": float(rng.normal(0.7, 1)), "c": str(rng.choice(["a", "b"])), "b": bool(i % 2),
                "v": rng.normal(0, 1, 2).tolist(), "nothing": None,
            },
            "prediction": 0.5,
        }
        for i in range(rows)
    )  # fmt: skip
    flywheel.roll()


def finished(reports: Reports, report_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = reports.get(report_id)
        return found if found["status"] in ("done", "failed") else None

    found = eventually(look, timeout_s=150)
    assert found is not None
    return found


def test_a_report_has_the_scores_of_all_rows(flywheel: Flywheel, reports: Reports, tmp_path: Path) -> None:
    """Charts from 5,000 rows a side, numbers from all; broken columns are named and left out; the page loads nothing."""
    serve(flywheel, tmp_path)
    found = finished(reports, reports.submit(flywheel.model, {})["id"])
    assert found["error"] is None
    assert found["status"] == "done"
    result = found["result"]
    assert result["sampled_rows"] == {"reference": 5000, "current": 5000}
    assert {one["feature"] for one in result["left_out"]} == {"nothing", "gone"}
    ours = {row["feature"]: row for row in flywheel.monitor.drift(flywheel.model, Asked())["features"]}
    theirs = {one["config"]["column"]: one for one in result["evidently"]["metrics"] if "column" in one["config"]}
    assert set(theirs) == {"x", "c", "b", "v"}
    for name, metric in theirs.items():
        assert float(metric["value"]) == pytest.approx(ours[name]["statistic"], abs=1e-12)
    assert theirs["x"]["config"]["method"] == "upshot_wasserstein"
    page = reports.html(found["id"]).read_text("utf-8")
    assert "<html" in page[:2000]
    assert sorted(one.name for one in reports.html(found["id"]).parent.iterdir()) == [
        "current.parquet",
        "reference.parquet",
        "report.html",
        "report.json",
        "request.json",
    ]


def test_a_report_about_an_earlier_window_needs_no_reference(flywheel: Flywheel, tmp_path: Path) -> None:
    """What the worker is given for the baseline ``previous``: samples of both windows from the served rows."""
    for day in (0, 1):
        flywheel.serve(
            {
                "request_id": f"{flywheel.model}-{day}-{i}",
                "features": {"x": float(i), "c": "a"},
                "at": START.replace(day=4 + day),
            }
            for i in range(200)
        )
    flywheel.roll()
    about = flywheel.monitor._reports._prepare(flywheel.model, {"baseline": "previous", "window": "1d"}, tmp_path)
    assert about["sampled_rows"] == {"reference": 200, "current": 200}
    assert pq.read_table(tmp_path / "reference.parquet").column_names == [row["feature"] for row in about["features"]]
    work = json.loads((tmp_path / "request.json").read_text())
    assert {one["kind"] for one in work["columns"]} == {"numeric", "categorical"}


def test_what_cannot_be_reported_fails_with_the_reason(flywheel: Flywheel, reports: Reports) -> None:
    """Nothing served, too few rows: a status, not an exception."""
    flywheel.configure()
    nothing = finished(reports, reports.submit(flywheel.model, {})["id"])
    assert (nothing["status"], nothing["error"]) == ("failed", "nothing was served by this model yet")
    flywheel.serve([{"request_id": f"{flywheel.model}-0", "features": {"x": 1.0}}])
    flywheel.roll()
    few = finished(reports, reports.submit(flywheel.model, {})["id"])
    assert few["status"] == "failed"
    assert few["error"]
    with pytest.raises(Problem) as missing:
        reports.html(few["id"])
    assert missing.value.code == "report_not_ready"
    with pytest.raises(Problem) as unknown:
        reports.get("../../etc/passwd")
    assert unknown.value.code == "unknown_report"


@pytest.mark.parametrize(
    ("worker", "timeout_s", "reason"),
    [
        ("import sys; sys.exit('a traceback')", 60.0, "Evidently could not make the report"),
        ("import time; time.sleep(60)", 0.5, "not done after 0.5 s"),
    ],
)
def test_a_worker_that_fails_or_hangs_is_ended(
    flywheel: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: str, timeout_s: float, reason: str
) -> None:
    """Its folder is removed, the status says why, the next report is still made."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "broken_worker.py").write_text(worker)
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.setattr(module, "_WORKER", "broken_worker")
    made = Reports(flywheel.store, flywheel.clock, tmp_path / "reports", lambda *_: {}, timeout_s=timeout_s)
    made.start()
    try:
        for _ in range(2):
            found = finished(made, made.submit(flywheel.model, {})["id"])
            assert found["status"] == "failed"
            assert reason in found["error"]
        assert list((tmp_path / "reports").iterdir()) == []
    finally:
        made.stop()


def test_a_report_that_was_cut_off_is_failed_after_the_restart(flywheel: Flywheel, tmp_path: Path) -> None:
    """Queued and never made: the next server says so."""
    left = Reports(flywheel.store, flywheel.clock, tmp_path, lambda *_: {})
    report_id = left.submit(flywheel.model, {})["id"]
    assert left.get(report_id)["status"] == "queued"
    restarted = Reports(flywheel.store, flywheel.clock, tmp_path, lambda *_: {})
    restarted.start()
    restarted.stop()
    assert restarted.get(report_id)["status"] == "failed"


def test_the_server_never_imports_evidently() -> None:
    """Importing all of monitoring but the worker loads neither Evidently nor pandas."""
    code = (
        "import sys, upshot_monitoring.monitor, upshot_server.routes.monitoring, upshot_server.routes.drift;"
        "print(sorted(set(sys.modules) & {'evidently', 'pandas', 'plotly', 'sklearn', 'litestar'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
