"""What the columns of an uploaded training set are: named as in an export; a column without such a name is a feature."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.config import ModelConfig
from upshot_joiner.errors import Place, Problem
from upshot_joiner.store.rows import positive_class
from upshot_monitoring.profiles.columns import Column, Role

MAX_COLUMNS = 2000

_FEATURE = "feature__"
_LABEL = "label__"
_PROBABILITY = "probability__"
_ATTRIBUTION = "attribution__"
_FEATURE_TIME = "feature_time__"
_PREDICTED_AT = "predicted_at"
_OTHER = frozenset(
    {"request_id", "item_id", "model", "model_version", "predicted_at", "action", "propensity", "weight"}
)
_OTHER_PREFIXES = ("label_state__", "label_observed_at__", "entity__", "tag__", _PROBABILITY, "__index_level_")

_DDL = {
    "number": "Nullable(Float64)",
    "flag": "Nullable(Bool)",
    "text": "LowCardinality(Nullable(String))",
    "vector": "Array(Float64)",
}
_ARROW = {
    "number": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "vector": pa.list_(pa.float64()),
}


@dataclass(frozen=True)
class _Staged:
    source: str
    """The column's name in the file."""
    target: str
    """Its name in the staging table; holds nothing of the source's."""
    kind: str
    since: str | None = None
    """A moment in the file: the number is how many seconds the source was before it."""


@dataclass(frozen=True)
class ReferenceColumns:
    """How a file becomes a staging table, and what is profiled over that."""

    profiled: list[Column]
    staged: list[_Staged]
    ignored: list[dict[str, str]]

    @property
    def ddl(self) -> str:
        """The columns of the staging table."""
        return ", ".join(f"{one.target} {_DDL[one.kind]}" for one in self.staged)

    @property
    def source_names(self) -> list[str]:
        """The columns of the file that are read."""
        return list(dict.fromkeys(name for one in self.staged for name in (one.source, one.since) if name is not None))

    def only(self, keys: set[tuple[str, str]]) -> ReferenceColumns:
        """The same, of these columns (role and name) alone."""
        pairs = [
            (column, one)
            for column, one in zip(self.profiled, self.staged, strict=True)
            if (column.role, column.name) in keys
        ]
        return ReferenceColumns([column for column, _ in pairs], [one for _, one in pairs], self.ignored)

    def convert(self, block: pa.Table) -> pa.Table:
        """A block of the file as a block of the staging table."""
        return pa.table({one.target: self._value(one, block) for one in self.staged})

    @staticmethod
    def _value(one: _Staged, block: pa.Table) -> pa.Array:
        values = block[one.source].combine_chunks()
        if one.since is None:
            return _converted(values, one.kind)
        micros = pc.subtract(_micros(block[one.since].combine_chunks()), _micros(values))
        return pc.divide(micros.cast(pa.float64(), safe=False), 1e6)


def read_columns(schema: pa.Schema, config: ModelConfig, labels: set[str]) -> ReferenceColumns:
    """Sort the columns of a file. ``labels`` are the known names of labels: a column of such a name is one, not a feature.

    Raises a 422 :class:`Problem` for repeated names, too many columns, or no feature at all.
    """
    if len(schema.names) > MAX_COLUMNS:
        raise Problem(422, "too_many_columns", f"A reference has at most {MAX_COLUMNS} columns.")
    sorted_: list[tuple[Role, str, pa.Field]] = []
    for field in schema:
        role_name = _role(field.name, config, labels)
        if role_name is not None:
            sorted_.append((*role_name, field))
    if not any(role == "score" for role, _, _ in sorted_):
        # As in serving: the score is the predicted number where there is no probability of the positive class.
        sorted_ += [
            ("score", "score", field)
            for role, _, field in sorted_
            if role == "prediction" and _kind(field.type) in ("number", "flag")
        ]
    seen: set[tuple[str, str]] = set()
    twice: list[Place] = []
    for role, name, field in sorted_:
        if (role, name) in seen:
            twice.append({"loc": field.name, "code": "duplicate_column"})
        seen.add((role, name))
    if twice or len(set(schema.names)) < len(schema.names):
        raise Problem(422, "duplicate_column", "A column is there twice.", twice)
    profiled, staged, ignored = [], [], []
    for position, (role, name, field) in enumerate(sorted_):
        if role == "freshness":
            if pa.types.is_timestamp(field.type) and _has_moment(schema, _PREDICTED_AT):
                one = _Staged(field.name, f"number_{position}", "number", since=_PREDICTED_AT)
                staged.append(one)
                profiled.append(Column(role, name, number=one.target))
            else:
                ignored.append({"column": field.name, "type": str(field.type)[:100]})
            continue
        kind = _kind(field.type)
        if kind is None or (role == "attribution" and kind != "number"):
            ignored.append({"column": field.name, "type": str(field.type)[:100]})
            continue
        one = _Staged(field.name, f"{kind}_{position}", kind)
        staged.append(one)
        profiled.append(_column(role, name, one, field.type, config))
    if not any(column.role == "feature" for column in profiled):
        raise Problem(422, "no_features", "The Parquet file has no column that can be a feature.")
    return ReferenceColumns(profiled, staged, ignored)


