"""Samples of rows for charts: Parquet files with one column per feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upshot_joiner.store.client import Store
from upshot_monitoring import sampled
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.read import Window

ROWS = 5000
"""Per side. More makes the report slower and its charts no better; its scores are those of all rows anyway."""


def sample_served(
    store: Store, table: str, window: Window, columns: Sequence[Column], names: Sequence[str], file: Path
) -> int:
    """Write a sample of the served rows of a window. Returns its rows."""
    rows = sampled.of_served(store, table, window, [_value(column) for column in columns], ROWS)
    pq.write_table(rows.rename_columns(list(names)), file)
    return int(rows.num_rows)


def sample_reference(parquet: Path, sources: Sequence[str], names: Sequence[str], file: Path) -> int:
    """Write a sample of an uploaded training set. Returns its rows."""
    table = sampled.of_parquet(parquet, sources, ROWS)
    columns = [_plain(table[source]) for source in sources]
    pq.write_table(pa.table(columns, names=list(names)), file)
    return int(table.num_rows)


def _value(column: Column) -> str:
    if column.is_textual:
        flag = f"multiIf(isNull({column.flag}), NULL, {column.flag}, 'true', 'false')" if column.flag else "NULL"
        return f"CAST(coalesce({column.text or 'NULL'}, {flag}) AS Nullable(String))"
    number = column.number or "NULL"
    return f"if(notEmpty({column.vector}), L2Norm({column.vector}), {number})" if column.vector else number


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, "true", "false")
    if pa.types.is_nested(values.type):
        # A vector is profiled by its norm, so that is what is drawn.
        vectors = values.to_pylist()
        return pa.chunked_array(
            [[float(np.linalg.norm(vector)) if vector else None for vector in vectors]], pa.float64()
        )
    return values
