"""The one writer: groups what many requests bring, and answers each when its group is on disk.

A write of one row costs as much as a write of ten thousand (the disk's sync), so requests that arrive close together share one.
What is written of a group, and in which order, is in ``group.py``.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from upshot_joiner.activity import Activity
from upshot_joiner.clock import Stamper, to_micros
from upshot_joiner.errors import Problem, StoreError, StoreUnavailable
from upshot_joiner.intake.batch import Answer, Batch, Item
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction, CheckedReport
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.group import GroupWriter
from upshot_joiner.intake.isolate import NotTheRowsError, isolate
from upshot_joiner.intake.left_over import left_over
from upshot_joiner.intake.origin import Origins
from upshot_joiner.intake.shaped import content_of
from upshot_joiner.intake.tally import Tally
from upshot_joiner.store import progress
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

_log = logging.getLogger("upshot.intake")

LINGER_S = 0.01
"""How long a group waits for company. A sync costs about as much; waiting longer would only add to the answer's time."""
MAX_LINGER_S = 0.1
"""How long it waits at most for requests that are being decoded, and no longer than half of what the last group took: where writing
is slow, writing twice is what costs."""
_LOOK_S = 0.002
"""So often it looks whether any are still on their way."""
MAX_GROUP_EVENTS = 20_000
MAX_WAITING_EVENTS = 200_000
"""Above this, new requests are turned away with 503 and Retry-After: their sender still has them, memory is not a store."""

PROBE_TIMEOUT_S = 5
"""How long the readiness check waits for the writer."""

T = TypeVar("T")


