"""Values: what is given is what arrives, with its type; and what cannot be, is said."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import ipaddress
import math
import pathlib
import sqlite3
import types
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs
import ml_dtypes
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upshot.capture.convert import Converter, duration_text
from upshot.capture.events import is_json
from upshot.capture.plain import encode
from upshot.counters import Ledger
from upshot.logger import Logger
from upshot.settings import Settings
from upshot.wire import NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, Prediction, pack
from upshot.writer import Writer
from upshot_joiner.intake.decode import Decoder

numbers = st.integers() | st.floats() | st.booleans()
values = numbers | st.text() | st.none() | st.lists(numbers, max_size=5)
names = st.text(max_size=20)


def recording() -> tuple[Logger, Writer]:
    """A logger for model ``m`` whose events stay in its queue, and the writer that holds them."""
    logger = Logger(model="m")
    logger._live = logger._writer = writer = Writer(Settings(model="m"))
    return logger, writer


def as_read(events: list[bytes]) -> list[Prediction]:
    """Encoded events as the server's own decoder reads them; those in JSON last."""
    packed = [event for event in events if not is_json(event)]
    lines = [event for event in events if is_json(event)]
    decoded = Decoder(Prediction).decode([pack(packed)], PACKED_CONTENT_TYPE)
    in_json = Decoder(Prediction).decode([b"\n".join(lines)], NDJSON_CONTENT_TYPE)
    assert not decoded.refused
    assert not in_json.refused
    return [event for _, event in decoded.events + in_json.events]


def on_the_wire(*calls: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Prediction]:
    """The events of these calls as the server reads them; nothing is sent."""
    logger, writer = recording()
    for args, kwargs in calls:
        logger.log_prediction(*args, **kwargs)
    assert writer.stats()["dropped"] == 0
    return as_read(list(writer.predictions.events))


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
        ((features, 0.5), {"request_id": "r"}), ((features, 0.5), {"request_id": "r", "inputs": {}})
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
    NONE = None
    PAIR = (1, 2.5)


class Level(enum.IntEnum):
    """An Enum that is an int."""

    HIGH = 3


class Mode(enum.StrEnum):
    """An Enum that is text."""

    FAST = "fast"


class Right(enum.Flag):
    """An Enum whose members can be added."""

    READ = 1
    WRITE = 2


class Ratio(float, enum.Enum):
    """An Enum that is a float."""

    HALF = 0.5


class Text(str):
    """Text whose own methods must not be asked."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError


class Count(int):
    """An int of a class of its own."""


class Share(float):
    """A float of a class of its own."""


class Pair(NamedTuple):
    """A named tuple."""

    x: int
    y: float


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    label: str = "p"

    @property
    def area(self) -> int:
        """Not asked: it may do anything."""
        raise AssertionError


@attrs.define
class Spot:
    """An attrs object."""

    x: int
    _hidden: int = 0


class Place(msgspec.Struct):
    """A msgspec Struct."""

    x: int
    y: float = 1.0


class Row(msgspec.Struct, array_like=True):
    """A msgspec Struct that travels as an array."""

    x: int
    y: int


class Customer(pydantic.BaseModel):
    """A pydantic model."""

    model_config = pydantic.ConfigDict(extra="allow")

    age: int
    since: date | None = None


class Tensor:
    """Stands in for ``torch.Tensor`` (torch itself is hundreds of megabytes): the methods that are called, as torch has them."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self.requires_grad = True
        self.dtype = "torch.float32"

    @property
    def ndim(self) -> int:
        """As in torch."""
        depth, values = 0, self._values
        while isinstance(values, list):
            depth, values = depth + 1, values[0] if values else None
        return depth

    def size(self) -> tuple[int, ...]:
        """A method in torch, not an attribute."""
        return (len(self._values),)

    def numel(self) -> int:
        """The number of elements."""
        return 4

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return len(self._values)

    def __iter__(self) -> Any:
        raise AssertionError("slow, and of tensors")

    def __float__(self) -> float:
        return float(self._values)

    def tolist(self) -> Any:
        """Python numbers in lists; of a 0-d tensor the number."""
        return self._values


