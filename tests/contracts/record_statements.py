"""Runs the whole server in this process with a canary in every name and value, and prints every statement that holds it.

Run as ``python record_statements.py FOLDER CANARY``; prints a JSON document with the number of statements, the bad ones, and the
routes of the OpenAPI document that were not used (with success, so that their statements were run).
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from upshot_joiner.clock import SystemClock
from upshot_joiner.store.client import Store
from upshot_server.app import create_app
from upshot_server.parts import Parts
from upshot_server.settings import Settings

seen: list[str] = []
used: set[tuple[str, str]] = set()
"""Method and path, as the OpenAPI document has them, of every request that was answered with success."""


def record(name: str) -> None:
    """Note every statement that goes through a method of the store."""
    method: Callable[..., Any] = getattr(Store, name)

    def recorded(self: Store, sql: str, *rest: Any, **named: Any) -> Any:
        seen.append(sql)
        return method(self, sql, *rest, **named)

    setattr(Store, name, recorded)


class Recorder:
    """Around an application: notes which of its routes answer."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and note."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                used.add((scope["method"], getattr(scope.get("route"), "path_format", "")))  # as the router noted it
            await send(message)

        await self._app(scope, receive, noted)

    def unused(self) -> list[str]:
        """Routes of the OpenAPI document that never answered with success."""
        paths = self._app.openapi()["paths"]
        documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        return sorted(f"{method} {path}" for method, path in documented - used)


def until(done: Callable[[], object], seconds: float = 240) -> None:
    """Wait for something that is made beside the requests."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def main(folder: Path, canary: str) -> None:
    """Use everything once, with the canary wherever a request can put a text."""
    for name in ("query", "arrow", "command", "insert"):
        record(name)
    settings = Settings(data_dir=folder, config_file=channels(folder))
    app = Recorder(create_app(Parts.open(settings, SystemClock())))
    with TestClient(app, base_url="http://127.0.0.1") as http:
        config = {
            "labels": {canary: {"window": "1m", "default": canary, "source_priority": [canary]}},
            "primary_label": canary,
            "positive": canary,
            "segments": [f"features.{canary}", f"tags.{canary}"],
            "drift": {
                "features": {canary: {"threshold": 0.2, "max_age": "1h"}},
                "multivariate": ["domain_classifier"],
                "multivariate_without": [canary],
            },
            "alerts": rules_about(canary),
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
                    "features": {
                        canary: n / 3,
                        f"{canary}-text": canary,
                        f"{canary}-mixed": n if n % 2 else canary,
                        f"{canary}-v": [n, 1],
                    },
                    "probabilities": {canary: n / 200, "other": 1 - n / 200},
                    "prediction": canary,
                    "entities": {canary: canary},
                    "tags": {canary: canary},
                    "feature_times": {canary: start.isoformat()},
                    "attributions": {canary: n / 3, "other": 1.0},
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
        assert http.get("/v1/hooks").json() == {"sources": ["source"]}
        tried = {"body": {"r": canary, "v": canary}, "headers": {"x-c": canary}}
        assert http.post("/v1/hooks/source/preview", json=tried).json()["events"][0]["value"] == canary
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
        path = f"/v1/models/{canary}"
        entity = f"/v1/entities/{quote(canary, safe='')}/{quote(canary, safe='')}"
        until(lambda: not any(one["waits"] for one in http.get(entity).json()["label_events"]))
        until(lambda: not http.get("/v1/status").json()["requests_to_join"])
        time.sleep(2)  # one turn of the roll-up
        for question in (
            "", "/labels", "/traffic", "/drift", "/drift?baseline=previous", "/skew", "/freshness",
            "/attributions", f"/features/{canary}", f"/features/{canary}?role=freshness&exact=true",
            f"/performance?label={canary}", f"/performance?version={canary}",
            f"/performance?segment=tags.{canary}", f"/performance?segment=features.{canary}",
            f"/performance?exact=true&label={canary}",
            f"/verdicts?feature={canary}&history=true", f"/verdicts?version={canary}",
            f"/policy?label={canary}", f"/policy?target={canary}", f"/policy?version={canary}",
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
        until(lambda: http.get(f"/v1/exports/{id_}").json()["status"] not in ("queued", "running"))
        assert http.get("/v1/exports").status_code == 200
        assert http.get(f"/v1/exports/{id_}/files/part-00000.parquet").status_code == 200
        export = http.get(f"/v1/exports/{id_}").json()
        assert export["status"] == "done", export
        part = (Path(export["location"]) / "part-00000.parquet").read_bytes()
        headers = {"content-type": "application/vnd.apache.parquet"}
        added = http.post(f"{path}/references?model_version={canary}", content=part, headers=headers)
        assert added.status_code < 300, added.text
        assert http.get(f"{path}/skew").status_code == 200
        assert http.get(f"{path}/references").status_code == 200
        assert http.put(path, json=config | {"positive": "other"}).status_code == 200
        alerted(http, path, canary)
        refused_and_waiting(http, canary)
        verified(http, canary)
        rows_compared(http, path, canary)
        all_together(http, path, canary)
        report = http.post(f"{path}/reports", json={"version": canary}).json()["id"]
        until(lambda: http.get(f"/v1/reports/{report}").json()["status"] not in ("queued", "running"))
        assert http.get(f"/v1/reports/{report}/html").status_code == 200, http.get(f"/v1/reports/{report}").text
        assert http.get(f"/v1/reports/{report}/code").status_code == 200
        assert http.get(f"/v1/reports/{report}/files/current.parquet").status_code == 200
        for question in (
            "drift",
            "skew",
            "freshness",
            "attributions",
            f"features/{canary}",
            f"performance?label={canary}",
        ):
            lines = http.get(f"{path}/{question}{'&' if '?' in question else '?'}code=true")
            assert lines.status_code == 200, (question, lines.text)
        assert http.get(f"{path}/reports").status_code == 200
        for question in ("/v1/models", "/healthz", "/readyz"):
            assert http.get(question).status_code == 200
    bad = [sql for sql in seen if canary in sql]
    print(json.dumps({"statements": len(seen), "bad": bad, "unused": app.unused()}))


def channels(folder: Path) -> Path:
    """A configuration file with a channel that leads nowhere."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "alerting.yaml"
    file.write_text(
        "alerting: {every: 1s, channels: {nowhere: {kind: webhook, url: {env: NO_URL}, secrets: [{env: NO_SECRET}]}}}\n"
    )
    return file


