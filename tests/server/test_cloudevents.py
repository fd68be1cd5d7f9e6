"""KServe's inference logger and the real server: two events make predictions, in any order, however often they are sent."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage

from tests.running import RunningServer
from tests.server.inferences import (
    LATENCY,
    SENT,
    V1_REQUEST,
    V1_RESPONSE,
    V2_COLUMNS,
    V2_REQUEST,
    V2_RESPONSE,
    batch,
    event,
    message,
)
from tests.waiting import eventually


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    """A server that waits a second for the other half."""
    monkeypatch.setenv("UPSHOT_KSERVE_WAIT_S", "1")
    running = RunningServer(tmp_path / "data")
    running.start()
    yield running
    running.end()


def send(server: RunningServer, one: HTTPMessage) -> httpx.Response:
    return server.http.post("/v1/cloudevents", content=one.body, headers=one.headers)


def told(server: RunningServer) -> dict[str, Any]:
    answer: dict[str, Any] = server.http.get("/v1/cloudevents").json()
    return answer


def rows(server: RunningServer, request_id: str) -> list[dict[str, Any]]:
    predictions: list[dict[str, Any]] = server.story(request_id)["predictions"]
    return predictions


def test_two_events_make_a_prediction_of_each_row(server: RunningServer) -> None:
    """In every content mode and both orders; a label finds the row by its number."""
    for mode in ("binary", "structured", "batched"):
        for first, second in (("request", "response"), ("response", "request")):
            id_ = f"{mode} {first}"
            halves = {
                "request": event("request", id_, V1_REQUEST, metadata='{"X-Request-Id":["zürich"]}'),
                "response": event("response", id_, V1_RESPONSE),
            }
            for side in (first, second, first):
                one = batch([halves[side]]) if mode == "batched" else message(halves[side], mode)
                answer = send(server, one)
                assert answer.status_code == 200, answer.text
                if mode == "batched":
                    assert answer.json()["rejected"] == 0
                else:
                    assert answer.content == b""  # a broker would take a body for an event in reply
            a, b = rows(server, id_)
            assert (a["model"], a["model_version"], a["item_id"], b["item_id"]) == ("shop/iris", "", "0", "1")
            assert (a["prediction"], b["prediction"]) == (1, 2)
            assert a["features"] == {"x0": 6.8, "x1": 2.8, "x2": 4.8, "x3": 1.4}
            assert a["predicted_at"] == (SENT + LATENCY).isoformat().replace("+00:00", "Z")
            assert a["tags"] == {"header.x-request-id": "zürich"}
    assert told(server)["waiting"] == {"requests": 0, "responses": 0, "bytes": 0, "oldest": None}
    assert told(server)["settled"] == {"paired": 12}
    labelled = server.post("/v1/labels", {"request_id": "binary request", "item_id": "1", "value": 0})
    assert labelled.json()["accepted"] == 1
    [outcome] = server.story("binary request")["outcomes"]
    assert (outcome["item_id"], outcome["value"]) == ("1", 0)


def test_both_protocols_and_their_types(server: RunningServer) -> None:
    """Open Inference Protocol: tensors become typed features; the ID of the body is the request ID; probabilities have classes."""
    probabilities = {
        "id": "served-by-7",
        "model_version": "v3",
        "outputs": [{"name": "proba", "shape": [2, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.7, 0.5, 0.3, 0.2]}],
    }
    events = [
        event("request", "e1", V2_REQUEST),
        event("response", "e1", V2_RESPONSE),
        event("request", "e2", V2_COLUMNS, component="transformer", endpoint="canary"),
        event("response", "e2", probabilities, component="transformer", endpoint="canary"),
        event("request", "e3", gzip.compress(json.dumps(V1_REQUEST).encode()), datacontenttype="text/plain"),
        event("response", "e3", V1_RESPONSE, datacontenttype="application/x-www-form-urlencoded"),
    ]
    for one in events:
        answer = send(server, message(one))
        assert answer.status_code == 200, answer.text
    a, _ = rows(server, "abc")
    assert (a["prediction"], a["features"]) == (1, {"x0": 6.8, "x1": 2.8, "x2": 4.8, "x3": 1.4})
    assert a["tags"] == {"ce_id": "e1"}
    first, second = rows(server, str(V2_COLUMNS["id"]))
    assert (first["model"], first["model_version"]) == ("shop/iris/transformer", "v3")
    expected = {"amount": 2.0, "country": "FR", "n": 2, "flag": False, "embedding[0]": 3.0, "embedding[1]": 4.0}
    assert second["features"] == expected
    assert {name: type(value) for name, value in second["features"].items()} == {
        k: type(v) for k, v in expected.items()
    }
    assert (first["prediction"], second["prediction"]) == (2, 0)
    assert first["probabilities"] == {"0": 0.1, "1": 0.2, "2": 0.7}
    assert first["tags"] == {"ce_id": "e2", "inference_id": "served-by-7"}
    assert [one["prediction"] for one in rows(server, "e3")] == [1, 2]


NO_INFERENCE: list[tuple[Any, Any, str, str]] = [
    (V1_REQUEST, {"predictions": [1]}, "row_count_mismatch", "response.predictions"),
    (V1_REQUEST, {"error": "no"}, "missing", "response.predictions"),
    ({"text": "hello"}, V1_RESPONSE, "missing", "request.instances"),
    (b"not json", V1_RESPONSE, "invalid_json", "request"),
    (b'{"inputs":[]}\x9a\x99\xd9@333@', V2_RESPONSE, "binary_tensor", "request"),
    (
        {"inputs": [{"name": "a", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32}}]},
        V2_RESPONSE,
        "binary_tensor",
        "request.inputs[0].parameters.binary_data_size",
    ),
    (V1_REQUEST, {"predictions": [[[1, 2], [3, 4]], 1]}, "no_prediction", "response.predictions[0]"),
    ({"instances": [[0], {"x" * 600: 1}]}, V1_RESPONSE, "too_long", "rows[1].features"),
]


def test_what_is_no_inference_is_refused_with_its_place(server: RunningServer) -> None:
    """The event that completes the pair is told; the pair is kept in quarantine, and nothing waits for ever."""
    for number, (request, response, code, loc) in enumerate(NO_INFERENCE):
        id_ = f"r{number}"
        assert send(server, message(event("request", id_, request))).status_code == 200
        answer = send(server, message(event("response", id_, response)))
        assert answer.status_code == 422, loc
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"] == [{"index": 0, "loc": loc, "code": code}]
        assert send(server, message(event("response", id_, response))).status_code == 200  # a repeat changes nothing
    assert told(server)["waiting"]["oldest"] is None
    send(server, message(event("request", "failed", V1_REQUEST)))
    answer = send(server, message(event("response", "failed", V1_RESPONSE, statuscode="500")))
    assert answer.json()["errors"] == [{"index": 0, "loc": "response.statuscode", "code": "inference_failed"}]


NO_EVENT: list[tuple[dict[str, Any], str, str]] = [
    ({"id": ""}, "id", "empty"),
    ({"id": "a" * 600}, "id", "too_long"),
    ({"type": "org.kubeflow.serving.inference.else"}, "type", "not_allowed"),
    ({"specversion": "0.3"}, "specversion", "not_allowed"),
    ({"inferenceservicename": None}, "inferenceservicename", "missing"),
    ({"time": "yesterday"}, "time", "invalid_time"),
    ({"source": None}, "source", "missing"),
]


def test_an_event_that_is_none_of_ours_is_named(server: RunningServer) -> None:
    """By its header in binary mode, by its member and its index in a batch; the others of the batch are stored."""
    for number, (attributes, loc, code) in enumerate(NO_EVENT):
        good = message(event("request", "good", V1_REQUEST))
        headers = {**good.headers, **{f"ce-{name}": value for name, value in attributes.items() if value is not None}}
        for name in [f"ce-{name}" for name, value in attributes.items() if value is None]:
            del headers[name]
        answer = send(server, HTTPMessage(headers, good.body))
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"index": 0, "loc": f"header.ce-{loc}", "code": code}]
        items = [json.loads(message(event("request", f"r{number}", V1_REQUEST), "structured").body) for _ in range(2)]
        items[0] = {name: value for name, value in {**items[0], **attributes}.items() if value is not None}
        form = {"content-type": "application/cloudevents-batch+json"}
        answer = send(server, HTTPMessage(form, json.dumps(items).encode()))
        assert answer.json() == {
            "accepted": 1, "duplicates": 0, "rejected": 1, "errors": [{"index": 0, "loc": loc, "code": code}],
        }  # fmt: skip


def test_what_is_no_cloudevent_is_refused_as_a_whole(server: RunningServer) -> None:
    """With the place of what is wrong, and nothing is stored."""
    for headers, body, status, code in (
        ({"content-type": "application/json"}, b"{}", 415, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+xml", "ce-id": "1"}, b"<a/>", 415, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+json"}, b"{", 400, "invalid_json"),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}", 400, "invalid_json"),
    ):
        answer = send(server, HTTPMessage(headers, body))
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert told(server)["waiting"]["oldest"] is None


def test_a_half_without_the_other_ends_in_quarantine(hasty: RunningServer) -> None:
    """It waits, is listed and counted, and is given up after the configured time; its other half is too late then."""
    send(hasty, message(event("request", "alone", V1_REQUEST)))
    waiting = told(hasty)
    assert (waiting["waiting"]["requests"], waiting["waiting"]["responses"]) == (1, 0)
    [half] = waiting["halves"]
    assert (half["id"], half["side"], half["service"], half["namespace"]) == ("alone", "request", "iris", "shop")
    eventually(lambda: told(hasty)["settled"] == {"unpaired": 1}, 20)
    assert told(hasty)["halves"] == []
    assert send(hasty, message(event("request", "alone", V1_REQUEST))).status_code == 200
    late = send(hasty, message(event("response", "alone", V1_RESPONSE)))
    assert (late.status_code, late.json()["errors"]) == (422, [{"index": 0, "loc": "request", "code": "unpaired"}])
    assert hasty.http.get("/v1/predictions/alone").status_code == 404


def test_another_body_under_the_same_id_is_a_conflict(server: RunningServer) -> None:
    """The first content wins, for as long as the half waits and after it was paired."""
    assert send(server, message(event("request", "r", V1_REQUEST))).status_code == 200
    other = send(server, message(event("request", "r", {"instances": [[0]]})))
    assert other.json()["errors"] == [{"index": 0, "loc": "data", "code": "conflict"}]
    assert send(server, message(event("response", "r", V1_RESPONSE))).status_code == 200
    assert send(server, message(event("request", "r", {"instances": [[0]]}))).status_code == 422
    assert [one["prediction"] for one in rows(server, "r")] == [1, 2]


@pytest.mark.parametrize("seed", [1, 2])
def test_order_repetition_and_a_killed_server_do_not_matter(server: RunningServer, seed: int) -> None:
    """Shuffled, repeated, in all modes, across a kill -9: the predictions are those of the inferences, once each."""
    rng = random.Random(seed)
    right: dict[str, list[tuple[str, Any, dict[str, Any]]]] = {}
    events = []
    for number in range(60):
        values = [[rng.random(), rng.randrange(9)] for _ in range(rng.randint(1, 3))]
        scores = [round(rng.random(), 6) for _ in values]
        id_ = f"r{number}"
        events += [event("request", id_, {"instances": values}), event("response", id_, {"predictions": scores})]
        right[id_] = [
            (str(row) if len(values) > 1 else "", scores[row], {"x0": value[0], "x1": value[1]})
            for row, value in enumerate(values)
        ]
    events += rng.sample(events, 40)
    rng.shuffle(events)
    sent = 0
    killed = False
    while sent < len(events):
        size = rng.choice([1, 1, 1, 5, 20])
        some = events[sent : sent + size]
        one = batch(some) if size > 1 else message(some[0], rng.choice(["binary", "structured"]))
        if not killed and sent > len(events) // 2:
            killed = True
            server.kill()
            server.start()
        answer = send(server, one)
        assert answer.status_code == 200, answer.text
        sent += size
    assert told(server)["waiting"]["oldest"] is None
    for id_, expected in right.items():
        assert [(one["item_id"], one["prediction"], one["features"]) for one in rows(server, id_)] == expected
    [model] = server.http.get("/v1/models").json()["models"]
    assert (model["model"], model["predictions"]) == ("shop/iris", sum(map(len, right.values())))
