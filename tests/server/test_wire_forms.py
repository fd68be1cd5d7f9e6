"""The forms that are not JSON, through the real server: packed bodies of several frames, values made ones that an event can
hold, flags, and Arrow. What is good is stored whatever lies beside it, and a form makes no difference to what is stored."""

from __future__ import annotations

import gzip
import io
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import zstandard

from tests.running import RunningServer
from tests.server.test_bad_input import problem
from upshot.delivery.batch import Batch, join
from upshot.delivery.transport.http import HttpTransport
from upshot.wire import ARROW_CONTENT_TYPE, PACKED_CONTENT_TYPE, Prediction

NOON = 1_767_355_200.0
"""2026-01-02T12:00:00Z."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    running = RunningServer(tmp_path_factory.mktemp("wire-forms") / "data")
    running.start()
    yield running
    running.end()


def event(request_id: str, **fields: Any) -> dict[str, Any]:
    """A prediction as it is packed."""
    return {"request_id": request_id, "model": "forms", "predicted_at": NOON, "features": {"x": 1}, **fields}


def frame(*events: Any) -> bytes:
    """One zstd frame: a packed array of these."""
    return zstandard.compress(msgspec.msgpack.encode(list(events)))


def post(server: RunningServer, body: bytes, form: str = PACKED_CONTENT_TYPE, encoding: str = "zstd") -> httpx.Response:
    """POST predictions as they are."""
    headers = {"content-type": form} | ({"content-encoding": encoding} if encoding else {})
    return server.http.post("/v1/predictions", content=body, headers=headers)


def counts(answer: httpx.Response) -> dict[str, int]:
    """The numbers of an answer, after checking that it is one."""
    assert answer.status_code == 200, answer.text
    return {name: n for name, n in answer.json().items() if name != "errors" and n}


def stream(columns: dict[str, Any] | pa.Table, **options: Any) -> bytes:
    """An Arrow IPC stream of these columns."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def rows(fresh: str, n: int, **columns: Any) -> dict[str, Any]:
    """Columns of n predictions."""
    return {
        "request_id": [f"{fresh}-{i}" for i in range(n)],
        "model": ["forms"] * n,
        "predicted_at": pa.array([round(NOON * 1e6)] * n, pa.timestamp("us", "UTC")),
        **columns,
    }


# ---- several frames -----------------------------------------------------------------------------------------------


def test_the_frames_of_a_body_are_one_request(server: RunningServer, fresh: str) -> None:
    ids = [f"{fresh}-{i}" for i in range(5)]
    bad = event("", features={})
    body = frame(event(ids[0]), event(ids[1])) + frame(event(ids[2]), bad, event(ids[3])) + frame(bad, event(ids[4]))
    answer = post(server, body)
    assert counts(answer) == {"accepted": 5, "rejected": 2}
    assert answer.json()["errors"] == [
        {"index": 3, "loc": "request_id", "code": "empty"},
        {"index": 5, "loc": "request_id", "code": "empty"},
    ]
    assert all(server.story(id_)["predictions"][0]["features"] == {"x": 1} for id_ in ids)
    assert counts(post(server, body)) == {"duplicates": 5, "rejected": 2}


