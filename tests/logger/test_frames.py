"""Frames: every row an event as if it had been logged by itself, every row in the books, and no loop over rows."""

from __future__ import annotations

import datetime as dt
import decimal
import logging
import subprocess
import sys
import textwrap
import uuid
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import upshot.testing
from upshot.capture.convert import Converter
from upshot.capture.flags import Flags
from upshot.capture.frames import Layout, log_frame
from upshot.capture.frames.body import events, halves
from upshot.capture.redaction import Redaction
from upshot.delivery.batch import Batch
from upshot.settings import Settings
from upshot.testing import Hang, Invalid, LoseResponse, TooLarge, Transient
from upshot.wire import ARROW_CONTENT_TYPE, Prediction
from upshot.writer import Writer

UTC = dt.UTC


def naive(*parts):
    """A moment without a zone."""
    return dt.datetime(*parts)  # noqa: DTZ001  # which is the point


class Logged:
    """What a frame became."""

    def __init__(
        self,
        frame,
        *,
        model="m",
        settings=None,
        takes=True,
        batch_rows=10_000,
        max_batch_bytes=2**22,
        redaction=None,
        **layout,
    ):
        self.writer = Writer(settings or Settings())
        self.batches: list[Batch] = []
        self.n_converted = 0

        def submit(batch):
            self.batches.append(batch)
            return takes

        self.ids = log_frame(
            self.writer,
            frame,
            Layout(**layout),
            model=model,
            model_version="1",
            submit=submit,
            batch_rows=batch_rows,
            max_batch_bytes=max_batch_bytes,
            redaction=redaction,
        )
        self.stats = self.writer.stats()

    @property
    def events(self) -> list[Prediction]:
        """As the other side reads them."""
        transport = upshot.testing.InMemoryTransport()
        for batch in self.batches:
            self.n_converted += transport.send(batch, timeout_s=1).converted
        assert transport.rejected == []
        return transport.predictions

    def features(self, name):
        """The values of one feature, row by row."""
        return [event.features[name] for event in self.events]


def frame(**columns):
    return pa.table({"prediction": [0.5] * len(next(iter(columns.values()))), **columns})


def same(a, b):
    """Equal in type and value, NaN included."""
    return repr(a) == repr(b)


# ---- values --------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "int64": pa.array([1, None, -(2**63)], pa.int64()),
    "uint64": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "int8": pa.array([1, None, -128], pa.int8()),
    "double": pa.array([1.0, None, float("nan")], pa.float64()),
    "float": pa.array([0.1, None, float("inf")], pa.float32()),
    "bool": pa.array([True, None, False]),
    "string": pa.array(["x", None, ""]),
    "large_string": pa.array(["x", None, "ü"], pa.large_string()),
    "string_view": pa.array(["x", None, "a text that is longer than twelve bytes"], pa.string_view()),
    "null": pa.nulls(3),
    "decimal": pa.array([decimal.Decimal("0.10"), None, decimal.Decimal("12345678901234.56")]),
    "dictionary": pa.array(["u", None, "u"]).dictionary_encode(),
    "dictionary of views": pa.DictionaryArray.from_arrays(pa.array([0, None, 0]), pa.array(["u"], pa.string_view())),
    "date": pa.array([dt.date(2026, 1, 2), None, dt.date(1969, 12, 31)]),
    "timestamp": pa.array([naive(2026, 1, 2, 3, 4, 5), None, naive(2026, 1, 2, 3, 4, 5, 600)]),
    "timestamp s": pa.array([naive(2026, 1, 2), None, naive(1900, 1, 1)], pa.timestamp("s")),
    "timestamp ms": pa.array([naive(2026, 1, 2), None, naive(2026, 1, 1, 0, 0, 0, 120_000)], pa.timestamp("ms")),
    "timestamp UTC": pa.array([dt.datetime(2026, 1, 2, tzinfo=UTC), None, dt.datetime(2026, 1, 1, 0, 0, 0, 7, UTC)]),
    "time": pa.array([dt.time(1, 2, 3), None, dt.time(1, 2, 3, 40)]),
    "time s": pa.array([dt.time(1, 2, 3), None, dt.time(0, 0, 0)], pa.time32("s")),
    "duration": pa.array([dt.timedelta(days=1, microseconds=1), None, dt.timedelta(0)]),
    "list of ints": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
    "list of floats": pa.array([[1.5, float("nan")], None, []], pa.large_list(pa.float32())),
    "list of bools": pa.array([[True], None, [False, True]]),
    "fixed list": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64(), 2)),
    "list view": pa.array([[1, 2], None, []], pa.list_view(pa.int64())),
    "list with a null": pa.array([[1, None], None, [2]]),
    "list of texts": pa.array([["a"], None, []]),
    "list of lists": pa.array([[[1]], None, [[2, 3]]]),
    "bytes": pa.array([b"abc", None, b""]),
    "bytes that are no text": pa.array([b"abc", None, b"\xff"]),
    "struct": pa.array([{"a": 1}, None, {"a": 2}]),
    "uuid": pa.array([uuid.UUID(int=7), None, uuid.UUID(int=8)], pa.uuid()),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_value_is_what_it_were_if_its_row_were_logged_alone(name):
    """Column by column in C, or value by value by the table: the same result, and the same ones flagged."""
    column = COLUMNS[name]
    logged = Logged(frame(x=column))
    reprs = []
    expected = []
    for row, value in enumerate(column.to_pylist()):
        expected.append(Converter(lambda row=row: reprs.append(row)).value(value))
    made = logged.events
    assert same([event.features["x"] for event in made], expected)
    assert [row for row, event in enumerate(made) if event.flags == {"features.x": "repr"}] == reprs
    assert logged.stats["converted_repr"] + logged.n_converted == len(reprs)


