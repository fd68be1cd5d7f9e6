"""Runs the whole server in this process with a canary in every name and value, and prints every statement that holds it.

Run as ``python record_statements.py FOLDER CANARY``; prints a JSON document with the number of statements and the bad ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.testclient import TestClient

from upshot_joiner.clock import SystemClock
from upshot_joiner.store.client import Store
from upshot_server.app import create_app
from upshot_server.parts import Parts
from upshot_server.settings import Settings

seen: list[str] = []


def record(name: str) -> None:
    """Note every statement that goes through a method of the store."""
    method: Callable[..., Any] = getattr(Store, name)

    def recorded(self: Store, sql: str, *rest: Any, **named: Any) -> Any:
        seen.append(sql)
        return method(self, sql, *rest, **named)

    setattr(Store, name, recorded)


def main(folder: Path, canary: str) -> None:
    """Use everything once, with the canary wherever a request can put a text."""
    for name in ("query", "arrow", "command", "insert"):
        record(name)
    app = create_app(Parts.open(Settings(data_dir=folder), SystemClock()))
    with TestClient(app, base_url="http://127.0.0.1") as http:
        config = {
            "labels": {canary: {"window": "1m", "default": canary, "source_priority": [canary]}},
            "primary_label": canary,
            "positive": canary,
            "segments": [f"features.{canary}", f"tags.{canary}"],
            "drift": {"features": {canary: {"threshold": 0.2}}},
        }
        assert http.put(f"/v1/models/{canary}", json=config).status_code == 200
        start = datetime.now(UTC) - timedelta(days=3)
        for version in ("1", canary):
            events = [
                {
                    "request_id": f"{canary}{n}",
                    "model": canary,
                    "model_version": version,
                    "item_id": canary,
                    "predicted_at": (start + timedelta(minutes=n)).isoformat(),
                    "features": {canary: n / 3, f"{canary}-text": canary, f"{canary}-mixed": n if n % 2 else canary},
                    "probabilities": {canary: n / 200, "other": 1 - n / 200},
                    "prediction": canary,
                    "entities": {canary: canary},
                    "tags": {canary: canary},
                    "action": canary,
                    "writer_id": canary,
                    "seq": n,
                }
                for n in range(200)
            ]
            assert http.post("/v1/predictions", json=events).json()["accepted"] == 200
        labels = [
            {
                "request_id": f"{canary}{n}",
                "item_id": canary,
                "name": canary,
                "value": [canary, "x"][n % 2],
                "source": canary,
                "tags": {canary: canary},
            }
            for n in range(150)
        ]
        assert http.post("/v1/labels", json=labels).json()["accepted"] == 150
        fields = {"request_id": "r", "name": {"const": canary}, "value": "v", "tags": {canary: "r"}}
        hook = {"signature": {"scheme": "none"}, "mapping": {"id": "r", "headers": ["x-c"], "fields": fields}}
        assert http.put("/v1/hooks/source", json=hook).status_code == 200
        assert http.post("/v1/hooks/source", json={"r": f"{canary}7", "v": canary}).json()["accepted"] == 1
        assert http.post("/v1/hooks/source", json={"r": canary}, headers={"x-c": canary}).status_code == 202
        assert http.post("/v1/hooks/source/replay").json()["waiting"] == 1
        assert http.get("/v1/hooks/source?bodies=true").status_code == 200
        of_entity = [
            {
                "entity": {canary: canary},
                "item_id": canary,
                "name": canary,
                "value": "x",
                "source": canary,
                "model": model,
                "observed_at": (start + timedelta(minutes=199)).isoformat(),
            }
            for model in (canary, "")
        ]
        assert http.post("/v1/labels", json=of_entity).json()["accepted"] == 2
        said = {
            "writer_id": canary,
            "host": canary,
            "sdk": canary,
            "counters": {f"dropped_{canary}": 5},
            "next_seq": 300,
        }
        times = {"reported_at": start.isoformat(), "started_at": start.isoformat()}
        event = {
            "specversion": "1.0",
            "id": canary,
            "source": canary,
            "inferenceservicename": canary,
            "namespace": canary,
        }
        kind = "org.kubeflow.serving.inference."
        halves = [
            {**event, "type": f"{kind}request", "data": {"instances": [{canary: canary}]}},
            {**event, "type": f"{kind}response", "data": {"predictions": [{canary: 0.5, "other": 0.5}]}},
            {**event, "type": f"{kind}response", "id": f"{canary}2", "data": {"predictions": [canary]}},
        ]
        form = {"content-type": "application/cloudevents-batch+json"}
        assert http.post("/v1/cloudevents", content=json.dumps(halves), headers=form).json()["accepted"] == 3
        assert http.get("/v1/cloudevents").json()["waiting"]["responses"] == 1
        note = {"watermark": {"kind": "text", "value": canary}}
        assert http.put(f"/v1/pulls/{canary}", json=note).json()["watermark"]["value"] == canary
        assert http.get(f"/v1/pulls/{canary}").json() == http.get("/v1/pulls").json()["pulls"][0]
        assert http.post("/v1/writers", json=said | times).json()["accepted"] == 1
        told = http.get(f"/v1/writers/{canary}").json()
        assert (told["received"], told["explained"]) == (200, {canary: 5})
        assert len(http.get(f"/v1/writers?model={canary}&state=waiting").json()["writers"]) == 1
        deadline = time.monotonic() + 150
        path = f"/v1/models/{canary}"
        entity = f"/v1/entities/{quote(canary, safe='')}/{quote(canary, safe='')}"
        while any(one["waits"] for one in http.get(entity).json()["label_events"]) and time.monotonic() < deadline:
            time.sleep(0.05)
        while http.get("/v1/status").json()["requests_to_join"] and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)  # one turn of the roll-up
        for question in (
            "", "/labels", "/traffic", "/drift", "/drift?baseline=previous", "/skew", f"/features/{canary}",
            f"/performance?label={canary}", f"/performance?version={canary}",
            f"/performance?segment=tags.{canary}", f"/performance?segment=features.{canary}",
            f"/compare?a=1&b={canary}",
        ):  # fmt: skip
            answer = http.get(path + question)
            assert answer.status_code < 500, (question, answer.text)
        feed = f"{path}/labels/{canary}/feed"
        opened = {"action": "open", "since": start.isoformat(), "reason": canary}
        assert http.post(feed, json=opened).json()["state"] == "open"
        assert http.get(f"{path}/labels").json()["labels"][0]["feed"]["changes"][0]["reason"] == canary
        assert http.get(f"{path}/performance?label={canary}").status_code == 200
        assert http.post("/v1/exports", json={"model": canary}).status_code == 409
        assert http.post(feed, json={"action": "void", "since": start.isoformat()}).json()["state"] == "closed"
        assert http.get(f"/v1/predictions/{canary}1").status_code == 200
        id_ = http.post("/v1/exports", json={"model": canary}).json()["id"]
        while http.get(f"/v1/exports/{id_}").json()["status"] in ("queued", "running") and time.monotonic() < deadline:
            time.sleep(0.05)
        export = http.get(f"/v1/exports/{id_}").json()
        assert export["status"] == "done", export
        part = (Path(export["location"]) / "part-00000.parquet").read_bytes()
        headers = {"content-type": "application/vnd.apache.parquet"}
        added = http.post(f"{path}/references?model_version={canary}", content=part, headers=headers)
        assert added.status_code < 300, added.text
        assert http.get(f"{path}/skew").status_code == 200
        assert http.put(path, json=config | {"positive": "other"}).status_code == 200
    print(json.dumps({"statements": len(seen), "bad": [sql for sql in seen if canary in sql]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