DAMAGES = {
    "a byte of the frame is wrong": lambda sent: sent[:9] + bytes([sent[9] ^ 0xFF]) + sent[10:],
    "the frame's head is wrong": lambda sent: b"\xff\xff" + sent[2:],
    "the frame is cut off": lambda sent: sent[: len(sent) // 2],
    "the frame holds no MessagePack": lambda _: zstandard.compress(b"\xc1 is never used"),
    "the frame holds half an array": lambda _: zstandard.compress(msgspec.msgpack.encode([event("half")])[:-3]),
    "the frame holds two arrays": lambda _: zstandard.compress(msgspec.msgpack.encode([event("two")]) * 2),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_damaged_frame_loses_no_other(server: RunningServer, fresh: str, damage: str, where: int) -> None:
    batches = [
        Batch.of(
            "predictions",
            PACKED_CONTENT_TYPE,
            [msgspec.msgpack.encode(event(f"{fresh}-{number}-{i}", features={"x": i})) for i in range(3)],
        )
        for number in range(3)
    ]
    batches[where].payload = DAMAGES[damage](batches[where].payload)
    batch = join(batches)
    answer = post(server, batch.payload)
    assert counts(answer) == {"accepted": 6, "rejected": 1}
    assert answer.json()["errors"] == [{"index": 3 * where, "loc": f"frame[{where}]", "code": "unreadable_frame"}]
    for number in {0, 1, 2} - {where}:
        for i in range(3):
            assert server.story(f"{fresh}-{number}-{i}")["predictions"][0]["features"] == {"x": i}

    transport = HttpTransport(server.url, "")
    receipt = transport.send(batch, timeout_s=30)
    transport.close()
    assert receipt.stored + receipt.duplicates + receipt.rejected.total() == batch.n_events
    assert receipt.duplicates == 6
    assert receipt.rejected["unreadable_frame"] == 1


def test_a_body_without_a_good_frame_is_refused_as_a_whole(server: RunningServer) -> None:
    broken = [damage(frame(event("never"))) for damage in DAMAGES.values()]
    for one in broken[1:3]:
        problem(post(server, one), 400, "corrupt_body")
        problem(post(server, one + one), 400, "corrupt_body")
    for one in [broken[0], *broken[3:], b"", zstandard.compress(b"")]:
        problem(post(server, one), 400, "invalid_packed")
    problem(post(server, broken[1] + broken[3]), 400, "invalid_packed")
    assert server.http.get("/v1/predictions/never").status_code == 404


def test_the_limits_are_those_of_the_whole_body(server: RunningServer, fresh: str) -> None:
    nil = zstandard.compress(b"\xdd" + (20_000).to_bytes(4, "big") + b"\xc0" * 20_000)
    problem(post(server, nil * 3), 413, "too_many_items")
    problem(post(server, frame() * 60_000), 413, "too_many_items")
    large = frame(event(fresh, features={"text": "x" * 30_000_000}))
    problem(post(server, large * 3), 413, "body_too_large")
    assert server.http.get(f"/v1/predictions/{fresh}").status_code == 404


def test_many_small_gzip_members_are_read_in_one_go(server: RunningServer, fresh: str) -> None:
    body = b"".join(gzip.compress(bytes([byte])) for byte in msgspec.msgpack.encode([event(fresh)])) * 1
    body += gzip.compress(b"") * 200_000
    assert counts(post(server, body, encoding="gzip")) == {"accepted": 1}


def test_a_frame_that_says_it_is_to_be_skipped_is_skipped(server: RunningServer, fresh: str) -> None:
    skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert counts(post(server, skipped + frame(event(fresh)) + skipped)) == {"accepted": 1}


# ---- the reader rule ----------------------------------------------------------------------------------------------

AWKWARD: dict[Any, Any] = {
    "when": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "text as bytes": "Grüße".encode(),
    "bytes": b"\xff\x00",
    "map": {"a": [1, {"b": None}], "c": b"\xff"},
    "texts": ["a", "b"],
    "with a null": [1.0, None],
    "matrix": [[1, 2], [3, 4]],
    "extension": msgspec.msgpack.Ext(5, b"ab"),
    "long": ["x" * 3000],
    "numbers": [1, 2.5, True],
    "none": None,
    "empty": [],
    5: "a number as a name",
    True: "a bool as a name",
    b"name": "bytes as a name",
}
KEPT = {
    "when": "2026-01-02T03:04:05.678000+00:00",
    "text as bytes": "Grüße",
    "bytes": repr(b"\xff\x00"),
    "map": "{'a': [1, {'b': None}], 'c': b'\\xff'}",
    "texts": "['a', 'b']",
    "with a null": "[1.0, None]",
    "matrix": "[[1, 2], [3, 4]]",
    "extension": "Extension(5, b'ab')",
    "numbers": [1, 2.5, True],
    "none": None,
    "empty": [],
    "5": "a number as a name",
    "true": "a bool as a name",
    "name": "bytes as a name",
}
AS_REPR = {"bytes", "map", "texts", "with a null", "matrix", "extension", "long"}


@pytest.mark.parametrize("field", ["features", "inputs"])
def test_values_that_an_event_cannot_hold_become_some_that_it_can(
    server: RunningServer, fresh: str, field: str
) -> None:
    odd = event(fresh, flags={f"{field}.map": "redacted", f"{field}.x": "sanitized"}, **{field: {**AWKWARD, "x": 1}})
    answer = post(server, frame(event(f"{fresh}-0"), odd, event(f"{fresh}-1")))
    assert counts(answer) == {"accepted": 3, "converted": 7}
    told = server.story(fresh)["predictions"][0]
    long = told[field].pop("long")
    assert told[field] == {**KEPT, "x": 1}
    assert {name: type(value) for name, value in told[field].items()} == {
        name: type(value) for name, value in {**KEPT, "x": 1}.items()
    }
    assert long.startswith("['xxx")
    assert len(long) == 1000
    assert told["flags"] == {
        **{f"{field}.{name}": "repr" for name in AS_REPR},
        f"{field}.map": "redacted",
        f"{field}.x": "sanitized",
    }
    for plain in (f"{fresh}-0", f"{fresh}-1"):
        assert server.story(plain)["predictions"][0]["flags"] == {}
    assert counts(post(server, frame(odd))) == {"duplicates": 1, "converted": 7}


def test_one_event_that_cannot_be_read_loses_no_other(server: RunningServer, fresh: str) -> None:
    def packed(value: bytes) -> bytes:
        return b"\x83" + b"".join(
            [
                msgspec.msgpack.encode("request_id") + msgspec.msgpack.encode("bad"),
                msgspec.msgpack.encode("model") + msgspec.msgpack.encode("forms"),
                msgspec.msgpack.encode("features") + b"\x81\xa1x" + value,
            ]
        )

    good = [msgspec.msgpack.encode(event(f"{fresh}-{i}")) for i in range(2)]
    bad = {
        "invalid_unicode": packed(b"\xa1\xff"),
        "out_of_range": packed(b"\xc7\x0c\xff\0\0\0\0\x40\0\0\0\0\0\0\0"),
        "invalid": packed(b"\x81\x80\x01"),
        "wrong_type": b"\x07",
    }
    body = b"\x96" + good[0] + b"".join(bad.values()) + good[1]
    answer = post(server, zstandard.compress(body))
    assert counts(answer) == {"accepted": 2, "rejected": 4}
    assert [(error["index"], error["code"]) for error in answer.json()["errors"]] == list(enumerate(bad, 1))


def test_json_keeps_nested_values_as_they_are(server: RunningServer, fresh: str) -> None:
    answer = server.post("/v1/predictions", event(fresh, features={"map": {"a": ["b"]}}))
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": 0, "converted": 0, "errors": []}
    told = server.story(fresh)["predictions"][0]
    assert (told["features"], told["flags"]) == ({"map": {"a": ["b"]}}, {})


# ---- flags --------------------------------------------------------------------------------------------------------


def test_flags_are_told_and_are_no_part_of_what_a_prediction_is(server: RunningServer, fresh: str) -> None:
    flags = {"features.x": "redacted", "inputs.é\n": "sanitized", "tags.t": "later more"}
    assert server.post("/v1/predictions", event(fresh, flags=flags)).json()["accepted"] == 1
    assert server.post("/v1/predictions", event(fresh)).json()["duplicates"] == 1
    assert server.post("/v1/predictions", event(fresh, flags={"features.x": "repr"})).json()["duplicates"] == 1
    assert server.story(fresh)["predictions"][0]["flags"] == flags


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"x": 1}, "wrong_type"),
        (["x"], "wrong_type"),
        ({"p" * 600: "repr"}, "too_long"),
        ({"p": "r" * 65}, "too_long"),
        ({f"p{i}": "repr" for i in range(20_001)}, "too_many"),
    ],
)
def test_flags_have_limits(server: RunningServer, flags: object, code: str) -> None:
    body = problem(server.post("/v1/predictions", event("flags", flags=flags)), 422, "all_rejected")
    assert [error["code"] for error in body["errors"]] == [code]
    assert str(body["errors"][0]["loc"]).startswith("flags")
    assert body["converted"] == 0


