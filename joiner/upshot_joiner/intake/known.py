"""Which events of a group are new: what is stored under the same identity decides, and within the group the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from upshot_joiner.intake import verdict
from upshot_joiner.intake.batch import Batch
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.shaped import content_of
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys

# As FINAL gives them, which would merge whole ranges of all parts for some keys in each.
_FIND = """
SELECT model, request_key, request_id, model_version, item_id, argMax(content_hash, first_wins)
FROM predictions
WHERE request_key IN ($keys)
GROUP BY model, request_key, request_id, model_version, item_id
"""
_FIND_LABELS = """
SELECT request_key, request_id, label_id, argMax(content_hash, first_wins)
FROM label_events
WHERE request_key IN ($keys)
GROUP BY request_key, request_id, label_id
"""
_FIND_ENTITY_LABELS = """
SELECT entity_key, '', label_id, argMax(content_hash, first_wins)
FROM entity_label_events
WHERE entity_key IN ($keys)
GROUP BY entity_key, label_id
"""

CheckedT = TypeVar("CheckedT", CheckedPrediction, CheckedLabel)


def new_predictions(store: Store, group: Sequence[Batch]) -> tuple[list[CheckedPrediction], list[CheckedPrediction]]:
    """Those of a group that are not stored yet, and those that are; the rest are conflicts, and refused in their batches."""
    if not any(batch.predictions for batch in group):
        return [], []
    keys = Keys(one.key for batch in group for _, one in batch.predictions)
    stored = {tuple(identity): digest for *identity, digest in store.query(_FIND, keys=keys)}
    return _sort_out([(batch, batch.predictions) for batch in group], stored)


def new_labels(store: Store, group: Sequence[Batch]) -> tuple[list[CheckedLabel], list[CheckedLabel]]:
    """The same of the label events that name a request."""
    return _new_labels(store, _FIND_LABELS, [(batch, batch.labels) for batch in group])


def new_entity_labels(store: Store, group: Sequence[Batch]) -> tuple[list[CheckedLabel], list[CheckedLabel]]:
    """The same of the label events that name an entity."""
    return _new_labels(store.shards[0], _FIND_ENTITY_LABELS, [(batch, batch.entity_labels) for batch in group])


def _new_labels(
    store: Store, find: str, batches: list[tuple[Batch, list[tuple[int, CheckedLabel]]]]
) -> tuple[list[CheckedLabel], list[CheckedLabel]]:
    keys = Keys(one.key for _, labels in batches for _, one in labels)
    if not keys:
        return [], []
    stored = {tuple(identity): digest for *identity, digest in store.query(find, keys=keys)}
    return _sort_out(batches, stored)


def take_back(
    batches: list[tuple[Batch, list[tuple[int, CheckedT]]]],
    lost: list[verdict.Lost[CheckedT]],
    new: list[CheckedT],
    repeated: list[CheckedT],
) -> None:
    """Count events that came second after all as duplicates or conflicts instead of new."""
    is_same = {id(one.event): one.is_same for one in lost}
    for batch, events in batches:
        for index, one in events:
            if id(one) not in is_same:
                continue
            batch.answer.accepted -= 1
            if is_same[id(one)]:
                batch.answer.duplicates += 1
                repeated.append(one)
            else:
                batch.refused.append(Refused(index, "conflict", "", content_of(one.event)))
    new[:] = [one for one in new if id(one) not in is_same]


def _sort_out(
    batches: list[tuple[Batch, list[tuple[int, CheckedT]]]], stored: dict[Any, int]
) -> tuple[list[CheckedT], list[CheckedT]]:
    """New events and duplicates, in order of arrival; counts both, and refuses other content under a known identity."""
    new: list[CheckedT] = []
    repeated: list[CheckedT] = []
    if not stored:
        together = [one for _, events in batches for _, one in events]
        if len({one.identity for one in together}) == len(together):
            for batch, events in batches:
                batch.answer.accepted += len(events)
            return together, repeated
    for batch, events in batches:
        for index, one in events:
            known = stored.get(one.identity)
            if known is None:
                stored[one.identity] = one.content_hash
                new.append(one)
                batch.answer.accepted += 1
            elif known == one.content_hash:
                batch.answer.duplicates += 1
                repeated.append(one)
            else:
                batch.refused.append(Refused(index, "conflict", "", content_of(one.event)))
    return new, repeated