Tensor.__module__ = "torch"


class EagerTensor:
    """Stands in for TensorFlow's: it has no ``tolist``, but makes an array of itself."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def numpy(self) -> Any:
        """An array, or of a 0-d tensor a scalar."""
        return np.float32(self._values) if np.ndim(self._values) == 0 else np.array(self._values)


EagerTensor.__module__ = "tensorflow.python.framework.ops"
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (ml_dtypes.bfloat16(0.5), 0.5),
        (np.float64("nan"), math.nan),
        (np.int64(2**53 + 1), 2**53 + 1),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.int8(-1), -1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.bytes_(b"x"), "x"),
        (np.array(1.5), 1.5),
        (np.array("x"), "x"),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        (np.array([0.5, np.nan]), [0.5, math.nan]),
        (np.array([0.5, 0.25], dtype=ml_dtypes.bfloat16), [0.5, 0.25]),
        (np.array([True, False]), [True, False]),
        (np.array([1, 2.5], dtype=object), [1, 2.5]),
        (np.array([], dtype=float), []),
        (np.ma.masked, None),
        (np.ma.array([1, 2], mask=False), [1, 2]),
        ([np.float32(0.5), 1, True], [0.5, 1, True]),
        ([], []),
        (np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05"),
        (np.array("2024-01-02T03:04:05.000000001", dtype="datetime64[ns]"), "2024-01-02T03:04:05.000000001"),
        (np.datetime64("NaT", "s"), None),
        (np.timedelta64(1500, "ms"), "PT1.5S"),
        (np.timedelta64(1, "ns"), "PT0.000000001S"),
        (np.timedelta64(2, "W"), "P14D"),
        (np.timedelta64("NaT", "s"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2024-01-02", tz="Asia/Tokyo"), "2024-01-01T15:00:00+00:00"),
        (pd.Timestamp("2024-01-02T00:00:00.000000001"), "2024-01-02T00:00:00.000000001"),
        (pd.Timedelta(2_000_000_001, "ns"), "PT2.000000001S"),
        (pd.Period("2024-01", "M"), "2024-01"),
        (pd.Interval(0, 1), "(0, 1]"),
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
        (pd.Series([1, 2], dtype="Int64"), [1, 2]),
        (pd.Categorical([3, 4]), [3, 4]),
        (pd.Index([1, 2]), [1, 2]),
        (pl.Series([1.5, 2.5]), [1.5, 2.5]),
        (pl.DataFrame({"a": [1.5]}).row(0)[0], 1.5),
        (pa.scalar(1.5), 1.5),
        (pa.array([1, 2]), [1, 2]),
        (Tensor(0.5), 0.5),
        (EagerTensor(0.5), 0.5),
        (EagerTensor([0.5, 0.25]), [0.5, 0.25]),
        (Tensor([0.5, 0.25]), [0.5, 0.25]),
        (array.array("d", [1.0, 2.0]), [1.0, 2.0]),
        ((1, 2.0), [1, 2.0]),
        (Pair(1, 2.0), [1, 2.0]),
        (Row(1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        (collections.deque([1, 2]), [1, 2]),
        ({1}, [1]),
        (frozenset({2.5}), [2.5]),
        (set(), []),
        (Decimal("12.50"), 12.5),
        (Decimal("NaN"), math.nan),
        (Decimal("sNaN"), math.nan),
        (Decimal("-Infinity"), -math.inf),
        (Decimal("-0"), -0.0),
        (Fraction(1, 4), 0.25),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=EAST), "2024-01-02T01:04:05.000006+00:00"),
        (datetime(2024, 7, 2, tzinfo=ZoneInfo("Europe/Berlin")), "2024-07-01T22:00:00+00:00"),
        (datetime(1, 1, 1, tzinfo=EAST), "0001-01-01T00:00:00+02:00"),
        (datetime(2024, 1, 2), "2024-01-02T00:00:00"),  # noqa: DTZ001  # a feature may have no zone
        (date(2024, 1, 2), "2024-01-02"),
        (time(3, 4), "03:04:00"),
        (time(3, 4, tzinfo=UTC), "03:04:00Z"),
        (timedelta(minutes=1), "PT60S"),
        (timedelta(days=1, seconds=2.5), "P1DT2.5S"),
        (timedelta(microseconds=-1), "-PT0.000001S"),
        (timedelta(0), "P0D"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (ipaddress.ip_address("::1"), "::1"),
        (Colour.RED, "red"),
        (Colour.NONE, None),
        (Colour.PAIR, [1, 2.5]),
        (Level.HIGH, 3),
        (Mode.FAST, "fast"),
        (Right.READ | Right.WRITE, 3),
        (Ratio.HALF, 0.5),
        (b"caf\xc3\xa9", "café"),
        (bytearray(b"x"), "x"),
        (memoryview(b"x"), "x"),
        (Text("x"), "x"),
        (Count(3), 3),
        (Share(0.5), 0.5),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_the_conversion_table(given, kept):
    """Every row of the table in docs/sdk.md, with type and value, on both ways, and nothing is counted or flagged."""
    value, kept_as_repr = converted(given)
    assert same(value, kept)
    assert kept_as_repr == 0
    for event in on_the_wire((({"a": given, "b": 1}, 0), {}), (({"a": given, "b": 1}, 0), {"inputs": {}})):
        assert same(event.features, {"a": kept, "b": 1})
        assert event.flags is None


class Hostile:
    """Raises wherever it can."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __float__ = __repr__  # type: ignore[assignment]


