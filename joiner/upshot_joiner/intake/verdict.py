"""What became of events that two processes stored at once under one identity: the first that could be seen stands.

Each process looks before it writes; two that look at the same moment may both find nothing. So each looks again after it has
written. A table numbers its inserts in the order in which they become visible (``_block_number``): who finds a row with a smaller
number was second, answers so, and takes its own row away again, here and where it had gone from here. Who finds none was first, and
whoever comes later will find that out. Should a merge of the table come between (it keeps the row with the earlier stamp), both may
answer with a conflict and have it in quarantine, or what was answered first may be what goes: different contents under one identity
at one instant have no certain winner. But one of them stays: a row is taken away only where another one stands at that moment, and
whose row is then still there was not second after all. Identical content is never taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any, Generic, TypeVar

from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys

_HOUR_US = 3_600_000_000

_PREDICTIONS = """
SELECT model, request_key, request_id, model_version, item_id,
  content_hash, toUnixTimestamp64Micro(received_at), toUnixTimestamp64Micro(predicted_at)
FROM predictions WHERE request_key IN ($keys) ORDER BY _block_number DESC
"""
_LABELS = """
SELECT request_key, request_id, label_id, content_hash, toUnixTimestamp64Micro(received_at)
FROM label_events WHERE request_key IN ($keys) ORDER BY _block_number DESC
"""
_ROWS = """
SELECT count(), groupBitXor(content_hash), countIf(received_at != fromUnixTimestamp64Micro({received:Int64}, 'UTC'))
FROM %s WHERE request_key IN ($keys)
"""
_SAME_REQUEST = "request_key = {key:UInt128} AND request_id = {request_id:String}"
_SAME_LABEL = f"{_SAME_REQUEST} AND label_id = {{label_id:String}}"
_SAME_ITEM = f"{_SAME_REQUEST} AND model_version = {{version:String}} AND item_id = {{item:String}}"
_SAME_PREDICTION = f"{_SAME_ITEM} AND model = {{model:String}}"
_OURS = "received_at = fromUnixTimestamp64Micro({received:Int64}, 'UTC')"
_STANDS = f"SELECT 1 FROM %(table)s WHERE %(same)s AND {_OURS} LIMIT 1"
# The condition is asked again for every part that the table has by then, also for one that a merge has just made.
_FORGET = f"""
DELETE FROM %(table)s WHERE %(same)s AND {_OURS} AND (SELECT count() FROM %(table)s WHERE %(same)s AND NOT {_OURS}) > 0
"""
_FORGET_OUTCOMES = f"""
DELETE FROM outcomes WHERE {_SAME_PREDICTION} AND predicted_at = fromUnixTimestamp64Micro({{predicted:Int64}}, 'UTC')
"""

CheckedT = TypeVar("CheckedT", CheckedPrediction, CheckedLabel)


@dataclass(frozen=True, slots=True)
class Lost(Generic[CheckedT]):
    """An event of ours that another process's row stands for; ``is_same``: with the same content, so it is a duplicate."""

    event: CheckedT
    is_same: bool


def lost_predictions(
    store: Store, predictions: Sequence[CheckedPrediction], received_us: int, tables: dict[str, str]
) -> list[Lost[CheckedPrediction]]:
    """Those of the predictions stored with this stamp that came second; ``tables`` are the typed tables by model."""
    if _are_alone(store, "predictions", predictions, received_us):
        return []
    found: defaultdict[tuple[Any, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for row in _read(store, _PREDICTIONS, predictions):
        found[row[:5]].append(row[5:])
    lost = []
    for one in predictions:
        digest, first_us, first_predicted_us = found[one.identity][-1]
        if first_us == received_us and digest == one.content_hash:
            continue
        ours_us = received_us if one.predicted_us is None else one.predicted_us
        if digest != one.content_hash:
            other_us = ours_us if ours_us != first_predicted_us else None
            if _forget_prediction(store, tables[one.event.model], one, received_us, other_us):
                lost.append(Lost(one, is_same=False))
            continue
        lost.append(Lost(one, is_same=True))
        # The same content twice is one row by itself, and nothing may be deleted that a merge has kept for both; but where
        # neither said when it was, it has two moments, and the earlier stamp is the one that is seen.
        seen_us, seen_predicted_us = min(row[1:] for row in found[one.identity] if row[0] == digest)
        if seen_us != received_us and seen_predicted_us // _HOUR_US != ours_us // _HOUR_US:
            _forget_typed(store, tables[one.event.model], one, received_us, ours_us)
    return lost


def lost_labels(store: Store, labels: Sequence[CheckedLabel], received_us: int) -> list[Lost[CheckedLabel]]:
    """Those of the label events stored with this stamp that came second."""
    if _are_alone(store, "label_events", labels, received_us):
        return []
    first = {row[:3]: row[3:] for row in _read(store, _LABELS, labels)}
    lost = []
    for one in labels:
        digest, first_us = first[one.identity]
        if first_us == received_us and digest == one.content_hash:
            continue
        params = {"key": one.key, "request_id": one.event.request_id, "label_id": one.label_id, "received": received_us}
        is_same = digest == one.content_hash
        if is_same or _forget(store, "label_events", _SAME_LABEL, params):
            lost.append(Lost(one, is_same=is_same))
    return lost


def _are_alone(store: Store, table: str, ours: Sequence[CheckedPrediction | CheckedLabel], received_us: int) -> bool:
    """Whether a table holds of their requests what we have just stored and nothing else, which is nearly always so.

    The store counts the rows and folds their hashes; that costs a fraction of reading them.
    """
    found = store.query(_ROWS % table, {"received": received_us}, Keys(one.key for one in ours))
    folded = reduce(xor, (digest for _, digest, _ in found), 0)
    n_rows, n_others = sum(rows for rows, _, _ in found), sum(others for _, _, others in found)
    return n_rows == len(ours) and not n_others and folded == reduce(xor, (one.content_hash for one in ours), 0)


def _read(store: Store, sql: str, events: Iterable[CheckedPrediction | CheckedLabel]) -> list[tuple[Any, ...]]:
    return store.query(sql, keys=Keys(one.key for one in events))


def _forget_prediction(
    store: Store, table: str, one: CheckedPrediction, received_us: int, predicted_us: int | None
) -> bool:
    """Take our row away, if another stands; whether it is gone.

    ``predicted_us``: where its time was another, outcomes may hang on that.
    """
    if not _forget(store, "predictions", _SAME_PREDICTION, _params(one, received_us)):
        return False
    _forget_typed(store, table, one, received_us, predicted_us)
    return True


def _forget_typed(store: Store, table: str, one: CheckedPrediction, received_us: int, predicted_us: int | None) -> None:
    params = _params(one, received_us)
    _forget(store, table, _SAME_ITEM, params)
    if predicted_us is not None:
        store.command(_FORGET_OUTCOMES, params | {"predicted": predicted_us})


def _forget(store: Store, table: str, same: str, params: dict[str, object]) -> bool:
    names = {"table": table, "same": same}
    store.command(_FORGET % names, params)
    return not store.query(_STANDS % names, params)


def _params(one: CheckedPrediction, received_us: int) -> dict[str, object]:
    return {
        "model": one.event.model,
        "key": one.key,
        "request_id": one.event.request_id,
        "version": one.event.model_version,
        "item": one.event.item_id,
        "received": received_us,
    }