def rules_about(canary: str) -> list[dict[str, Any]]:
    """Rules with the canary in every text that a rule has."""
    text = json.dumps(canary)
    asked = (
        f"drift.statistic[feature={text}, version={text}] > 0", f"drift.share[version={text}] > 0", "drift.share > 0",
        "drift.multivariate > 0",
        f'drift.verdict[role=label, feature={text}, baseline="previous"] == drift', f"skew.p_value[feature={text}] < 1",
        f"freshness.p99[feature={text}, version={text}] > 0", f"freshness.stale[feature={text}] > 0",
        f"drift.statistic[role=attribution, feature={text}] > 0",
        f"labels.coverage[label={text}, version={text}] < 2", f"labels.silence[label={text}] > 0",
        f"labels.coverage[segment={json.dumps(f'features.{canary}={canary}')}] < 2",
        f"labels.base_rate[segment={json.dumps(f'tags.{canary}={canary}')}] < 2",
        f"traffic.predictions[version={text}] >= 0", "writers.unexplained >= 0", "lag.join >= 0",
    )  # fmt: skip
    named = {"name": canary, "when": "traffic.silence >= 0", "to": ["nowhere"]}
    return [named, *({"when": one, "to": ["nowhere"], "min_rows": 0} for one in asked)]


def alerted(http: TestClient, path: str, canary: str) -> None:
    """Rules that fire and are muted, and a channel that does not work."""
    until(lambda: any(one["deliveries"] for one in http.get(f"{path}/alerts").json()["rules"] if one["rule"] == canary))
    assert http.post(f"{path}/alerts/check", json={}).json()["verdict"] == "fires"
    when = f"drift.share[version={json.dumps(canary)}] > 0"
    assert http.post(f"{path}/alerts/check", json={"rules": [when]}).status_code == 200
    muted = {"rule": canary, "for": "1h", "reason": canary}
    assert http.post(f"{path}/alerts/mute", json=muted).json()["muted_until"]
    assert http.post("/v1/alerts/test", json={"channel": "nowhere"}).json()["error"] == "secret_missing"
    assert http.post("/v1/alerts/test", json={"channel": canary}).status_code == 404
    assert http.get("/v1/alerts").json()["firing"] > 0


