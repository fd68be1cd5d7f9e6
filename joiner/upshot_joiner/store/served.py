"""The typed table of each model: features and predictions exactly as they were served.

One column per feature and kind (``int``, ``float``, ``bool``, ``str``, ``ints``, ``floats``), added when the first such value
arrives. A feature whose service mixes 3 and 2.5 has two columns, so that both keep their type. How a value is found again:

1. the feature's name is not in the row's ``shape``: it was absent;
2. its name is in ``extra``: the JSON text there (what no typed column can hold: integers beyond 64 bits, nested values);
3. one of its columns is set: that value;
4. otherwise it was null.

Table and column names are made from hashes, the same on every machine, so several writers agree without talking to each other
and no name from a request ever becomes an identifier.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import name_hash

Kind = Literal["int", "float", "bool", "str", "ints", "floats"]
KINDS: tuple[Kind, ...] = ("int", "float", "bool", "str", "ints", "floats")

MAX_COLUMNS = 2000
"""Per model; values of further features are kept in ``extra``, exactly but slower to scan."""

_CLICKHOUSE_TYPE: dict[Kind, str] = {
    "int": "Nullable(Int64)",
    "float": "Nullable(Float64)",
    "bool": "Nullable(Bool)",
    "str": "LowCardinality(Nullable(String))",
    "ints": "Array(Int64)",
    "floats": "Array(Float64)",
}
ARROW_TYPE: dict[Kind, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.string(),
    "ints": pa.list_(pa.int64()),
    "floats": pa.list_(pa.float64()),
}

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  request_key UInt128,
  request_id String,
  model_version LowCardinality(String),
  item_id String,
  predicted_at DateTime64(6, 'UTC'),
  received_at DateTime64(6, 'UTC'),
  first_wins UInt64,
  content_hash UInt128,
  prediction_kind LowCardinality(String),
  prediction_number Nullable(Float64),
  prediction_text String,
  score Nullable(Float64),
  probabilities Map(LowCardinality(String), Float64),
  entities Map(LowCardinality(String), String),
  tags Map(LowCardinality(String), String),
  action_kind LowCardinality(String),
  action String,
  propensity Nullable(Float64),
  shown Nullable(Bool),
  keep_probability Float64,
  flags Map(String, LowCardinality(String)),
  writer_id LowCardinality(String),
  seq UInt64,
  feature_times Map(LowCardinality(String), DateTime64(6, 'UTC')),
  inputs String,
  attributions Map(LowCardinality(String), Float64),
  shape UInt64,
  extra Map(LowCardinality(String), String),
  INDEX received received_at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(first_wins)
PRIMARY KEY (toStartOfHour(predicted_at), request_key)
ORDER BY (toStartOfHour(predicted_at), request_key, request_id, model_version, item_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
  enable_vertical_merge_algorithm = 1
"""

_LATER_COLUMNS = {"flags": "Map(String, LowCardinality(String))"}
"""Columns that tables of earlier releases do not have yet; old rows read as the type's default, here: no flags."""
_WITHOUT = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND match(name, '^served_[0-9a-f]{16}$')
  AND name NOT IN (SELECT table FROM system.columns WHERE database = currentDatabase() AND name = {column:String})
