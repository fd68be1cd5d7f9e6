"""The conversion table for whole columns: from what a frame holds to what events can hold, without a loop over rows.

The results are those of `upshot.capture.convert` for each value, in the Arrow types null, int64, uint64, double, bool, string, and
lists of numbers. Only columns that no event can hold as they are (structs, nested lists, bytes that are no text, columns of mixed
objects) are gone through value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from upshot.capture.convert import Converter, as_text

__all__ = ["OnRepr", "by_value", "event_column", "moment_column", "number_column", "text_column"]

OnRepr = Callable[[], object]
"""Called for each value that could only be kept as text."""

_NUMBER_LISTS = (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.bool_()))
_NO_FRACTION = r"\.000000(?:000)?(\+00:00)?$"
_ONLY_MICROSECONDS = r"(\.\d{6})000(\+00:00)?$"
_NO_MOMENT_US = 2.0**62
"""What lies beyond is no moment in any unit; cut to this, it is still refused by the server."""


def event_column(column: Any, on_repr: OnRepr) -> Any:
    """A column of features, predictions or actions, as an array of a type that events can hold."""
    column = _plain(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or kind == pa.uint64():
        return column
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    if pa.types.is_decimal(kind):  # by way of text: that is the nearest float for sure
        return column.cast(pa.string()).cast(pa.float64())
    if pa.types.is_temporal(kind) and kind != pa.month_day_nano_interval():
        return _temporal(column)
    if _is_list(kind) and (numbers := _numbers(column)) is not None:
        return numbers
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid:  # no UTF-8
            pass
    return by_value(column.to_pylist(), on_repr)


def text_column(column: Any, on_repr: OnRepr) -> Any:
    """A column of IDs, entities or tags, as text. Nulls stay null."""
    column = event_column(column, on_repr)
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):  # as Python writes it, 17.0 and not 17; each different value once
        coded = column.dictionary_encode()
        return _texts(coded.dictionary.to_pylist()).take(coded.indices)
    return _texts(column.to_pylist())


def number_column(column: Any, on_repr: OnRepr) -> Any:
    """A column of probabilities: doubles where it holds numbers; anything else as it is, for the server to refuse."""
    column = event_column(column, on_repr)
    is_number = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type) or pa.types.is_null(column.type)
    return column.cast(pa.float64(), safe=False) if is_number else column


def moment_column(column: Any, now_s: float) -> Any:
    """A column of moments as ``timestamp[us, UTC]``; null and NaN are now (Unix seconds).

    Takes timestamps (without a zone they are UTC), dates, Unix seconds, and RFC 3339 text with an offset. What is none of these is
    passed on as text, for the server to refuse.
    """
    utc = pa.timestamp("us", "UTC")
    column = _plain(column)
    kind = column.type
    if pa.types.is_timestamp(kind):
        moments = column.cast(utc, safe=False)
    elif pa.types.is_date(kind) or pa.types.is_null(kind):
        moments = column.cast(pa.timestamp("us")).cast(utc)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        microseconds = pc.round(pc.multiply(column.cast(pa.float64(), safe=False), 1e6))
        microseconds = pc.if_else(pc.is_nan(microseconds), None, microseconds)
        microseconds = pc.min_element_wise(
            pc.max_element_wise(microseconds, -_NO_MOMENT_US, skip_nulls=False), _NO_MOMENT_US, skip_nulls=False
        )
        moments = microseconds.cast(pa.int64()).cast(utc)
    else:
        column = text_column(column, lambda: None)
        try:
            moments = column.cast(utc)
        except pa.ArrowInvalid:
            return column
    return moments.fill_null(pa.scalar(round(now_s * 1e6), pa.int64()).cast(utc))


def by_value(values: Sequence[object], on_repr: OnRepr) -> Any:
    """The slow way: each value by the table. An array of one type, or of text when the values have several."""
    convert = Converter(on_repr).value
    plain = [convert(value) for value in values]
    kinds = {type(value) for value in plain} - {type(None)}
    if len(kinds) <= 1 and kinds != {str}:
        try:
            column = pa.array(plain)
        except (pa.ArrowException, OverflowError):  # lists of different numbers, integers beyond 64 bits
            pass
        else:
            if not _is_list(column.type) or column.type in _NUMBER_LISTS:
                return column
    for value in plain:
        if value is not None and type(value) is not str:
            on_repr()
    return _texts(plain)


def _texts(plain: Sequence[object]) -> Any:
    texts = [None if value is None else as_text(value) for value in plain]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        valid = [text and text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return pa.array(valid, pa.string())


def _plain(column: Any) -> Any:
    """Without chunks, dictionary, run-ends and extension type; text as ``string``."""
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays([_plain(chunk) for chunk in column.chunks])
    kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(column.indices, _plain(column.dictionary)).dictionary_decode()
    if pa.types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(column))
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
        return column.cast(pa.bool_()) if kind.extension_name == "arrow.bool8" else _plain(column.storage)
    return column


def _is_list(kind: Any) -> bool:
    tests = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(test(kind) for test in tests)


def _numbers(column: Any) -> Any | None:
    """A column of lists of numbers; None when something else is in them, null among it."""
    inner = column.type.value_type
    if inner == pa.uint64() or pa.types.is_boolean(inner):
        target = inner
    elif pa.types.is_integer(inner):
        target = pa.int64()
    elif pa.types.is_floating(inner) or (pa.types.is_null(inner) and not len(column.flatten())):
        target = pa.float64()
    else:
        return None
    return None if column.flatten().null_count else column.cast(pa.list_(target))


def _temporal(column: Any) -> Any:
    """Moments, dates and times as ISO 8601 text as Python writes it; durations as seconds."""
    kind = column.type
    if pa.types.is_duration(kind):
        ticks_per_s = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        return pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), ticks_per_s)
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string())
    if pa.types.is_time(kind):
        text = column.cast(pa.time64(kind.unit if kind.unit == "ns" else "us")).cast(pa.string())
    else:
        unit = "ns" if kind.unit == "ns" else "us"
        offset = "" if kind.tz is None else "+00:00"
        # Without its zone a timestamp is the moment in UTC, so that no time zone database is needed to write it.
        text = pc.strftime(column.cast(pa.timestamp(unit), safe=False), format=f"%Y-%m-%dT%H:%M:%S{offset}")
    if kind.unit == "ns":
        text = pc.replace_substring_regex(text, pattern=_ONLY_MICROSECONDS, replacement=r"\1\2")
    return pc.replace_substring_regex(text, pattern=_NO_FRACTION, replacement=r"\1")
