"""The conversion table for whole columns: from what a frame holds to what events can hold, without a loop over rows.

The results are those of `upshot.capture.convert` for each value, in the Arrow types null, int64, uint64, double, bool, string, and
lists of numbers. Only columns that no event can hold as they are (structs, nested lists, bytes that are no text, columns of mixed
objects) are gone through value by value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from upshot.capture.convert import as_text, duration_text
from upshot.capture.frames.place import Place

__all__ = [
    "bool_column",
    "by_value",
    "event_column",
    "id_column",
    "moment_column",
    "number_column",
    "scalar_column",
    "screened",
    "share_column",
    "text_column",
    "without_nested",
]

_NO_FRACTION = r"\.000000(?:000)?(\+00:00)?$"
_ONLY_MICROSECONDS = r"(\.\d{6})000(\+00:00)?$"
_NO_MOMENT_US = 2.0**62
"""What lies beyond is no moment in any unit; cut to this, it is still refused by the server."""


def event_column(column: Any, place: Place) -> Any:
    """A column of features or inputs, as an array of a type that events can hold, or that the reader of an event makes into one."""
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
            return column.cast(pa.large_binary())
    return column if _is_left_to_the_reader(kind) else by_value(column.to_pylist(), place)


def scalar_column(column: Any, place: Place) -> Any:
    """A column of predictions or actions: numbers, bools or texts."""
    column = event_column(column, place)
    kind = column.type
    if pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_null(kind):
        return column
    values = by_value(column.to_pylist(), place)
    return _as_repr(values.to_pylist(), place) if _is_list(values.type) else values


def text_column(column: Any, place: Place) -> Any:
    """A column of tags, as text. Null and NaN are null."""
    column = scalar_column(column, place)
    if not pa.types.is_floating(column.type):
        return column.cast(pa.string())
    coded = _without_nan(column).dictionary_encode()  # as Python writes it, 17.0 and not 17; each different value once
    return _texts(coded.dictionary.to_pylist()).take(coded.indices)


def id_column(column: Any, place: Place) -> Any:
    """A column of IDs, as text. Floats that are whole numbers all of them are integers: pandas makes floats of those with gaps."""
    column = scalar_column(column, place)
    if pa.types.is_floating(column.type):
        with contextlib.suppress(pa.ArrowInvalid):
            column = _without_nan(column).cast(pa.int64())
    return text_column(column, place)


def number_column(column: Any, place: Place) -> Any:
    """A column of probabilities or attributions, as doubles. Raises TypeError when it holds no numbers."""
    column = scalar_column(column, place)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_null(kind):
        return column
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.float64(), safe=False)
    raise TypeError


def share_column(column: Any, place: Place) -> Any:
    """A column of propensities: as `number_column`, and NaN is null: pandas has no other way to say that there is none."""
    column = number_column(column, place)
    return _without_nan(column) if pa.types.is_floating(column.type) else column


def bool_column(column: Any, place: Place) -> Any:
    """A column of yes and no: bools, or numbers that are 0 or 1. Raises TypeError when it holds something else."""
    column = scalar_column(column, place)
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TypeError
    column = _without_nan(column) if pa.types.is_floating(kind) else column
    if not pc.all(pc.is_in(column, pa.array([0, 1, None], kind))).as_py():
        raise TypeError
    return column.cast(pa.bool_())


def moment_column(column: Any, else_s: float | None) -> Any:
    """A column of moments as ``timestamp[us, UTC]``; null and NaN become ``else_s`` (Unix seconds), or stay null.

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
        microseconds = _without_nan(microseconds)
        microseconds = pc.min_element_wise(
            pc.max_element_wise(microseconds, -_NO_MOMENT_US, skip_nulls=False), _NO_MOMENT_US, skip_nulls=False
        )
        moments = microseconds.cast(pa.int64()).cast(utc)
    else:
        column = column.cast(pa.string())
        try:
            moments = column.cast(utc)
        except pa.ArrowInvalid:
            return column
    return moments if else_s is None else moments.fill_null(pa.scalar(round(else_s * 1e6), pa.int64()).cast(utc))


def by_value(values: Sequence[object], place: Place) -> Any:
    """The slow way: each value by the table. An array of one type, or of text when the values have several."""
    plain = [place.value(row, value) for row, value in enumerate(values)]
    kinds = {type(value) for value in plain} - {type(None)}
    if len(kinds) <= 1 and kinds != {str}:
        try:
            column = pa.array(plain)
        except (pa.ArrowException, OverflowError):  # lists of different numbers, integers beyond 64 bits
            pass
        else:
            if not _is_list(column.type) or _is_number(column.type.value_type):
                return column
    return _as_repr(plain, place)


def without_nested(column: Any, place: Place) -> Any:
    """The column; where it holds nested values or bytes, each converted (and redacted) by itself instead of by the reader."""
    column = _plain(column)
    kind = column.type
    is_flat = not pa.types.is_nested(kind) or (_is_list(kind) and _is_number(kind.value_type))
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return column if is_flat and not is_bytes else by_value(column.to_pylist(), place)


def screened(column: Any, text: Callable[[str], str | None], place: Place) -> tuple[Any, int]:
    """A column of texts with ``text`` applied to each, and how many that changed or removed (None)."""
    coded = column.dictionary_encode()  # each different value once
    before = coded.dictionary.to_pylist()
    after = [text(value) for value in before]
    odd = [i for i, value in enumerate(after) if value is not before[i]]
    if not odd:
        return column, 0
    changed = pc.is_in(coded.indices, pa.array(odd, coded.indices.type))
    rows = pc.indices_nonzero(changed).to_pylist()
    for row in rows:
        place.redacted(row)
    return pa.array(after, pa.string()).take(coded.indices), len(rows)


def _as_repr(plain: Sequence[object], place: Place) -> Any:
    for row, value in enumerate(plain):
        if value is not None and type(value) is not str:
            place.kept_as_text(row)
    return _texts(plain)


def _texts(plain: Sequence[object]) -> Any:
    texts = [None if value is None else as_text(value) for value in plain]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        valid = [text and text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return pa.array(valid, pa.string())


def _without_nan(column: Any) -> Any:
    return pc.if_else(pc.is_nan(column), None, column)


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
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_leaf(kind: Any) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_null,
    )
    return _is_number(kind) or any(test(kind) for test in tests)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_left_to_the_reader(kind: Any) -> bool:
    """What the reader rule of `upshot.wire` is for: shallow enough for every reader of Arrow."""
    if _is_list(kind):
        return _is_leaf(kind.value_type)
    if pa.types.is_map(kind):
        return _is_leaf(kind.key_type) and _is_leaf(kind.item_type)
    if pa.types.is_struct(kind):
        return all(_is_leaf(field.type) for field in kind)
    return False


def _numbers(column: Any) -> Any | None:
    """A column of lists of numbers as lists of int64, uint64, double or bool; None when it is none."""
    inner = column.type.value_type
    if not _is_number(inner):
        return None
    if pa.types.is_floating(inner):
        inner = pa.float64()
    elif not pa.types.is_boolean(inner) and inner != pa.uint64():
        inner = pa.int64()
    return column.cast(pa.list_(inner))


def _temporal(column: Any) -> Any:
    """Moments, dates and times as ISO 8601 text as Python writes it, and durations."""
    kind = column.type
    if pa.types.is_duration(kind):
        coded = column.cast(pa.int64()).dictionary_encode()  # each different value once
        ns_each = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}[kind.unit]
        return _texts([duration_text(ticks * ns_each) for ticks in coded.dictionary.to_pylist()]).take(coded.indices)
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
