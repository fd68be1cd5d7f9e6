"""How far a background task has got, written down for its next start."""

from __future__ import annotations

import pyarrow as pa

from upshot_joiner.store.client import Store


def note(store: Store, task: str, until_us: int) -> None:
    """Note that a task covers everything stamped up to ``until_us`` (microseconds since 1970); the latest note counts."""
    store.insert(
        "progress",
        pa.table(
            {
                "task": [task],
                "until_us": pa.array([until_us], pa.int64()),
                "version": pa.array([until_us], pa.uint64()),
            }
        ),
    )


def until(store: Store, task: str) -> int:
    """The latest note of a task, in microseconds since 1970; 0 when there is none."""
    [(until_us,)] = store.query("SELECT max(until_us) FROM progress WHERE task = {task:String}", {"task": task})
    return int(until_us)
