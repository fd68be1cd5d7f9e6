"""The newest stamp that the store holds: where a new process has to go on, also when the clock has jumped back meanwhile."""

from __future__ import annotations

from datetime import datetime

from upshot_joiner.clock import EPOCH, from_micros, to_micros
from upshot_joiner.store.client import Store

_TIMES = (
    "predictions",
    "label_events",
    "quarantine",
    "model_configs",
    "writer_repeats",
    "writer_reports",
    "hook_history",
)
_VERSIONS = ("outcomes", "orphans", "progress", "exports", "writers", "hook_bodies")


def last_stamp(store: Store, tables: list[str]) -> datetime:
    """The newest stamp in any table; ``tables`` are the typed tables of the models."""
    newest = to_micros(EPOCH)
    for table in (*_TIMES, *tables):
        [(moment,)] = store.query(f"SELECT max(received_at) FROM {table}")
        newest = max(newest, to_micros(moment))
    for table in _VERSIONS:
        [(version,)] = store.query(f"SELECT max(version) FROM {table}")
        newest = max(newest, int(version))
    return from_micros(newest)