def test_a_list_of_mixed_columns_keeps_each_its_kind():
    """Slices of a batch are what they are, also where a batch of the frame begins amid an Arrow buffer."""
    table = pa.table({"prediction": range(10), "x": [float(i) for i in range(10)], "s": [str(i) for i in range(10)]})
    logged = Logged(table.slice(3, 5), batch_rows=2)
    assert [event.prediction for event in logged.events] == [3, 4, 5, 6, 7]
    assert logged.features("s") == ["3", "4", "5", "6", "7"]
    assert [batch.n_events for batch in logged.batches] == [2, 2, 1]


def test_nanoseconds_are_not_lost():
    column = pa.array([1_500_000_123, 1_500_000_000, 1_000_000_000], pa.timestamp("ns"))
    assert Logged(frame(x=column)).features("x") == [
        "1970-01-01T00:00:01.500000123",
        "1970-01-01T00:00:01.500000",
        "1970-01-01T00:00:01",
    ]


@settings(max_examples=60, deadline=None)
@given(
    columns=st.lists(
        st.sampled_from(
            [
                st.none() | st.integers(-(2**63), 2**63 - 1),
                st.none() | st.floats(),
                st.none() | st.booleans(),
                st.none() | st.text(st.characters(exclude_categories=["Cs"])),
                st.none() | st.lists(st.integers(-(2**63), 2**63 - 1)),
                st.none() | st.lists(st.floats()),
                st.none() | st.datetimes(naive(1700, 1, 1), naive(2200, 1, 1)),
                st.none() | st.dates(),
                st.none() | st.times(),
                st.none() | st.binary(),
            ]
        ),
        min_size=1,
        max_size=3,
    ),
    data=st.data(),
    n=st.integers(0, 12),
    batch_rows=st.integers(1, 13),
)
def test_any_frame_in_any_cut_is_its_rows(columns, data, n, batch_rows):
    """Values, identity, order, numbers: as the rows say, however they are cut into batches."""
    given_columns = {f"c{i}": data.draw(st.lists(of, min_size=n, max_size=n)) for i, of in enumerate(columns)}
    table = pa.table(
        {"prediction": list(range(n)), **{name: pa.array(values) for name, values in given_columns.items()}}
    )
    logged = Logged(table, batch_rows=batch_rows)
    convert = Converter(lambda: None).value
    for name, values in given_columns.items():
        assert same(logged.features(name), [convert(value) for value in values])
    assert [event.prediction for event in logged.events] == list(range(n))
    assert [event.seq for event in logged.events] == list(range(n))
    assert (
        [event.request_id for event in logged.events] == [str(of) for of in logged.ids] if n else len(logged.ids) == 0
    )
    assert logged.stats["accepted"] == n
    assert all(batch.n_events <= batch_rows for batch in logged.batches)


# ---- where frames come from ------------------------------------------------------------------------------------------------


def test_pandas_columns_of_every_kind():
    """NaN of a float column is NaN: it is what the model saw. Where pandas has a null of its own, it is null."""
    given = pd.DataFrame(
        {
            "prediction": [0.1, 0.2],
            "float": [1.0, np.nan],
            "float32": np.array([0.1, np.nan], dtype="float32"),
            "Int64": pd.array([1, None], dtype="Int64"),
            "Float64": pd.array([1.5, None], dtype="Float64"),
            "text": ["x", None],
            "category": pd.Categorical(["u", None]),
            "moment": pd.to_datetime(["2026-01-02", None]),
            "zoned": pd.to_datetime(["2026-01-02", None]).tz_localize("Europe/Berlin"),
            "list": [[1, 2], [3]],
            "arrays": [np.array([1.5]), np.array([2.5, 3.5])],
            "arrow": pd.array([1, None], dtype="int64[pyarrow]"),
            "mixed": [1, "x"],
            "objects": [UTC, None],
        }
    )
    logged = Logged(given)
    first, second = (event.features for event in logged.events)
    assert same(
        first,
        {
            "float": 1.0,
            "float32": float(np.float32(0.1)),
            "Int64": 1,
            "Float64": 1.5,
            "text": "x",
            "category": "u",
            "moment": "2026-01-02T00:00:00",
            "zoned": "2026-01-01T23:00:00+00:00",
            "list": [1, 2],
            "arrays": [1.5],
            "arrow": 1,
            "mixed": "1",
            "objects": repr(UTC),
        },
    )
    nan = float("nan")
    assert same([second[name] for name in ("float", "float32", "Int64", "Float64")], [nan, nan, None, None])
    assert [second[name] for name in ("text", "category", "moment", "zoned", "arrow", "objects")] == [None] * 6
    assert logged.events[0].flags == {"features.mixed": "repr", "features.objects": "repr"}
    assert logged.events[1].flags is None
    assert logged.stats["converted_repr"] == 2


