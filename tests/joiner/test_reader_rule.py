"""It makes no difference who looks at a value: the SDK before it sends, or the server that reads what was sent."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upshot.capture.convert import Converter
from upshot.capture.events import encode
from upshot.capture.flags import Flags
from upshot.wire import LabelEvent, Prediction, pack
from upshot_joiner.intake.check import NotAccepted, check_label, check_prediction
from upshot_joiner.intake.decoded import Decoded
from upshot_joiner.intake.packed import PackedDecoder
from upshot_joiner.intake.packed_items import split
from upshot_joiner.intake.shaped import content_of

DECODER = PackedDecoder(Prediction)

int64 = st.integers(-(2**63), 2**64 - 1)
plain = st.none() | st.booleans() | int64 | st.floats() | st.text()
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)  # noqa: DTZ001  # the zones are given
others = (
    moments
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas(timedelta(days=-9_000_000), timedelta(days=9_000_000))
    | st.uuids()
)
leaves = plain | st.binary() | others
nested = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)
numbers = st.lists(int64 | st.floats() | st.booleans(), max_size=5)


def read(*events: Any) -> Decoded[Prediction]:
    """Events as a server decodes them, encoded as the SDK does when it does not look."""
    return DECODER.decode([encode(list(events))])


def same(left: object, right: object) -> bool:
    """Equal in type and value: NaN is NaN, -0.0 is not 0.0, True is not 1."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return sorted(left) == sorted(right) and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or (left, math.copysign(1, left)) == (right, math.copysign(1, right))
    return left == right


@given(st.dictionaries(st.text(max_size=8), nested | numbers, max_size=6))
@example({"bytes": b"\xff", "text": b"text", "list": [1, "a"], "map": {"a": {"b": b"\xff"}}, "deep": [[[[[[1]]]]]]})
@example({"long": ["x" * 2_000], "wide": list("abc" * 100), "many": {str(i): i for i in range(100)}})
@example(
    {"zone": datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "in": [datetime(2026, 1, 2, tzinfo=UTC)]}
)
@example(
    {"": b"\xff", "date": date(2026, 1, 2), "time": time(3, 4), "decimal": [Decimal("0.1")], "id": {"a": UUID(int=5)}}
)
@pytest.mark.parametrize("field", ["features", "inputs"])
def test_the_reader_makes_of_a_value_what_the_sdk_makes_of_it(field: str, features: dict[str, Any]) -> None:
    reprs: list[None] = []
    flags = Flags()
    expected = Converter(lambda: reprs.append(None)).mapping(features, field, flags)

    decoded = read({"request_id": "r", "model": "m", field: features})

    [(_, event)] = decoded.events
    assert same(content_of(event)[field], expected)
    assert event.flags == flags.noted
    assert decoded.converted == ({0: len(reprs)} if reprs else {})
    check_prediction(event)


@given(st.dictionaries(st.text(max_size=5) | st.integers(-5, 300) | st.booleans() | st.none() | st.floats(), plain))
@example({1: "int", "1": "text", None: 0, b"bytes": 1, "": 2})
def test_names_that_are_no_text_become_their_usual_text(features: dict[Any, Any]) -> None:
    expected = Converter(lambda: None).mapping(features)
    [(_, event)] = read({"request_id": "r", "model": "m", "features": features}).events
    assert same(content_of(event)["features"], expected)