def _role(name: str, config: ModelConfig, labels: set[str]) -> tuple[Role, str] | None:
    if name.startswith(_FEATURE):
        return "feature", name.removeprefix(_FEATURE)
    if name.startswith(_LABEL):
        return "label", name.removeprefix(_LABEL)
    if name.startswith(_ATTRIBUTION):
        return "attribution", name.removeprefix(_ATTRIBUTION)
    if name.startswith(_FEATURE_TIME):
        return "freshness", name.removeprefix(_FEATURE_TIME)
    if name == "prediction":
        return "prediction", "prediction"
    if name == _PROBABILITY + positive_class(config) and config.task != "regression":
        return "score", "score"
    if name in _OTHER or name.startswith(_OTHER_PREFIXES):
        return None
    return ("label", name) if name in labels else ("feature", name)


def _has_moment(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and pa.types.is_timestamp(schema.field(name).type)


def _micros(moments: pa.Array) -> pa.Array:
    return moments.cast(pa.timestamp("us", moments.type.tz), safe=False).cast(pa.int64())


def _kind(kind: pa.DataType) -> str | None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "flag"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        return "vector" if pa.types.is_integer(inner) or pa.types.is_floating(inner) else None
    return None


def _column(role: Role, name: str, one: _Staged, kind: pa.DataType, config: ModelConfig) -> Column:
    classes = config.task != "regression"
    if role == "score":
        return Column(role, name, number=one.target if one.kind == "number" else f"toFloat64({one.target})")
    if role in ("prediction", "label") and classes and one.kind in ("number", "flag"):
        # As in serving: a predicted float is a number, every other prediction and every label value is a class.
        if role == "prediction" and not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            return Column(role, name, number=one.target)
        return Column(role, name, text=f"toString(toFloat64({one.target}))")
    if one.kind == "number":
        return Column(role, name, number=one.target)
    if one.kind == "flag":
        return Column(role, name, flag=one.target)
    if one.kind == "text":
        return Column(role, name, text=one.target)
    return Column(role, name, vector=one.target)


def _converted(values: pa.Array, kind: str) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if kind == "vector":
        values = values.cast(pa.list_(values.type.value_type))
        lists = values.cast(_ARROW[kind], safe=False)
        if lists.values.null_count:
            lists = _without_nulls_inside(lists)
        # The store's lists are never null, and an empty one is a missing vector.
        return pc.fill_null(lists, pa.scalar([], _ARROW[kind]))
    return values.cast(_ARROW[kind], safe=False)


def _without_nulls_inside(lists: pa.ListArray) -> pa.ListArray:
    """An element that is null is none that can be counted with: NaN. The store would take it for 0."""
    whole = pa.concat_arrays([lists, pa.array([], lists.type)])  # masks cannot be given to a slice
    filled = pc.fill_null(whole.values, float("nan"))
    return pa.ListArray.from_arrays(whole.offsets, filled, mask=pc.is_null(whole))