# ---- Arrow --------------------------------------------------------------------------------------------------------


def test_every_field_of_a_prediction_has_its_column(server: RunningServer, fresh: str) -> None:
    columns = {
        "request_id": [fresh, fresh],
        "item_id": ["a", "b"],
        "model": ["forms", "forms"],
        "model_version": ["7", None],
        "predicted_at": pa.array([round(NOON * 1e6)] * 2, pa.timestamp("us", "UTC")),
        "prediction": [0.5, None],
        "probability__yes": [0.75, None],
        "probability__no": [0.25, 1.0],
        "feature__a.b__c": [1, None],
        "feature__": ["an empty name", ""],
        "input__raw": ["x", None],
        "feature_time__a.b__c": pa.array([round(NOON * 1e3) - 1, None], pa.timestamp("ms")),
        "attribution__a.b__c": [-0.5, None],
        "entity__user": pa.array([17, None], pa.int64()),
        "tag__channel": ["web", None],
        "action": ["offer", "none"],
        "propensity": [0.25, None],
        "shown": [True, None],
        "keep_probability": [0.5, None],
        "flags": pa.array([[("input__raw", "redacted")], None], pa.map_(pa.string(), pa.string())),
        "writer_id": ["w", None],
        "seq": pa.array([3, None], pa.uint64()),
    }
    assert counts(post(server, stream(columns), ARROW_CONTENT_TYPE, "")) == {"accepted": 2}
    packed = frame(
        event(
            fresh,
            item_id="a",
            model_version="7",
            prediction=0.5,
            probabilities={"yes": 0.75, "no": 0.25},
            features={"a.b__c": 1, "": "an empty name"},
            inputs={"raw": "x"},
            feature_times={"a.b__c": NOON - 0.001},
            attributions={"a.b__c": -0.5},
            entities={"user": "17"},
            tags={"channel": "web"},
            action="offer",
            propensity=0.25,
            shown=True,
            keep_probability=0.5,
        ),
        event(
            fresh,
            item_id="b",
            probabilities={"no": 1.0},
            features={"a.b__c": None, "": ""},
            inputs={"raw": None},
            action="none",
        ),
    )
    assert counts(post(server, packed)) == {"duplicates": 2}, "the form makes no difference to the content"
    a, b = sorted(server.story(fresh)["predictions"], key=lambda one: one["item_id"])
    assert (a["flags"], a["writer_id"], a["seq"]) == ({"input__raw": "redacted"}, "w", 3)
    assert (b["flags"], b["writer_id"], b["seq"], b["features"]) == ({}, "", 0, {"a.b__c": None, "": ""})


