"""The routes of monitoring over HTTP: parameters, status codes, problems, headers."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from fastapi import FastAPI

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from upshot_server import problems
from upshot_server.routes import drift, monitoring


@pytest.fixture(scope="module")
def http(parts: dict[str, Any]) -> Iterator[httpx.Client]:
    """The monitoring routes alone, with the server's error shape, over a real socket."""
    app = FastAPI()
    problems.install(app)
    app.include_router(drift.router(parts["monitor"]))
    app.include_router(monitoring.router(parts["monitor"]))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # before the server's thread runs, so that the first request waits instead of being refused
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join()
    listener.close()


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def serve(flywheel: Flywheel, rows: int = 300) -> None:
    flywheel.configure(labels={"y": {"window": "1h", "default": 0}})
    rng = np.random.default_rng(1)
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{i}",
            "features": {"x": float(rng.normal(0, 1))},
            "prediction": 0.5,
            "at": START + i * HOUR / 10,
        }
        for i in range(rows)
    )
    flywheel.roll()


def test_every_answer_is_json_with_times_in_utc(flywheel: Flywheel, http: httpx.Client) -> None:
    """Numbers are finite, times end with Z."""
    serve(flywheel)
    base = f"/v1/models/{flywheel.model}"
    for path in ("performance", "drift", "skew", "features/x", "compare?a=1&b=2", "references", "reports"):
        found = http.get(f"{base}/{path}")
        assert found.status_code == 200, path
        json.loads(found.content, parse_constant=pytest.fail)
    window = http.get(f"{base}/drift", params={"window": "6h", "end": "2024-03-05T01:00:00+01:00"}).json()["window"]
    assert window == {"start": "2024-03-04T18:00:00Z", "end": "2024-03-05T00:00:00Z"}
    days = http.get(f"{base}/performance", params={"start": "2024-03-04", "end": "2024-03-06T00:00:00Z"}).json()[
        "windows"
    ]
    assert [day["rows"] for day in days] == [240, 60]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/models/never-seen/drift", 404, "unknown_model"),
        ("/v1/models/never-seen/performance", 404, "unknown_model"),
        ("/v1/models/never-seen/skew", 404, "unknown_model"),
        ("/v1/models/never-seen/features/x", 404, "unknown_model"),
        ("/v1/models/never-seen/compare?a=1&b=2", 404, "unknown_model"),
        ("/v1/models/{model}/features/nope", 404, "unknown_feature"),
        ("/v1/models/{model}/compare?a=1", 422, "invalid_request"),
        ("/v1/models/{model}/drift?baseline=moon", 422, "invalid_request"),
        ("/v1/models/{model}/drift?start=yesterday", 422, "invalid_request"),
        ("/v1/models/{model}/drift?window=soon", 422, "invalid_duration"),
        ("/v1/models/{model}/drift?window=-1d", 422, "invalid_duration"),
        ("/v1/models/{model}/drift?start=2024-03-05T00:00:00Z&end=2024-03-04T00:00:00Z", 422, "invalid_range"),
        ("/v1/models/{model}/performance?window=90s", 422, "invalid_window"),
        ("/v1/models/{model}/performance?window=1h&start=1980-01-01T00:00:00Z", 422, "too_many_windows"),
        ("/v1/models/{model}/performance?segment=x", 422, "unknown_segment"),
        ("/v1/reports/none", 404, "unknown_report"),
        ("/v1/reports/none/html", 404, "unknown_report"),
    ],
)
def test_a_wrong_question_gets_a_problem_that_names_the_place(
    flywheel: Flywheel, http: httpx.Client, path: str, status: int, code: str
) -> None:
    """One error shape, a stable code, nothing of the store in it."""
    serve(flywheel, 5)
    found = http.get(path.format(model=flywheel.model))
    assert (found.status_code, found.headers["content-type"]) == (status, "application/problem+json")
    body = found.json()
    assert body["code"] == code
    assert {"type", "title", "status", "code", "errors"} <= set(body)
    assert "SELECT" not in found.text
    assert "DB::" not in found.text


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T00:00:00Z", "2200-01-01T00:00:00Z"]
)
def test_moments_at_the_ends_of_time_are_no_failure(flywheel: Flywheel, http: httpx.Client, moment: str) -> None:
    """Whatever RFC 3339 can say: an answer or a problem, never a 500."""
    serve(flywheel, 5)
    for path in ("drift", "skew", "performance", "features/x", "compare"):
        for name in ("start", "end"):
            found = http.get(f"/v1/models/{flywheel.model}/{path}", params={"a": "1", "b": "2", name: moment})
            assert found.status_code in (200, 422), (path, name, found.text)


def test_a_reference_is_the_body(flywheel: Flywheel, http: httpx.Client) -> None:
    """201 with what was understood; what is not Parquet is refused; too large is refused while it comes in."""
    address = f"/v1/models/{quote(flywheel.model)}/references"
    added = http.post(f"{address}?model_version=7", content=parquet(x=[1.0, 2.0, 3.0]))
    assert added.status_code == 201
    assert {name: added.json()[name] for name in ("model_version", "rows", "features", "ignored")} == {
        "model_version": "7", "rows": 3, "features": ["x"], "ignored": [],
    }  # fmt: skip
    assert [one["id"] for one in http.get(address).json()["references"]] == [added.json()["id"]]
    for wrong in (b"", b"{}", parquet(x=[1.0])[:-5]):
        found = http.post(address, content=wrong)
        assert (found.status_code, found.json()["code"]) == (422, "invalid_parquet")


def test_too_large_a_reference_is_refused_while_it_comes_in(
    flywheel: Flywheel, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """413, whether or not the length was said in advance."""
    monkeypatch.setattr(monitoring, "MAX_BYTES", 10_000)
    found = http.post(f"/v1/models/{flywheel.model}/references", content=iter([b"x" * 6_000] * 3))
    assert (found.status_code, found.json()["code"]) == (413, "too_large")


def test_reports_are_asked_for_and_shown_without_any_rights(
    flywheel: Flywheel, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """202 at once; the page comes sandboxed, with no network and no origin; unknown fields are refused."""
    serve(flywheel)
    asked = http.post(f"/v1/models/{flywheel.model}/reports", json={"window": "1d", "baseline": "previous"})
    assert (asked.status_code, set(asked.json())) == (202, {"id", "status"})
    assert http.post(f"/v1/models/{flywheel.model}/reports").status_code == 202
    assert http.post(f"/v1/models/{flywheel.model}/reports", json={"folder": "/etc"}).status_code == 422
    status = http.get(f"/v1/reports/{asked.json()['id']}").json()
    assert status["request"] == {"window": "1d", "baseline": "previous"}
    page = tmp_path / "report.html"
    page.write_text("<html><script>alert(1)</script></html>")
    monkeypatch.setattr(flywheel.monitor, "report_html", lambda _: page)
    shown = http.get(f"/v1/reports/{asked.json()['id']}/html")
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none';")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["content-type"].startswith("text/html")


def test_names_with_slashes_and_spaces_are_only_names(flywheel: Flywheel, http: httpx.Client) -> None:
    """A feature may be called anything."""
    name = "a/b c?%&"
    flywheel.serve(
        {"request_id": f"{flywheel.model}-{i}", "features": {name: i}, "at": START + DAY} for i in range(120)
    )
    flywheel.roll()
    found = http.get(f"/v1/models/{flywheel.model}/features/{quote(name, safe='')}")
    assert found.status_code == 200
    assert found.json()["feature"] == name
