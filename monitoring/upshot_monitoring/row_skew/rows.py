"""Recomputed values as Python has them, made into a table that keeps the kind of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from upshot_joiner.intake.check import exact_json
from upshot_joiner.store.rows import kind_of

IDS = ("request_id", "item_id", "model_version")
JSON_TEXT = {b"upshot": b"json"}
"""Metadata of a column that holds JSON text, also where all of its values are texts."""


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table of rows with ``request_id`` (and ``item_id``, ``model_version``); every other name is a feature.

    A name that a row does not have was not recomputed for it: that is not the same as null. Values keep their kind.
    """
    given = list(rows)
    names = sorted({name for row in given for name in row} - set(IDS))
    columns: dict[str, pa.Array] = {
        name: pa.array([None if row.get(name) is None else str(row[name]) for row in given], pa.string())
        for name in IDS
    }
    fields = [pa.field(name, pa.string()) for name in IDS]
    for name in names:
        texts = [None if row.get(name) is None else exact_json(row[name]) for row in given]
        columns[f"feature__{name}"] = pa.array(texts, pa.string())
        columns[f"feature_kind__{name}"] = pa.array([_kind(row, name) for row in given], pa.string())
        fields += [
            pa.field(f"feature__{name}", pa.string(), metadata=JSON_TEXT),
            pa.field(f"feature_kind__{name}", pa.string()),
        ]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def one_schema(tables: Iterable[pa.Table], names: Sequence[str]) -> Iterator[pa.Table]:
    """Tables of :func:`table_of` with the same columns: those of all ``names``; what a table did not have is absent."""
    schema = pa.schema(
        [pa.field(name, pa.string()) for name in IDS]
        + [
            field
            for name in names
            for field in (
                pa.field(f"feature__{name}", pa.string(), metadata=JSON_TEXT),
                pa.field(f"feature_kind__{name}", pa.string()),
            )
        ]
    )
    for table in tables:
        there = set(table.column_names)
        columns = [
            table[field.name]
            if field.name in there
            else pa.repeat(
                pa.scalar("absent" if field.name.startswith("feature_kind__") else None, pa.string()), table.num_rows
            )
            for field in schema
        ]
        yield pa.table(columns, schema=schema)


def _kind(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return "absent"
    value = row[name]
    return "null" if value is None else (kind_of(value) or "json")