VALUES: list[tuple[Any, list[Any]]] = [
    *[
        (pa.array([1, None, -1 if kind.startswith("int") else 255], getattr(pa, kind)()), [1, None, None])
        for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    ],
    (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
    (pa.array([-(2**63), 2**53 + 1], pa.int64()), [-(2**63), 2**53 + 1]),
    (pa.array([0.1, None, math.inf], pa.float64()), [0.1, None, "Infinity"]),
    (pa.array([0.1, None, math.nan], pa.float32()), [float(np.float32(0.1)), None, "NaN"]),
    (pa.array(np.array([0.1, -0.0], np.float16)), [float(np.float16(0.1)), -0.0]),
    (pa.array([True, None, False]), [True, None, False]),
    (pa.array(["é\0", None, ""], pa.string()), ["é\0", None, ""]),
    (pa.array(["é", None], pa.large_string()), ["é", None]),
    (pa.array(["é", None, "x" * 50], pa.string_view()), ["é", None, "x" * 50]),
    (pa.array(["a", None, "b", "a"]).dictionary_encode(), ["a", None, "b", "a"]),
    (pa.array([1, None, 1]).dictionary_encode(), [1, None, 1]),
    (pa.DictionaryArray.from_arrays([0, 1], pa.array(["v", "w"], pa.string_view())), ["v", "w"]),
    (pa.nulls(2), [None, None]),
    (pa.array([[1, 2], None, []], pa.list_(pa.int8())), [[1, 2], None, []]),
    (pa.array([[0.5], None], pa.large_list(pa.float32())), [[0.5], None]),
    (pa.array([[True, False], None], pa.list_(pa.bool_())), [[True, False], None]),
    (pa.array([[1.5, 2.5], None, [3.5, 4.5]], pa.list_(pa.float64(), 2)), [[1.5, 2.5], None, [3.5, 4.5]]),
    (pa.array([[1.5, None]], pa.list_(pa.float64(), 2)), ["[1.5, None]"]),
    (pa.array([["a"], None], pa.list_(pa.string())), ["['a']", None]),
    (pa.array([{"a": 1, "b": [None]}, None]), ["{'a': 1, 'b': [None]}", None]),
    (pa.array([[], None]), [[], None]),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ["{'k': 1}"]),
    (pa.array([Decimal("0.1"), None], pa.decimal128(5, 1)), [0.1, None]),
    (pa.array([b"caf\xc3\xa9", None], pa.binary()), ["café", None]),
    (pa.array([b"\xff"], pa.binary()), [repr(b"\xff")]),
    (pa.array([b"\xff" * 20], pa.binary_view()), [repr(b"\xff" * 20)]),
    (pa.array([UUID(int=5).bytes, None], pa.binary(16)).cast(pa.uuid()), [str(UUID(int=5)), None]),
    (
        pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None], pa.timestamp("ms", "Europe/Berlin")),
        ["2026-01-02T03:04:05+00:00", None],
    ),
    (
        pa.array([datetime(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, 6)], pa.timestamp("us")),  # noqa: DTZ001
        ["2026-01-02T00:00:00", "2026-01-02T03:04:05.000006"],
    ),
    (
        pa.array([1_000_000_001, -1], pa.timestamp("ns")),
        ["1970-01-01T00:00:01.000000001", "1969-12-31T23:59:59.999999999"],
    ),
    (pa.array([2**40], pa.timestamp("s")), ["36812-02-20T00:36:16.000000"]),
    (pa.array([date(2026, 1, 2), None]), ["2026-01-02", None]),
    (pa.array([date(2026, 1, 2)], pa.date64()), ["2026-01-02"]),
    (pa.array([time(3, 4, 5), time(3, 4, 5, 6)]), ["03:04:05", "03:04:05.000006"]),
    (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
    (pa.array([61], pa.time32("s")), ["00:01:01"]),
    (pa.array([timedelta(days=1, seconds=1.5), None]), ["P1DT1.5S", None]),
]