recursive: dict[str, object] = {}
recursive["self"] = recursive
laughs: list[object] = ["ha"]
MILLION = list(range(1_000_000))
for _ in range(60):
    laughs = [laughs, laughs]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"a": 1}, "{'a': 1}"),
        ({}, "{}"),
        ({1: 2, None: Level.HIGH}, "{1: 2, None: 3}"),
        ({"at": datetime(2024, 1, 2, tzinfo=EAST)}, "{'at': '2024-01-01T22:00:00+00:00'}"),
        (collections.OrderedDict(a=1), "{'a': 1}"),
        ({"x"}, "['x']"),
        (["a", "b"], "['a', 'b']"),
        (("a", 1), "['a', 1]"),
        ([1, None], "[1, None]"),
        ([np.float32(0.5), "b"], "[0.5, 'b']"),
        ([[1, 2], [3, 4]], "[[1, 2], [3, 4]]"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (Tensor([[1.5], [2.5]]), "[[1.5], [2.5]]"),
        (np.array(["a"]), "['a']"),
        (np.array(["2024-01-02"], dtype="datetime64[ns]"), "['2024-01-02T00:00:00.000000000']"),
        (np.ma.array([1, 2], mask=[False, True]), "[1, None]"),
        (np.array([(1, 2.5)], dtype=[("a", int), ("b", float)])[0], "{'a': 1, 'b': 2.5}"),
        (pd.Categorical(["a"]), "['a']"),
        (pl.Series(["a"]), "['a']"),
        (1 + 2j, "(1+2j)"),
        (np.complex64(1j), "1j"),
        (Point(1), "{'x': 1, 'label': 'p'}"),
        (Spot(1), "{'x': 1}"),
        (Place(1), "{'x': 1, 'y': 1.0}"),
        (Customer(age=3, extra="e"), "{'age': 3, 'since': None, 'extra': 'e'}"),
        (Pair("a", 1), "['a', 1]"),  # type: ignore[arg-type]
        (b"\xff", "b'\\xff'"),
        (bytearray(b"\xff"), "b'\\xff'"),
        (memoryview(b"\xff"), "b'\\xff'"),
        (object, "<class 'object'>"),
        (Hostile(), "<Hostile>"),
        ([Hostile()], "[<Hostile>]"),
        (recursive, None),
        (laughs, None),
        (["x"] * 10_000, None),
        (MILLION, None),
        (np.zeros((1000, 1000)), None),
        ((n for n in range(3)), None),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_what_has_no_place_in_the_table_is_kept_as_short_text_flagged_and_counted(given, text):
    """A feature that makes no sense to a model must not cost the other features, and nobody takes it for what was given."""
    value, kept_as_repr = converted(given)
    assert type(value) is str
    assert 0 < len(value) <= 1000
    assert text is None or value == text
    assert kept_as_repr == 1
    if given is laughs or given is MILLION:  # MessagePack writes them out, and the event is too large: nobody looked
        return
    for event in on_the_wire((({"a": given, "b": 1}, 0), {}), (({"a": given, "b": 1}, 0), {"inputs": {}})):
        assert same(event.features, {"a": value, "b": 1})
        assert event.flags == {"features.a": "repr"}


natives = st.recursive(
    values
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.just(UTC) | st.just(EAST) | st.none(), min_value=datetime(2, 1, 1))  # noqa: DTZ001
    | st.dates()
    | st.times(timezones=st.just(UTC) | st.just(EAST) | st.none())
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([*Colour, *Level, *Mode, *Right]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(names | st.integers(0, 9) | st.booleans() | st.none(), inner, max_size=4)
        | st.builds(Point, inner)
        | st.builds(Spot, inner)
        | st.builds(Place, inner, inner)
        | st.builds(Row, inner, inner)
        | st.sets(numbers, max_size=3)
    ),
    max_leaves=8,
)