@dataclass
class _Task:
    run: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class Committer:
    """Owns every write of events. ``submit_*`` may be called from any thread; the work happens in one."""

    def __init__(
        self, store: Store, served: ServedTables, stamper: Stamper, activity: Activity, writer: GroupWriter
    ) -> None:
        self._store = store
        self._served = served
        self._stamper = stamper
        self._activity = activity
        self._writer = writer
        self._queue: queue.SimpleQueue[Batch | _Task | None] = queue.SimpleQueue()
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._coming = 0
        self._took_s = 0.0
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

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Within it a request is on its way that has arrived whole: a group that forms meanwhile waits for it a little."""
        with self._waiting_lock:
            self._coming += 1
        try:
            yield
        finally:
            with self._waiting_lock:
                self._coming -= 1

    def start(self) -> None:
        """Begin to take groups."""
        self._thread.start()

    def submit_predictions(
        self, predictions: list[tuple[int, CheckedPrediction]], refused: list[Refused], origins: Origins | None = None
    ) -> Future[Answer]:
        """Store predictions, each with its index in the request. The future is done once they are on disk.

        ``origins`` says where they came from, where the same events can come from there again.
        """
        return self._submit(Batch(predictions, [], [], [], refused, "prediction", origins))

    def submit_labels(
        self, labels: list[tuple[int, CheckedLabel]], refused: list[Refused], origins: Origins | None = None
    ) -> Future[Answer]:
        """Store label events, each with its index in the request. The future is done once they are on disk."""
        of_entities = [one for one in labels if one[1].event.entity is not None]
        if of_entities:
            labels = [one for one in labels if one[1].event.entity is None]
        return self._submit(Batch([], labels, of_entities, [], refused, "label", origins))

    def submit_reports(
        self, reports: list[tuple[int, CheckedReport]], refused: list[Refused], origins: Origins | None = None
    ) -> Future[Answer]:
        """Store reports of writers, each with its index in the request. The future is done once they are on disk."""
        return self._submit(Batch([], [], [], reports, refused, "writer", origins))

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
        """Store what is waiting, finish what a failure cut off, if the store takes it now, and stop."""
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
        finished = self._writer.recover(since)
        if since is None or since <= self._whole_until:  # else what is ours may lie before it
            self._unfinished = False
            self._whole_until = self._stamper.last
        return finished

    # -- the writer's thread -------------------------------------------------------------------------------------------

    def _submit(self, batch: Batch) -> Future[Answer]:
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
        self._take_groups()
        if self._unfinished:
            try:
                self._recover_own()
            except StoreError as error:
                _log.warning("a group that was cut off is left for the next start (code %d)", error.code)

    def _take_groups(self) -> None:
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
            latest = until + min(MAX_LINGER_S, self._took_s / 2)
            last: _Task | None = None
            stop = False
            while size < MAX_GROUP_EVENTS:
                try:
                    item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    now = time.monotonic()
                    if not self._coming or now >= latest:
                        break
                    until = min(latest, now + _LOOK_S)
                    continue
                if isinstance(item, Batch):
                    group.append(item)
                    size += item.events
                    continue
                last, stop = item, item is None
                break
            began = time.monotonic()
            self._commit(group)
            self._took_s = time.monotonic() - began
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

    def _commit(self, group: list[Batch]) -> None:
        given = [list(batch.refused) for batch in group]
        n_events = sum(batch.events for batch in group)  # now: a conflict will be counted among the refused, too
        try:
            if self._unfinished:
                self._recover_own()
                self._activity.recount(self._store)
            try:
                self._writer.store(group)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001  # a row that is not taken, or a bug: the others must not pay for it
                self._store_all_but_poison(group, given, error)
        except StoreError as error:
            self._fail(group, error)
        except NotTheRowsError as error:
            self._fail(group, error.reason)
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

    def _fail(self, group: list[Batch], error: Exception) -> None:
        self._unfinished = True
        self.failing = f"{type(error).__name__}: code {getattr(error, 'code', 0)}"
        _log.error("a group of %d events was not stored (%s)", sum(b.events for b in group), self.failing)
        self._writer.part_may_be_stored(group)
        for batch in group:
            batch.future.set_exception(
                Problem(
                    503, "store_unavailable", "The store does not take writes now; nothing was stored.", retry_after_s=2
                )
            )

    def _store_all_but_poison(self, group: list[Batch], given: list[list[Refused]], error: Exception) -> None:
        """Store a refused group without those rows that are refused by themselves; these go to quarantine.

        ``given``: what of each batch was refused before it came here.
        """
        reason = f"{type(error).__name__}: code {getattr(error, 'code', 0)}"
        _log.error("a group of %d events was refused (%s); looking for the rows", sum(b.events for b in group), reason)
        self._finish_what_is_left(group)
        for batch, refused in zip(group, given, strict=True):
            batch.refused, batch.answer = refused, Answer()
        poison = isolate([item for batch in group for item in batch.items], self._store_items, self._try_a_write)
        for (batch, index, one), _ in poison:
            batch.refused.append(Refused(index, "store_refused", "", content_of(one.event)))
        self._store_parts([(batch, batch.part([], batch.refused)) for batch in group if batch.refused])
        _log.error("%d events that the store does not take are in quarantine", len(poison))

    def _store_items(self, items: Sequence[Item]) -> None:
        """Store some events of a group that was refused, and add them to the answers of their batches."""
        by_batch: dict[int, list[Item]] = {}
        for item in items:
            by_batch.setdefault(id(item[0]), []).append(item)
        parts = [(some[0][0], some[0][0].part(some, [])) for some in by_batch.values()]
        try:
            self._store_parts(parts)
        except StoreUnavailable:
            raise
        except Exception:
            self._finish_what_is_left([part for _, part in parts])
            raise

    def _store_parts(self, parts: Sequence[tuple[Batch, Batch]]) -> None:
        """Store parts of batches, each given with the batch whose answer it is added to."""
        self._unfinished = True
        self._writer.store([part for _, part in parts])
        self._unfinished = False
        self._whole_until = self._stamper.last
        for batch, part in parts:
            batch.answer.add(part.answer)

    def _finish_what_is_left(self, refused: Sequence[Batch]) -> None:
        """Finish what is stored of events that were refused together, before any of them is tried again.

        Raises StoreUnavailable, and NotTheRowsError where the store does not take what it has taken a part of.
        """
        self._unfinished = True
        try:
            if left_over(self._store, self._served, refused, self._whole_until, self._stamper.last):
                self._recover_own()
                self._activity.recount(self._store)
                self._writer.part_may_be_stored(refused)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise NotTheRowsError(error) from error
        self._unfinished = False


def _run(task: _Task) -> None:
    try:
        task.future.set_result(task.run())
    except Exception as error:  # noqa: BLE001  # the waiter gets it
        task.future.set_exception(error)


def _closing() -> Problem:
    return Problem(503, "closing", "The server is stopping; nothing was stored.", retry_after_s=2)
