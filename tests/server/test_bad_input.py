"""Whatever is sent: one shape of answer that names the place, nothing of the payload in it, and the good rest stored."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
import zstandard

from tests.running import RunningServer
from upshot.wire import JSON_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE

GOOD = {"request_id": "good", "model": "m", "prediction": 0.5, "features": {"x": 1}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    running = RunningServer(tmp_path_factory.mktemp("bad-input") / "data")
    running.start()
    yield running
    running.end()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    """The answer's body, after checking that it has the one shape of an error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "code", "errors"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    return body


def test_a_body_that_is_not_json_is_refused_with_its_place(server: RunningServer) -> None:
    body = problem(
        server.http.post(
            "/v1/predictions", content=b'[{"request_id": "a",\n oops', headers={"content-type": "application/json"}
        ),
        400,
        "invalid_json",
    )
    assert body["errors"] == [{"loc": "body:2:2", "code": "invalid_json"}]
    assert "oops" not in str(body)


@pytest.mark.parametrize(
    ("change", "loc", "code"),
    [
        ({"request_id": 5}, "request_id", "wrong_type"),
        ({"request_id": None}, "request_id", "wrong_type"),
        ({"request_id": ""}, "request_id", "empty"),
        ({"request_id": "a\x00b"}, "request_id", "control_character"),
        ({"request_id": "x" * 513}, "request_id", "too_long"),
        ({"model": ""}, "model", "empty"),
        ({"features": [1]}, "features", "wrong_type"),
        ({"features": {"n" * 600: 1}}, "features", "too_long"),
        ({"prediction": [0.1]}, "prediction", "wrong_type"),
        ({"predicted_at": "yesterday"}, "predicted_at", "invalid_time"),
        ({"predicted_at": "2024-01-01T00:00:00"}, "predicted_at", "time_without_offset"),
        ({"predicted_at": 1.7e12}, "predicted_at", "out_of_range"),
        ({"probabilities": {"a": "high"}}, "probabilities[...]", "wrong_type"),
        ({"propensity": 0}, "propensity", "out_of_range"),
        ({"keep_probability": 2}, "keep_probability", "out_of_range"),
        ({"tags": {"a": 1}}, "tags[...]", "wrong_type"),
        ({"feature_times": {"x": "soon"}}, "feature_times.x", "invalid_time"),
    ],
)
def test_a_wrong_value_is_named_and_the_rest_is_stored(
    server: RunningServer, change: dict[str, object], loc: str, code: str, request: pytest.FixtureRequest
) -> None:
    good = [GOOD | {"request_id": f"{request.node.name}-{i}"} for i in range(2)]
    answer = server.post("/v1/predictions", [good[0], GOOD | change, good[1]])
    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 2,
        "duplicates": 0,
        "rejected": 1,
        "converted": 0,
        "errors": [{"index": 1, "loc": loc, "code": code}],
    }
    for one in good:
        assert server.story(str(one["request_id"]))["predictions"][0]["features"] == {"x": 1}


@pytest.mark.parametrize(
    ("label", "loc", "code"),
    [
        ({"value": 1}, "request_id", "missing"),
        ({"request_id": "r"}, "value", "missing"),
        ({"request_id": "r", "value": None}, "value", "missing"),
        ({"request_id": "r", "value": {"a": 1}}, "value", "wrong_type"),
        ({"request_id": "r", "value": 1, "op": "delete"}, "op", "not_allowed"),
        ({"request_id": "r", "value": 1, "op": "retract"}, "value", "unexpected"),
        ({"request_id": "r", "value": 1, "observed_at": True}, "observed_at", "wrong_type"),
        ("not an object", "", "wrong_type"),
        (None, "", "wrong_type"),
    ],
)
def test_a_wrong_label_is_named(server: RunningServer, label: object, loc: str, code: str) -> None:
    body = problem(server.post("/v1/labels", [label]), 422, "all_rejected")
    assert body["errors"] == [{"index": 0, "loc": loc, "code": code}]
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (0, 0, 1)


def test_one_bad_line_of_ndjson_loses_nothing_else(server: RunningServer) -> None:
    lines = [json.dumps(GOOD | {"request_id": "line-0"}), "{oops", "", json.dumps(GOOD | {"request_id": "line-2"})]
    answer = server.http.post(
        "/v1/predictions", content="\n".join(lines).encode(), headers={"content-type": "application/x-ndjson"}
    )
    assert answer.json() == {
        "accepted": 2,
        "duplicates": 0,
        "rejected": 1,
        "converted": 0,
        "errors": [{"index": 1, "loc": "", "code": "invalid_json"}],
    }