@given(natives)
def test_the_reader_makes_of_what_was_not_looked_at_what_the_writer_would_have_made_of_it(given):
    """MessagePack holds more than an event can; both sides then say the same: whatever is nested in whatever."""
    try:
        encoded = encode(given)
    except (OverflowError, UnicodeEncodeError):  # the long way is the only one
        return
    assert same(converted(msgspec.msgpack.decode(encoded)), converted(given))


@given(st.timedeltas())
def test_durations_are_written_as_they_are_encoded(given):
    """One text for a duration, whoever writes it."""
    microseconds = (given.days * 86_400 + given.seconds) * 1_000_000 + given.microseconds
    assert duration_text(microseconds * 1000) == msgspec.to_builtins(given)


def test_names_that_are_no_text_become_text():
    """A dict from ``enumerate`` or from a DataFrame without column names."""
    (event,) = on_the_wire((({0: 1.0, np.int64(5): 2.0, np.str_("c"): 3.0, True: 4.0, None: 5.0}, 0), {}))
    assert event.features == {"0": 1.0, "5": 2.0, "c": 3.0, "true": 4.0, "None": 5.0}


def test_names_that_become_the_same_text_are_kept_apart():
    """1 and "1" are two features; neither may vanish."""
    (event,) = on_the_wire((({1: "int", "1": "text"}, 0), {}))
    assert event.features == {"int:1": "int", "1": "text"}


