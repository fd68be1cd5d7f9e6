"""The one writer: groups what many requests bring, and answers each when its group is on disk.

A write of one row costs as much as a write of ten thousand (the disk's sync), so requests that arrive close together share one.
The order within a group is what makes a crash harmless: typed rows first, the spine after them. A group that was cut off
between the two is finished from its typed rows before anything else is written (:meth:`Committer.recover`); nobody was told
that it was stored, and its sender will send it again and be told it is a duplicate.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pyarrow as pa

from upshot_joiner.activity import Activity
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import Stamper, from_micros, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Place, Problem, StoreError, StoreUnavailable
from upshot_joiner.intake import quarantine, verdict
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction, CheckedReport
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.isolate import isolate
from upshot_joiner.intake.origin import Origins
from upshot_joiner.intake.quarantine import Entry
from upshot_joiner.intake.shaped import content_of
from upshot_joiner.intake.tally import Tally
from upshot_joiner.store import progress, rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes, entity_label_block, index_block
from upshot_joiner.store.keys import Keys
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Arrivals

_log = logging.getLogger("upshot.intake")

LINGER_S = 0.01
"""How long a group waits for company. A sync costs about as much; waiting longer would only add to the answer's time."""
MAX_GROUP_EVENTS = 20_000
MAX_WAITING_EVENTS = 200_000
"""Above this, new requests are turned away with 503 and Retry-After: their sender still has them, memory is not a store."""

PROBE_TIMEOUT_S = 5
"""How long the readiness check waits for the writer."""

T = TypeVar("T")

_FIND = """
SELECT model, request_key, request_id, model_version, item_id, content_hash
FROM predictions FINAL
WHERE request_key IN ($keys)
"""
_FIND_LABELS = """
SELECT request_key, request_id, label_id, content_hash
FROM label_events FINAL
WHERE request_key IN ($keys)
"""
_FIND_ENTITY_LABELS = """
SELECT entity_key, '', label_id, content_hash
FROM entity_label_events FINAL
WHERE entity_key IN ($keys)
"""
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


