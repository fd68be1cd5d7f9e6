"""The statements that make profiles of vectors, dimension by dimension: rows in, one row per hour, version, column and length out.

Which columns hold vectors at all, and how long, is asked first, from lengths alone: a column without any costs nothing more, and
the longest vector says how many rows a block may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.columns import VECTOR_ROWS_PER_BLOCK, Column
from upshot_monitoring.profiles.rollup import Statement
from upshot_monitoring.profiles.vector_profile import MAX_DIMENSIONS, OTHER_LENGTHS

LENGTHS = 8
"""Lengths kept one by one, per hour and version: a list of another length in every row is no embedding."""
LARGEST_NORM = 1e140
"""Of a vector that is summed: its square, times all rows, is still a number."""
ELEMENTS_PER_BLOCK = 2**21
"""What bounds the memory of a statement, 16 MiB of numbers per thread."""
BODY = ("length", "rows", "summed", "means", "m2")

_COLUMNS = 48
"""Whose lengths are asked for together."""
_FOUND = """
SELECT f, max(longest), max(lengths) FROM (
  SELECT f, hour, model_version, max(size) AS longest, uniqExact(size) AS lengths
  FROM (SELECT {hour} AS hour, model_version, [{sizes}] AS cell_sizes FROM {source})
  ARRAY JOIN cell_sizes AS size, {{cell_ids:Array(UInt16)}} AS f
  WHERE size > 0 GROUP BY f, hour, model_version
) GROUP BY f ORDER BY f
"""
# avg and varPopStable: of 1000 +/- 0.001, a sum of squares would have no digits left.
_VECTORS = """
SELECT {key}, toUInt32(kept) AS length, count() AS rows, countIf(is_whole) AS summed,
  avgForEachIf(elements, is_whole) AS means, arrayMap(x -> x * summed, varPopStableForEachIf(elements, is_whole)) AS m2
FROM (
  SELECT hour, model_version, {kept} AS kept, elements, kept != {other} AND L2Norm(elements) < {largest} AS is_whole
  FROM (SELECT {hour} AS hour, model_version, toUInt64({size}) AS size, {vector} AS elements FROM {source} WHERE size > 0)
)
GROUP BY hour, model_version, kept
"""
# GLOBAL: the most frequent of all shards, not of each.
_MOST_FREQUENT = """
if((toUInt32(hour), model_version, size) GLOBAL IN (
  SELECT toUInt32(h) AS at, model_version, size FROM (
    SELECT {hour} AS h, model_version, toUInt64({size}) AS size, count() AS k FROM {source} WHERE size > 0
    GROUP BY h, model_version, size
  ) ORDER BY k DESC, size LIMIT {lengths} BY at, model_version
), size, {other})
"""


def vector_statements(
    store: Store,
    columns: Sequence[Column],
    *,
    source: str,
    params: Mapping[str, object],
    key: str,
    hour: str = "toStartOfHour(predicted_at)",
) -> Iterator[Statement]:
    """A SELECT for each column that has vectors in ``source``; ``key`` are its first columns (see ``rollup.statements``), then
    comes :data:`BODY`. ``params`` fill the places of ``source``."""
    of_vectors = [column for column in columns if column.vector]
    for start in range(0, len(of_vectors), _COLUMNS):
        batch = of_vectors[start : start + _COLUMNS]
        sql = _FOUND.format(hour=hour, sizes=", ".join(f"toUInt64({_size(column)})" for column in batch), source=source)
        sql += f" SETTINGS max_block_size = {VECTOR_ROWS_PER_BLOCK}"
        for at, longest, lengths in store.query(sql, {**params, "cell_ids": list(range(len(batch)))}):
            yield _statement(batch[at], longest, lengths, source=source, key=key, hour=hour)


def _statement(column: Column, longest: int, lengths: int, *, source: str, key: str, hour: str) -> Statement:
    places = {"hour": hour, "size": _size(column), "source": source, "other": OTHER_LENGTHS, "lengths": LENGTHS}
    vector = column.vector
    sql = _VECTORS.format(
        key=key.format(role="{cell_role:String}", feature="{cell_name:String}"),
        kept=_MOST_FREQUENT.format(**places) if lengths > LENGTHS else "size",
        vector=f"arraySlice({vector}, 1, {MAX_DIMENSIONS})" if longest > MAX_DIMENSIONS else vector,
        largest=LARGEST_NORM,
        **places,
    )
    block_rows = max(64, min(VECTOR_ROWS_PER_BLOCK, ELEMENTS_PER_BLOCK // min(longest, MAX_DIMENSIONS)))
    return Statement(sql, block_rows, {"cell_role": column.role, "cell_name": column.name}, BODY)


def _size(column: Column) -> str:
    return column.size or f"length({column.vector})"
