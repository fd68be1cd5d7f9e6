"""The statement that makes profiles: rows in, one row of arrays per hour, version and column out.

Each row of the source is turned into one cell per column (ARRAY JOIN), so a statement reads the source once for a whole batch of
columns; a UNION ALL over columns would read keys and resolve duplicates once per column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from upshot_monitoring.profiles.columns import VECTOR_ROWS_PER_BLOCK, Column, Role
from upshot_monitoring.profiles.scales import FURTHEST, Scale

PER_SCALE = 32
"""Buckets per asinh unit: 32 keep PSI, Jensen-Shannon and Wasserstein within 2e-4 of the exact values with about 136 buckets."""
MAX_VALUES = 1000
"""Of a categorical column kept per hour and version; rows with rarer values are counted together."""
MAX_VALUE_LENGTH = 256
"""Bytes; a longer string is replaced by its beginning and its hash, so that different strings stay different."""
BATCH = 48
"""Columns per statement."""
CELLS_PER_BLOCK = 400_000
"""What bounds the memory of a statement: rows per block x columns."""

# What a cell holds; see Column.
NUMBER, VECTOR, BOOL, STR, NULL, ABSENT, OTHER = range(7)
_NAN_BUCKET = 2**31 - 2
_INF_BUCKET = 2**31 - 1

COUNTS = ("rows", "nulls", "absents", "others", "nans", "infs", "bools", "strs", "vectors", "n")
BODY = (
    *COUNTS,
    *("low", "high", "buckets", "counts", "sums", "sums2", "lows", "highs", "values", "value_counts", "overflow"),
)
"""The columns of a profile row that follow its key and ``scale_id``."""

_CELLS = """
SELECT hour, model_version, f, {text_key} tag, bucket,
  count() AS k, sum(z) AS sum_z, sum(z * z) AS sum_z2, min(x) AS least_x, max(x) AS most_x
FROM (
  SELECT hour, model_version, f, tag, x, {text_key}
    tag IN (0, 1) AS is_number,
    multiIf(NOT is_number OR NOT isFinite(x), 0., greatest(-{furthest}, least({furthest}, (x - center) / scale))) AS z,
    toInt32(multiIf(NOT is_number, 0, isNaN(x), {nan}, isInfinite(x), {inf}, floor(asinh(z) * {per_scale}))) AS bucket
  FROM {cells}
)
GROUP BY hour, model_version, f, {text_key} tag, bucket
"""
_OF_COLUMNS = """(
    SELECT {hour} AS hour, model_version,
      [{numbers}] AS cell_numbers, [{tags}] AS cell_tags {texts}
    FROM {source}
  )
  ARRAY JOIN cell_numbers AS x, cell_tags AS tag, {text_join}
    {{cell_ids:Array(UInt16)}} AS f, {{centers:Array(Float64)}} AS center, {{scales:Array(Float64)}} AS scale
"""
# One cell for each pair that a row's map has: the rows without a name are counted from the rows of its hour and version.
_OF_MAP = """(
    SELECT hour, model_version, toUInt8(0) AS tag, x,
      transform(name, {{cell_names:Array(String)}}, {{cell_ids:Array(UInt16)}}, toUInt16(0)) AS f,
      {{centers:Array(Float64)}}[f + 1] AS center, {{scales:Array(Float64)}}[f + 1] AS scale
    FROM (SELECT {hour} AS hour, model_version, {names} AS in_map, {numbers} AS of_map FROM {source})
    ARRAY JOIN CAST(in_map AS Array(String)) AS name, of_map AS x
    WHERE name IN {{cell_names:Array(String)}}
  )
"""
_WITH_TOTALS = """
{cells} AS cells
ANY LEFT JOIN (SELECT {hour} AS hour, model_version, count() AS total FROM {source} GROUP BY hour, model_version) AS totals
USING (hour, model_version)
"""

_PROFILES = """
SELECT {key}, {{scale_ids:Array(UInt64)}}[f + 1] AS scale_id,
  {rows} AS rows,
  sumIf(k, tag = 4) AS nulls, {absents} AS absents, sumIf(k, tag = 6) AS others,
  sumIf(k, bucket = {nan}) AS nans, sumIf(k, bucket = {inf}) AS infs,
  sumIf(k, tag = 2) AS bools, sumIf(k, tag = 3) AS strs, sumIf(k, tag = 1) AS vectors,
  sumIf(k, tag IN (0, 1) AND bucket < {nan}) AS n,
  minOrNullIf(least_x, tag IN (0, 1) AND bucket < {nan}) AS low,
  maxOrNullIf(most_x, tag IN (0, 1) AND bucket < {nan}) AS high,
  arraySort(cell -> cell.1, groupArrayIf((bucket, k, sum_z, sum_z2, least_x, most_x), tag IN (0, 1) AND bucket < {nan})) AS cells,
  cells.1 AS buckets, cells.2 AS counts, cells.3 AS sums, cells.4 AS sums2, cells.5 AS lows, cells.6 AS highs,
  {value_cells} AS value_cells,
  arraySlice(value_cells, 1, {max_values}) AS kept,
  kept.1 AS values, kept.2 AS value_counts,
  arraySum(arraySlice(value_cells, {max_values} + 1).2) AS overflow
