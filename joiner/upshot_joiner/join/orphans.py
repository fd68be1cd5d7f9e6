"""Label events that wait for their prediction: kept with their age, and gone from the list the moment it comes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from upshot_joiner.join import fold
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import key_bytes

_EVENTS = f"""
SELECT
  e.request_key AS request_key, e.request_id AS request_id, e.label_id AS label_id, any(e.name) AS name,
  any(e.model) AS model, any(e.received_at) AS received_at,
  countIf(p.request_id IS NOT NULL AND (e.model = '' OR e.model = p.model)) = 0 AS waiting
FROM ({fold.EVENTS_OF_BATCH}) AS e
LEFT JOIN ({fold.SPINE_OF_BATCH}) AS p
  ON e.request_key = p.request_key AND e.request_id = p.request_id AND e.item_id = p.item_id
GROUP BY request_key, request_id, label_id
"""
_LISTED = """
SELECT request_key, request_id, label_id
FROM orphans FINAL
WHERE waiting AND request_key IN (SELECT request_key FROM join_keys)
"""


def update(store: Store, version: int) -> None:
    """Bring the list up to date for the keys in the joiner's batch."""
    events = store.query(_EVENTS)
    if not events:
        return
    listed = set(store.query(_LISTED))
    changed = [event for event in events if bool(event[6]) != (event[:3] in listed)]
    if changed:
        store.insert("orphans", _block(changed, version))


def _block(changed: list[tuple[Any, ...]], version: int) -> pa.Table:
    return pa.table(
        {
            "request_key": pa.array([key_bytes(one[0]) for one in changed], rows.KEY),
            "request_id": [one[1] for one in changed],
            "label_id": [one[2] for one in changed],
            "name": [one[3] for one in changed],
            "model": [one[4] for one in changed],
            "received_at": pa.array([one[5] for one in changed], rows.TIME),
            "waiting": pa.array([int(one[6]) for one in changed], pa.uint8()),
            "version": pa.array([version] * len(changed), pa.uint64()),
        }
    )
