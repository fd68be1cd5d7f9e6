"""Values: what is given is what arrives, with its type; and what cannot be, is said."""

from __future__ import annotations

import array
import dataclasses
import enum
import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upshot.capture.convert import Converter
from upshot.capture.events import is_json
from upshot.counters import Ledger
from upshot.logger import Logger
from upshot.settings import Settings
from upshot.wire import Prediction, pack
from upshot.writer import Writer

numbers = st.integers() | st.floats() | st.booleans()
values = numbers | st.text() | st.none() | st.lists(numbers, max_size=5)
names = st.text(max_size=20)


def on_the_wire(*calls: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Prediction]:
    """The events of these calls as a server decodes them; nothing is sent."""
    logger = Logger(model="m")
    logger._live = logger._writer = writer = Writer(Settings(model="m"))
    for args, kwargs in calls:
        logger.log_prediction(*args, **kwargs)
    assert writer.stats()["dropped"] == 0
    packed = [event for event in writer.predictions.events if not is_json(event)]
    decoded = msgspec.msgpack.decode(pack(packed), type=list[Prediction])
    as_json = [event for event in writer.predictions.events if is_json(event)]
    return decoded + [msgspec.convert(json.loads(event), Prediction) for event in as_json]


def same(left: object, right: object) -> bool:
    """Equal in type and value: NaN is NaN, -0.0 is not 0.0, True is not 1."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (left, math.copysign(1, left)) == (
            right,
            math.copysign(1, right),
        )
    return left == right


@given(st.dictionaries(names, values), st.floats() | st.integers() | st.booleans() | st.text())
@example({"nan": math.nan, "inf": math.inf, "minus": -math.inf, "zero": -0.0}, math.nan)
@example({"big": 2**53 + 1, "bigger": 2**63, "biggest": 2**64, "low": -(2**63) - 1, "nan": math.nan}, 10**400)
@example({"null": None, "nan": math.nan, "zero": 0, "empty": "", "false": False}, 0)
@example({"__proto__": 1, "": 2, "a.b": 3, "nul\0": "x\0y", "é": 1, "e\u0301": 2}, "")
def test_supported_values_arrive_with_type_and_value(features, prediction):
    """Null, absent, NaN, 0 and "" are five different things; names are opaque; integers of any size are exact."""
    (event,) = on_the_wire(((features, prediction), {}))
    assert same(event.features, features)
    assert same(event.prediction, prediction)


@given(st.dictionaries(names, values, max_size=8))
def test_both_ways_through_the_code_give_the_same_event(features):
    """The short way of plain values and the long way of the conversion table differ in speed only."""
    short, long = on_the_wire(
        ((features, 0.5), {"request_id": "r"}), ((features, 0.5), {"request_id": "r", "tags": {}})
    )
    assert same(short.features, long.features)
    assert (short.model, short.prediction, short.writer_id) == (long.model, long.prediction, long.writer_id)


def converted(value: object) -> tuple[object, int]:
    """A feature value as it arrives, and how many values were kept as repr."""
    ledger = Ledger()
    return Converter(ledger.converted_repr.next).value(value), ledger.converted_repr.value


class Colour(enum.Enum):
    """An Enum of text."""

    RED = "red"


class Level(enum.IntEnum):
    """An Enum that is an int."""

    HIGH = 3


class Text(str):
    """Text whose own methods must not be asked."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.5), 0.5),
        (np.float64("nan"), math.nan),
        (np.int64(2**53 + 1), 2**53 + 1),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.int8(-1), -1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(1.5), 1.5),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        (np.array([0.5, np.nan]), [0.5, math.nan]),
        (np.array([True, False]), [True, False]),
        (np.array([], dtype=float), []),
        ([np.float32(0.5), 1, True], [0.5, 1, True]),
        (np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05"),
        (np.datetime64("NaT", "s"), None),
        (np.timedelta64(1500, "ms"), 1.5),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2024-01-02", tz="UTC"), "2024-01-02T00:00:00+00:00"),
        (pd.Timedelta(seconds=2), 2.0),
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
        (array.array("d", [1.0, 2.0]), [1.0, 2.0]),
        ((1, 2.0), [1, 2.0]),
        (range(3), [0, 1, 2]),
        (Decimal("12.50"), 12.5),
        (Fraction(1, 4), 0.25),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (datetime(2024, 1, 2), "2024-01-02T00:00:00"),  # noqa: DTZ001  # a feature may have no zone
        (date(2024, 1, 2), "2024-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1), 60.0),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (b"caf\xc3\xa9", "café"),
        (bytearray(b"x"), "x"),
        (memoryview(b"x"), "x"),
        (Text("x"), "x"),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_the_conversion_table(given, kept):
    """Every row of the table in docs/sdk.md, with type and value, and nothing counted as lost."""
    value, kept_as_repr = converted(given)
    assert same(value, kept)
    assert kept_as_repr == 0
    for event in on_the_wire((({"a": given, "b": 1}, 0), {}), (({"a": given, "b": 1}, 0), {"tags": {}})):
        assert same(event.features, {"a": kept, "b": 1})


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int


class Hostile:
    """Raises wherever it can."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __float__ = __repr__  # type: ignore[assignment]


recursive: dict[str, object] = {}
recursive["self"] = recursive


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"a": 1}, "{'a': 1}"),
        ({1}, "{1}"),
        (["a", "b"], "['a', 'b']"),
        ([[1, 2], [3, 4]], "[[1, 2], [3, 4]]"),
        (np.array([[1, 2], [3, 4]]), "array([[1, 2],\n       [3, 4]])"),
        (1 + 2j, "(1+2j)"),
        (Point(1), "Point(x=1)"),
        (b"\xff", "b'\\xff'"),
        (object, "<class 'object'>"),
        (Hostile(), None),
        ([Hostile()], None),
        (recursive, None),
        (["x"] * 10_000, None),
        (list(range(1_000_000)), None),
        ((n for n in range(3)), None),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_what_has_no_place_in_the_table_is_kept_as_short_text_and_counted(given, text):
    """A feature that makes no sense to a model must not cost the other features."""
    value, kept_as_repr = converted(given)
    assert type(value) is str
    assert 0 < len(value) <= 1000
    assert text is None or value == text
    assert kept_as_repr == 1
    for event in on_the_wire((({"a": given, "b": 1}, 0), {}), (({"a": given, "b": 1}, 0), {"tags": {}})):
        assert same(event.features, {"a": value, "b": 1})


def test_names_that_are_no_text_become_text():
    """A dict from ``enumerate`` or from a DataFrame without column names."""
    (event,) = on_the_wire((({0: 1.0, np.int64(5): 2.0, np.str_("c"): 3.0, True: 4.0, None: 5.0}, 0), {}))
    assert event.features == {"0": 1.0, "5": 2.0, "c": 3.0, "true": 4.0, "None": 5.0}


def test_names_that_become_the_same_text_are_kept_apart():
    """1 and "1" are two features; neither may vanish."""
    (event,) = on_the_wire((({1: "int", "1": "text"}, 0), {}))
    assert event.features == {"int:1": "int", "1": "text"}


def test_features_may_be_any_mapping():
    """A row of a DataFrame, for one."""
    row = pd.DataFrame({"a": [1.5], "b": ["x"]}).iloc[0]
    (event,) = on_the_wire(((row, np.float32(0.5)), {}))
    assert same(event.features, {"a": 1.5, "b": "x"})
    assert same(event.prediction, 0.5)


@pytest.mark.parametrize("prediction", [np.array([0.25]), [0.25], np.float64(0.25), pd.Series([0.25])], ids=repr)
def test_the_prediction_of_one_row_is_its_only_element(prediction):
    """``model.predict(X)`` of one row returns an array."""
    (event,) = on_the_wire((({}, prediction), {}))
    assert same(event.prediction, 0.25)


def test_class_probabilities_from_numpy_are_named_by_their_value():
    """``dict(zip(model.classes_, model.predict_proba(X)[0]))``."""
    by_class = dict(zip(np.array([0, 1]), np.array([0.25, 0.75], dtype=np.float32), strict=True))
    (event,) = on_the_wire((({}, by_class), {}))
    assert same(event.prediction, 1)
    assert same(event.probabilities, {"0": 0.25, "1": 0.75})


def test_text_that_is_no_unicode_is_mended_and_counted():
    """A lone surrogate has no UTF-8; the rest of the event arrives."""
    logger = Logger(model="m")
    logger._live = logger._writer = writer = Writer(Settings(model="m"))
    logger.log_prediction({"a": "x\ud800y", "\udfff": 1, "b": 2}, "\ud83d")
    event = msgspec.msgpack.decode(writer.predictions.events[0], type=Prediction)
    assert event.features == {"a": "x\ufffdy", "\ufffd": 1, "b": 2}
    assert event.prediction == "\ufffd"
    assert writer.stats()["sanitized"] == 1


def test_an_integer_longer_than_python_writes_is_kept_in_hex():
    """Python refuses to write more than 4,300 decimal digits; the value is exact all the same, and counted as converted."""
    logger = Logger(model="m")
    logger._live = logger._writer = writer = Writer(Settings(model="m"))
    logger.log_prediction({"a": 10**5000, "b": 1}, 0)
    event = msgspec.msgpack.decode(writer.predictions.events[0], type=Prediction)
    assert int(event.features["a"], 16) == 10**5000
    assert event.features["b"] == 1
    assert writer.stats()["converted_repr"] == 1