def test_pandas_names_that_are_no_text_and_an_index():
    given = pd.DataFrame(np.arange(6.0).reshape(2, 3), index=["a", "b"]).rename(columns={2: "prediction"})
    logged = Logged(given, features=[0, 1])
    assert logged.events[1].features == {"0": 3.0, "1": 4.0}
    assert logged.events[1].prediction == 5.0


def test_polars_columns_of_every_kind():
    given = pl.DataFrame(
        {
            "prediction": [0.1, 0.2],
            "text": ["x", None],
            "category": pl.Series(["u", None], dtype=pl.Categorical),
            "enum": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
            "list": [[1, 2], []],
            "array": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2)),
            "huge": pl.Series([1, 2**100], dtype=pl.Int128),
            "objects": pl.Series([dt.UTC, None], dtype=pl.Object),
            "moment": [naive(2026, 1, 2), None],
        }
    )
    logged = Logged(given)
    assert [event.features for event in logged.events] == [
        {
            "text": "x",
            "category": "u",
            "enum": "a",
            "list": [1, 2],
            "array": [1.0, 2.0],
            "huge": "1",
            "objects": "UTC",
            "moment": "2026-01-02T00:00:00",
        },
        {
            "text": None,
            "category": None,
            "enum": "b",
            "list": [],
            "array": [3.0, 4.0],
            "huge": str(2**100),
            "objects": None,
            "moment": None,
        },
    ]


def test_a_stream_without_a_length_is_read_once_and_little_by_little():
    """A reader makes its batches as it is asked; many small ones become few, and few large ones many."""
    made = []

    def batches():
        for i in range(50):
            made.append(i)
            yield pa.record_batch({"prediction": [i, i], "s": pa.array(["a", "b"]).dictionary_encode()})

    schema = next(batches()).schema
    made.clear()
    waiting = []
    writer = Writer(Settings())

    def submit(batch):
        waiting.append(len(made))
        return True

    ids = log_frame(
        writer,
        pa.RecordBatchReader.from_batches(schema, batches()),
        Layout(),
        model="m",
        model_version="1",
        submit=submit,
        batch_rows=20,
    )
    assert len(ids) == 100
    assert waiting == [10, 20, 30, 40, 50]


# ---- the parts of an event -------------------------------------------------------------------------------------------------


def test_every_part_of_an_event_has_its_column():
    at = dt.datetime(2026, 1, 2, 3, tzinfo=UTC)
    given = pa.table(
        {
            "rid": ["a", "b"],
            "item": [7, None],
            "score": [0.9, 0.2],
            "p0": [0.1, 0.8],
            "p1": [0.9, 0.2],
            "when": [at, None],
            "user": [17.0, None],
            "channel": ["web", None],
            "amount": [1.5, None],
            "amount_at": [at, None],
            "raw": ["1.5", None],
            "shap": [0.3, None],
            "act": ["show", "hide"],
            "prob": [0.25, None],
            "seen": [1, 0],
        }
    )
    logged = Logged(
        given,
        prediction="score",
        probabilities={0: "p0", True: "p1"},
        request_id="rid",
        item_id="item",
        predicted_at="when",
        entities={"user": "user"},
        tags={"channel": "channel"},
        features={"amount_eur": "amount"},
        feature_times={"amount_eur": "amount_at"},
        inputs={"amount": "raw"},
        attributions={"amount_eur": "shap"},
        action="act",
        propensity="prob",
        shown="seen",
    )
    first, second = logged.events
    assert first == Prediction(
        request_id="a",
        item_id="7",
        model="m",
        model_version="1",
        predicted_at=at.timestamp(),
        prediction=0.9,
        probabilities={"0": 0.1, "true": 0.9},
        features={"amount_eur": 1.5},
        feature_times={"amount_eur": at.timestamp()},
        inputs={"amount": "1.5"},
        attributions={"amount_eur": 0.3},
        entities={"user": "17"},
        tags={"channel": "web"},
        action="show",
        propensity=0.25,
        shown=True,
        writer_id=logged.writer.writer_id,
        seq=0,
    )
    assert (second.item_id, second.entities, second.tags, second.propensity, second.shown) == (
        "",
        None,
        None,
        None,
        False,
    )
    assert second.features == {"amount_eur": None}
    assert second.inputs == {"amount": None}
    assert (second.feature_times, second.attributions) == (None, None)
    assert second.predicted_at > at.timestamp()
    assert list(logged.ids.to_pylist()) == ["a", "b"]


