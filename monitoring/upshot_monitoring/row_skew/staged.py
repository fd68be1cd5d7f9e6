"""The recomputed values as a table of the store, for as long as they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import key_column, request_key
from upshot_joiner.store.served import Kind
from upshot_monitoring.row_skew.cells import ANY, SLOT_TYPE, Cells, Slot, slots_of, texts, typed, with_kinds
from upshot_monitoring.row_skew.table import RecomputedTable, texts_of

_TYPE: dict[Slot, str] = {
    "int": "Nullable(Int64)",
    "float": "Nullable(Float64)",
    "bool": "Nullable(Bool)",
    "str": "Nullable(String)",
    "ints": "Array(Int64)",
    "floats": "Array(Float64)",
    "json": "Nullable(String)",
    "absent": "Bool",
}
# ``n`` is the row's number in the table that was sent.
_CREATE = """
CREATE TABLE {table} (n UInt64, request_key UInt128, request_id String, item_id String, model_version Nullable(String){columns})
ENGINE = MergeTree ORDER BY (request_key, n)
"""


@dataclass(frozen=True)
class StagedFeature:
    """One feature of the recomputed table and the columns that hold its values, by slot."""

    name: str
    columns: dict[Slot, str]


@dataclass(frozen=True)
class Staged:
    """A staging table, filled."""

    table: str
    features: list[StagedFeature]
    rows: int
    """Rows of the table that was sent."""
    without_request_id: int
    """Rows among them that name no request; they are not staged."""


def stage(
    store: Store, sent: RecomputedTable, table: str, served: dict[str, set[Kind]], told: Callable[[int], None]
) -> Staged:
    """Put the rows of ``sent`` into the new table ``table`` (a generated name), batch by batch.

    ``served``: the kinds that each feature was served with; ``told`` is told how many rows are staged so far. Raises a 422
    :class:`~upshot_joiner.errors.Problem` where the table cannot be read.
    """
    features = []
    for position, (name, source) in enumerate(sent.features.items()):
        slots: tuple[Slot, ...] = ANY if sent.form == "csv" or source.is_json else slots_of(source.type) or ()
        if source.kinds:
            slots = (*dict.fromkeys((*slots, *(("int",) if "float" in slots else ()))), "absent")
        features.append(StagedFeature(name, {slot: f"{slot}_{position}" for slot in slots}))
    columns = "".join(f", {column} {_TYPE[slot]}" for one in features for slot, column in one.columns.items())
    store.command(_CREATE.format(table=table, columns=columns))
    rows = without = 0
    for batch in sent.batches():
        ids = texts_of(batch, "request_id")
        named = pc.and_(pc.is_valid(ids), pc.not_equal(pc.fill_null(ids, ""), ""))
        numbers = pa.array(range(rows, rows + batch.num_rows), pa.uint64())
        rows += batch.num_rows
        if not pc.all(named, min_count=0).as_py():
            without += batch.num_rows - (pc.sum(named).as_py() or 0)
            batch, ids, numbers = batch.filter(named), ids.filter(named), numbers.filter(named)
        block: dict[str, pa.Array] = {
            "n": numbers,
            "request_key": key_column(map(request_key, ids.to_pylist())),
            "request_id": ids,
            "item_id": pc.fill_null(texts_of(batch, "item_id"), ""),
            "model_version": texts_of(batch, "model_version"),
        }
        for one in features:
            cells = _cells(sent, one.name, batch, served.get(one.name, set()))
            for slot, column in one.columns.items():
                block[column] = cells[slot] if slot in cells else _nothing(slot, batch.num_rows)
        store.insert(table, pa.table(block))
        told(rows)
    return Staged(table, features, rows, without)


def _cells(sent: RecomputedTable, name: str, batch: pa.RecordBatch, served: set[Kind]) -> Cells:
    source = sent.features[name]
    column = batch[source.column]
    if sent.form == "csv":
        return texts(column, served)
    if source.kinds:
        return with_kinds(column, batch[source.kinds], is_json=source.is_json, loc=source.column)
    return typed(column)


def _nothing(slot: Slot, rows: int) -> pa.Array:
    kind = SLOT_TYPE[slot]
    if slot == "absent":
        return pa.repeat(pa.scalar(False, kind), rows)
    return pa.repeat(pa.scalar([], kind), rows) if slot in ("ints", "floats") else pa.nulls(rows, kind)