def test_a_lone_surrogate_is_refused_and_its_neighbour_stored(server: RunningServer) -> None:
    content = b'[{"request_id":"s1","model":"m","features":{"a":"\\ud800"}},{"request_id":"s2","model":"m"}]'
    answer = server.http.post("/v1/predictions", content=content, headers={"content-type": "application/json"})
    assert answer.json()["errors"] == [{"index": 0, "loc": "", "code": "invalid_unicode"}]
    assert answer.json()["accepted"] == 1


def test_nan_and_large_integers_of_json_are_kept(server: RunningServer) -> None:
    content = b'{"request_id":"odd","model":"m","features":{"n":NaN,"i":-Infinity,"b":9007199254740993,"h":36893488147419103232}}'
    answer = server.http.post("/v1/predictions", content=content, headers={"content-type": "application/json"})
    assert answer.json()["accepted"] == 1
    told = server.story("odd")["predictions"][0]
    assert told["features"] == {"n": "NaN", "i": "-Infinity", "b": 9007199254740993, "h": 36893488147419103232}
    assert sorted(told["non_finite"]) == ["i", "n"]


@pytest.mark.parametrize("where", ["key", "value", "request_id", "prediction"])
def test_a_lone_surrogate_is_refused_wherever_it_stands(server: RunningServer, where: str) -> None:
    event = {
        "key": {"features": {"\ud800": 1}},
        "value": {"features": {"a": ["\udfff"]}},
        "request_id": {"request_id": "\ud800"},
        "prediction": {"prediction": "a\ud800"},
    }[where]
    content = "\n".join(json.dumps(one) for one in (GOOD | event, GOOD | {"request_id": f"beside-{where}"}))
    for body, form in ((content, "application/x-ndjson"), (f"[{content.replace(chr(10), ',')}]", "application/json")):
        answer = server.http.post("/v1/predictions", content=body, headers={"content-type": form})
        assert answer.json()["errors"] == [{"index": 0, "loc": "", "code": "invalid_unicode"}]
        assert answer.json()["accepted"] + answer.json()["duplicates"] == 1


@pytest.mark.parametrize(
    "digits", ["9007199254740993", "9223372036854775808", "18446744073709551616", "-1", "1" + "0" * 400]
)
def test_integers_of_any_size_stay_exact(server: RunningServer, digits: str) -> None:
    id_ = f"integer-{digits[:25]}-{len(digits)}"
    content = f'[{{"request_id":"{id_}","model":"m","prediction":{digits},"features":{{"i":{digits},"l":[{digits}]}}}}]'
    answer = server.http.post("/v1/predictions", content=content, headers={"content-type": "application/json"})
    assert answer.json()["accepted"] == 1
    told = server.story(id_)["predictions"][0]
    assert (told["prediction"], told["features"]) == (int(digits), {"i": int(digits), "l": [int(digits)]})


@pytest.mark.parametrize("field", ["features", "prediction", "predicted_at", "seq"])
def test_an_integer_that_python_does_not_read_is_refused_with_its_event_alone(
    server: RunningServer, field: str
) -> None:
    digits = "9" * 5_000
    odd = f'{{"request_id":"long-{field}","model":"m","{field}":{digits}}}'.replace(
        f'"features":{digits}', f'"features":{{"x":[{digits}]}}'
    )
    good = json.dumps(GOOD | {"request_id": f"beside-long-{field}"})
    for body, form in ((f"[{odd},{good}]", "application/json"), (f"{odd}\n{good}", "application/x-ndjson")):
        answer = server.http.post("/v1/predictions", content=body, headers={"content-type": form})
        assert answer.status_code == 200, answer.text
        assert answer.json()["rejected"] == 1
        assert answer.json()["errors"][0]["index"] == 0
        assert answer.json()["accepted"] + answer.json()["duplicates"] == 1
    assert server.http.get(f"/v1/predictions/long-{field}").status_code == 404