def test_every_column_that_nothing_else_names_is_a_feature():
    logged = Logged(frame(user=["u"], a=[1], b=["x"]), entities={"user": "user"})
    assert logged.events[0].features == {"a": 1, "b": "x"}


def test_a_single_feature_may_be_given_by_its_name():
    assert Logged(frame(amount=[1], b=["x"]), features="amount").events[0].features == {"amount": 1}


def test_a_subclass_of_a_frame_is_a_frame():
    """As of GeoPandas."""

    class Special(pd.DataFrame):
        """One."""

    assert same(Logged(Special({"prediction": [1.0], "x": [np.nan]})).features("x"), [float("nan")])


def test_one_answer_for_all_rows_needs_no_column():
    logged = Logged(frame(x=[1, 2]), predicted_at="2026-01-02T00:00:00Z", propensity=0.5, shown=False)
    at = dt.datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    assert [(event.predicted_at, event.propensity, event.shown) for event in logged.events] == [(at, 0.5, False)] * 2
    assert Logged(frame(x=[1]), predicted_at=naive(2026, 1, 2)).events[0].predicted_at == at
    assert Logged(frame(x=[1]), predicted_at=at).events[0].predicted_at == at


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1767225600.25, None]),
        pa.array(["2026-01-01T01:00:00.25+01:00", None]),
        pa.array([naive(2026, 1, 1, 0, 0, 0, 250_000), None], pa.timestamp("ns")),
        pa.array([naive(2026, 1, 1, 0, 0, 0, 250_000), None], pa.timestamp("ms", "America/New_York")),
        pa.array([1767225600.25, float("nan")]),
    ],
    ids=["seconds", "text", "without a zone", "with a zone", "NaN"],
)
def test_moments_come_in_many_forms_and_a_missing_one_is_now(column):
    import time

    before = time.time()
    first, second = Logged(frame(at=column), predicted_at="at").events
    assert first.predicted_at == 1767225600.25
    assert before - 1e-3 <= second.predicted_at <= time.time()


def test_text_that_is_no_moment_is_left_to_the_server_to_refuse():
    events = Logged(frame(at=["yesterday", "2026-01-01T00:00:00Z"]), predicted_at="at").events
    assert [event.predicted_at for event in events] == ["yesterday", "2026-01-01T00:00:00Z"]


def test_the_most_probable_class_is_the_prediction():
    """The first on ties; NaN and null are below all. Classes keep their type."""
    nan = float("nan")
    p = pa.table({"a": [0.2, 0.5, nan, None], "b": [0.7, 0.5, 0.1, None], "c": [0.1, 0.0, 0.2, None]})
    for classes, best in (
        ((0, 1, 2), [1, 0, 2, 0]),
        (("x", "y", "z"), ["y", "x", "z", "x"]),
        ((0, "y", 2), ["y", "0", "2", "0"]),
    ):
        logged = Logged(p, probabilities=dict(zip(classes, "abc", strict=True)))
        assert same([event.prediction for event in logged.events], best)
    assert logged.events[0].probabilities == {"0": 0.2, "y": 0.7, "2": 0.1}
    assert logged.events[3].probabilities is None
    with upshot.testing.capture(model="m") as by_row:
        for row in p.to_pylist()[:3]:
            upshot.log_prediction({}, {0: row["a"], 1: row["b"], 2: row["c"]})
    logged = Logged(p, probabilities={0: "a", 1: "b", 2: "c"})
    assert [event.prediction for event in logged.events][:3] == [event.prediction for event in by_row.predictions]


def test_a_prediction_that_is_a_list_is_text_and_flagged():
    logged = Logged(pa.table({"prediction": [[0.5], [0.6]]}))
    assert [event.prediction for event in logged.events] == ["[0.5]", "[0.6]"]
    assert logged.events[0].flags == {"prediction": "repr"}


# ---- request IDs -----------------------------------------------------------------------------------------------------------


def test_request_ids_are_those_of_the_frame_or_new_uuids():
    assert Logged(frame(rid=[17.0, None, 3.0]), request_id="rid").ids.to_pylist()[::2] == ["17", "3"]
    assert Logged(
        frame(rid=[uuid.UUID(int=7).bytes]).cast(pa.schema([("prediction", pa.float64()), ("rid", pa.binary())]))
    ).ids
    logged = Logged(frame(rid=["a", None]), request_id="rid")
    assert logged.ids[0].as_py() == "a"
    assert uuid.UUID(logged.ids[1].as_py()).version == 7
    assert [event.request_id for event in logged.events] == logged.ids.to_pylist()


