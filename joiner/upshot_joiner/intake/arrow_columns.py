"""From a column of an Arrow table to one Python value per row, column by column: never cell by cell where Arrow can do it.

Types are kept exactly: integers of any width are int, ``float32`` is the float of the same value. What an event cannot hold
becomes what the SDK would have made of it: timestamps ISO 8601 text, decimals floats, bytes text, structs their ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as is_

from upshot.capture.convert import as_text, duration_text
from upshot_joiner.intake.reader_rule import ReaderRule

Cells = tuple[list[Any], Sequence[int]]
"""One value per row, and the rows whose value was kept as ``repr``."""

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Kind:
    """What a column is: which types it may have, and how its cells are read."""

    takes: Callable[[pa.DataType], bool]
    cells: Callable[[pa.Array], Cells]


def _is_number(kind: pa.DataType) -> bool:
    return bool(is_.is_integer(kind) or is_.is_floating(kind) or is_.is_decimal(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    return bool(_is_number(kind) or is_.is_boolean(kind) or is_.is_large_string(kind))


def _is_id(kind: pa.DataType) -> bool:
    """Not a float: where an integer column had nulls, pandas makes floats of it, and 17.0 is not the user 17."""
    return bool(is_.is_large_string(kind) or is_.is_integer(kind))


def _is_text_map(kind: pa.DataType) -> bool:
    return bool(is_.is_map(kind)) and all(
        is_.is_string(of) or is_.is_large_string(of) for of in (kind.key_type, kind.item_type)
    )


def _is_moment(kind: pa.DataType) -> bool:
    return bool(is_.is_timestamp(kind) or is_.is_large_string(kind) or is_.is_integer(kind) or is_.is_floating(kind))


def _is_leaf(kind: pa.DataType) -> bool:
    """What a list or a struct may hold."""
    is_binary = is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_null(kind)
    return bool(
        _is_number(kind) or is_.is_boolean(kind) or is_.is_string(kind) or is_.is_large_string(kind) or is_binary
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind))


def _is_value(kind: pa.DataType) -> bool:
    if _is_leaf(kind) or is_.is_fixed_size_binary(kind):
        return True
    if is_.is_timestamp(kind) or is_.is_date(kind) or is_.is_time(kind) or is_.is_duration(kind):
        return True
    return _is_nested(kind)


def _is_nested(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_leaf(kind.value_type)
    if is_.is_map(kind):
        return _is_leaf(kind.key_type) and _is_leaf(kind.item_type)
    return bool(is_.is_struct(kind)) and all(_is_leaf(of.type) or _is_nested(of.type) for of in kind)


def _plain(column: pa.Array) -> list[Any]:
    """Numbers, bools and texts as Python has them."""
    kind = column.type
    if is_.is_null(kind):
        return [None] * len(column)
    if is_.is_decimal(kind):
        return [None if value is None else float(value) for value in column.to_pylist()]
    if not (is_.is_integer(kind) or is_.is_floating(kind)):
        values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return values
    if not column.null_count:
        return list(column.to_numpy().tolist())
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    # NumPy has no null: the cells of nulls are read as whatever lies there, and taken back.
    bare = pa.Array.from_buffers(kind, len(column), [None, column.buffers()[1]], offset=column.offset)
    values = bare.to_numpy().tolist()
    for position in np.flatnonzero(~valid).tolist():
        values[position] = None
    return values


def _scalars(column: pa.Array) -> Cells:
    return _plain(column), ()


def _texts(column: pa.Array) -> Cells:
    values = _plain(column)
    if not is_.is_large_string(column.type):
        values = [None if value is None else as_text(value) for value in values]
    return values, ()


def _maps(column: pa.Array) -> Cells:
    if is_.is_null(column.type):
        return _plain(column), ()
    return [None if value is None else dict(value) for value in column.to_pylist()], ()


def _moments(column: pa.Array) -> Cells:
    """Seconds since 1970; text and numbers as they are."""
    if not is_.is_timestamp(column.type):
        return _plain(column), ()
    per_second = _PER_SECOND[column.type.unit]
    return [None if value is None else value / per_second for value in _plain(column.cast(pa.int64()))], ()


def _values(column: pa.Array) -> Cells:
    """Values of features and inputs."""
    kind = column.type
    if is_.is_null(kind) or _is_scalar(kind):
        return _plain(column), ()
    if is_.is_timestamp(kind):
        zone = "+00:00" if kind.tz is not None else ""
        return _texts_of(column, kind.unit, lambda us, ns: _moment_text(us, ns) + zone), ()
    if is_.is_date(kind):
        days = column.cast(pa.timestamp("s"), safe=False)
        return _texts_of(days, "s", lambda us, ns: _moment_text(us, ns)[:-9]), ()
    if is_.is_time(kind):
        return _texts_of(column, kind.unit, _time_text), ()
    if is_.is_duration(kind):
        ns_each = 1_000_000_000 // _PER_SECOND[kind.unit]
        values = _plain(column.cast(pa.int64()))
        return [None if value is None else duration_text(value * ns_each) for value in values], ()
    if _is_list(kind) and _is_scalar(kind.value_type) and not is_.is_large_string(kind.value_type):
        return _vectors(column)
    return ReaderRule().values(column.to_pylist(maps_as_pydicts="lossy"))


def _vectors(column: pa.Array) -> Cells:
    if is_.is_fixed_size_list(column.type):
        column = column.cast(pa.large_list(column.type.value_type))
    numbers = _plain(column.values)
    valid = column.is_valid().to_numpy(zero_copy_only=False).tolist()
    lists = [
        numbers[start:end] if there else None
        for (start, end), there in zip(pairwise(column.offsets.to_pylist()), valid, strict=True)
    ]
    if column.values.null_count:  # a list with a null in it is no list of numbers
        return ReaderRule().values(lists)
    return lists, ()


def _texts_of(column: pa.Array, unit: str, text: Callable[[int, int], str]) -> list[str | None]:
    """The text of each moment or time, given as microseconds and the nanoseconds beyond them."""
    ns_each = 1_000_000_000 // _PER_SECOND[unit]
    width = pa.int32() if column.type.bit_width == 32 else pa.int64()
    return [None if value is None else text(*divmod(value * ns_each, 1000)) for value in _plain(column.cast(width))]


def _moment_text(microseconds: int, nanoseconds: int) -> str:
    try:
        moment = (_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None)
    except OverflowError:  # before the year 1 or after 9999
        return str(np.datetime64(microseconds, "us"))
    if not nanoseconds:
        return moment.isoformat()
    return f"{moment.isoformat(timespec='microseconds')}{nanoseconds:03d}"


def _time_text(microseconds: int, nanoseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if nanoseconds:
        return f"{text}.{fraction:06d}{nanoseconds:03d}"
    return f"{text}.{fraction:06d}" if fraction else text


ID = Kind(_is_id, _texts)
TEXT = Kind(_is_scalar, _texts)
NUMBER = Kind(_is_number, _scalars)
INTEGER = Kind(lambda kind: bool(is_.is_integer(kind)), _scalars)
BOOL = Kind(lambda kind: bool(is_.is_boolean(kind)), _scalars)
SCALAR = Kind(_is_scalar, _scalars)
MOMENT = Kind(_is_moment, _moments)
VALUE = Kind(_is_value, _values)
TEXT_MAP = Kind(_is_text_map, _maps)