@pytest.mark.parametrize("number", range(len(VALUES)), ids=lambda number: str(VALUES[number][0].type))
def test_arrow_values_keep_their_type(server: RunningServer, fresh: str, number: int) -> None:
    column, kept = VALUES[number]
    if kept[1:] == [None, None]:
        kept[2] = column[2].as_py()
    answer = post(server, stream(rows(fresh, len(column), feature__v=column)), ARROW_CONTENT_TYPE, "")
    n_reprs = sum(isinstance(value, str) and value[0] in "[{b" and len(value) > 1 for value in kept if value)
    assert counts(answer) == {"accepted": len(column)} | ({"converted": n_reprs} if n_reprs else {})
    for i, value in enumerate(kept):
        told = server.story(f"{fresh}-{i}")["predictions"][0]
        assert (told["features"], type(told["features"]["v"])) == ({"v": value}, type(value))
    if n_reprs:
        assert server.story(f"{fresh}-0")["predictions"][0]["flags"] == {"features.v": "repr"}


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_streams_may_be_compressed_outside_and_inside(
    server: RunningServer, fresh: str, encoding: str, compression: str | None
) -> None:
    content = stream(rows(fresh, 100, feature__x=[0.5] * 100, feature__t=["text"] * 100), compression=compression)
    body = {"": content, "gzip": gzip.compress(content), "zstd": zstandard.compress(content)}[encoding]
    assert counts(post(server, body, ARROW_CONTENT_TYPE, encoding)) == {"accepted": 100}
    assert server.story(f"{fresh}-99")["predictions"][0]["features"] == {"x": 0.5, "t": "text"}