def test_new_ids_are_uuids_of_version_7_and_unique():
    import time

    before = time.time_ns() // 1_000_000
    ids = Logged(pa.table({"prediction": np.zeros(50_000)})).ids.to_pylist()
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 50_000
    for text in ids[::97]:
        one = uuid.UUID(text)
        assert str(one) == text
        assert (one.version, one.variant) == (7, uuid.RFC_4122)
        assert before <= one.int >> 80 <= after
    digits = np.array([list(text) for text in ids])
    constant = [place for place in range(36) if len(set(digits[:, place])) == 1]
    assert set(constant) >= {8, 13, 14, 18, 23}
    assert set(constant) <= set(range(15)) | {18, 23}  # all others are random, and take more than one value


def test_ids_fit_into_the_frame_they_came_from():
    given = pd.DataFrame({"prediction": [0.1, 0.2]})
    given["request_id"] = Logged(given).ids
    assert given["request_id"].str.len().tolist() == [36, 36]
    table = pl.DataFrame({"prediction": [0.1, 0.2]})
    assert table.with_columns(pl.Series("request_id", Logged(table).ids))["request_id"].dtype == pl.String


# ---- bounds ----------------------------------------------------------------------------------------------------------------


def test_a_batch_has_at_most_so_many_rows_and_bytes():
    rows = pa.table({"prediction": np.zeros(1000), "text": ["x" * 1000] * 1000})
    logged = Logged(rows, batch_rows=300, max_batch_bytes=100_000)
    assert sum(batch.n_events for batch in logged.batches) == 1000
    assert max(batch.n_events for batch in logged.batches) < 300
    assert all(len(body) < 120_000 for batch in logged.batches for body in batch.bodies())
    assert [event.seq for event in logged.events] == list(range(1000))
    assert len(Logged(rows, batch_rows=300).batches) == 4


def test_a_cell_without_content_counts_too():
    """A null takes no bytes on its way; for whoever reads a thousand columns of them it takes some."""
    rows = pa.table({"prediction": [0.5] * 100, **{f"null_{i}": pa.nulls(100) for i in range(100)}})
    logged = Logged(rows, max_batch_bytes=50_000)
    assert [batch.n_events for batch in logged.batches] == [50, 50]


def test_a_row_too_large_is_dropped_alone_and_counted(caplog):
    texts = ["x", "y" * 300_000, "z"]
    logged = Logged(frame(text=texts))
    assert logged.features("text") == ["x", "z"]
    assert [event.seq for event in logged.events] == [0, 2]
    assert len(logged.ids) == 3
    assert (logged.stats["accepted"], logged.stats["dropped_too_large"]) == (3, 1)
    assert "rows above 262144 bytes; rows dropped: 1" in caplog.text
    lists = Logged(frame(values=[[1.0], [1.0] * 40_000]))
    assert (len(lists.events), lists.stats["dropped_too_large"]) == (1, 1)


def test_batches_can_be_halved():
    [batch] = Logged(pa.table({"prediction": range(5), "s": list("abcde")})).batches
    [body] = batch.bodies()
    (n_first, first), (n_second, second) = halves(body)
    assert (n_first, n_second) == (2, 3)
    assert events(first) + events(second) == events(body) == events(first + second)
    assert (batch.kind, batch.content_type, batch.n_events) == ("predictions", ARROW_CONTENT_TYPE, 5)


def test_what_the_other_side_does_not_take_it_counts_itself():
    """A batch that was handed over is nobody else's business: not counted twice."""
    logged = Logged(frame(x=[1, 2]), takes=False)
    assert (logged.stats["accepted"], logged.stats["dropped"]) == (2, 0)
    assert len(logged.batches) == 1


def test_a_sample_is_the_same_requests_as_row_by_row():
    """Chosen by request ID; without a number for those left out."""
    from upshot.capture.sampling import Sampler

    ids = [f"r{i}" for i in range(500)]
    logged = Logged(frame(rid=ids, x=range(500)), request_id="rid", settings=Settings(sample_rate=0.3), batch_rows=100)
    kept = [of for of in ids if Sampler(0.3).keeps(of)]
    assert 100 < len(kept) < 200
    assert [event.request_id for event in logged.events] == kept
    assert [event.seq for event in logged.events] == list(range(len(kept)))
    assert {event.keep_probability for event in logged.events} == {0.3}
    assert logged.stats["sampled_out"] == 500 - len(kept)
    assert logged.stats["accepted"] == len(kept)
    assert len(logged.ids) == 500


RULES = {
    "drop": ["password", "features.dropped*", "~key"],
    "hash": ["entities.user", "features.hashed", "inputs.n", "act*"],
    "mask": ["tags.channel", "features.masked", "~email"],
}


