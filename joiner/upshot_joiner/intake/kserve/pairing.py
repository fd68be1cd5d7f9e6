"""The one that pairs: stores every half before it is answered, and turns each pair into predictions once both halves are there.

Halves come in any order, more than once, and before and after a restart. So the order of writes is: the new halves; then the
predictions of the pairs that are complete; then the note that these are settled. After a crash between two of them the pair is
found complete and not settled, and is made again: the writer knows its predictions and counts them as duplicates.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from upshot_joiner.clock import Clock
from upshot_joiner.errors import Place, Problem, StoreError
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.check import CheckedPrediction, NotAccepted
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.kserve.cloudevent import Decoded
from upshot_joiner.intake.kserve.halves import Halves, Key, Known, Stored
from upshot_joiner.intake.kserve.inference import SIDES, Half, half_of
from upshot_joiner.intake.kserve.made import kept_event, kept_half, made_of
from upshot_joiner.intake.kserve.naming import Naming
from upshot_joiner.intake.quarantine import MAX_PAYLOAD_BYTES
from upshot_joiner.intake.receive import Received, Receiver
from upshot_joiner.store.client import Store

_log = logging.getLogger("upshot.intake")

MAX_GROUP = 500
"""Halves stored at once."""
MAX_GROUP_BYTES = 64 * 1024 * 1024
MAX_QUEUED_BYTES = 256 * 1024 * 1024
"""Of bodies that are not stored yet; above it senders are told to come again."""
SWEEP_S = 1.0
"""How often those are looked for that have waited too long."""
FORGET_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Waiting:
    """How long, and how many."""

    wait: timedelta = timedelta(hours=1)
    """How long a half waits for the other before it goes to quarantine with the code ``unpaired``."""
    remember: timedelta = timedelta(days=1)
    """How long after that a repeat is still known as one."""
    most: int = 100_000
    """Halves that may wait; beyond it the oldest go to quarantine before their time."""


@dataclass
class _Batch:
    halves: list[tuple[int, Half]]
    refused: list[Refused]
    answer: Answer = field(default_factory=Answer)
    future: Future[Answer] = field(default_factory=Future)
    size: int = 0

    def reject(self, index: int, places: Sequence[Place]) -> None:
        self.answer.rejected += 1
        self.answer.errors += [{**place, "index": index} for place in places]


@dataclass(frozen=True)
class _Cause:
    """The event that completed a pair."""

    batch: _Batch
    index: int
    is_new: bool


class Pairing:
    """Takes halves, gives predictions to the writer, or to Kafka. ``submit`` and ``state`` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        receiver: Receiver,
        committer: Committer,
        clock: Clock,
        naming: Naming | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        self._halves = Halves(store)
        self._receiver = receiver
        self._committer = committer
        self._clock = clock
        self._naming = naming or Naming()
        self._rules = waiting or Waiting()
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._closed = False
        self._forgot = clock.now()
        requests, responses, _, _ = self._halves.waiting()
        self._may_wait = requests + responses > 0
        self._thread = threading.Thread(target=self._work, name="upshot-pairing", daemon=True)

    def start(self) -> None:
        """Begin to take halves, first those that a stopped server left complete."""
        self._thread.start()

    def submit(self, decoded: Decoded) -> Future[Answer]:
        """Store the events of one request, each with its index in it; the future is done when they are on disk.

        In the answer, ``accepted`` counts new halves, and an event
        that completed a pair which makes no predictions is ``rejected``, with the place in the request or the response.
        """
        batch = _Batch([], list(decoded.refused))
        for index, event in decoded.events:
            try:
                batch.halves.append((index, half_of(event, decoded.place)))
            except NotAccepted as reason:
                batch.refused.append(Refused(index, reason.code, reason.loc, kept_event(event)))
        batch.size = sum(len(half.body) for _, half in batch.halves)
        with self._lock:
            if self._closed:
                raise Problem(503, "closing", "The server is stopping; nothing was stored.", retry_after_s=2)
            if self._queued_bytes and self._queued_bytes + batch.size > MAX_QUEUED_BYTES:
                raise Problem(503, "overloaded", "Too much is waiting to be stored; try again soon.", retry_after_s=1)
            self._queued_bytes += batch.size
            self._queue.put(batch)
        return batch.future

    def state(self, limit: int = 100) -> dict[str, Any]:
        """What waits, the oldest ``limit`` of it one by one, and what was settled of late by why."""
        requests, responses, size, oldest = self._halves.waiting()
        listed = self._halves.oldest(self._clock.now() + timedelta(days=1), limit, body_bytes=0)
        return {
            "waiting": {"requests": requests, "responses": responses, "bytes": size, "oldest": oldest},
            "settled": self._halves.settled(),
            "halves": [
                {
                    "id": one.half.event_id,
                    "side": one.half.side,
                    "source": one.half.source,
                    "namespace": one.half.extensions.get("namespace", ""),
                    "service": one.half.extensions.get("inferenceservicename", ""),
                    "component": one.half.extensions.get("component", ""),
                    "received_at": one.received_at,
                    "waits_until": one.received_at + self._rules.wait,
                }
                for one in listed
            ],
        }

    def close(self) -> None:
        """Store what is queued, then stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        sweep_at = time.monotonic()
        while True:
            if time.monotonic() >= sweep_at:
                self._sweep()
                sweep_at = time.monotonic() + SWEEP_S
            try:
                first = self._queue.get(timeout=max(0.0, sweep_at - time.monotonic()))
            except queue.Empty:
                continue
            if first is None:
                return
            group, size, stop = [first], first.size, False
            while sum(len(batch.halves) for batch in group) < MAX_GROUP and size < MAX_GROUP_BYTES:
                try:
                    one = self._queue.get_nowait()
                except queue.Empty:
                    break
                if one is None:
                    stop = True
                    break
                group.append(one)
                size += one.size
            self._take(group)
            if stop:
                return

    def _take(self, group: list[_Batch]) -> None:
        try:
            self._pair(group)
        except Exception as error:  # noqa: BLE001  # the thread must outlive a bug: it fails the group, loudly
            if not isinstance(error, Problem | StoreError):
                _log.exception("halves of inferences could not be stored")
            problem = Problem(
                503, "store_unavailable", "The store does not take writes now; try again.", retry_after_s=2
            )
            for batch in group:
                batch.future.set_exception(error if isinstance(error, Problem) else problem)
        else:
            for batch in group:
                batch.answer.errors.sort(key=lambda place: place["index"])
                batch.future.set_result(batch.answer)
        finally:
            with self._lock:
                self._queued_bytes -= sum(batch.size for batch in group)

    def _pair(self, group: list[_Batch]) -> None:
        touched: dict[int, _Cause] = {}
        new: dict[Key, tuple[Key, int, Half]] = {}
        refused: list[tuple[_Batch, Refused]] = [(batch, one) for batch in group for one in batch.refused]
        keyed = [(batch, index, (half.pair, half.side), half) for batch in group for index, half in batch.halves]
        known = self._halves.known(list({key[0] for _, _, key, _ in keyed})) if keyed else {}
        for batch, index, key, half in keyed:
            digest = half.digest
            before, other = known.get(key), known.get(_other(key))
            if before is not None:
                if before.digest == digest:
                    batch.answer.duplicates += 1
                    if not before.settled:
                        touched[key[0]] = _Cause(batch, index, is_new=False)
                else:
                    refused.append((batch, Refused(index, "conflict", "data", kept_half(half, self._naming))))
            elif other is not None and other.settled:  # its other half has been given up
                refused.append((batch, Refused(index, "unpaired", _other(key)[1], kept_half(half, self._naming))))
            else:
                known[key] = Known(digest, False, len(half.body))
                new[key] = (key, digest, half)
                touched[key[0]] = _Cause(batch, index, is_new=True)
                batch.answer.accepted += 1
        if new:
            self._halves.add(list(new.values()), self._clock.now())
            self._may_wait = True
        complete = {
            pair: sum(known[pair, side].size for side in SIDES)
            for pair in touched
            if all((pair, side) in known for side in SIDES)
        }
        self._refuse(refused)
        for pairs in _chunks(complete):
            self._settle_pairs(pairs, touched)

    def _refuse(self, refused: list[tuple[_Batch, Refused]]) -> None:
        if not refused:
            return
        self._committer.submit_predictions([], [one for _, one in refused]).result()
        for batch, one in refused:
            batch.reject(one.index, [{"loc": one.loc, "code": one.code}])

    def _settle_pairs(self, pairs: Sequence[int], causes: dict[int, _Cause]) -> None:
        """Make predictions of complete pairs, and tell those who completed them what cannot be accepted."""
        stored = self._halves.of_pairs(pairs)
        whole = {pair: halves for pair, halves in stored.items() if len(halves) == len(SIDES)}
        predictions: list[tuple[int, CheckedPrediction]] = []
        refused: list[Refused] = []
        settled: list[tuple[Stored, str]] = []
        for number, halves in enumerate(whole.values()):
            made = made_of(number, halves["request"].half, halves["response"].half, self._naming)
            predictions += [(number, one) for one in made.predictions]
            refused += made.refused
            settled += [(one, made.because) for one in halves.values()]
        if predictions or refused:
            answer = self._taken(predictions, refused)
            for number, pair in enumerate(whole):
                places = [place for place in answer.errors if place["index"] == number]
                cause = causes.get(pair)
                if places and cause is not None:
                    cause.batch.answer.accepted -= cause.is_new
                    cause.batch.answer.duplicates -= not cause.is_new
                    cause.batch.reject(cause.index, places)
        if settled:
            self._halves.settle(settled)

    def _taken(self, predictions: list[tuple[int, CheckedPrediction]], refused: list[Refused]) -> Answer:
        """Hand predictions to the store or to Kafka; halves that cannot be read are no events, and stay in the store."""
        if not self._receiver.takes_without_store:
            return self._receiver.submit_predictions(Received(predictions, refused, 0)).result()
        answer = self._receiver.submit_predictions(Received(predictions, [], 0)).result() if predictions else Answer()
        if refused:
            answer.add(self._committer.submit_predictions([], refused).result())
        return answer

    def _sweep(self) -> None:
        """Finish what a failure left complete; give up what has waited too long; forget what was settled long ago."""
        try:
            if self._may_wait:
                while complete := self._halves.both(MAX_GROUP):
                    for pairs in _chunks(complete):
                        self._settle_pairs(pairs, {})
                self._give_up()
            if self._clock.now() - self._forgot >= FORGET_EVERY:
                self._halves.forget(self._clock.now() - self._rules.wait - self._rules.remember)
                self._forgot = self._clock.now()
        except (StoreError, Problem) as error:
            _log.error("halves of inferences could not be looked through (%s); trying again", type(error).__name__)
        except Exception:  # noqa: BLE001  # nobody would notice that this thread died
            _log.exception("halves of inferences could not be looked through; trying again")

    def _give_up(self) -> None:
        requests, responses, _, _ = self._halves.waiting()
        waiting = requests + responses
        self._may_wait = waiting > 0
        until = self._clock.now() - self._rules.wait
        surplus = self._halves.surplus_until(self._rules.most, waiting)
        while expired := self._halves.oldest(max(until, surplus) if surplus else until, MAX_GROUP, MAX_PAYLOAD_BYTES):
            refused = [
                Refused(i, "unpaired", _other(one.key)[1], kept_half(one.half, self._naming))
                for i, one in enumerate(expired)
            ]
            self._committer.submit_predictions([], refused).result()
            self._halves.settle((one, "unpaired") for one in expired)
            _log.warning("%d halves of inferences waited for the other in vain; they are in quarantine", len(expired))


def _chunks(sizes: dict[int, int]) -> Iterator[list[int]]:
    """The pairs, in parts that fit into memory; ``sizes`` are bytes."""
    chunk: list[int] = []
    size = 0
    for pair, more in sizes.items():
        if chunk and size + more > MAX_GROUP_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(pair)
        size += more
    if chunk:
        yield chunk


def _other(key: Key) -> Key:
    return (key[0], "response" if key[1] == "request" else "request")
