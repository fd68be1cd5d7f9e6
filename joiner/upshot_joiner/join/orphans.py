"""Label events that wait for their prediction: kept with their age, and gone from the list the moment it comes."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.join import fold
from upshot_joiner.join.few import LabelEventSeen
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_bytes, key_column, key_number

_EVENTS = """
SELECT
  e.request_key AS request_key, e.request_id AS request_id, e.label_id AS label_id, any(e.item_id) AS item_id,
  toString(any(e.name)) AS name,
  toString(any(e.model)) AS model, any(e.received_at) AS received_at,
  countIf(p.request_id IS NOT NULL AND (e.model = '' OR e.model = p.model)) = 0 AS waiting
FROM ($events) AS e
LEFT JOIN ($spine) AS p
  ON e.request_key = p.request_key AND e.request_id = p.request_id AND e.item_id = p.item_id
GROUP BY request_key, request_id, label_id
"""
_WAITING_OF_RANGE = (
    f"SELECT request_key, request_id, label_id FROM ({_EVENTS}) WHERE waiting".replace("$events", fold.EVENTS_OF_RANGE)
).replace("$spine", fold.SPINE_OF_RANGE)
_COUNT_OF_RANGE = (
    f"SELECT count(), countIf(NOT waiting) FROM ({_EVENTS})".replace("$events", fold.EVENTS_OF_RANGE)
).replace("$spine", fold.SPINE_OF_RANGE)
# Labels of entities are listed under the key of the entity, without a request ID; that is the attributor's part of the list.
_LISTED_OF_RANGE = """
SELECT request_key, request_id, label_id
FROM orphans FINAL
WHERE waiting AND request_id != '' AND request_key BETWEEN {first:UInt128} AND {last:UInt128}
"""
_LISTED = """
SELECT request_key, request_id, label_id
FROM orphans FINAL
WHERE waiting AND request_key IN ($keys)
"""
_TO_BE_SETTLED = (
    f"{_EVENTS} HAVING waiting OR (request_key, request_id, label_id) IN ({_LISTED})".replace(
        "$events", fold.EVENTS_OF_BATCH
    )
).replace("$spine", fold.SPINE_OF_BATCH)
"""Of a large batch, those that wait or are listed: all that the list is about, and nearly always very few."""
_VERSION = {True: 2**61, False: 2**62}
"""A prediction that is known stays known: that a label waits never overrides that it does not, whoever writes it when."""

WAITING = """
SELECT * FROM (SELECT * FROM orphans FINAL WHERE waiting) AS waiting_events
WHERE (request_key, request_id, item_id, toString(model)) NOT IN (
  SELECT request_key, request_id, item_id, arrayJoin(['', toString(model)]) FROM predictions
  WHERE request_key IN (SELECT request_key FROM orphans WHERE waiting))
"""
"""The label events that wait, as a source of rows: right at every moment, also when two processes wrote the list at once and each
saw half of what was there."""


Identity = tuple[int, str, str]
"""Of a label event: request key, request ID, label ID."""


def events_of_batch(store: Store, keys: Keys) -> list[LabelEventSeen]:
    """The label events of a batch of keys that wait, or are listed as if they did."""
    return [
        LabelEventSeen((key, request_id, label_id), item_id, name, model, received_at, bool(waiting))
        for key, request_id, label_id, item_id, name, model, received_at, waiting in store.query(
            _TO_BE_SETTLED, keys=keys
        )
    ]


def to_be_settled(store: Store, events: pa.Table, waits: pa.ChunkedArray, keys: Keys) -> list[LabelEventSeen]:
    """The same of a batch whose label events were read: ``waits`` says of each row whether its prediction is unknown."""
    listed = {(key_bytes(key), request_id, label_id) for key, request_id, label_id in store.query(_LISTED, keys=keys)}
    wanted = waits
    if listed:
        of_listed = pa.array([key for key, _, _ in listed], events["request_key"].type)
        wanted = pc.or_(waits, pc.is_in(events["request_key"], value_set=of_listed))
    found = []
    for event, waiting in zip(events.filter(wanted).to_pylist(), waits.filter(wanted).to_pylist(), strict=True):
        if waiting or (event["request_key"], event["request_id"], event["label_id"]) in listed:
            identity = (key_number(event["request_key"]), event["request_id"], event["label_id"])
            found.append(
                LabelEventSeen(
                    identity, event["item_id"], event["name"], event["of_model"], event["received_at"], waiting
                )
            )
    return found


def waiting_and_listed(store: Store, first: int, last: int) -> tuple[set[Identity], set[Identity]]:
    """Of the request keys from ``first`` to ``last``: the label events that wait, and those that are listed as waiting."""
    params: dict[str, object] = {"first": first, "last": last}
    waiting = {(key, request_id, label_id) for key, request_id, label_id in store.query(_WAITING_OF_RANGE, params)}
    listed = {(key, request_id, label_id) for key, request_id, label_id in store.query(_LISTED_OF_RANGE, params)}
    return waiting, listed


@dataclass(frozen=True)
class Counts:
    """Label events of a range of keys: all, those whose prediction is known, and those that are listed as orphans."""

    events: int
    joined: int
    listed: int


def count(store: Store, first: int, last: int) -> Counts:
    """Count the label events of the request keys from ``first`` to ``last``."""
    params: dict[str, object] = {"first": first, "last": last}
    [(events, joined)] = store.query(_COUNT_OF_RANGE, params)
    return Counts(int(events), int(joined), len(store.query(_LISTED_OF_RANGE, params)))


def update(store: Store, events: list[LabelEventSeen], keys: Keys) -> None:
    """Bring the list up to date for a batch of keys, whose events these are."""
    if not events:
        return
    listed = set(store.query(_LISTED, keys=keys))
    changed = [event for event in events if event.waiting != (event.identity in listed)]
    if not changed:
        return
    store.insert(
        "orphans",
        pa.table(
            {
                "request_key": key_column([event.identity[0] for event in changed]),
                "request_id": [event.identity[1] for event in changed],
                "label_id": [event.identity[2] for event in changed],
                "item_id": [event.item_id for event in changed],
                "name": [event.name for event in changed],
                "model": [event.model for event in changed],
                "received_at": pa.array([event.received_at for event in changed], rows.TIME),
                "waiting": pa.array([int(event.waiting) for event in changed], pa.uint8()),
                "version": pa.array([_VERSION[event.waiting] for event in changed], pa.uint64()),
            }
        ),
    )