def test_redaction_is_that_of_single_events():
    """By name and by kind of value, also inside nested values: what is left, what is flagged and what is counted."""
    rows = [
        {
            "user": 17,
            "channel": "web",
            "hashed": 2.5,
            "masked": True,
            "dropped_1": 1,
            "note": "to a@example.com",
            "n": 3,
        },
        {
            "user": None,
            "channel": None,
            "hashed": None,
            "masked": None,
            "dropped_1": None,
            "note": "nothing",
            "n": None,
        },
        {"user": 17, "channel": "web", "hashed": 2.5, "masked": False, "dropped_1": 2, "note": None, "n": 4},
    ]
    nested = [{"password": "x", "to": "b@example.com"}, None, {"password": None, "to": "c"}]
    redaction = Redaction.read(RULES, "a key of more than sixteen")
    table = pa.table(
        {
            "prediction": [0.5, 0.6, 0.7],
            "request_id": ["a", "b", "c"],
            "action": ["x", "y", None],
            "nested": nested,
            **{name: [row[name] for row in rows] for name in rows[0]},
        }
    )
    logged = Logged(
        table,
        request_id="request_id",
        redaction=redaction,
        entities={"user": "user"},
        tags={"channel": "channel"},
        inputs={"n": "n"},
        action="action",
        features=["hashed", "masked", "dropped_1", "note", "nested"],
    )
    counted = []
    converter = Converter(lambda: None, redaction, lambda: counted.append(1))
    for event, row, inner, action in zip(logged.events, rows, nested, ["x", "y", None], strict=True):
        flags = Flags()
        features = {name: row[name] for name in ("hashed", "masked", "dropped_1", "note")} | {"nested": inner}
        assert same(event.features, converter.mapping(features, "features", flags))
        assert event.inputs == converter.mapping({"n": row["n"]}, "inputs", flags)
        assert (event.entities or {}) == converter.texts({"user": row["user"]}, "entities", flags)
        assert (event.tags or {}) == converter.texts({"channel": row["channel"]}, "tags", flags)
        assert event.action == converter.at("", "action", action, flags)[1]
        assert event.flags == flags.noted
    assert logged.stats["redacted"] == len(counted) > 10
    everything = b"".join(body for batch in logged.batches for body in batch.bodies())
    assert b"example.com" not in everything


def test_a_column_that_a_rule_drops_is_flagged_in_every_row():
    logged = Logged(frame(x=[1, None], secret=["a", None]), redaction=Redaction.read("drop:secret"))
    assert [event.features for event in logged.events] == [{"x": 1}, {"x": None}]
    assert [event.flags for event in logged.events] == [{"features.secret": "redacted"}] * 2
    assert logged.stats["redacted"] == 2


def test_what_a_rule_recognises_in_a_column_is_removed_from_all_its_rows():
    """The text of some rows, the value of others; a column of mixed objects is no way around."""
    redaction = Redaction.read("mask:~email; drop:~card")
    texts = ["a@example.com", "plain", "4111 1111 1111 1111", None]
    assert Logged(frame(x=texts), redaction=redaction).features("x") == ["***", "plain", None, None]
    objects = pd.DataFrame({"prediction": [0.5, 0.6], "x": [{"mail": "a@example.com"}, 7]})
    logged = Logged(objects, redaction=redaction)
    assert logged.features("x") == ["{'mail': '***'}", "7"]
    assert [event.flags for event in logged.events] == [{"features.x": "redacted"}, {"features.x": "repr"}]


# ---- what is wrong ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "named"),
    [
        ({"prediction": "scoer"}, "no column 'scoer', given as prediction"),
        ({"request_id": "rdi"}, "no column 'rdi', given as request_id"),
        ({"item_id": "itme"}, "no column 'itme', given as item_id"),
        ({"predicted_at": "wehn"}, "no column 'wehn', given as predicted_at"),
    ],
)
def test_rows_without_a_column_they_need_are_dropped_counted_and_said(caplog, layout, named):
    """They have request IDs all the same, so that a job goes on."""
    logged = Logged(frame(x=[1, 2, 3]), **layout)
    assert logged.batches == []
    assert len(logged.ids) == 3
    assert (logged.stats["accepted"], logged.stats["dropped_no_column"]) == (3, 3)
    assert named in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_a_column_that_rows_can_do_without_is_left_out_and_said(caplog):
    logged = Logged(frame(x=[1], odd=["a"]), features=["x", "y"], tags={"channel": "chanel"}, shown="odd")
    assert logged.events[0].features == {"x": 1}
    assert (logged.events[0].tags, logged.events[0].shown) == (None, None)
    assert logged.stats["dropped"] == 0
    assert "no column 'y', given as features; its rows are logged without it" in caplog.text
    assert "no column 'chanel', given as tags" in caplog.text
    assert "column 'odd' cannot be read" in caplog.text


def test_yes_and_no_are_bools_or_zero_and_one():
    """A 2 is no answer: the column is left out, and the rows are logged."""
    seen = {"shown": "x"}
    assert [event.shown for event in Logged(frame(x=[True, None, False]), **seen).events] == [True, None, False]
    assert [event.shown for event in Logged(frame(x=[1.0, float("nan"), 0.0]), **seen).events] == [True, None, False]
    assert [event.shown for event in Logged(frame(x=[2, 1, 0]), **seen).events] == [None, None, None]


def test_a_missing_tag_is_left_out_and_a_number_is_written_as_python_writes_it():
    given = pd.DataFrame({"prediction": [1.0, 2.0, 3.0], "t": [1.0, np.nan, 0.5]})
    assert [event.tags for event in Logged(given, tags={"t": "t"}).events] == [{"t": "1.0"}, None, {"t": "0.5"}]


