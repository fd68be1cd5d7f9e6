"""Deferred activation: what was logged with shown=False counts once it has been shown, and not before."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from tests.running import RunningServer
from tests.waiting import eventually

ROWS, HIDDEN = 100, 40
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
RNG = random.Random(11)
SCORES = [RNG.random() for _ in range(ROWS)]
CLICKS = [int(RNG.random() < score) for score in SCORES]


def identity(number: int) -> dict[str, str]:
    """Two items to a request, so that an item that was shown says nothing about its neighbour."""
    return {"request_id": f"page-{number // 2}", "item_id": str(number % 2)}


def prediction(number: int) -> dict[str, Any]:
    hidden = {"shown": False} if number < HIDDEN else ({"shown": True} if number % 3 else {})
    at = START + timedelta(minutes=number)
    return {**identity(number), "model": "m", "prediction": SCORES[number], "predicted_at": at.isoformat(), **hidden}


def activate(server: RunningServer, numbers: range, **extra: Any) -> None:
    events = [{**identity(n), "name": "shown", "value": True, **extra} for n in numbers]
    if extra.get("op") == "retract":
        for event in events:
            del event["value"]
    assert server.post("/v1/labels", events).json()["rejected"] == 0


def told(server: RunningServer) -> dict[str, Any]:
    answer: dict[str, Any] = server.http.get("/v1/models/m/labels").json()
    return answer


def exported(found: dict[str, Any]) -> list[tuple[str, str]]:
    table = pq.read_table(f"{found['location']}/part-00000.parquet")
    assert not [name for name in table.column_names if "shown" in name]
    return sorted((row["request_id"], row["item_id"]) for row in table.to_pylist())


def of(numbers: list[int]) -> list[tuple[str, str]]:
    return sorted((one["request_id"], one["item_id"]) for one in map(identity, numbers))


def check(server: RunningServer, numbers: list[int]) -> None:
    """Every number is about exactly these predictions."""
    server.until_joined()
    answer = told(server)
    [click] = answer["labels"]
    assert click["name"] == "click"
    for count in ("predictions", "labelled", "matured"):
        assert click[count] == len(numbers), count
    assert click["coverage"] == 1
    assert (click["pending"], click["defaulted"]) == (0, 0)
    funnel = answer["funnel"]
    assert (funnel["logged"], funnel["shown"], funnel["labelled"]) == (ROWS, len(numbers), len(numbers))
    shown = len(numbers) - (ROWS - HIDDEN)
    assert answer["activation"] == {
        "deferred": HIDDEN, "activated": shown, "not_shown": HIDDEN - shown, "orphans": 0, "oldest_orphan": None,
    }  # fmt: skip
    auc = roc_auc_score([CLICKS[n] for n in numbers], [SCORES[n] for n in numbers])

    def measured() -> bool:
        overall = server.http.get("/v1/models/m/performance").json()
        assert overall["label"] == "click"
        assert (overall["overall"]["rows"], overall["overall"]["matured"]) == (len(numbers), len(numbers))
        assert overall["overall"]["metrics"].get("roc_auc") == pytest.approx(auc, abs=2e-3)  # scores are binned
        return True

    eventually(measured, 30)
    found = server.export(model="m")
    assert exported(found) == of(numbers)
    assert found["manifest"]["rows"] == len(numbers)
    assert found["manifest"]["not_shown"] == ROWS - len(numbers)
    assert found["manifest"]["labels"] == {"click": {"labelled": len(numbers)}}


def test_only_what_was_shown_counts_anywhere(server: RunningServer) -> None:
    """Metrics, coverage, funnel and training sets are about the predictions that were shown, at every moment."""
    config = {"labels": {"click": {"window": "1d"}}}
    assert server.http.put("/v1/models/m", json=config).status_code == 200
    activate(server, range(10))  # the statement may come before the prediction
    assert server.http.get("/v1/models/m/labels").json()["activation"]["orphans"] in (0, 10)
    events = [prediction(n) for n in range(ROWS)]
    assert server.post("/v1/predictions", events).json()["accepted"] == ROWS
    clicks = [
        {**identity(n), "name": "click", "value": CLICKS[n], "observed_at": (START + timedelta(hours=9)).isoformat()}
        for n in range(ROWS)
    ]
    assert server.post("/v1/labels", clicks).json()["accepted"] == ROWS
    rest = list(range(HIDDEN, ROWS))
    check(server, [*range(10), *rest])
    before = server.export(model="m")

    activate(server, range(5, 25))
    activate(server, range(20, 25))  # a repeat does nothing
    check(server, [*range(25), *rest])
    activate(server, range(20, 25), op="retract")
    check(server, [*range(20), *rest])
    assert told(server)["funnel"]["exported"] == 25 + len(rest)  # what a training set held stays in it

    again = server.export(model="m", as_of=before["manifest"]["as_of"])
    assert again["manifest"] == before["manifest"]
    for name in ("part-00000.parquet", "manifest.json"):
        assert (Path(before["location"]) / name).read_bytes() == (Path(again["location"]) / name).read_bytes()
    assert exported(before) == of([*range(10), *rest])

    server.kill()
    server.start()
    check(server, [*range(20), *rest])
    assert server.export(model="m", as_of=before["manifest"]["as_of"])["manifest"] == before["manifest"]


def test_an_activation_that_came_while_nobody_rolled_up_is_seen_after_a_restart(server: RunningServer) -> None:
    """The hours of what was shown are rolled up anew although none of their labels changed."""
    events = [prediction(n) for n in range(HIDDEN)]
    assert server.post("/v1/predictions", events).json()["accepted"] == HIDDEN
    server.post("/v1/labels", [{**identity(n), "value": CLICKS[n]} for n in range(HIDDEN)])
    config = {"labels": {"label": {"window": "1h"}}}
    assert server.http.put("/v1/models/m", json=config).status_code == 200

    def rows(count: int) -> bool:
        overall = server.http.get("/v1/models/m/performance").json()["overall"]
        return bool(overall["rows"] == count)

    server.until_joined()
    assert server.http.get("/v1/models/m/labels").json()["funnel"]["shown"] == 0
    activate(server, range(30))
    server.kill()
    server.start()
    server.until_joined()
    eventually(lambda: rows(30), 30)


def test_the_story_says_whether_it_was_shown(server: RunningServer) -> None:
    """The state of activation stands with the prediction; ``shown`` is no outcome, and no default is made of silence."""
    config = {"labels": {"click": {"window": "1h", "default": 0}}}
    assert server.http.put("/v1/models/m", json=config).status_code == 200
    at = START.isoformat()
    server.post("/v1/predictions", [
        {"request_id": "r", "item_id": item, "model": "m", "prediction": 0.5, "predicted_at": at, **extra}
        for item, extra in (("a", {"shown": False}), ("b", {"shown": False}), ("c", {"shown": True}), ("d", {}))
    ])  # fmt: skip
    shown_at = (START + timedelta(minutes=3)).isoformat()
    server.post(
        "/v1/labels", {"request_id": "r", "item_id": "b", "name": "shown", "value": True, "observed_at": shown_at}
    )
    story = server.story("r")
    a, b, c, d = story["predictions"]
    assert a["activation"] == {"state": "not_shown", "shown_at": None, "received_at": None}
    assert b["activation"]["state"] == "shown"
    assert datetime.fromisoformat(b["activation"]["shown_at"]) == datetime.fromisoformat(shown_at)
    assert (c["activation"], d["activation"]) == (None, None)
    assert [(one["item_id"], one["name"], one["state"]) for one in story["outcomes"]] == [
        ("a", "click", "pending"), ("b", "click", "defaulted"), ("c", "click", "defaulted"), ("d", "click", "defaulted"),
    ]  # fmt: skip
    assert [event["name"] for event in story["label_events"]] == ["shown"]


def test_the_reserved_name_is_refused_where_it_would_be_a_label(server: RunningServer) -> None:
    """A configuration cannot make a label of it, and its value is true or false."""
    refused = server.http.put("/v1/models/m", json={"labels": {"shown": {"window": "1d"}}, "primary_label": "shown"})
    assert refused.status_code == 422
    assert [one["loc"] for one in refused.json()["errors"]] == ["labels.shown", "primary_label"]
    assert {one["code"] for one in refused.json()["errors"]} == {"reserved_name"}
    answer = server.post("/v1/labels", {"request_id": "r", "name": "shown", "value": "yes"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"index": 0, "loc": "value", "code": "wrong_type"}]
