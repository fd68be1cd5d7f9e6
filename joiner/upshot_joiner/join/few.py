"""The fold of a few requests, in Python.

Planning the SQL fold takes 50 ms whatever it is asked; reading the events of a few requests and folding them here by
``rule.py`` takes a tenth of that. Many requests are folded in SQL (``fold.py``). A property test holds the two together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from upshot_joiner.config import ModelConfig
from upshot_joiner.intake.check import scalar_from_parts, scalar_parts
from upshot_joiner.join import fold
from upshot_joiner.join.rule import Event
from upshot_joiner.join.rule import fold as fold_by_rule
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_bytes

_EVENTS = """
SELECT request_key, request_id, item_id, toString(model), toString(name), label_id, toString(op), toString(value_kind), value_text,
  observed_at, received_at, toString(source)
FROM (%s)
"""
_SPINE = f"""
SELECT request_key, request_id, item_id, toString(model), toString(model_version), predicted_at
FROM ({fold.SPINE_OF_BATCH})
"""

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("name", pa.string()),
        ("predicted_at", rows.TIME),
        ("request_key", rows.KEY),
        ("request_id", pa.string()),
        ("model_version", pa.string()),
        ("item_id", pa.string()),
        ("state", pa.string()),
        ("value_kind", pa.string()),
        ("value_number", pa.float64()),
        ("value_text", pa.string()),
        ("observed_at", rows.TIME),
        ("received_at", rows.TIME),
        ("first_received_at", rows.TIME),
        ("events", pa.uint64()),
    ]
)


@dataclass(frozen=True)
class LabelEventSeen:
    """A label event of the batch, and whether its prediction is known."""

    identity: tuple[int, str, str]
    """Request key, request ID, label ID."""
    item_id: str
    name: str
    model: str
    received_at: Any
    waiting: bool


@dataclass(frozen=True)
class Folded:
    """Outcomes of a batch of keys, as `fold.fold` gives them, and the label events behind them."""

    outcomes: pa.Table
    events: list[LabelEventSeen]


def fold_few(store: Store, config_of: Callable[[str], ModelConfig], keys: Keys, *, attributed: bool = False) -> Folded:
    """Fold a batch of keys; reads nothing more when no label event of them is known.

    ``attributed``: there may be label events of entities, which never wait: they are where their predictions are.
    """
    events = store.query(_EVENTS % fold.EVENTS_OF_BATCH, keys=keys)
    of_entities = store.query(_EVENTS % fold.ATTRIBUTED_OF_BATCH, keys=keys) if attributed else []
    if not events and not of_entities:
        return Folded(SCHEMA.empty_table(), [])
    spine: defaultdict[tuple[int, str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for key, request_id, item_id, *prediction in store.query(_SPINE, keys=keys):
        spine[key, request_id, item_id].append(tuple(prediction))
    seen = []
    of_outcome: defaultdict[tuple[Any, ...], list[tuple[Event | None, Any]]] = defaultdict(list)
    for n, row in enumerate([*events, *of_entities]):
        key, request_id, item_id, model, name, label_id, op, kind, text, observed_at, received_at, source = row
        event = None if op == "withdrawn" else Event(label_id, op, scalar_from_parts(kind, text), observed_at, source)
        waiting = True
        for of, version, predicted_at in spine.get((key, request_id, item_id), ()):
            if model in ("", of):
                waiting = False
                outcome = (of, name, predicted_at, key, request_id, version, item_id)
                of_outcome[outcome].append((event, received_at))
        if n < len(events):
            seen.append(LabelEventSeen((key, request_id, label_id), item_id, name, model, received_at, waiting))
    made = []
    for outcome, of_events in of_outcome.items():
        model, name, predicted_at, key, *rest = outcome
        result = fold_by_rule([event for event, _ in of_events if event], predicted_at, config_of(model).label(name))
        kind, number, text = scalar_parts(result.value)
        received = [received_at for _, received_at in of_events]
        made.append(
            (model, name, predicted_at, key_bytes(key), *rest, result.state, kind, number, text, result.observed_at,
             max(received), min(received), sum(1 if event else 2 for event, _ in of_events))
        )  # fmt: skip
    columns = list(zip(*made, strict=True)) if made else [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return Folded(pa.Table.from_arrays(arrays, schema=SCHEMA), seen)
