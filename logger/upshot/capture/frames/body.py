"""Events as Arrow: an IPC stream of one table, a row per prediction, columns named as in an export.

A body is complete in itself: whoever holds the bytes can read them.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa

from upshot.capture.frames.names import field_of

__all__ = ["body", "events", "halves"]


def body(table: Any) -> bytes:
    """A record batch or table as an Arrow body."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow is untyped


def halves(arrow_body: bytes) -> list[tuple[int, bytes]]:
    """A body as two of half its rows: (rows, body) each."""
    table = _table(arrow_body)
    middle = table.num_rows // 2
    return [(part.num_rows, body(part)) for part in (table.slice(0, middle), table.slice(middle))]


def events(arrow_body: bytes) -> list[dict[str, Any]]:
    """The rows of a body as events: dicts of the fields of `upshot.wire.Prediction`, null ones left out except in features."""
    table = _table(arrow_body)
    made: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
    for name, column in zip(table.column_names, table.columns, strict=True):
        field, key = field_of(name)
        if pa.types.is_timestamp(column.type):
            values = [None if us is None else us / 1e6 for us in column.cast(pa.int64()).to_pylist()]
        elif pa.types.is_map(column.type):
            values = [value and dict(value) for value in column.to_pylist()]
        else:
            values = column.to_pylist()
        for event, value in zip(made, values, strict=True):
            if value is None and field not in ("features", "inputs"):
                continue
            if key is None:
                event[field] = value
            else:
                event.setdefault(field, {})[key] = value
    return made


def _table(arrow_body: bytes) -> Any:
    """Streams that follow each other in one body are one table."""
    source = io.BytesIO(arrow_body)
    tables = []
    while source.tell() < len(arrow_body):
        tables.append(pa.ipc.open_stream(source).read_all())
    return pa.concat_tables(tables, promote_options="permissive") if len(tables) != 1 else tables[0]
