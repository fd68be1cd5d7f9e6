"""Labels that name an entity, through the real server: by HTTP in every form, and by the SDK."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
import zstandard

import upshot
from tests.running import RunningServer
from tests.server.test_bad_input import problem
from upshot.wire import NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)


def states(server: RunningServer, *request_ids: str) -> list[tuple[str, Any]]:
    """State and value of the label of each request."""
    server.until_joined()
    found = []
    for request_id in request_ids:
        [outcome] = [one for one in server.story(request_id)["outcomes"] if one["name"] == "returned"]
        found.append((outcome["state"], outcome["value"]))
    return found


@pytest.mark.timeout(600)  # two starts of a server
def test_labels_of_orders_find_their_predictions_through_the_server(server: RunningServer) -> None:
    """JSON, NDJSON, packed and SDK; early, late, taken over, shared, retracted, exported; and after kill -9."""
    config = {"labels": {"returned": {"window": "1d", "attribution": "last"}}}
    assert server.http.put("/v1/models/m", json=config).status_code == 200

    def prediction(number: int, hour: float) -> dict[str, Any]:
        at = START + timedelta(hours=hour)
        return {
            "request_id": f"r{number}",
            "model": "m",
            "predicted_at": at.isoformat(),
            "entities": {"order": f"o-{number % 3}"},
        }

    def label(number: int, **more: Any) -> dict[str, Any]:
        observed = (START + timedelta(hours=10)).isoformat()
        return {
            "entity": {"order": f"o-{number}"},
            "name": "returned",
            "value": number,
            "observed_at": observed,
            **more,
        }

    assert server.post("/v1/predictions", [prediction(n, 1) for n in range(3)]).json()["accepted"] == 3
    forms: list[tuple[str, bytes]] = [
        ("application/json", msgspec.json.encode(label(0))),
        (NDJSON_CONTENT_TYPE, msgspec.json.encode(label(1)) + b"\n"),
        (PACKED_CONTENT_TYPE, msgspec.msgpack.encode([label(2)])),
    ]
    for form, body in forms:
        headers = {"content-type": form, "content-encoding": "zstd"}
        answer = server.http.post("/v1/labels", content=zstandard.compress(body), headers=headers)
        assert answer.json()["accepted"] == 1, answer.text
    assert states(server, "r0", "r1", "r2") == [("labelled", n) for n in range(3)]
    before = server.export(model="m")

    assert server.post("/v1/predictions", prediction(3, 5)).json()["accepted"] == 1
    assert states(server, "r0", "r3") == [("pending", None), ("labelled", 0)]
    [event] = server.story("r3")["label_events"]
    assert (event["attributed"]["entity"], event["attributed"]["rule"]) == ({"order": "o-0"}, "last")
    assert [one["request_id"] for one in event["attributed"]["competed"]] == ["r3", "r0"]
    [told] = server.http.get("/v1/entities/order/o-0").json()["label_events"]
    assert [(one["request_id"], one["withdrawn_at"] is None) for one in told["attributed_to"]] == [
        ("r0", False),
        ("r3", True),
    ]
    problem(server.http.get("/v1/entities/order/unknown"), 404, "unknown_entity")

    with upshot.Logger(url=server.url) as logger:
        logger.retract_label(entity={"order": "o-1"}, name="returned", observed_at=START + timedelta(hours=11))
        logger.log_label(value=7, entity={"order": "o-9"}, name="returned", observed_at=START + timedelta(hours=10))
        assert logger.flush(20)
        assert logger.stats()["stored"] == 2
    assert states(server, "r1") == [("retracted", None)]
    [returned] = [one for one in server.http.get("/v1/models/m/labels").json()["labels"] if one["name"] == "returned"]
    assert {name: returned[name] for name in ("labelled", "pending", "retracted", "orphans")} == {
        "labelled": 2, "pending": 1, "retracted": 1, "orphans": 1,
    }  # fmt: skip

    server.kill()
    server.start()
    assert states(server, "r0", "r1", "r2", "r3") == [
        ("pending", None), ("retracted", None), ("labelled", 2), ("labelled", 0),
    ]  # fmt: skip
    config["labels"]["returned"]["attribution"] = "shared"
    assert server.http.put("/v1/models/m", json=config).status_code == 200
    assert server.post("/v1/labels", label(0, value=5, label_id="more")).json()["accepted"] == 1
    assert states(server, "r0", "r3") == [("labelled", 2.5), ("labelled", 2.5)]
    table = pq.read_table(f"{server.export(model='m')['location']}/part-00000.parquet")
    exported = dict(zip(table["request_id"].to_pylist(), table["label__returned"].to_pylist(), strict=True))
    assert exported == {"r0": 2.5, "r1": None, "r2": 2.0, "r3": 2.5}
    again = server.export(model="m", as_of=before["manifest"]["as_of"])
    assert again["manifest"] == before["manifest"]
    assert before["manifest"]["labels"] == {"returned": {"labelled": 3}}


def test_a_label_event_names_a_request_or_an_entity_and_the_rest_is_stored(server: RunningServer) -> None:
    """Each wrong one has its place and code."""
    answer = server.post(
        "/v1/labels",
        [
            {"request_id": "good", "value": 1},
            {"value": 1},
            {"request_id": "r", "entity": {"order": "o"}, "value": 1},
            {"entity": {"order": "o", "user": "u"}, "value": 1},
            {"entity": {"order": 5}, "value": 1},
            {"entity": "o", "value": 1},
            {"entity": {"order": "o"}, "value": 1},
        ],
    ).json()
    assert (answer["accepted"], answer["rejected"]) == (2, 5)
    assert [(one["index"], one["loc"], one["code"]) for one in answer["errors"]] == [
        (1, "request_id", "missing"), (2, "entity", "unexpected"), (3, "entity", "too_many"),
        (4, "entity[...]", "wrong_type"), (5, "entity", "wrong_type"),
    ]  # fmt: skip
