"""Arrow as a form of predictions: the values are those of the columns, and no stream whatever brings the server down."""

from __future__ import annotations

import io
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot.wire import Prediction
from upshot_joiner.errors import Problem
from upshot_joiner.intake import arrow
from upshot_joiner.intake.decoded import MAX_ITEMS

floats32 = st.floats(width=32)
COLUMNS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint16(), st.integers(0, 2**16 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats()),
    (pa.float32(), floats32),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=20)),
    (pa.large_string(), st.text(max_size=20)),
    (pa.string_view(), st.text(max_size=20)),
    (pa.list_(pa.int32()), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)),
    (pa.large_list(pa.float64()), st.lists(st.floats(), max_size=4)),
    (pa.list_(pa.float32(), 2), st.lists(floats32, min_size=2, max_size=2)),
    (pa.list_(pa.bool_()), st.lists(st.booleans(), max_size=4)),
]


def stream(table: pa.Table, rows_per_batch: int | None = None) -> bytes:
    """The table as an IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue()


def same(left: object, right: object) -> bool:
    """Equal in type and value; NaN is NaN."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("number", range(len(COLUMNS)), ids=lambda number: str(COLUMNS[number][0]))
@given(data=st.data())
def test_every_cell_is_the_value_it_was(number: int, data: st.DataObject) -> None:
    """Nulls included, however the rows are cut into batches, and from a slice of a longer table."""
    kind, values = COLUMNS[number]
    cells = data.draw(st.lists(st.none() | values, min_size=1, max_size=30))
    n = len(cells)
    column = pa.array([*cells[:1], *cells], kind).slice(1)
    if not pa.types.is_nested(kind) and not pa.types.is_string_view(kind) and data.draw(st.booleans()):
        column = column.dictionary_encode()
    table = pa.table({"request_id": [f"r{i}" for i in range(n)], "model": ["m"] * n, "feature__v": column})
    decoded = arrow.decode([stream(table, data.draw(st.integers(1, n)))])
    assert not decoded.refused
    assert [event.request_id for _, event in decoded.events] == [f"r{i}" for i in range(n)]
    assert all(same(event.features["v"], cell) for (_, event), cell in zip(decoded.events, cells, strict=True))


GOOD = stream(
    pa.table(
        {
            "request_id": ["a", "b", "c"],
            "model": pa.array(["m", "m", "m"]).dictionary_encode(),
            "feature__f": [0.5, None, 1.5],
            "feature__t": ["x", None, "z"],
            "feature__v": pa.array(["long enough to be in a buffer", None, "z"], pa.string_view()),
            "feature__l": [[1, 2], None, []],
            "feature__s": [{"a": 1}, None, {"a": None}],
            "entity__user": pa.array([1, 2, None]),
        }
    )
)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_wrong_bytes_make_the_reader_fail(changes: list[tuple[int, int]]) -> None:
    """A damaged stream is read or refused; never anything else."""
    damaged = bytearray(GOOD)
    for position, byte in changes:
        damaged[position] = byte
    try:
        decoded = arrow.decode([GOOD, bytes(damaged)])
    except Problem:  # names or types that are now others; more rows than there may be
        return
    assert [event.request_id for _, event in decoded.events[:3]] == ["a", "b", "c"]


@given(st.integers(0, len(GOOD) - 1))
def test_a_stream_that_is_cut_off_is_refused_or_read_to_its_last_whole_batch(end: int) -> None:
    decoded = arrow.decode([GOOD, GOOD[:end]])
    assert len(decoded.events) in (3, 6)
    assert len(decoded.events) == 6 or [one.index for one in decoded.refused] in ([3], [])


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_what_a_compressed_buffer_says_it_holds_is_counted_before_it_is_made(*, is_dictionary: bool) -> None:
    """Reading would allocate it first."""
    column = pa.array(["x" * 1_000_000])
    table = pa.table(
        {"request_id": ["r"], "model": ["m"], "feature__x": column.dictionary_encode() if is_dictionary else column}
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    assert len(arrow.decode([sink.getvalue()]).events) == 1
    zstd_magic = b"\x28\xb5\x2f\xfd"
    held = (1_000_000).to_bytes(8, "little") + zstd_magic
    assert sink.getvalue().count(held) == 1
    with pytest.raises(Problem) as refused:
        arrow.decode([sink.getvalue().replace(held, (2**40).to_bytes(8, "little") + zstd_magic)])
    assert refused.value.code == "body_too_large"


def test_a_null_where_nothing_is_served_leaves_the_field_out() -> None:
    table = pa.table(
        {
            "request_id": ["a", "b"],
            "model": ["m", "m"],
            "tag__t": [None, "x"],
            "probability__p": pa.array([None, 0.5]),
            "feature_time__f": pa.array([None, 1], pa.timestamp("s")),
            "input__i": pa.array([None, None]),
        }
    )
    (_, without), (_, event) = arrow.decode([stream(table)]).events
    assert without == Prediction(request_id="a", model="m", inputs={"i": None})
    assert event == Prediction(
        request_id="b",
        model="m",
        tags={"t": "x"},
        probabilities={"p": 0.5},
        feature_times={"f": 1.0},
        inputs={"i": None},
    )


def test_as_many_rows_as_a_request_may_hold_are_read() -> None:
    n = MAX_ITEMS
    table = pa.table({"request_id": [str(i) for i in range(n)], "model": ["m"] * n, "feature__x": range(n)})
    decoded = arrow.decode([stream(table.slice(0, n - 10), 7_000), stream(table.slice(n - 10))])
    assert [event.features["x"] for _, event in decoded.events] == list(range(n))
    assert [index for index, _ in decoded.events] == list(range(n))