def test_several_streams_come_in_several_frames(server: RunningServer, fresh: str) -> None:
    streams = [
        stream(rows(f"{fresh}-{number}", 3, feature__x=column))
        for number, column in enumerate([[1, 2, 3], ["a", "b", "c"], [True, False, None]])
    ]
    good = [zstandard.compress(one) for one in streams]
    assert counts(post(server, b"".join(good), ARROW_CONTENT_TYPE)) == {"accepted": 9}
    assert server.story(f"{fresh}-1-2")["predictions"][0]["features"] == {"x": "c"}
    assert server.story(f"{fresh}-2-2")["predictions"][0]["features"] == {"x": None}
    answer = post(server, good[0] + zstandard.compress(streams[1][:-60]) + good[2], ARROW_CONTENT_TYPE)
    assert counts(answer) == {"duplicates": 6, "rejected": 1}
    assert answer.json()["errors"] == [{"index": 3, "loc": "frame[1]", "code": "unreadable_frame"}]
    wrong = zstandard.compress(stream(rows("never", 3, amount=[1, 2, 3])))
    answer = post(server, good[0] + wrong + good[2], ARROW_CONTENT_TYPE)
    assert counts(answer) == {"duplicates": 6, "rejected": 1}
    assert answer.json()["errors"] == [{"index": 3, "loc": "frame[1].amount", "code": "unknown_column"}]


def test_a_row_that_is_wrong_loses_no_other(server: RunningServer, fresh: str) -> None:
    columns = rows(fresh, 5, propensity=[0.5, 2.0, 0.5, 0.5, 0.5])
    columns["request_id"][2] = None
    columns["request_id"][3] = ""
    answer = post(server, stream(columns), ARROW_CONTENT_TYPE, "")
    assert counts(answer) == {"accepted": 2, "rejected": 3}
    assert answer.json()["errors"] == [
        {"index": 1, "loc": "propensity", "code": "out_of_range"},
        {"index": 2, "loc": "request_id", "code": "missing"},
        {"index": 3, "loc": "request_id", "code": "empty"},
    ]


