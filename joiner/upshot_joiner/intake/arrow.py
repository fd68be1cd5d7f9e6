"""Predictions as an Arrow IPC stream: one row each, columns named as in an export.

A null in a ``feature__`` or ``input__`` column is a null that was served; elsewhere it says that there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as is_

from upshot.wire import Prediction
from upshot_joiner.errors import Place, Problem
from upshot_joiner.intake import arrow_stream
from upshot_joiner.intake.arrow_columns import (
    BOOL,
    ID,
    INTEGER,
    MOMENT,
    NUMBER,
    SCALAR,
    TEXT,
    TEXT_MAP,
    VALUE,
    Kind,
)
from upshot_joiner.intake.body import MAX_DECOMPRESSED_BYTES, Damaged, Frame
from upshot_joiner.intake.decoded import Decoded, Refused, check_count, quoted, unreadable_frame
from upshot_joiner.intake.reader_rule import note_reprs

_COLUMNS: Mapping[str, Kind] = {
    "request_id": ID,
    "item_id": ID,
    "model": ID,
    "model_version": ID,
    "predicted_at": MOMENT,
    "prediction": SCALAR,
    "action": SCALAR,
    "propensity": NUMBER,
    "shown": BOOL,
    "keep_probability": NUMBER,
    "flags": TEXT_MAP,
    "writer_id": ID,
    "seq": INTEGER,
}
_PREFIXES: Mapping[str, tuple[str, Kind]] = {
    "feature__": ("features", VALUE),
    "input__": ("inputs", VALUE),
    "feature_time__": ("feature_times", MOMENT),
    "probability__": ("probabilities", NUMBER),
    "attribution__": ("attributions", NUMBER),
    "entity__": ("entities", TEXT),
    "tag__": ("tags", TEXT),
}
_NULL_IS_A_VALUE = frozenset({"features", "inputs"})
_DEFAULTS: Mapping[str, Any] = {"item_id": "", "model_version": "", "keep_probability": 1.0, "writer_id": "", "seq": 0}
_NEEDED = ("request_id", "model")
_MAX_SHOWN = 200


@dataclass(frozen=True)
class _Target:
    """Where a column goes: a field, or a name in a field that is a mapping."""

    field: str
    name: str | None
    kind: Kind


def decode(frames: list[Frame], limit: int = MAX_DECOMPRESSED_BYTES) -> Decoded[Prediction]:
    """Decode the frames of a body, each of them one stream; indices count the rows of all of them.

    A frame that is no stream, or whose columns are wrong, counts as one row, and loses no other frame. Raises a
    :class:`Problem` when no frame is right: 400 when none is a stream, 422 for columns that a prediction does not have or
    that are of a wrong type (``errors`` names every one of them). Raises 413 for too many rows or too much in them.
    """
    events: list[tuple[int, Prediction]] = []
    refused: list[Refused] = []
    converted: dict[int, int] = {}
    items = size = 0
    readable = False
    wrong_columns: list[Place] = []
    for number, frame in enumerate(frames):
        content = frame if isinstance(frame, bytes) else b""
        try:
            found = _read(content, limit - size, limit, items)
        except arrow_stream.MalformedError:
            refused.append(unreadable_frame(items, number, frame.sent if isinstance(frame, Damaged) else content))
            items += 1
        except _WrongColumnsError as wrong:
            wrong_columns = wrong_columns or wrong.places
            first = wrong.places[0]
            refused.append(Refused(items, first["code"], f"frame[{number}].{first['loc']}", quoted(content)))
            items += 1
        else:
            readable = True
            size += found.size
            _append(found, items, events, refused, converted)
            items += found.rows
        check_count(items)
    if readable:
        return Decoded(events, refused, converted)
    if wrong_columns:
        raise Problem(
            422, "invalid_columns", "Some columns are not those of a prediction; nothing was stored.", wrong_columns
        )
    raise Problem(
        400, "invalid_arrow", "The body is not an Arrow IPC stream.", [{"loc": "body", "code": "invalid_arrow"}]
    )


class _WrongColumnsError(Exception):
    """The columns of a stream that cannot be taken."""

    def __init__(self, places: list[Place]) -> None:
        super().__init__(places)
        self.places = places


@dataclass(frozen=True)
class _Rows:
    """A stream as lists of values, one per row."""

    rows: int
    fields: Mapping[str, list[Any]]
    reprs: Mapping[int, list[tuple[str, str]]]
    """By row, field and name of the values that were kept as ``repr``."""
    size: int
    """Bytes that the stream counts as."""


def _read(frame: bytes, room: int, limit: int, items: int) -> _Rows:
    try:
        table, size = arrow_stream.read(frame, _check, room=room, limit=limit, items=items)
        return _rows(table, size)
    except (pa.ArrowException, ArithmeticError, ValueError) as error:
        # Arrow's own check lets some through: a decimal with more digits than there are.
        raise arrow_stream.MalformedError from error


def _target(name: str) -> _Target | None:
    if name in _COLUMNS:
        return _Target(name, None, _COLUMNS[name])
    prefix, separator, rest = name.partition("__")
    found = _PREFIXES.get(prefix + separator)
    return _Target(found[0], rest, found[1]) if found else None


def _check(schema: pa.Schema) -> None:
    """Raise :class:`_WrongColumnsError` with every column that cannot be taken."""
    places: list[Place] = [{"loc": name, "code": "missing_column"} for name in _NEEDED if name not in schema.names]
    seen: set[str] = set()
    for field in schema:
        shown = field.name[:_MAX_SHOWN]
        target = _target(field.name)
        kind = arrow_stream.plain_type(field.type)
        if field.name in seen:
            places.append({"loc": shown, "code": "repeated_column"})
        elif target is None:
            places.append({"loc": shown, "code": "unknown_column"})
        elif not is_.is_null(kind) and not target.kind.takes(kind):
            places.append({"loc": shown, "code": "unsupported_type"})
        seen.add(field.name)
    if places:
        raise _WrongColumnsError(places)


def _rows(table: pa.Table, size: int) -> _Rows:
    fields: dict[str, list[Any]] = {}
    grouped: dict[str, dict[str, list[Any]]] = {}
    reprs: dict[int, list[tuple[str, str]]] = {}
    for name, chunks in zip(table.column_names, table.columns if table.num_rows else [], strict=False):
        target = _target(name)
        if target is None:
            continue
        cells, rows_as_repr = target.kind.cells(chunks.chunk(0))
        if target.name is None:
            default = _DEFAULTS.get(target.field)
            fields[target.field] = (
                [default if cell is None else cell for cell in cells] if default is not None else cells
            )
            continue
        grouped.setdefault(target.field, {})[target.name] = cells
        for row in rows_as_repr:
            reprs.setdefault(row, []).append((target.field, target.name))
    for field, columns in grouped.items():
        fields[field] = _mappings(field, columns)
    return _Rows(table.num_rows, fields, reprs, size)


def _append(
    rows: _Rows, start: int, events: list[tuple[int, Prediction]], refused: list[Refused], converted: dict[int, int]
) -> None:
    """Append the rows to the events; the first of them has the index ``start``."""
    for index, row in enumerate(zip(*rows.fields.values(), strict=True), start):
        fields = dict(zip(rows.fields, row, strict=True))
        event = Prediction(**fields)
        if event.request_id is None or event.model is None:
            refused.append(Refused(index, "missing", "request_id" if event.request_id is None else "model", fields))
            continue
        kept_as_repr = rows.reprs.get(index - start)
        if kept_as_repr:
            event.flags = note_reprs(event.flags, kept_as_repr)
            converted[index] = len(kept_as_repr)
        events.append((index, event))


def _mappings(field: str, columns: Mapping[str, list[Any]]) -> list[dict[str, Any] | None]:
    names = list(columns)
    rows: Iterable[tuple[Any, ...]] = zip(*columns.values(), strict=True)
    if field in _NULL_IS_A_VALUE:
        return [dict(zip(names, row, strict=True)) for row in rows]
    return [{name: value for name, value in zip(names, row, strict=True) if value is not None} or None for row in rows]