def test_a_missing_propensity_is_none():
    given = pd.DataFrame({"prediction": [1.0, 2.0], "p": [0.5, np.nan]})
    assert [event.propensity for event in Logged(given, propensity="p").events] == [0.5, None]


def test_a_warning_names_the_column_kept_as_text_and_no_value(caplog):
    Logged(pd.DataFrame({"prediction": [0.5, 0.5], "mixed_column": [{"secret": "value"}, 1]}))
    assert "column 'mixed_column'" in caplog.text
    assert "secret" not in caplog.text


def test_two_columns_of_a_name(caplog):
    given = pa.Table.from_arrays([pa.array([0.5]), pa.array([1]), pa.array([2])], ["prediction", "x", "x"])
    assert Logged(given).events[0].features == {"x": 1}
    assert "several columns 'x'" in caplog.text
    pandas = pd.DataFrame([[0.5, 1, 2]], columns=["prediction", "x", "x"])
    assert Logged(pandas).events[0].features == {"x": 1}


def test_probabilities_that_are_no_numbers_are_said(caplog):
    logged = Logged(pa.table({"a": ["x"], "b": [0.5]}), probabilities={0: "a", 1: "b"})
    assert (logged.stats["accepted"], logged.stats["dropped_failed"]) == (1, 1)
    assert "column 'a' cannot be what it is named for" in caplog.text
    logged = Logged(pa.table({"a": ["x"], "b": [0.5], "prediction": [1]}), probabilities={0: "a", 1: "b"})
    assert logged.events[0].probabilities == {"1": 0.5}


class Broken:
    """A frame whose code raises."""

    def __len__(self):
        return 4

    def __arrow_c_stream__(self, requested_schema=None):
        raise RuntimeError("secret")


@pytest.mark.parametrize(
    "given", [None, 7, [1, 2, 3, 4], {"prediction": [1] * 4}, Broken(), "text", pd.Series([1] * 4)]
)
def test_what_is_no_frame_is_counted_and_raises_nothing(caplog, given):
    logged = Logged(given)
    assert logged.batches == []
    assert logged.stats["accepted"] == logged.stats["dropped"] == len(logged.ids)
    assert "log_frame cannot read a" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "layout", [{"features": 7}, {"entities": ["user"]}, {"batch_rows": "x"}, {"propensity": object()}]
)
def test_an_argument_that_is_none_is_counted_and_raises_nothing(caplog, layout):
    logged = Logged(frame(x=[1, 2]), **layout)
    assert (logged.batches, len(logged.ids)) == ([], 2)
    assert logged.stats["accepted"] == logged.stats["dropped_failed"] == 2
    assert "log_frame" in caplog.text


def test_a_frame_that_breaks_off_keeps_what_was_read(caplog):
    def batches():
        yield pa.record_batch({"prediction": [1, 2]})
        raise OSError("secret")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("prediction", pa.int64())]), batches())
    logged = Logged(reader, batch_rows=2)
    assert [event.prediction for event in logged.events] == [1, 2]
    assert (logged.stats["accepted"], logged.stats["dropped_failed"]) == (3, 1)  # at least one row is not there
    assert "could not read on" in caplog.text
    assert "secret" not in caplog.text


def test_rows_that_cannot_be_encoded_cost_no_others(monkeypatch, caplog):
    """A bug amid a run of rows: what was handed over before is not counted again, and the next rows are logged."""
    from upshot.capture.frames import log

    bodies = []

    def body(piece):
        bodies.append(piece.num_rows)
        if len(bodies) == 2:
            raise RuntimeError("secret")
        return real_body(piece)

    real_body = log.body
    monkeypatch.setattr(log, "body", body)
    rows = pa.table({"prediction": np.zeros(30), "text": ["y" * 300_000] + ["x" * 1000] * 29})
    logged = Logged(rows, batch_rows=20, max_batch_bytes=12_000)
    handed_over = sum(batch.n_events for batch in logged.batches)
    stats = logged.stats
    assert stats["dropped_too_large"] == 1
    assert stats["dropped_failed"] == 19 - bodies[0]
    assert stats["accepted"] == 30 == handed_over + stats["dropped"]
    assert len(logged.ids) == 30
    assert "could not encode rows (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text


def test_rows_without_a_model_are_dropped():
    logged = Logged(frame(x=[1, 2]), model="")
    assert (logged.stats["dropped_no_model"], len(logged.ids)) == (2, 2)


def test_an_empty_frame_is_nothing():
    for empty in (pa.table({"prediction": []}), pd.DataFrame({"prediction": []}), pl.DataFrame({"prediction": []})):
        logged = Logged(empty)
        assert (len(logged.ids), logged.batches, logged.stats["accepted"]) == (0, [], 0)


