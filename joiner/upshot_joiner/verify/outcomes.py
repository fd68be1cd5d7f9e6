"""Stored outcomes against the fold of what is stored, for a range of request keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from upshot_joiner.config import ModelConfig
from upshot_joiner.join import few, fold
from upshot_joiner.join.attributed import both
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import key_number

_ANY_ATTRIBUTED = "SELECT 1 FROM attributed_events LIMIT 1"
_STORED = """
SELECT toString(model) AS model, toString(name) AS name, predicted_at, request_key, request_id,
  toString(model_version) AS model_version, item_id, toString(state) AS state, toString(value_kind) AS value_kind, value_number,
  value_text, observed_at, received_at, first_received_at
FROM outcomes FINAL
WHERE request_key BETWEEN {first:UInt128} AND {last:UInt128}
"""
_ORDER = [
    (name, "ascending")
    for name in ("request_key", "request_id", "model", "name", "model_version", "item_id", "predicted_at")
]
_VALUE = ("state", "value_kind", "value_number", "value_text", "observed_at", "received_at", "first_received_at")
_COMPARED = pa.schema([column for column in few.SCHEMA if column.name != "events"])
"""How many events a fold saw is in the version of a stored outcome, not beside it."""

Row = Mapping[str, Any]
Identity = tuple[Any, ...]
"""Request key, request ID, model, name, version, item, and when it was predicted: what an outcome is sorted by."""


@dataclass(frozen=True)
class Wrong:
    """An outcome that is not what it should be; None where there is, or should be, none."""

    identity: Identity
    stored: Row | None
    expected: Row | None

    @property
    def key(self) -> int:
        """The request key."""
        return key_number(self.identity[0])

    def like(self, other: Wrong | None) -> bool:
        """Whether the same was found before."""
        return other is not None and self.stored == other.stored and self.expected == other.expected


def compare(
    store: Store, first: int, last: int, configs: Mapping[str, ModelConfig], model: str = ""
) -> tuple[int, dict[Identity, Wrong]]:
    """How many outcomes there should be for the request keys from ``first`` to ``last`` (of one model); those that are wrong."""
    params: dict[str, object] = {"first": first, "last": last}
    events = (
        both(fold.EVENTS_OF_RANGE, fold.ATTRIBUTED_OF_RANGE) if store.query(_ANY_ATTRIBUTED) else fold.EVENTS_OF_RANGE
    )
    expected = fold.fold(store, fold.SPINE_OF_RANGE, events, configs, params)
    stored = store.arrow(_STORED, params)
    left, right = _in_order(expected, model), _in_order(stored, model)
    if left.equals(right):
        return left.num_rows, {}
    of_fold = {_identity(row): row for row in left.to_pylist()}
    of_table = {_identity(row): row for row in right.to_pylist()}
    return len(of_fold), {
        identity: Wrong(identity, of_table.get(identity), of_fold.get(identity))
        for identity in of_fold.keys() | of_table.keys()
        if not _same(of_table.get(identity), of_fold.get(identity))
    }


def _in_order(table: pa.Table, model: str) -> pa.Table:
    table = table.select(_COMPARED.names).cast(_COMPARED)
    if model:
        table = table.filter(pa.compute.equal(table["model"], model))
    return table.sort_by(_ORDER)


def _identity(row: Row) -> Identity:
    return tuple(row[name] for name, _ in _ORDER)


def _same(stored: Row | None, expected: Row | None) -> bool:
    """Numbers to nine digits: the fold in Python and the one in SQL add up in orders of their own."""
    if stored is None or expected is None:
        return False
    if stored["value_kind"] != "float":
        return all(stored[name] == expected[name] for name in _VALUE)
    if expected["value_kind"] != "float" or not _close(float(stored["value_text"]), float(expected["value_text"])):
        return False
    return all(stored[name] == expected[name] for name in _VALUE if not name.startswith("value_"))


def _close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(left) and math.isnan(right))