FROM {cells}
GROUP BY hour, model_version, f
"""

_LIMITS = {"nan": _NAN_BUCKET, "inf": _INF_BUCKET, "per_scale": PER_SCALE, "furthest": FURTHEST}
_NO_VALUES = "CAST([] AS Array(Tuple(String, UInt64)))"


@dataclass(frozen=True)
class Statement:
    """A SELECT that makes the profiles of one batch of columns, what fills its places, and its columns after the key."""

    select: str
    block_rows: int
    params: dict[str, object]
    body: tuple[str, ...] = ("scale_id", *BODY)

    def insert_into(self, table: str, key: Sequence[str]) -> str:
        """The statement that stores them, under the parameter ``version``."""
        columns = ", ".join((*key, *self.body))
        return (
            f"INSERT INTO {table} ({columns}, version)\n"
            f"SELECT {columns}, {{version:UInt64}} FROM (\n{self.select}\n) SETTINGS max_block_size = {self.block_rows}"
        )


def statements(
    columns: Sequence[Column],
    scales: Sequence[Scale],
    *,
    source: str,
    key: str,
    hour: str = "toStartOfHour(predicted_at)",
) -> Iterator[Statement]:
    """The SELECTs over ``source`` for all columns; ``key`` are its first columns, over ``hour``, ``model_version``, ``role``
    and ``feature``; then come ``scale_id`` and :data:`BODY`."""
    pairs = list(zip(columns, scales, strict=True))
    # Columns of a kind share a statement: one without strings groups by numbers alone, which is several times faster.
    pairs.sort(key=lambda pair: (pair[0].is_textual, pair[0].is_numeric))
    start = 0
    while start < len(pairs):
        textual = pairs[start][0].is_textual
        batch = [pair for pair in pairs[start : start + BATCH] if pair[0].is_textual == textual]
        start += len(batch)
        yield _statement(batch, source=source, key=key, hour=hour)


def map_statements(
    role: Role, names: Sequence[str], scales: Sequence[Scale], pairs: tuple[str, str], *, source: str, key: str
) -> Iterator[Statement]:
    """The same for the numbers that rows keep in a map; ``pairs`` are its names and its numbers as SQL."""
    hour = "toStartOfHour(predicted_at)"
    for start in range(0, len(names), BATCH):
        batch = [Column(role, name) for name in names[start : start + BATCH]]
        cells = _CELLS.format(
            cells=_OF_MAP.format(hour=hour, source=source, names=pairs[0], numbers=pairs[1]), text_key="", **_LIMITS
        )
        sql = _PROFILES.format(
            key=_key(key),
            rows="any(total)",
            absents="any(total) - sum(k)",
            value_cells=_NO_VALUES,
            max_values=MAX_VALUES,
            cells=_WITH_TOTALS.format(cells=f"({cells})", hour=hour, source=source),
            **_LIMITS,
        )
        yield _filled(sql, batch, scales[start : start + BATCH])


def _statement(batch: Sequence[tuple[Column, Scale]], *, source: str, key: str, hour: str) -> Statement:
    columns = [column for column, _ in batch]
    textual = columns[0].is_textual
    cells = _CELLS.format(
        cells=_OF_COLUMNS.format(
            hour=hour,
            source=source,
            numbers=", ".join(map(_number, columns)),
            tags=", ".join(map(_tag, columns)),
            texts=f", [{', '.join(map(_text, columns))}] AS cell_texts" if textual else "",
            text_join="cell_texts AS text," if textual else "",
        ),
        text_key="text," if textual else "",
        **_LIMITS,
    )
    sql = _PROFILES.format(
        key=_key(key),
        rows="sum(k)",
        absents="sumIf(k, tag = 5)",
        max_values=MAX_VALUES,
        value_cells="arraySort(cell -> (-toInt64(cell.2), cell.1), groupArrayIf((text, k), tag IN (2, 3)))"
        if textual
        else _NO_VALUES,
        cells=f"({cells})",
        **_LIMITS,
    )
    return _filled(sql, columns, [scale for _, scale in batch])


def _key(key: str) -> str:
    return key.format(role="{cell_roles:Array(String)}[f + 1]", feature="{cell_names:Array(String)}[f + 1]")


def _filled(sql: str, columns: Sequence[Column], scales: Sequence[Scale]) -> Statement:
    block_rows = max(1024, CELLS_PER_BLOCK // len(columns))
    if any(column.vector for column in columns):
        block_rows = min(block_rows, VECTOR_ROWS_PER_BLOCK)
    return Statement(
        sql,
        block_rows,
        {
            "cell_ids": list(range(len(columns))),
            "cell_roles": [column.role for column in columns],
            "cell_names": [column.name for column in columns],
            "centers": [scale.center for scale in scales],
            "scales": [scale.scale for scale in scales],
            "scale_ids": [scale.scale_id for scale in scales],
        },
    )


def _number(column: Column) -> str:
    number = f"ifNull({column.number}, 0.)" if column.number else "0."
    if column.vector is None:
        return number
    return f"if(notEmpty({column.vector}), L2Norm({column.vector}), {number})"


def _tag(column: Column) -> str:
    cases = []
    if column.number:
        cases.append(f"isNotNull({column.number}), {NUMBER}")
    if column.vector:
        cases.append(f"notEmpty({column.vector}), {VECTOR}")
    if column.flag:
        cases.append(f"isNotNull({column.flag}), {BOOL}")
    if column.text:
        cases.append(f"isNotNull({column.text}), {STR}")
    if column.absent:
        cases.append(f"{column.absent}, {ABSENT}")
    if column.other:
        cases.append(f"{column.other}, {OTHER}")
    return f"multiIf({', '.join(cases)}, {NULL})" if cases else f"toUInt8({NULL})"


def _text(column: Column) -> str:
    text = "''"
    if column.text:
        value = f"CAST(ifNull({column.text}, '') AS String)"
        text = (
            f"if(length({value}) > {MAX_VALUE_LENGTH}, "
            f"concat(substringUTF8({value}, 1, 60), '...', hex(sipHash64({value}))), {value})"
        )
    if column.flag:
        text = f"multiIf(isNull({column.flag}), {text}, {column.flag}, 'true', 'false')"
    return text