def test_without_pyarrow_rows_are_counted_and_the_job_goes_on():
    """In an interpreter that has none; the rest of the package does not notice."""
    code = """
        import sys
        sys.modules["pyarrow"] = None
        from upshot.capture.frames import Layout, log_frame
        from upshot.settings import Settings
        from upshot.writer import Writer
        writer = Writer(Settings())
        ids = log_frame(writer, [1, 2, 3], Layout(), model="m", model_version="", submit=print)
        stats = writer.stats()
        print(len(set(ids)), stats["accepted"], stats["dropped_no_pyarrow"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "3 3 3\n"
    assert "pip install 'upshot[frames]'" in done.stderr


def test_numbers_of_a_frame_and_of_calls_do_not_meet():
    """``seq`` counts all events of a writer, whichever call they came from."""
    writer = Writer(Settings())
    taken = []
    for _ in range(3):
        writer.next_seq()
        log_frame(
            writer,
            frame(x=[1, 2]),
            Layout(),
            model="m",
            model_version="",
            submit=lambda batch: taken.append(batch) or True,
        )
    seqs = [event["seq"] for batch in taken for body in batch.bodies() for event in events(body)]
    assert seqs == [1, 2, 4, 5, 7, 8]
    assert all(a < b for a, b in pairwise(seqs))


def test_a_kept_batch_is_read_by_the_transport_in_memory():
    """As a server would keep it; the same rows again are duplicates."""
    transport = upshot.testing.InMemoryTransport()
    [batch] = Logged(frame(x=[1, 2]), entities={"user": "x"}).batches
    assert transport.send(batch, timeout_s=1).stored == 2
    assert transport.send(batch, timeout_s=1).duplicates == 2
    assert [event.entities for event in transport.predictions] == [{"user": "1"}, {"user": "2"}]


# ---- through the logger ----------------------------------------------------------------------------------------------------


def test_a_frame_logged_is_its_events_and_balances():
    """From the function of the module to the other side."""
    with upshot.testing.capture(model="m", model_version="7", sample_rate=0.5, redact={"drop": ["secret"]}) as logged:
        ids = upshot.log_frame(
            pd.DataFrame({"score": np.linspace(0, 1, 1000), "secret": "x", "x": range(1000)}),
            prediction="score",
            batch_rows=100,
        )
        upshot.log_prediction({"x": 0}, 1, request_id="one")
    assert len(ids) == 1000
    assert 300 < len(logged.predictions) < 700
    assert {event.request_id for event in logged.predictions} <= {*ids.to_pylist(), "one"}
    assert {event.keep_probability for event in logged.predictions} == {0.5}
    assert all(event.features.keys() == {"x"} for event in logged.predictions)
    stats = logged.stats
    assert stats["accepted"] == stats["stored"] == len(logged.predictions)
    assert stats["sampled_out"] == 1001 - stats["accepted"]
    assert sorted(event.seq for event in logged.predictions) == list(range(stats["accepted"]))


@pytest.mark.usefixtures("quick_retries")
def test_frames_survive_what_the_other_side_does():
    """Too large, away, an answer lost: every row arrives once."""
    script = [TooLarge(), Transient(), TooLarge(above=200), LoseResponse(), Invalid()]
    transport = upshot.testing.FaultyTransport(script, default=TooLarge(above=130))
    with upshot.Logger(transport=transport, model="m") as logger:
        ids = logger.log_frame(pa.table({"prediction": range(1000), "s": ["x"] * 1000}), batch_rows=400)
        assert logger.flush(20)
        stats = logger.stats()
    assert sorted(event.prediction for event in transport.predictions) == list(range(1000))
    assert {event.request_id for event in transport.predictions} == set(ids.to_pylist())
    assert stats["accepted"] == stats["stored"] + stats["duplicates"] == 1000


def test_a_frame_waits_for_room_and_drops_what_finds_none():
    """A server that hangs and a queue of little room: a batch that has waited its time is dropped, and counted."""
    transport = upshot.testing.FaultyTransport(default=Hang(60))
    logger = upshot.Logger(transport=transport, model="m", queue_max_bytes=200_000)
    noise = np.random.default_rng(0).random(20_000)
    ids = logger.log_frame(pa.table({"prediction": noise, "x": noise}), batch_rows=2000, timeout=0.05)
    stats = logger.stats()
    assert stats["accepted"] == len(ids) == 20_000
    assert 2000 <= stats["dropped_full"] < 20_000
    assert stats["accepted"] == stats["dropped"] + stats["queued"] + stats["in_flight"] + stats["stored"]
    transport.release()
    assert logger.flush(20)
    logger.close()
    stats = logger.stats()
    assert stats["stored"] == len(transport.predictions) == 20_000 - stats["dropped"]


def test_a_frame_after_close_is_counted():
    logger = upshot.Logger(transport=upshot.testing.InMemoryTransport(), model="m")
    logger.log_prediction({}, 1)
    logger.close()
    assert len(logger.log_frame(pa.table({"prediction": [1, 2]}))) == 2
    assert logger.stats()["dropped_after_close"] == 2
