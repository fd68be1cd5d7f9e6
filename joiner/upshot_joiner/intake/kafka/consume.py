"""The loop of a worker: messages → events → committer → dead letters → offsets.

The order is the promise: an offset is committed when everything before it is in the store and every dead letter of it is
acknowledged. Whatever fails before that, the messages come again, here or elsewhere, and change nothing.

Nothing waits here but `Consumer.poll`. What the store or Kafka does not take now is kept, tried again with a growing pause, and
holds up its own partition only in so far as it fills it; a full partition is paused, never left unpolled.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from upshot_joiner.backlog import KafkaLag
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.intake.kafka.contract import Consumer, KafkaRefused, KafkaUnavailable, Partition, Producer
from upshot_joiner.intake.kafka.lane import Bounds, Lane
from upshot_joiner.intake.kafka.opening import Opener
from upshot_joiner.intake.kafka.parcel import Parcel, Submit
from upshot_joiner.intake.kafka.poison import PoisonLimit
from upshot_joiner.intake.kafka.status import Counters, LaneStatus, Status
from upshot_joiner.intake.receive import Receiver

_log = logging.getLogger("upshot.kafka")

BUSY_POLL_S = 0.02
"""While something is on its way to the store: its answer is seen so soon."""
IDLE_POLL_S = 0.2
COMMIT_EVERY_S = 0.5
"""Of offsets. More often would cost a round trip each; what is not committed is only read again after a crash."""
COMMIT_TIMEOUT_S = 3.0
LOOK_FOR_ENDS_EVERY_S = 5.0
SAY_AGAIN_EVERY_S = 60.0
REPORT_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what."""

    first_pause_s: float = 0.25
    """After the store or Kafka took nothing; doubled each time, with jitter."""
    longest_pause_s: float = 15.0
    revoke_s: float = 5.0
    """For what is on its way when a partition is revoked."""
    stop_s: float = 30.0
    """The same when the process is asked to end."""


@dataclass
class _Pause:
    """A growing pause after failures."""

    patience: Patience
    until: float = 0.0
    failures: int = 0
    why: str = ""

    def failed(self, why: str, now: float) -> None:
        if not self.why:
            _log.warning("%s; keeping what was taken and trying again", why)
        self.why = why
        if self.holds(now):
            return  # many parcels may meet one failure
        self.failures += 1
        longest = min(self.patience.longest_pause_s, self.patience.first_pause_s * 2 ** (self.failures - 1))
        self.until = now + longest * random.uniform(0.5, 1.0)  # noqa: S311  # so that workers do not come back all at once

    def succeeded(self) -> None:
        if self.why:
            _log.warning("it goes on (was: %s)", self.why)
        self.why, self.failures, self.until = "", 0, 0.0

    def holds(self, now: float) -> bool:
        return now < self.until


@dataclass
class _Said:
    """When something was said last, so that it is not said all the time."""

    at: dict[str, float] = field(default_factory=dict)

    def may(self, what: str, now: float, every_s: float = SAY_AGAIN_EVERY_S) -> bool:
        if what in self.at and now - self.at[what] < every_s:
            return False
        self.at[what] = now
        return True