ORDER BY name
"""


@dataclass(frozen=True)
class Feature:
    """One feature of a model and the columns that hold its values, by kind."""

    name: str
    columns: Mapping[Kind, str]


@dataclass
class _Model:
    table: str
    features: dict[str, dict[Kind, str]] = field(default_factory=lambda: defaultdict(dict))
    shapes: dict[int, frozenset[str]] = field(default_factory=dict)
    columns: int = 0


def table_name(model: str) -> str:
    """The name of a model's typed table; holds nothing of the model's own name."""
    return f"served_{name_hash(model):016x}"


def column_name(feature: str, kind: Kind) -> str:
    """The name of a feature's column of one kind; holds nothing of the feature's own name."""
    return f"{kind}_{name_hash(feature):016x}"


class ServedTables:
    """The catalogue of typed tables. Reads may come from any thread; growth is asked for by the one writer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._models: dict[str, _Model] = {}
        for column, type_ in _LATER_COLUMNS.items():
            for (table,) in store.query(_WITHOUT, {"column": column}):
                store.command(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {type_}")
        self._read: list[tuple[Any, ...]] = []
        self.refresh()

    def refresh(self) -> None:
        """Learn which tables, columns and shapes another process has added; costs next to nothing when there are none."""
        newest = self._store.query("SELECT (SELECT count() FROM feature_columns), (SELECT count() FROM shapes)")
        if newest == self._read:
            return
        columns = self._store.query("SELECT model, feature, kind, column_name FROM feature_columns FINAL")
        shapes = self._store.query("SELECT model, shape, names FROM shapes FINAL")
        with self._lock:
            for model, feature, kind, column in columns:
                known = self._model(model)
                known.columns += kind not in known.features[feature]
                known.features[feature][kind] = column
            for model, shape, names in shapes:
                self._model(model).shapes[shape] = frozenset(names)
            self._read = newest

    def models(self) -> list[str]:
        """Models that have a typed table."""
        with self._lock:
            return sorted(self._models)

    def tables(self) -> list[str]:
        """The tables of all models."""
        with self._lock:
            return sorted(known.table for known in self._models.values())

    def table(self, model: str) -> str | None:
        """The name of a model's table, safe to put into SQL; None when nothing was served yet."""
        with self._lock:
            known = self._models.get(model)
            return known.table if known else None

    def features(self, model: str) -> list[Feature]:
        """The features of a model in name order, those of ``extra`` alone included (with no columns)."""
        with self._lock:
            known = self._models.get(model)
            if known is None:
                return []
            names = set(known.features).union(*known.shapes.values())
            return [Feature(name, dict(known.features.get(name, {}))) for name in sorted(names)]

    def shapes(self, model: str) -> dict[int, frozenset[str]]:
        """Every set of feature names that was served together, by its hash."""
        with self._lock:
            known = self._models.get(model)
            return dict(known.shapes) if known else {}

    def shapes_with(self, model: str, feature: str) -> list[int]:
        """The shapes whose rows have the feature; in a row of any other shape it was absent."""
        return [shape for shape, names in self.shapes(model).items() if feature in names]

    def grow(self, model: str, wanted: Mapping[str, set[Kind]], shapes: Mapping[int, frozenset[str]]) -> None:
        """Make room for what a group of rows brings: the table, missing columns, new shapes.

        Safe to repeat, and safe to be cut off anywhere: the table first, then its entry in the catalogue.
        """
        with self._lock:
            known = self._models.get(model)
            if known is None:
                known = _Model(table_name(model))
                self._store.command(_CREATE.format(table=known.table))
            columns = [
                (feature, kind)
                for feature, kinds in wanted.items()
                for kind in sorted(kinds)
                if kind not in known.features.get(feature, {})
            ][: max(0, MAX_COLUMNS - known.columns)]
            if columns:
                adds = ", ".join(
                    f"ADD COLUMN IF NOT EXISTS {column_name(feature, kind)} {_CLICKHOUSE_TYPE[kind]}"
                    for feature, kind in columns
                )
                self._store.command(f"ALTER TABLE {known.table} {adds}")
                self._store.insert(
                    "feature_columns",
                    pa.table(
                        {
                            "model": [model] * len(columns),
                            "feature": [feature for feature, _ in columns],
                            "kind": [kind for _, kind in columns],
                            "column_name": [column_name(feature, kind) for feature, kind in columns],
                        }
                    ),
                )
                for feature, kind in columns:
                    known.features[feature][kind] = column_name(feature, kind)
                known.columns += len(columns)
            new_shapes = {shape: names for shape, names in shapes.items() if shape not in known.shapes}
            if new_shapes:
                self._store.insert(
                    "shapes",
                    pa.table(
                        {
                            "model": [model] * len(new_shapes),
                            "shape": pa.array(list(new_shapes), pa.uint64()),
                            "names": pa.array([sorted(n) for n in new_shapes.values()], pa.list_(pa.string())),
                        }
                    ),
                )
                known.shapes.update(new_shapes)
            self._models[model] = known

    def columns(self, model: str) -> dict[str, dict[Kind, str]]:
        """The columns of each feature by kind, for the writer."""
        with self._lock:
            known = self._models.get(model)
            return {feature: dict(kinds) for feature, kinds in known.features.items()} if known else {}

    def _model(self, model: str) -> _Model:
        return self._models.setdefault(model, _Model(table_name(model)))
