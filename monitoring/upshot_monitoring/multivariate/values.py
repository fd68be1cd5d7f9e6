"""The values of features as the samples hold them: a number, a class and a vector each, whichever a row has."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upshot_joiner.config import ModelConfig
from upshot_monitoring import sampled
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.reference_columns import read_columns

MAX_DIMENSIONS: Final = 64
"""Of a vector; the norm is that of all."""
LONG_BYTES: Final = 40
"""A longer text stands for itself by its MD5: a category is compared with others only, and a sample must not grow without bound."""

PARTS: Final = {
    "number": pa.float64(),
    "class": pa.string(),
    "vector": pa.list_(pa.float64()),
    "norm": pa.float64(),
}


@dataclass(frozen=True)
class Sample:
    """Rows of one side. ``table`` has the columns ``PART_n`` of the n-th feature, for the parts that it has."""

    table: pa.Table
    groups: list[dict[str, str]]
    """Per row, the kinds of groups that it is in, and which: its request, entities by type."""


def column_of(part: str, position: int) -> str:
    """The name of the column that holds a part of the n-th feature; holds nothing of the feature's own name."""
    return f"{part}_{position}"


def served_expressions(column: Column) -> dict[str, str]:
    """SQL over a served row, by part."""
    found: dict[str, str] = {}
    if column.number is not None:
        found["number"] = f"CAST({column.number} AS Nullable(Float64))"
    if column.is_textual:
        flag = f"multiIf(isNull({column.flag}), NULL, {column.flag}, 'true', 'false')" if column.flag else "NULL"
        text = f"CAST(coalesce({column.text or 'NULL'}, {flag}) AS Nullable(String))"
        found["class"] = f"if(length({text}) > {LONG_BYTES}, lower(hex(MD5(assumeNotNull({text})))), {text})"
    if column.vector is not None:
        # One more than is used, so that it shows where there are more.
        found["vector"] = f"arraySlice({column.vector}, 1, {MAX_DIMENSIONS + 1})"
        found["norm"] = f"if(empty({column.vector}), NULL, L2Norm({column.vector}))"
    return found


def of_reference(
    parquet: Path, features: Sequence[str], known: Iterable[str], config: ModelConfig, rows: int
) -> Sample:
    """A sample of an uploaded training set, as the same parts. ``known``: every feature of the reference."""
    schema = pq.read_schema(parquet)
    known = set(known)
    labels = {name for name in schema.names if name.removeprefix("feature__") not in known}
    columns = read_columns(schema, config, labels)
    wanted = columns.only({("feature", name) for name in features})
    identities = [name for name in schema.names if name == "request_id" or name.startswith("entity__")]
    table = sampled.of_parquet(parquet, [*wanted.source_names, *identities], rows)
    converted = wanted.convert(table)
    position = {name: i for i, name in enumerate(features)}
    found: dict[str, Any] = {}
    for column, staged in zip(wanted.profiled, wanted.staged, strict=True):
        at = position[column.name]
        values = converted[staged.target]
        if staged.kind == "number":
            found[column_of("number", at)] = values
        elif staged.kind == "vector":
            vectors = values.to_pylist()
            found[column_of("vector", at)] = pa.array([one[: MAX_DIMENSIONS + 1] for one in vectors], PARTS["vector"])
            found[column_of("norm", at)] = pa.array([_norm(one) for one in vectors], pa.float64())
        else:
            texts = pc.if_else(values, "true", "false") if staged.kind == "flag" else values
            found[column_of("class", at)] = pa.array([_short(one) for one in texts.to_pylist()], pa.string())
    return Sample(pa.table(found), _identities(table.select(identities), len(table)))


def _norm(vector: Sequence[float | None]) -> float | None:
    return math.hypot(*(one for one in vector if one is not None)) if vector else None


def _short(text: str | None) -> str | None:
    if text is None or len(encoded := text.encode("utf-8", "surrogatepass")) <= LONG_BYTES:
        return text
    return hashlib.md5(encoded, usedforsecurity=False).hexdigest()


def _identities(table: pa.Table, rows: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{} for _ in range(rows)]
    for name in table.column_names:
        kind = "request" if name == "request_id" else name.replace("entity__", "entity ", 1)
        for row, value in zip(found, table[name].to_pylist(), strict=True):
            if value not in (None, ""):
                row[kind] = str(value)
    return found