@given(
    st.lists(
        st.fixed_dictionaries({"features": st.dictionaries(st.text(max_size=5), plain | numbers | nested, max_size=4)}),
        max_size=6,
    ),
    st.lists(st.integers(0, 6)),
)
def test_frames_and_neighbours_change_nothing(events: list[dict[str, Any]], cuts: list[int]) -> None:
    """However the events are cut into frames, each is read as if it were alone."""
    events = [{"request_id": f"r{i}", "model": "m", **event} for i, event in enumerate(events)]
    borders = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    frames = [encode(events[start:end]) for start, end in pairwise(borders)]
    together = DECODER.decode([*frames])
    alone = [read(event) for event in events]
    assert [index for index, _ in together.events] == list(range(len(events)))
    for (index, event), one in zip(together.events, alone, strict=True):
        [(_, expected)] = one.events
        assert same(content_of(event)["features"], content_of(expected)["features"])
        assert event.flags == expected.flags
        assert together.converted.get(index) == one.converted.get(0)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_no_bytes_make_the_reader_fail(noise: bytes, position: int) -> None:
    """Whatever a frame holds, its neighbours are read, and it is answered."""
    good = msgspec.msgpack.encode([{"request_id": "r", "model": "m"}])
    frames = [good] * 3
    frames.insert(position, noise)
    decoded = DECODER.decode([*frames])
    assert len(decoded.events) >= 3
    assert sum(event.request_id == "r" for _, event in decoded.events) >= 3
    indices = [index for index, _ in decoded.events] + [one.index for one in decoded.refused]
    assert sorted(indices) == list(range(len(indices)))


@given(st.integers(0, 400), st.integers(1, 255))
def test_no_flipped_byte_makes_the_reader_fail(position: int, flip: int) -> None:
    """A wrong byte amid good events."""
    packed = bytearray(
        msgspec.msgpack.encode(
            [{"request_id": "r", "model": "m", "features": {"x": 1, "t": "é", "l": [1.5], "m": {"a": b"\xff"}}}] * 4
        )
    )
    packed[position % len(packed)] ^= flip
    good = msgspec.msgpack.encode([{"request_id": "good", "model": "m"}])
    decoded = DECODER.decode([bytes(packed), good])
    assert decoded.events[-1][1].request_id == "good"


@given(st.lists(nested | numbers, max_size=40))
@example([{str(i): i for i in range(70_000)}, "x" * 70_000, b"x" * 70_000, list(range(70_000)), "x" * 300, b"x" * 300])
@example([msgspec.msgpack.Ext(5, b"x" * n) for n in (0, 1, 2, 3, 4, 8, 16, 300, 70_000)])
@example([2**7, 2**8, 2**16, 2**32, 2**64 - 1, -1, -(2**5) - 1, -(2**15), -(2**31), -(2**63), 0.5, None, True, False])
def test_an_array_is_taken_apart_as_msgspec_does_it(items: list[Any]) -> None:
    packed = encode(items)
    assert split(packed) == [encode(item) for item in items]
    assert split(packed[:-1]) is None
    assert split(packed + b"\x00") is None


@given(st.binary(max_size=50))
def test_what_is_no_array_is_not_taken_apart(noise: bytes) -> None:
    items = split(noise)
    assert items is None or sum(map(len, items)) <= len(noise)


@pytest.mark.parametrize("depth", [500, 960, 990, 5_000, 100_000])
def test_an_event_that_is_nested_too_deeply_loses_no_other(depth: int) -> None:
    good = [encode({"request_id": f"r{i}", "model": "m"}) for i in range(2)]
    deep = encode({"request_id": "deep", "model": "m", "features": {"x": 0}})[:-1] + b"\x91" * depth + b"\x01"
    decoded = DECODER.decode([pack([good[0], deep, good[1]])])
    ids = [event.request_id for _, event in decoded.events]
    assert {"r0", "r1"} <= set(ids)
    assert ids == ["r0", "deep", "r1"] or [(one.index, one.code) for one in decoded.refused] == [(1, "too_deep")]


def test_a_label_that_cannot_be_read_loses_no_other() -> None:
    packed = msgspec.msgpack.encode([{"request_id": "a", "value": 1}, {"request_id": "b", "value": b"x"}, {"value": 1}])
    decoded = PackedDecoder(LabelEvent).decode([packed])
    (_, read), (index, nobodys) = decoded.events
    assert read.request_id == "a"
    assert [(one.index, one.code, one.loc) for one in decoded.refused] == [(1, "wrong_type", "value")]
    with pytest.raises(NotAccepted) as refused:  # a label may name an entity instead, so that this is seen only here
        check_label(nobodys)
    assert (index, refused.value.code, refused.value.loc) == (2, "missing", "request_id")