def a_row() -> Any:
    """A row as sqlite3 has it: names and values, and no Mapping."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row = connection.execute("SELECT 1 AS x, 2.5 AS y").fetchone()
    connection.close()
    return row


@pytest.mark.parametrize(
    "given",
    [
        Pair(1, 2.5),
        Place(1, 2.5),
        dataclasses.make_dataclass("Made", ["x", "y"])(1, 2.5),
        attrs.make_class("Attrs", ["x", "y"])(1, 2.5),
        pydantic.create_model("Model", x=int, y=float)(x=1, y=2.5),
        pd.DataFrame({"x": [0, 1], "y": [0.5, 2.5]}).tail(1),
        pd.Series({"x": 1, "y": 2.5}, dtype=object),
        pl.DataFrame({"x": [1], "y": [2.5]}),
        pl.DataFrame({"x": [1], "y": [2.5]}).row(0, named=True),
        pa.table({"x": [1], "y": [2.5]}),
        types.MappingProxyType({"x": 1, "y": 2.5}),
        collections.ChainMap({"x": 1}, {"y": 2.5}),
        a_row(),
    ],
    ids=lambda given: f"{type(given).__module__}.{type(given).__name__}",
)
def test_features_may_be_whatever_has_names_and_values(given):
    """The names are those of the fields or columns, and the values keep their types."""
    short, long = on_the_wire(((given, 0), {}), ((given, 0), {"inputs": given}))
    assert same(dict(sorted(short.features.items())), {"x": 1, "y": 2.5})
    assert same(dict(sorted(long.inputs.items())), {"x": 1, "y": 2.5})


def test_a_row_of_a_data_frame_is_features():
    """As pandas gives it: one type for the whole row."""
    row = pd.DataFrame({"a": [1.5], "b": ["x"]}).iloc[0]
    (event,) = on_the_wire(((row, np.float32(0.5)), {}))
    assert same(event.features, {"a": 1.5, "b": "x"})
    assert same(event.prediction, 0.5)


def test_columns_of_the_same_name_are_one_list():
    """Neither value is lost."""
    (event,) = on_the_wire(((pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]), 0), {}))
    assert same(event.features, {"a": [1, 3], "b": 2})


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


def test_text_that_is_no_unicode_is_mended_flagged_and_counted():
    """A lone surrogate has no UTF-8; the rest of the event arrives."""
    logger, writer = recording()
    logger.log_prediction({"a": "x\ud800y", "\udfff": 1, "b": 2}, "\ud83d", tags={"\ud800": "t"})
    (event,) = as_read(list(writer.predictions.events))
    assert event.features == {"a": "x\ufffdy", "\ufffd": 1, "b": 2}
    assert event.prediction == "\ufffd"
    assert event.tags == {"\ufffd": "t"}
    assert event.flags == dict.fromkeys(("prediction", "features.a", "features.\ufffd", "tags.\ufffd"), "sanitized")
    assert writer.stats()["sanitized"] == 1


def test_no_unicode_beside_a_number_beyond_64_bits_is_mended_too():
    """Each alone takes another way; together they must not cost the event."""
    logger, writer = recording()
    logger.log_prediction({"big": 2**64, "text": "\ud800", "thing": 1j}, 0)
    (event,) = as_read(list(writer.predictions.events))
    assert same(event.features, {"big": 2**64, "text": "\ufffd", "thing": "1j"})
    assert event.flags == {"features.text": "sanitized", "features.thing": "repr"}


def test_an_integer_longer_than_python_writes_is_kept_in_hex_flagged_and_counted():
    """Python refuses to write more than 4,300 decimal digits; the value is exact all the same, and others stay numbers."""
    logger, writer = recording()
    logger.log_prediction({"a": 10**5000, "b": 1, "c": 2**64, "d": [1, 10**5000]}, 0)
    (event,) = as_read(list(writer.predictions.events))
    assert int(event.features["a"], 16) == 10**5000
    assert same((event.features["b"], event.features["c"]), (1, 2**64))
    assert event.features["d"].startswith("[1, 0x")
    assert event.flags == {"features.a": "repr", "features.d": "repr"}
    assert writer.stats()["converted_repr"] == 2


def test_flags_are_bounded_and_the_counter_is_exact():
    """A call with a hundred odd values has one cause; naming them all would make the event twice as large."""
    logger, writer = recording()
    logger.log_prediction({f"f{i}": 1j for i in range(100)}, 0)
    (event,) = as_read(list(writer.predictions.events))
    assert len(event.flags) == 33
    assert event.flags["..."] == "more"
    assert {flag for place, flag in event.flags.items() if place != "..."} == {"repr"}
    assert writer.stats()["converted_repr"] == 100


def test_every_place_of_an_event_can_be_flagged():
    """Entities and tags become text all the same, and that is said too."""
    (event,) = on_the_wire(
        (({}, {1j}), {"inputs": {"i": 1j}, "entities": {"e": 1j}, "tags": {"t": 1j}, "action": [1j, 2]})
    )
    places = ("prediction", "inputs.i", "entities.e", "tags.t", "action")
    assert event.flags == dict.fromkeys(places, "repr")
    assert event.tags == {"t": "1j"}