class KafkaIntake:
    """Runs in one thread: `run`. `stop` and `status` may be called from any thread.

    ``monotonic`` is seconds on a clock that never jumps.
    """

    def __init__(
        self,
        consumer: Consumer,
        producer: Producer,
        receiver: Receiver,
        *,
        bounds: Bounds | None = None,
        limit: PoisonLimit | None = None,
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._opener = Opener(receiver)
        self._submits: dict[str, Submit] = {
            "predictions": receiver.submit_predictions,
            "labels": receiver.submit_labels,
            "writers": receiver.submit_reports,
        }
        self._bounds = bounds or Bounds()
        self._limit = limit or PoisonLimit()
        self._patience = patience or Patience()
        self._monotonic = monotonic
        self._lanes: dict[Partition, Lane] = {}
        self._store = _Pause(self._patience)
        self._kafka = _Pause(self._patience)
        self._letters = _Pause(self._patience)
        self._silence = ""
        self._committed_at = self._ends_at = 0.0
        self._said = _Said()
        self._counters = Counters()
        self._stopping = threading.Event()
        self._status = Status()
        self._whole: tuple[int, float | None] = (0, None)

    @property
    def status(self) -> Status:
        """What it is doing, as of its last turn."""
        return self._status

    @property
    def lag(self) -> KafkaLag:
        """What lies in its partitions."""
        messages, whole_at = self._whole
        return KafkaLag(messages, None if whole_at is None else self._monotonic() - whole_at)

    def stop(self) -> None:
        """Ask it to finish what is on its way and end."""
        self._stopping.set()

    def run(self) -> None:
        """Consume until `stop` is called; then leave the group."""
        try:
            while not self._stopping.is_set():
                self.step()
            self._finish(self._lanes.values(), self._patience.stop_s)
        finally:
            self._consumer.close(timeout_s=COMMIT_TIMEOUT_S)
            self._note_status()

    def step(self) -> None:
        """One turn."""
        self._poll()
        self._advance(self._lanes.values())
        self._pack()
        self._pause_and_resume()
        now = self._monotonic()
        if now - self._committed_at >= COMMIT_EVERY_S:
            self._commit(self._lanes.values())
        if now - self._ends_at >= LOOK_FOR_ENDS_EVERY_S:
            self._look_for_ends()
        self._note_status()

    # -- Kafka -----------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        is_busy = any(lane.parcels or lane.backlog for lane in self._lanes.values())
        try:
            polled = self._consumer.poll(BUSY_POLL_S if is_busy else IDLE_POLL_S)
        except (KafkaUnavailable, KafkaRefused) as error:
            self._kafka.failed(str(error), self._monotonic())
            self._stopping.wait(max(0.0, self._kafka.until - self._monotonic()))
            return
        self._kafka.succeeded()
        for change in polled.changes:
            if change.what == "assigned":
                _log.info("%s: assigned", ", ".join(map(str, sorted(change.partitions))))
                self._lanes.update({partition: Lane(partition, self._limit) for partition in change.partitions})
                self._ends_at = 0.0
                continue
            _log.info("%s: %s", ", ".join(map(str, sorted(change.partitions))), change.what)
            gone = [self._lanes.pop(partition) for partition in change.partitions if partition in self._lanes]
            if change.what == "revoked":
                self._finish(gone, self._patience.revoke_s)
        for message in polled.messages:
            lane = self._lanes.get(message.partition)
            if lane is not None:
                lane.polled(message)

    def _pause_and_resume(self) -> None:
        is_crowded = sum(lane.n_events for lane in self._lanes.values()) >= self._bounds.events
        must_wait = bool(self._store.why) or is_crowded
        to_pause, to_resume = [], []
        for lane in self._lanes.values():
            wants = bool(lane.stopped) or must_wait or lane.is_full(self._bounds) or bool(lane.backlog)
            if wants and not lane.is_paused:
                to_pause.append(lane)
            elif lane.is_paused and not wants and lane.has_room(self._bounds):
                to_resume.append(lane)
        self._consumer.pause(lane.partition for lane in to_pause)
        self._consumer.resume(lane.partition for lane in to_resume)
        for lane in to_pause:
            lane.is_paused = True
        for lane in to_resume:
            lane.is_paused = False

    def _commit(self, lanes: Iterable[Lane]) -> None:
        self._committed_at = self._monotonic()
        offsets = {lane.partition: lane.to_commit for lane in lanes if lane.to_commit is not None}
        known = {partition: offset for partition, offset in offsets.items() if offset is not None}
        if known and self._consumer.commit(known, COMMIT_TIMEOUT_S):
            for lane in lanes:
                if lane.partition in known:
                    lane.committed = known[lane.partition]

    def _look_for_ends(self) -> None:
        self._ends_at = self._monotonic()
        new = [lane.partition for lane in self._lanes.values() if lane.committed is None]
        for partition, offset in self._consumer.committed(new, timeout_s=1.0).items():
            self._lanes[partition].committed = offset
        ends = self._consumer.ends(self._lanes, timeout_s=1.0)
        for partition, end in ends.items():
            self._lanes[partition].saw_end(end, self._ends_at)
        # A poll without a broker is only empty; who answers no question is away.
        is_silent = bool(self._lanes) and not ends
        if is_silent != bool(self._silence):
            self._silence = "no Kafka broker answers" if is_silent else ""
            _log.warning("%s", self._silence or "a Kafka broker answers again")

    # -- the store -------------------------------------------------------------------------------------------------------

    def _pack(self) -> None:
        """Open what was polled, as far as there is room, and hand it to the committer."""
        if self._store.why:
            if self._store.holds(self._monotonic()) or any(lane.parcels for lane in self._lanes.values()):
                return  # what failed is tried first
            self._store.succeeded()  # it went with its partition
        n_events = sum(lane.n_events for lane in self._lanes.values())
        for lane in self._lanes.values():
            while n_events < self._bounds.events and (parcel := lane.pack(self._opener, self._bounds)) is not None:
                n_events += parcel.n_events
                self._counters.messages += parcel.end - parcel.first
                self._submit(parcel)
            if lane.stopped:
                self._say_stopped(lane)

    def _advance(self, lanes: Iterable[Lane]) -> None:
        """Take answers, post dead letters, and move each lane as far as everything before is done."""
        for lane in lanes:
            is_done_so_far = True
            for parcel in list(lane.parcels):
                is_done = self._advance_parcel(lane, parcel)
                is_done_so_far = is_done_so_far and is_done
                if is_done_so_far:
                    lane.settle()
            if lane.stopped:
                self._say_stopped(lane)

    def _advance_parcel(self, lane: Lane, parcel: Parcel) -> bool:
        now = self._monotonic()
        try:
            is_stored = parcel.look()
        except (Problem, StoreError) as error:
            self._store.failed(f"the store takes nothing now ({getattr(error, 'code', 0)})", now)
            return False
        if not is_stored:
            if parcel.is_waiting and not self._store.holds(now):
                self._submit(parcel)
            return False
        if not parcel.is_counted:
            parcel.is_counted = True
            self._store.succeeded()
            self._count(lane, parcel)
        if self._letters.holds(now):
            return False
        try:
            is_done = parcel.post(self._producer)
        except (KafkaUnavailable, KafkaRefused) as error:
            self._letters.failed(f"dead letters are not taken: {error}", now)
            return False
        if is_done:
            self._letters.succeeded()
        return is_done

    def _submit(self, parcel: Parcel) -> None:
        try:
            parcel.submit(self._submits)  # type: ignore[arg-type]  # the keys are its kinds
        except Problem as error:
            self._store.failed(f"the store takes nothing now ({error.code})", self._monotonic())

    def _count(self, lane: Lane, parcel: Parcel) -> None:
        answer = parcel.answer
        self._counters.accepted += answer.accepted
        self._counters.duplicates += answer.duplicates
        self._counters.refused += answer.rejected
        found_late = answer.rejected - parcel.n_refused
        why = lane.counts.found_out(found_late, none_was_good=not answer.accepted and not answer.duplicates)
        lane.stopped = lane.stopped or why

    # -- ends ------------------------------------------------------------------------------------------------------------

    def _finish(self, lanes: Iterable[Lane], patience_s: float) -> None:
        """Wait for what is on its way of these, commit what is stored, drop the rest: it will come again."""
        lanes = list(lanes)
        until = self._monotonic() + patience_s
        self._advance(lanes)
        while any(lane.parcels for lane in lanes) and self._monotonic() < until and not self._store.why:
            time.sleep(0.005)
            self._advance(lanes)
        self._commit(lanes)
        left = sum(lane.n_events for lane in lanes)
        if left:
            _log.warning(
                "%d events that were on their way are given up here; Kafka has them and gives them again", left
            )

    def _say_stopped(self, lane: Lane) -> None:
        if self._said.may(str(lane.partition), self._monotonic()):
            _log.error(
                "%s is stopped before offset %s: %s. Nothing more of it is read and nothing is committed, so nothing is lost. "
                "Mend the cause, then start the worker again (or raise its limit)",
                lane.partition,
                lane.backlog[0].offset if lane.backlog else lane.done,
                lane.stopped,
            )

    def _note_status(self) -> None:
        for lane in self._lanes.values():
            lane.look_back()
        whole = [lane.whole_at for lane in self._lanes.values()]
        whole_at = None if None in whole else min((at for at in whole if at is not None), default=self._monotonic())
        self._whole = (sum(lane.lag or 0 for lane in self._lanes.values()), whole_at)
        self._status = Status(
            partitions=[
                LaneStatus(
                    str(lane.partition),
                    lane.lag,
                    None if lane.whole_at is None else self._monotonic() - lane.whole_at,
                    lane.committed,
                    lane.n_events,
                    lane.is_paused,
                    lane.stopped or None,
                )
                for lane in sorted(self._lanes.values(), key=lambda lane: lane.partition)
            ],
            store=self._store.why or None,
            kafka=self._kafka.why or self._letters.why or self._silence or None,
            counters=self._counters.copy(),
        )
        if self._said.may("report", self._monotonic(), REPORT_EVERY_S):
            _log.info("%s", self._status.sentence)
