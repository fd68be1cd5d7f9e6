"""The loop, whole: a model service in its own process, labels in any order, joined, measured, exported."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from tests.faults.books import assert_books_balance
from tests.running import RunningServer
from tests.server import model_service
from tests.waiting import eventually

ROWS = 10_000


def send_labels(server: RunningServer, labels: list[dict[str, Any]]) -> None:
    """Post labels in batches, each again until it is answered: what a webhook sender does."""
    with httpx.Client(base_url=server.url, timeout=10) as http:
        for start in range(0, len(labels), 250):
            batch = labels[start : start + 250]

            def answered(batch: list[dict[str, Any]] = batch) -> bool:
                try:
                    answer = http.post("/v1/labels", json=batch)
                except httpx.TransportError:
                    return False
                if answer.status_code == 503:
                    return False
                assert answer.status_code == 200, answer.text
                assert answer.json()["rejected"] == 0
                return True

            eventually(answered, 60)


def labels_of(outcomes: list[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """Early labels (5 %), the rest shuffled with 10 % repeats and 2 % revised, and the value each request must end with."""
    rng = random.Random(3)
    right = {model_service.request_id(number): value for number, value in enumerate(outcomes)}
    made = []
    for number, value in enumerate(outcomes):
        observed = model_service.START + timedelta(hours=2, seconds=number)
        first = {"request_id": model_service.request_id(number), "name": "click", "observed_at": observed.isoformat()}
        if rng.random() < 0.02:
            made.append(first | {"value": 1 - value})
            made.append(first | {"value": value, "observed_at": (observed + timedelta(hours=1)).isoformat()})
        else:
            made.append(first | {"value": value})
    early, rest = made[: len(made) // 20], made[len(made) // 20 :]
    rest += rng.sample(made, len(made) // 10)
    rng.shuffle(rest)
    return early, rest, right


def run_the_loop(server: RunningServer, tmp_path: Path, *, kill: bool) -> tuple[dict[str, Any], dict[str, int]]:
    """Serve and label everything; returns what the service says it served, and the right labels."""
    config = {"labels": {"click": {"window": "1d"}}, "primary_label": "click"}
    assert server.http.put("/v1/models/clicks", json=config).status_code == 200
    _, outcomes = model_service.data(ROWS + 2000)
    early, rest, right = labels_of(outcomes[:ROWS].tolist())
    send_labels(server, early)
    served = tmp_path / "served.json"
    service = subprocess.Popen(
        [sys.executable, model_service.__file__, server.url, str(ROWS), str(served)], stderr=subprocess.PIPE
    )
    sender = threading.Thread(target=send_labels, args=(server, rest))
    sender.start()
    if kill:
        eventually(lambda: 500 < stored(server) < ROWS, 60, every_s=0.002)
        server.kill()
        server.start()
    sender.join()
    assert service.wait(180) == 0, service.stderr.read() if service.stderr else ""
    if service.stderr:
        service.stderr.close()
    server.until_joined()
    return json.loads(served.read_text()), right


def stored(server: RunningServer) -> int:
    """Predictions stored so far."""
    models = server.http.get("/v1/models").json()["models"]
    return sum(model["predictions"] for model in models if model["model"] == "clicks")


def equal(left: Any, right: Any) -> bool:
    """Equal in type and value, NaN included."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "killed in the middle"])
def test_every_prediction_is_exported_once_as_served_with_its_right_label(
    server: RunningServer, tmp_path: Path, kill: bool
) -> None:
    """10,000 predictions, labels in random order, repeated, early and revised; kill -9 changes nothing."""
    said, right = run_the_loop(server, tmp_path, kill=kill)
    assert said["complete"]
    found = server.export(model="clicks")
    manifest = found["manifest"]
    assert manifest["rows"] == ROWS
    assert manifest["states"] == {"labelled": ROWS}
    table = pq.ParquetDataset([f"{found['location']}/{file['path']}" for file in manifest["files"]]).read()
    rows = {row["request_id"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == ROWS
    for served in said["served"]:
        row = rows[served["request_id"]]
        assert equal(row["prediction"], served["prediction"])
        for name, value in served["features"].items():
            assert equal(row[f"feature__{name}"], value), (name, row[f"feature__{name}"], value)
        gone = "sometimes" not in served["features"]
        assert row["feature_kind__sometimes"] == ("absent" if gone else "float")
        assert row["label__click"] == right[served["request_id"]]
    scores = [served["prediction"] for served in said["served"]]
    truth = [right[served["request_id"]] for served in said["served"]]

    auc = roc_auc_score(truth, scores)

    def measured() -> bool:
        overall = server.http.get("/v1/models/clicks/performance").json()["overall"]
        assert overall["matured"] == ROWS
        assert overall["metrics"]["roc_auc"] == pytest.approx(auc, abs=1e-3)  # corrections are rolled up a moment later
        return True

    eventually(measured, 30)
    labels = server.http.get("/v1/models/clicks/labels").json()
    [click] = labels["labels"]
    assert (click["labelled"], click["pending"], click["orphans"], click["coverage"]) == (ROWS, 0, 0, 1.0)
    books = assert_books_balance(server)
    assert (books["stored"]["predictions"], books["stored"]["orphans"]) == (ROWS, 0)


def test_an_export_as_of_a_moment_is_the_same_bytes_after_more_labels_came(server: RunningServer) -> None:
    """As of T twice, the second time after labels, revisions, predictions, features and rules have changed: one SHA-256."""
    base = model_service.START

    def predict(numbers: range, **extra: Any) -> None:
        events = [
            {
                "request_id": f"r{n}",
                "model": "m",
                "prediction": n / 100,
                "predicted_at": (base + timedelta(minutes=n)).isoformat(),
                "features": {"x": n, **extra},
            }
            for n in numbers
        ]
        assert server.post("/v1/predictions", events).json()["accepted"] == len(numbers)

    def label(numbers: range, value: object, **extra: Any) -> None:
        events = [{"request_id": f"r{n}", "value": value, **extra} for n in numbers]
        assert server.post("/v1/labels", events).json()["accepted"] == len(numbers)

    predict(range(100))
    label(range(50), 1)
    first = server.export(model="m")
    as_of = first["manifest"]["as_of"]
    label(range(100), 0, source="late")
    label(range(20), "text", name="another")
    assert server.post("/v1/labels", [{"request_id": "r1", "op": "retract"}]).json()["accepted"] == 1
    predict(range(100, 150), colour="red", x="now a text")
    assert (
        server.http.put("/v1/models/m", json={"labels": {"label": {"window": "1m", "default": 5}}}).status_code == 200
    )
    again = server.export(model="m", as_of=as_of)
    assert again["manifest"] == first["manifest"]
    assert again["location"] != first["location"]
    for name in ("part-00000.parquet", "manifest.json"):
        assert (Path(first["location"]) / name).read_bytes() == (Path(again["location"]) / name).read_bytes()
    assert server.http.get("/v1/models/m/labels").json()["funnel"]["exported"] == 100
    now = server.export(model="m")["manifest"]
    assert now["rows"] == 150
    assert server.http.get("/v1/models/m/labels").json()["funnel"]["exported"] == 150
    assert now["sha256"] != first["manifest"]["sha256"]
    server.kill()
    server.start()
    assert server.export(model="m", as_of=as_of)["manifest"] == first["manifest"]
