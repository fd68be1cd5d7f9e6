"""What is written of a group of events, and in which order.

The order is what makes a crash harmless: typed rows first, the spine after them. A group that was cut off between the two is
finished from its typed rows before anything else is written (:meth:`GroupWriter.recover`); nobody was told that it was stored, and
its sender will send it again and be told it is a duplicate.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import pyarrow as pa

from upshot_joiner.activity import Activity
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import Stamper, from_micros, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.intake import known, quarantine, verdict
from upshot_joiner.intake.batch import Answer, Batch
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction
from upshot_joiner.intake.quarantine import Entry
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes, entity_label_block, index_block
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Arrivals

_log = logging.getLogger("upshot.intake")

_WHERE_UNFINISHED = """
FROM %s FINAL
WHERE received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
  AND (request_key, request_id, model_version, item_id) NOT IN (
    SELECT request_key, request_id, model_version, item_id FROM predictions
    WHERE model = {model:String} AND received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC'))
"""
_UNFINISHED = f"SELECT request_key {_WHERE_UNFINISHED}"
_FINISH = f"""
INSERT INTO predictions
  (model, request_key, request_id, model_version, item_id, predicted_at, received_at, first_wins, content_hash)
SELECT {{model:String}}, request_key, request_id, model_version, item_id, predicted_at, received_at, first_wins, content_hash
{_WHERE_UNFINISHED}
"""
_ENTITIES_SINCE = """
SELECT DISTINCT entity_key FROM entity_predictions WHERE received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
"""


class GroupWriter:
    """Writes groups; for one thread at a time."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        stamper: Stamper,
        changes: ChangedHours,
        activity: Activity,
        arrivals: Arrivals,
        touched: Callable[[Iterable[int], datetime], None],
        entities: EntityTypes,
        entities_touched: Callable[[Iterable[int], datetime], None],
    ) -> None:
        """``touched``, ``entities_touched``: told the keys of requests and of entities whose events were stored, and the stamp."""
        self._store = store
        self._served = served
        self._configs = configs
        self._stamper = stamper
        self._changes = changes
        self._activity = activity
        self._arrivals = arrivals
        self._touched = touched
        self._entities = entities
        self._entities_touched = entities_touched

    def store(self, group: Sequence[Batch]) -> None:
        """Store a group, and put into each batch's answer what became of its events. When it raises, a part may be stored."""
        for batch in group:
            batch.answer = Answer()
        if self._store.is_shared:
            self._configs.refresh()
        received = self._stamper.next()
        received_us = to_micros(received)
        predictions, repeated_predictions = known.new_predictions(self._store, group)
        labels, repeated_labels = known.new_labels(self._store, group)
        entity_labels, repeated_entity_labels = known.new_entity_labels(self._store, group)
        by_model: defaultdict[str, list[CheckedPrediction]] = defaultdict(list)
        for prediction in predictions:
            by_model[prediction.event.model].append(prediction)
        spine = []
        for model, of_model in by_model.items():
            cells = rows.feature_cells(of_model)
            identity = rows.identity_block(of_model, received_us)
            self._served.grow(model, cells.kinds, cells.shapes)
            columns, config = self._served.columns(model), self._configs.get(model)
            self._store.insert(
                self._served.table(model) or "",
                rows.served_block(of_model, cells, columns, config, received_us, identity),
            )
            spine.append(rows.spine_block(of_model, received_us, identity))
        # After the typed rows and before the index, so that none is missing from it: who names a type later finds the typed rows.
        if self._store.is_shared:
            self._entities.refresh()
        self._entities.known(name for one in entity_labels for name in one.event.entity or ())
        of_entities = self._entities.keys(predictions)
        if of_entities:
            self._store.insert("entity_predictions", index_block(of_entities, received_us))
        if spine:
            self._store.insert("predictions", pa.concat_tables(spine))
        if labels:
            self._store.insert("label_events", rows.label_block(labels, received_us))
        if entity_labels:
            self._store.insert("entity_label_events", entity_label_block(entity_labels, received_us))
        if self._store.is_shared:
            second = self._look_again(group, received_us, predictions, labels, repeated_predictions, repeated_labels)
            self._touched(second, received)
        self._quarantine(group, received)
        self._report(group, received)
        self._arrivals.arrived(
            received,
            stored=[*predictions, *labels, *entity_labels],
            repeated=[*repeated_predictions, *repeated_labels, *repeated_entity_labels],
            refused=[one for batch in group if batch.kind != "writer" for one in batch.refused],
        )
        for model, of_model in by_model.items():
            served = _by_version_and_hour(of_model, received_us)
            self._activity.served(model, served, received)
            self._changes.served(model, {hour for _, hour in served})
        if of_entities or entity_labels:
            self._entities_touched([key for key, _ in of_entities] + [one.key for one in entity_labels], received)
        if predictions or labels:
            self._touched([one.key for one in predictions] + [one.key for one in labels], received)

    def _look_again(
        self,
        group: Sequence[Batch],
        received_us: int,
        predictions: list[CheckedPrediction],
        labels: list[CheckedLabel],
        repeated_predictions: list[CheckedPrediction],
        repeated_labels: list[CheckedLabel],
    ) -> list[int]:
        """Find what another process stored at the same moment under the same identity, and answer accordingly; keys of those."""
        tables = {model: self._served.table(model) or "" for model in {one.event.model for one in predictions}}
        lost = verdict.lost_predictions(self._store, predictions, received_us, tables) if predictions else []
        if lost:
            known.take_back([(batch, batch.predictions) for batch in group], lost, predictions, repeated_predictions)
        lost_labels = verdict.lost_labels(self._store, labels, received_us) if labels else []
        if lost_labels:
            known.take_back([(batch, batch.labels) for batch in group], lost_labels, labels, repeated_labels)
        return [one.event.key for one in lost] + [one.event.key for one in lost_labels]

    def _quarantine(self, group: Sequence[Batch], received: datetime) -> None:
        refused = [(batch, one) for batch in group for one in batch.refused]
        if not refused:
            return
        entries = [Entry(batch.kind, one, batch.origins and batch.origins(one.index)) for batch, one in refused]
        quarantine.keep(self._store, entries, received)
        for batch in group:
            for one in batch.refused:
                batch.answer.rejected += 1
                batch.answer.errors.append({"index": one.index, "loc": one.loc, "code": one.code})
                batch.answer.refused.append(one)

    def _report(self, group: Sequence[Batch], received: datetime) -> None:
        reports = [(batch, report) for batch in group for _, report in batch.reports]
        if not reports:
            return
        are_new = self._arrivals.reported(received, [report for _, report in reports])
        for (batch, _), is_new in zip(reports, are_new, strict=True):
            batch.answer.accepted += is_new
            batch.answer.duplicates += not is_new

    def part_may_be_stored(self, group: Sequence[Batch]) -> None:
        """After a group that failed: whoever follows the store has to look at it."""
        last = self._stamper.last
        for batch in group:
            for _, one in batch.predictions:
                self._changes.served(one.event.model, [hour_of(one.predicted_us, to_micros(last))])
        keys = [one.key for batch in group for _, one in batch.predictions]
        keys += [one.key for batch in group for _, one in batch.labels]
        self._touched(keys, last)
        of_entities = [one.key for batch in group for _, one in batch.entity_labels]
        of_entities += [key for key, _ in self._entities.keys(one for batch in group for _, one in batch.predictions)]
        if of_entities:
            self._entities_touched(of_entities, last)

    def recover(self, since: datetime | None = None) -> int:
        """Finish the group that a crash cut off between its typed rows and the spine; returns how many rows that were.

        Where others write too, their stamps tell nothing about our groups: then ``since`` is the moment up to which all is whole.
        """
        finished = 0
        [(newest,)] = self._store.query("SELECT max(received_at) FROM predictions") if since is None else [(since,)]
        # Groups are stamped in order and each ends with the spine, so only rows stamped after the spine's newest, or the part
        # of that same group that a failing spine insert left out, can be unfinished.
        after = to_micros(newest) - 1
        if self._store.is_shared:
            self._served.refresh()  # what another process left may be of a model that only it knew
        for model in self._served.models():
            table = self._served.table(model)
            params = {"model": model, "after": after}
            unfinished = self._store.query(_UNFINISHED % table, params)
            if unfinished:
                _log.warning("finishing %d predictions of a group that was cut off", len(unfinished))
                self._entities.index_again(model, f"SELECT * {_WHERE_UNFINISHED % table}", params)
                self._store.command(_FINISH % table, params)
                self._touched([key for (key,) in unfinished], self._stamper.last)
                finished += len(unfinished)
        if self._entities.any:
            keys = self._store.query(_ENTITIES_SINCE, {"after": after})
            self._entities_touched([key for (key,) in keys], self._stamper.last)
        self._arrivals.recount()
        return finished


_HOUR_US = 3_600_000_000


def hour_of(predicted_us: int | None, received_us: int) -> datetime:
    """The start of the hour, in UTC, that a prediction belongs to."""
    moment_us = received_us if predicted_us is None else predicted_us
    return from_micros(moment_us - moment_us % _HOUR_US)


def _by_version_and_hour(predictions: Iterable[CheckedPrediction], received_us: int) -> dict[tuple[str, datetime], int]:
    """How many there are of each version in each hour (its start, in UTC)."""
    counted = Counter((one.event.model_version, (one.predicted_us or received_us) // _HOUR_US) for one in predictions)
    return {(version, from_micros(hour * _HOUR_US)): count for (version, hour), count in counted.items()}
