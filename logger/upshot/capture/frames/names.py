"""How the columns of an Arrow body are named: as in an export, ``feature__amount`` for ``features["amount"]``."""

from __future__ import annotations

__all__ = ["column_name", "field_of", "place_of"]

_FIELDS = {
    "attribution": "attributions",
    "entity": "entities",
    "feature": "features",
    "feature_time": "feature_times",
    "input": "inputs",
    "probability": "probabilities",
    "tag": "tags",
}
_PREFIXES = {field: prefix for prefix, field in _FIELDS.items()}


def column_name(field: str, key: str) -> str:
    """The column of one name in a field that is a mapping."""
    return f"{_PREFIXES[field]}__{key}"


def field_of(column: str) -> tuple[str, str | None]:
    """The field that a column belongs to, and its name in it; None where the field is no mapping."""
    prefix, separator, key = column.partition("__")
    return (_FIELDS[prefix], key) if separator and prefix in _FIELDS else (column, None)


def place_of(column: str) -> str:
    """The place of a column's values in an event, as ``flags`` name it: ``features.amount``."""
    field, key = field_of(column)
    return field if key is None else f"{field}.{key}"