@dataclass
class Answer:
    """What became of the events of one request. ``accepted`` were new; every event is in exactly one count."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    errors: list[Place] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    """What was rejected, whoever found out; all of it is in quarantine."""

    def add(self, other: Answer) -> None:
        """Count what another part of the same request became."""
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.rejected += other.rejected
        self.errors += other.errors
        self.refused += other.refused


_Item = tuple["_Batch", int, CheckedPrediction | CheckedLabel | CheckedReport]
"""One event of a group, with the request it belongs to and its index there."""


@dataclass
class _Batch:
    predictions: list[tuple[int, CheckedPrediction]]
    labels: list[tuple[int, CheckedLabel]]
    entity_labels: list[tuple[int, CheckedLabel]]
    reports: list[tuple[int, CheckedReport]]
    refused: list[Refused]
    kind: str
    origins: Origins | None = None
    answer: Answer = field(default_factory=Answer)
    future: Future[Answer] = field(default_factory=Future)

    @property
    def events(self) -> int:
        return (
            len(self.predictions) + len(self.labels) + len(self.entity_labels) + len(self.reports) + len(self.refused)
        )

    @property
    def items(self) -> list[_Item]:
        """Its events one by one."""
        kinds = (self.predictions, self.labels, self.entity_labels, self.reports)
        return [(self, index, one) for events in kinds for index, one in events]

    def part(self, items: Sequence[_Item], refused: list[Refused]) -> _Batch:
        """A batch of some of its events."""
        part = _Batch([], [], [], [], refused, self.kind, self.origins)
        for _, index, one in items:
            if isinstance(one, CheckedPrediction):
                part.predictions.append((index, one))
            elif isinstance(one, CheckedLabel):
                (part.labels if one.event.entity is None else part.entity_labels).append((index, one))
            else:
                part.reports.append((index, one))
        return part


@dataclass
class _Task:
    run: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class Committer:
    """Owns every write of events. ``submit_*`` may be called from any thread; the work happens in one."""

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
        self._queue: queue.SimpleQueue[_Batch | _Task | None] = queue.SimpleQueue()
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._closed = False
        self._unfinished = False
        self.tally = Tally()
        self._whole_until = stamper.last
        """Every group of ours up to this stamp is whole."""
        self.failing: str = ""
        """Why the last group could not be stored; empty while all is well."""
        # Where others write too, they do not wait for us: what a killed process left is finished by `Processes`.
        if not store.is_shared and self.recover():
            activity.recount(store)
        self._thread = threading.Thread(target=self._work, name="upshot-committer", daemon=True)

    @property
    def waiting(self) -> int:
        """Events that were handed in and are not stored yet."""
        return self._waiting

    def start(self) -> None:
        """Begin to take groups."""
        self._thread.start()

    def submit_predictions(
        self, predictions: list[tuple[int, CheckedPrediction]], refused: list[Refused], origins: Origins | None = None
    ) -> Future[Answer]:
        """Store predictions, each with its index in the request. The future is done once they are on disk.

        ``origins`` says where they came from, where the same events can come from there again.
        """
        return self._submit(_Batch(predictions, [], [], [], refused, "prediction", origins))

    def submit_labels(
        self, labels: list[tuple[int, CheckedLabel]], refused: list[Refused], origins: Origins | None = None
    ) -> Future[Answer]:
        """Store label events, each with its index in the request. The future is done once they are on disk."""
        of_entities = [one for one in labels if one[1].event.entity is not None]
        if of_entities:
            labels = [one for one in labels if one[1].event.entity is None]
        return self._submit(_Batch([], labels, of_entities, [], refused, "label", origins))

    def submit_reports(
        self, reports: list[tuple[int, CheckedReport]], refused: list[Refused], origins: Origins | None = None
    ) -> Future[Answer]:
        """Store reports of writers, each with its index in the request. The future is done once they are on disk."""
        return self._submit(_Batch([], [], [], reports, refused, "writer", origins))

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Run something between two groups, in the writer's thread."""
        task = _Task(work)
        if self._closed:
            raise _closing()
        self._queue.put(task)
        return task.future

    def barrier(self) -> Future[datetime]:
        """A moment such that everything stamped before it is stored, and everything stored later has a later stamp."""
        return self.run(self._stamper.next)

    def probe(self) -> None:
        """Find out whether the store takes writes again: after a failure, no request may come that would show it."""
        self.run(self._try_a_write).result(timeout=PROBE_TIMEOUT_S)

    def close(self) -> None:
        """Store what is waiting, then stop."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def recover(self, since: datetime | None = None) -> int:
        """Finish the group that a crash cut off between its typed rows and the spine; returns how many rows that were.

        Where others write too, their stamps tell nothing about our groups: then ``since`` is the moment up to which all is whole.
        """
        finished = 0
        [(newest,)] = self._store.query("SELECT max(received_at) FROM predictions") if since is None else [(since,)]
        # Groups are stamped in order and each ends with the spine, so only rows stamped after the spine's newest, or the part
        # of that same group that a failing spine insert left out, can be unfinished.
        after = to_micros(newest) - 1
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
        self._unfinished = False
        return finished

    # -- the writer's thread -------------------------------------------------------------------------------------------

    def _submit(self, batch: _Batch) -> Future[Answer]:
        if self._closed:
            raise _closing()
        with self._waiting_lock:
            if self._waiting and self._waiting + batch.events > MAX_WAITING_EVENTS:
                raise Problem(
                    503, "overloaded", "Too many events are waiting to be stored; try again soon.", retry_after_s=1
                )
            self._waiting += batch.events
        self.tally.given(batch.kind, batch.events, batch.future)
        self._queue.put(batch)
        return batch.future

    def _work(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            if isinstance(first, _Task):
                _run(first)
                continue
            group = [first]
            size = first.events
            until = time.monotonic() + LINGER_S
            last: _Task | None = None
            stop = False
            while size < MAX_GROUP_EVENTS:
                try:
                    item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
                if isinstance(item, _Batch):
                    group.append(item)
                    size += item.events
                    continue
                last, stop = item, item is None
                break
            self._commit(group)
            if last is not None:
                _run(last)
            if stop:
                return

    @property
    def is_whole(self) -> bool:
        """Whether no group was left between its typed rows and the spine."""
        return not self._unfinished

    def _recover_own(self) -> None:
        self.recover(self._whole_until if self._store.is_shared else None)

    def _try_a_write(self) -> None:
        if self._unfinished:
            self._recover_own()
            self._activity.recount(self._store)
        progress.note(self._store, "probe", to_micros(self._stamper.next()))
        self.failing = ""

    def _commit(self, group: list[_Batch]) -> None:
        given = [list(batch.refused) for batch in group]
        n_events = sum(batch.events for batch in group)  # now: a conflict will be counted among the refused, too
        try:
            if self._unfinished:
                self._recover_own()
                self._activity.recount(self._store)
            try:
                self._store_group(group)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001  # a row that is not taken, or a bug: the others must not pay for it
                self._store_all_but_poison(group, given, error)
        except StoreError as error:
            self._fail(group, error)
        except Exception as error:  # noqa: BLE001  # the writer must outlive a bug: it fails the group, loudly
            _log.exception("a group of events could not be stored")
            self._fail(group, error)
        else:
            self.failing = ""
            self._whole_until = self._stamper.last
            for batch in group:
                batch.answer.errors.sort(key=lambda place: place["index"])
                batch.future.set_result(batch.answer)
        finally:
            with self._waiting_lock:
                self._waiting -= n_events

    def _fail(self, group: list[_Batch], error: Exception) -> None:
        self._unfinished = True
        self.failing = f"{type(error).__name__}: code {getattr(error, 'code', 0)}"
        _log.error("a group of %d events was not stored (%s)", sum(b.events for b in group), self.failing)
        self._part_may_be_stored(group)
        for batch in group:
            batch.future.set_exception(
                Problem(
                    503, "store_unavailable", "The store does not take writes now; nothing was stored.", retry_after_s=2
                )
            )

    def _part_may_be_stored(self, group: list[_Batch]) -> None:
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

    def _store_all_but_poison(self, group: list[_Batch], given: list[list[Refused]], error: Exception) -> None:
        """Store a refused group without those rows that are refused by themselves; these go to quarantine.

        ``given``: what of each batch was refused before it came here.
        """
        reason = f"{type(error).__name__}: code {getattr(error, 'code', 0)}"
        _log.error("a group of %d events was refused (%s); looking for the rows", sum(b.events for b in group), reason)
        self._unfinished = True
        for batch, refused in zip(group, given, strict=True):
            batch.refused, batch.answer = refused, Answer()
        poison = isolate([item for batch in group for item in batch.items], self._store_items, self._try_a_write)
        for (batch, index, one), _ in poison:
            batch.refused.append(Refused(index, "store_refused", "", content_of(one.event)))
        for batch in group:
            if batch.refused:
                part = batch.part([], batch.refused)
                self._store_group([part])
                batch.answer.add(part.answer)
        self._activity.recount(self._store)
        self._part_may_be_stored(group)
        _log.error("%d events that the store does not take are in quarantine", len(poison))

    def _store_items(self, items: Sequence[_Item]) -> None:
        """Store some events of a group that was refused, and add them to the answers of their batches."""
        if self._unfinished:
            self._recover_own()
        by_batch: dict[int, list[_Item]] = {}
        for item in items:
            by_batch.setdefault(id(item[0]), []).append(item)
        parts = [(some[0][0], some[0][0].part(some, [])) for some in by_batch.values()]
        self._unfinished = True
        self._store_group([part for _, part in parts])
        self._unfinished = False
        for batch, part in parts:
            batch.answer.add(part.answer)

    def _store_group(self, group: list[_Batch]) -> None:
        for batch in group:
            batch.answer = Answer()
        if self._store.is_shared:
            self._configs.refresh()
        received = self._stamper.next()
        received_us = to_micros(received)
        predictions, repeated_predictions = self._new_predictions(group)
        labels, repeated_labels = self._new_labels(group)
        entity_labels, repeated_entity_labels = self._new_entity_labels(group)
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
        group: list[_Batch],
        received_us: int,
        predictions: list[CheckedPrediction],
        labels: list[CheckedLabel],
        repeated_predictions: list[CheckedPrediction],
        repeated_labels: list[CheckedLabel],
    ) -> list[int]:
        """Find what another process stored at the same moment under the same identity, and answer accordingly; keys of those."""
        tables = {one.event.model: self._served.table(one.event.model) or "" for one in predictions}
        lost = verdict.lost_predictions(self._store, predictions, received_us, tables) if predictions else []
        if lost:
            _take_back([(batch, batch.predictions) for batch in group], lost, predictions, repeated_predictions)
        lost_labels = verdict.lost_labels(self._store, labels, received_us) if labels else []
        if lost_labels:
            _take_back([(batch, batch.labels) for batch in group], lost_labels, labels, repeated_labels)
        return [one.event.key for one in lost] + [one.event.key for one in lost_labels]

    def _new_predictions(self, group: list[_Batch]) -> tuple[list[CheckedPrediction], list[CheckedPrediction]]:
        if not any(batch.predictions for batch in group):
            return [], []
        keys = Keys(one.key for batch in group for _, one in batch.predictions)
        stored = {
            (model, key, request_id, version, item): digest
            for model, key, request_id, version, item, digest in self._store.query(_FIND, keys=keys)
        }
        return _sort_out([(batch, batch.predictions) for batch in group], stored)

    def _new_labels(self, group: list[_Batch]) -> tuple[list[CheckedLabel], list[CheckedLabel]]:
        if not any(batch.labels for batch in group):
            return [], []
        keys = Keys(one.key for batch in group for _, one in batch.labels)
        stored = {
            (key, request_id, label_id): digest
            for key, request_id, label_id, digest in self._store.query(_FIND_LABELS, keys=keys)
        }
        return _sort_out([(batch, batch.labels) for batch in group], stored)

    def _new_entity_labels(self, group: list[_Batch]) -> tuple[list[CheckedLabel], list[CheckedLabel]]:
        if not any(batch.entity_labels for batch in group):
            return [], []
        keys = Keys(one.key for batch in group for _, one in batch.entity_labels)
        stored = {
            (key, nothing, label_id): digest
            for key, nothing, label_id, digest in self._store.shards[0].query(_FIND_ENTITY_LABELS, keys=keys)
        }
        return _sort_out([(batch, batch.entity_labels) for batch in group], stored)

    def _quarantine(self, group: list[_Batch], received: datetime) -> None:
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

    def _report(self, group: list[_Batch], received: datetime) -> None:
        reports = [(batch, report) for batch in group for _, report in batch.reports]
        if not reports:
            return
        are_new = self._arrivals.reported(received, [report for _, report in reports])
        for (batch, _), is_new in zip(reports, are_new, strict=True):
            batch.answer.accepted += is_new
            batch.answer.duplicates += not is_new


CheckedT = TypeVar("CheckedT", CheckedPrediction, CheckedLabel)


def _sort_out(
    batches: list[tuple[_Batch, list[tuple[int, CheckedT]]]], stored: dict[Any, int]
) -> tuple[list[CheckedT], list[CheckedT]]:
    """New events and duplicates, in order of arrival; counts both, and refuses other content under a known identity."""
    new: list[CheckedT] = []
    repeated: list[CheckedT] = []
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


def _take_back(
    batches: list[tuple[_Batch, list[tuple[int, CheckedT]]]],
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


def _run(task: _Task) -> None:
    try:
        task.future.set_result(task.run())
    except Exception as error:  # noqa: BLE001  # the waiter gets it
        task.future.set_exception(error)


def _closing() -> Problem:
    return Problem(503, "closing", "The server is stopping; nothing was stored.", retry_after_s=2)


_HOUR_US = 3_600_000_000


def _by_version_and_hour(predictions: Iterable[CheckedPrediction], received_us: int) -> dict[tuple[str, datetime], int]:
    """How many there are of each version in each hour (its start, in UTC)."""
    counted = Counter(
        (one.event.model_version, (received_us if one.predicted_us is None else one.predicted_us) // _HOUR_US)
        for one in predictions
    )
    return {(version, from_micros(hour * _HOUR_US)): count for (version, hour), count in counted.items()}


def hour_of(predicted_us: int | None, received_us: int) -> datetime:
    """The start of the hour, in UTC, that a prediction belongs to."""
    moment = from_micros(received_us if predicted_us is None else predicted_us).astimezone(UTC)
    return moment - timedelta(minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)