def refused_and_waiting(http: TestClient, canary: str) -> None:
    """What is in no outcome: a conflict that is sent again, and labels whose prediction never comes."""
    refused = {
        "request_id": f"{canary}1",
        "model": canary,
        "model_version": canary,
        "item_id": canary,
        "prediction": "other",
        "tags": {canary: canary},
    }
    answer = http.post("/v1/predictions", json=refused)
    assert answer.status_code == 422, answer.text
    asked = {"kind": "prediction", "model": canary, "code": "conflict"}
    [entry] = http.get("/v1/quarantine", params=asked).json()["refused"]
    assert canary in entry["payload_text"]
    assert http.get("/v1/quarantine", params={"code": canary, "kind": canary}).status_code < 500
    assert http.post("/v1/quarantine/replay", json=asked).json()["refused"] == {"conflict": 1}
    assert http.post("/v1/quarantine/replay", json={"code": canary, "model": canary, "kind": canary}).status_code < 500
    orphan = {"request_id": f"{canary}-nobody", "model": canary, "name": canary, "value": canary}
    assert http.post("/v1/labels", json=orphan).json()["accepted"] == 1
    asked = {"model": canary, "name": canary, "limit": "1"}
    until(lambda: http.get("/v1/orphans", params=asked).json()["orphans"])
    page = http.get("/v1/orphans", params=asked).json()
    assert http.get("/v1/orphans", params=asked | {"cursor": page.get("next") or canary}).status_code < 500


def rows_compared(http: TestClient, path: str, canary: str) -> None:
    """Recomputed values under hostile names, of rows that were served and of one that was not."""
    page = http.get(f"{path}/served", params={"version": canary, "limit": "100"}).json()
    assert len(page["rows"]) == 100
    assert http.get(f"{path}/served", params={"cursor": page["next"]}).status_code == 200
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(["request_id", "item_id", "model_version", canary, f"{canary}-text", f"{canary}-other"])
    lines.writerows([row["request_id"], row["item_id"], canary, "0.5", canary, canary] for row in page["rows"])
    lines.writerow([f"{canary}-nobody", canary, canary, "0.5", canary, canary])
    given = {"tolerance": f"{canary}=0.1,0.1", "version": canary}
    made = http.post(f"{path}/row-skews", content=out.getvalue(), params=given, headers={"content-type": "text/csv"})
    assert made.status_code == 202, made.text
    address = f"/v1/row-skews/{made.json()['id']}"
    until(lambda: http.get(address).json()["status"] not in ("queued", "running"))
    found = http.get(address).json()
    assert found["status"] == "done", found
    assert found["result"]["rows"]["compared"] == 100
    assert found["result"]["rows"]["not_served"] == 1
    assert http.get(f"{path}/row-skews").status_code == 200


def all_together(http: TestClient, path: str, canary: str) -> None:
    """A multivariate comparison of hostile names, values and groups, and all that can be asked about it."""
    asked = {"version": canary, "without": [canary], "methods": ["pca_reconstruction"]}
    made = http.post(f"{path}/multivariate-drifts", json=asked)
    assert made.status_code == 202, made.text
    address = f"/v1/multivariate-drifts/{made.json()['id']}"
    until(lambda: http.get(address).json()["status"] not in ("queued", "running"))
    found = http.get(address).json()
    assert found["status"] == "done", found
    assert found["result"]["methods"][0]["statistic"] is not None, found
    assert http.get(f"{address}?code=true").status_code == 200
    assert http.get(f"{address}/files/pca_reconstruction.parquet").status_code == 200
    assert http.get(f"{path}/multivariate-drifts").status_code == 200
    assert http.get(f"{path}/verdicts?role={canary}").status_code == 200


def verified(http: TestClient, canary: str) -> None:
    """A round over the model, and the books."""
    number = http.post("/v1/verify", json={"model": canary}).json()["id"]
    until(lambda: http.get(f"/v1/verify/{number}").json()["ended_at"])
    assert http.get("/v1/verify").status_code == 200
    assert http.get("/v1/books").status_code == 200


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
