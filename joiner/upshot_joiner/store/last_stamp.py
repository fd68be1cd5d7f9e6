"""The newest stamp that the store holds: where a new process has to go on, also when the clock has jumped back meanwhile."""

from __future__ import annotations

from datetime import datetime

from upshot_joiner.clock import EPOCH, from_micros, to_micros
from upshot_joiner.store.client import Store

_TIMES = {
    "predictions": "received_at",
    "label_events": "received_at",
    "entity_label_events": "received_at",
    "quarantine": "received_at",
    "model_configs": "received_at",
    "writer_repeats": "received_at",
    "writer_reports": "received_at",
    "hook_history": "received_at",
    "label_feed_changes": "received_at",
    "outcomes": "folded_at",
}
_VERSIONS = ("progress", "exports", "writers", "hook_bodies", "attributions", "entity_types")


def last_stamp(store: Store, tables: list[str]) -> datetime:
    """The newest stamp in any table; ``tables`` are the typed tables of the models."""
    newest = to_micros(EPOCH)
    for table, column in (_TIMES | dict.fromkeys(tables, "received_at")).items():
        [(moment,)] = store.query(f"SELECT max({column}) FROM {table}")
        newest = max(newest, to_micros(moment))
    for table in _VERSIONS:
        [(version,)] = store.query(f"SELECT max(version) FROM {table}")
        newest = max(newest, int(version))
    return from_micros(newest)