def in_every_form(server: RunningServer, name: str, events: list[dict[str, Any]]) -> list[str]:
    """Send these events as JSON, line by line and packed; returns the beginnings of their IDs."""
    ids = []
    for form in (JSON_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE):
        id_ = f"{name} {form}"
        sent = [{"request_id": f"{id_} {i}", "model": name, **event} for i, event in enumerate(events)]
        if form == PACKED_CONTENT_TYPE:
            content = msgspec.msgpack.encode(sent)
        elif form == NDJSON_CONTENT_TYPE:
            content = "\n".join(json.dumps(one) for one in sent).encode()
        else:
            content = json.dumps(sent).encode()
        answer = server.http.post("/v1/predictions", content=content, headers={"content-type": form})
        assert answer.json()["accepted"] == len(events), answer.text
        ids.append(id_)
    return ids


def exactly(left: object, right: object) -> bool:
    """Equal in value and type: 1 is not true, and not 1.0."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            [{"x": None}, {}, {"x": 0}, {"x": ""}, {"x": 0.0}, {"x": False}, {"x": []}], id="null is not absent"
        ),
        pytest.param([{"x": 1.5}, {"x": True}, {"x": "1.5"}, {"x": 1}, {"x": "true"}, {"x": [1.5]}], id="kinds"),
        pytest.param([{"x": "a\0b"}, {"a\0b": "\0"}, {"x": "\0"}, {"\0": ""}], id="NUL"),
        pytest.param(
            [
                {name: 1}
                for name in (
                    *("", " ", "\n", "\r\n", "\t", "\x1b[31m", "\u202e", "😀", "é", "e\u0301", "x" * 512),
                    *("__proto__", "constructor", "toString", "event_id", "tenant", "_row_exists"),
                    *("request_key", "request_id", "received_at", "shape", "extra", "features", "feature__x"),
                )
            ],
            id="names",
        ),
        pytest.param([{"é": 1, "e\u0301": 2, "__proto__": 3, "constructor": "c"}], id="names together"),
    ],
)
def test_values_and_names_come_back_as_they_were(
    server: RunningServer, values: list[dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    """In the story of a request and in the list of features; the names are no columns of ours, and no properties of an object."""
    for id_ in in_every_form(server, request.node.name, [{"features": one} for one in values]):
        for i, one in enumerate(values):
            assert exactly(server.story(f"{id_} {i}")["predictions"][0]["features"], one)
    model = server.http.get(f"/v1/models/{quote(request.node.name, safe='')}").json()
    assert {feature["name"] for feature in model["features"]} == set().union(*values)


def test_a_name_that_is_too_long_is_refused(server: RunningServer) -> None:
    for field in ("features", "tags", "probabilities"):
        value = {"x" * 10_000: "" if field == "tags" else 1}
        body = problem(server.post("/v1/predictions", GOOD | {"request_id": "name", field: value}), 422, "all_rejected")
        assert body["errors"] == [{"index": 0, "loc": field, "code": "too_long"}]


def test_a_large_body_is_refused_before_it_is_read(server: RunningServer) -> None:
    body = problem(
        server.http.post("/v1/predictions", content=b"x" * 50_000_000, headers={"content-type": "application/json"}),
        413,
        "body_too_large",
    )
    assert body["errors"] == [{"loc": "body", "code": "too_large"}]


def test_a_large_body_without_a_length_is_refused_too(server: RunningServer) -> None:
    chunks = (b"x" * 1_000_000 for _ in range(50))
    try:
        answer = server.http.post("/v1/predictions", content=chunks, headers={"content-type": "application/json"})
    except httpx.WriteError:
        return  # the server answered and closed while we were still sending
    problem(answer, 413, "body_too_large")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_decompression_bomb_is_refused(server: RunningServer, encoding: str) -> None:
    zeros = b" " * 100_000_000
    content = gzip.compress(zeros) if encoding == "gzip" else zstandard.compress(zeros)
    headers = {"content-type": "application/json", "content-encoding": encoding}
    problem(server.http.post("/v1/labels", content=content, headers=headers), 413, "body_too_large")


def test_compressed_bodies_are_read_and_corrupt_ones_refused(server: RunningServer) -> None:
    body = json.dumps(GOOD | {"request_id": "compressed"}).encode()
    for encoding, content in (("gzip", gzip.compress(body)), ("zstd", zstandard.compress(body))):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        assert server.http.post("/v1/predictions", content=content, headers=headers).status_code == 200
        problem(server.http.post("/v1/predictions", content=content[:-5], headers=headers), 400, "corrupt_body")
    problem(
        server.http.post("/v1/predictions", content=body, headers=headers | {"content-encoding": "br"}),
        415,
        "unsupported_encoding",
    )


@pytest.mark.parametrize("form", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_content_type_that_a_web_page_could_send_is_refused(server: RunningServer, form: str) -> None:
    headers = {"content-type": form} if form else {}
    answer = server.http.post("/v1/labels", content=b'{"request_id":"r","value":1}', headers=headers)
    problem(answer, 415, "unsupported_media_type")


def test_pages_of_other_sites_are_refused(server: RunningServer) -> None:
    answer = server.post("/v1/labels", [{"request_id": "r", "value": 1}], origin="https://evil.example")
    problem(answer, 403, "cross_origin")
    assert server.http.get("/v1/models", headers={"host": "evil.example"}).status_code == 400


def test_questions_about_unknown_things_are_404_with_a_code(server: RunningServer) -> None:
    for path in ("labels", "traffic", "performance", "drift", "skew", "features/x", "compare?a=1&b=2", ""):
        problem(server.http.get(f"/v1/models/nobody/{path}".rstrip("/")), 404, "unknown_model")
    problem(server.http.get("/v1/predictions/nobody"), 404, "unknown_request")
    problem(server.http.get("/v1/exports/nobody"), 404, "unknown_export")
    problem(server.http.get("/v1/nothing"), 404, "not_found")
    problem(server.post("/v1/exports", {"model": "nobody"}), 404, "unknown_model")
    problem(server.http.delete("/v1/labels"), 405, "method_not_allowed")


def test_a_metric_that_does_not_exist_is_refused_with_its_place(server: RunningServer) -> None:
    config = {"performance": {"metrics": ["roc_auc", "rmse", "accuray"]}}
    body = problem(server.http.put("/v1/models/never-configured", json=config), 422, "invalid_config")
    assert body["errors"] == [
        {"loc": "performance.metrics.1", "code": "metric_of_another_task"},
        {"loc": "performance.metrics.2", "code": "unknown_metric"},
    ]
    assert server.http.get("/v1/models/never-configured").status_code == 404


@pytest.mark.parametrize(
    ("request_", "loc"),
    [
        ({}, "body.model"),
        ({"model": "m", "start": "2024-01-01"}, "body.start"),
        ({"model": "m", "destination": "../../etc"}, "body.destination"),
        ({"model": "m", "destination": "/etc/upshot"}, "body.destination"),
        ({"model": "m", "format": "csv"}, "body.format"),
        ({"model": "m", "colour": "red"}, "body.colour"),
    ],
)
def test_a_wrong_export_request_names_the_place(server: RunningServer, request_: dict[str, str], loc: str) -> None:
    body = problem(server.post("/v1/exports", request_), 422, "invalid_request")
    assert [place["loc"] for place in body["errors"]] == [loc]
    assert "etc" not in json.dumps(body)


def test_a_wrong_configuration_names_every_place(server: RunningServer) -> None:
    config = {"task": "guess", "labels": {"late": {"window": "soon"}}, "colour": "red"}
    body = problem(server.http.put("/v1/models/m", json=config), 422, "invalid_config")
    assert {place["loc"] for place in body["errors"]} == {"task", "labels.late.window", "colour"}


def test_other_content_under_a_known_identity_is_a_conflict_and_kept_in_quarantine(server: RunningServer) -> None:
    first = GOOD | {"request_id": "twice"}
    assert server.post("/v1/predictions", first).json()["accepted"] == 1
    assert server.post("/v1/predictions", first).json()["duplicates"] == 1
    body = problem(server.post("/v1/predictions", first | {"features": {"x": 1.0}}), 422, "all_rejected")
    assert body["errors"] == [{"index": 0, "loc": "", "code": "conflict"}]
    assert server.story("twice")["predictions"][0]["features"] == {"x": 1}


def test_deep_nesting_is_refused_quickly(server: RunningServer) -> None:
    content = b"[" * 100_000 + b"]" * 100_000
    answer = server.http.post("/v1/predictions", content=content, headers={"content-type": "application/json"})
    problem(answer, 400, "too_deep")


def test_an_empty_list_is_fine(server: RunningServer) -> None:
    assert server.post("/v1/labels", []).json() == {"accepted": 0, "duplicates": 0, "rejected": 0, "errors": []}


def test_after_all_that_the_server_is_ready(server: RunningServer) -> None:
    assert server.http.get("/readyz").json() == {"status": "ok", "reasons": []}
