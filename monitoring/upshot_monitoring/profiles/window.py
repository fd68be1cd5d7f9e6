"""Which hours of a model are read, and how rows of arrays come out of the store."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Window:
    """Which hours of a model: ``start`` <= hour < ``end``, of one version or of all together."""

    model: str
    start: datetime
    end: datetime
    version: str | None = None


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table; lists of numbers as NumPy arrays, which is several times faster than as lists."""
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        column = pa.concat_arrays(table[name].chunks) if table.num_rows else pa.array([])
        if pa.types.is_list(column.type) and not pa.types.is_string(column.type.value_type):
            offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
            columns[name] = [values[start:end] for start, end in itertools.pairwise(offsets)]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