def test_every_column_that_cannot_be_taken_is_named(server: RunningServer, fresh: str) -> None:
    table = pa.table(
        {
            "request_id": pa.array([f"{fresh}-0"]),
            "item_id": pa.array([1.0]),
            "amount": pa.array([1]),
            "feature_kind__x": pa.array(["int"]),
            "label__y": pa.array([1]),
            "predicted_at": pa.array([True]),
            "prediction": pa.array([[0.5]]),
            "probability__a": pa.array(["high"]),
            "shown": pa.array([1]),
            "seq": pa.array([1.0]),
            "feature__months": pa.array([pa.scalar((1, 2, 3), pa.month_day_nano_interval())]),
            "feature__deep": pa.array([[[1]]], pa.list_(pa.list_(pa.int64()))),
            "feature__runs": pa.RunEndEncodedArray.from_arrays([1], [1]),
            "feature__fine": pa.array([1]),
        }
    )
    table = table.append_column("feature__fine", pa.array([2]))
    body = problem(post(server, stream(table), ARROW_CONTENT_TYPE, ""), 422, "invalid_columns")
    assert {place["loc"]: place["code"] for place in body["errors"]} == {
        "model": "missing_column",
        "item_id": "unsupported_type",
        "amount": "unknown_column",
        "feature_kind__x": "unknown_column",
        "label__y": "unknown_column",
        "predicted_at": "unsupported_type",
        "prediction": "unsupported_type",
        "probability__a": "unsupported_type",
        "shown": "unsupported_type",
        "seq": "unsupported_type",
        "feature__months": "unsupported_type",
        "feature__deep": "unsupported_type",
        "feature__runs": "unsupported_type",
        "feature__fine": "repeated_column",
    }
    assert server.http.get(f"/v1/predictions/{fresh}-0").status_code == 404


def test_what_is_no_stream_is_refused(server: RunningServer) -> None:
    good = stream(rows("never", 10, feature__x=[0.5] * 10))
    file = io.BytesIO()
    with pa.ipc.new_file(file, pa.schema([("x", pa.int64())])):
        pass
    for body in (b"", b"hello", good[:50], good[:-100], good[8:], file.getvalue(), b"\xff\xff\xff\xff" + b"\x7f" * 20):
        problem(post(server, body, ARROW_CONTENT_TYPE, ""), 400, "invalid_arrow")
    problem(post(server, zstandard.compress(good)[:-9], ARROW_CONTENT_TYPE), 400, "corrupt_body")
    labels = server.http.post("/v1/labels", content=good, headers={"content-type": ARROW_CONTENT_TYPE})
    problem(labels, 415, "unsupported_media_type")
    assert server.http.get("/v1/predictions/never-0").status_code == 404


def test_a_small_stream_that_stands_for_a_large_table_is_refused(server: RunningServer) -> None:
    n = 50_000
    text = pa.array(["x" * 100_000])
    views = pa.array(["y" * 100_000], pa.string_view())
    bombs = {
        "a dictionary": stream(rows("b", n, feature__x=pa.DictionaryArray.from_arrays([0] * n, text))),
        "views": stream(
            rows(
                "b",
                n,
                feature__x=pa.Array.from_buffers(
                    pa.string_view(),
                    n,
                    [None, pa.py_buffer(views.buffers()[1].to_pybytes() * n), views.buffers()[2]],
                ),
            )
        ),
        "columns of nulls": stream(rows("b", n, **{f"feature__{i}": pa.nulls(n) for i in range(1000)})),
        "compressed buffers": stream(rows("b", 1, feature__x=["x" * 100_000_000]), compression="zstd"),
        "a compressed dictionary": stream(
            rows("b", 1, feature__x=pa.array(["x" * 100_000_000]).dictionary_encode()), compression="zstd"
        ),
    }
    for name, bomb in bombs.items():
        body = zstandard.compress(bomb)
        assert len(body) < 2_000_000, name
        problem(post(server, body, ARROW_CONTENT_TYPE), 413, "body_too_large")
    problem(
        post(server, stream({"request_id": pa.nulls(10**9), "model": pa.nulls(10**9)}), ARROW_CONTENT_TYPE, ""),
        413,
        "too_many_items",
    )
    problem(post(server, zstandard.compress(stream(rows("b", n + 1))), ARROW_CONTENT_TYPE), 413, "too_many_items")
    half = zstandard.compress(stream(rows("b", n // 2 + 1)))
    problem(post(server, half + half, ARROW_CONTENT_TYPE), 413, "too_many_items")
    assert server.http.get("/v1/predictions/b-0").status_code == 404


def test_after_all_that_the_server_is_ready(server: RunningServer) -> None:
    assert server.http.get("/readyz").json() == {"status": "ok", "reasons": []}
    assert Prediction(request_id="r", model="m").flags is None
