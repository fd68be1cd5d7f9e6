"""One writer's events of one kind on disk: segments appended at one end, read and removed at the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from upshot.delivery.batch import Batch, Kind
from upshot.spool.frame import Damage
from upshot.spool.segment import Segment

__all__ = ["SEGMENT_BYTES", "Lane", "Refused"]

SEGMENT_BYTES = 4 * 1024 * 1024
"""A segment of this size is closed and the next one begun; it is removed when every event in it was dealt with."""


class Refused(NamedTuple):
    """Batches that no file holds safely, the oldest first. The first ``n_in_hand`` are also in what `Lane.take` gave."""

    batches: list[Batch]
    n_in_hand: int


class Lane:
    """First in, first out. For one thread at a time.

    ``on_damage`` is called for bytes that are no events any more, ``on_lost`` with the number of events that took.
    """

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        on_damage: Callable[[Segment, Damage], None],
        on_lost: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._kind: Kind = kind
        self._on_damage = on_damage
        self._on_lost = on_lost
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None
        self._next_index = 0
        self._unsynced: list[tuple[int, Batch]] = []
        """What was appended since the last sync, each with where its frame ends in the active segment."""
        self._refused: Refused | None = None
        """What the disk refused to sync when a segment was closed early; the next `sync` returns it."""
        self._taken_to: int | None = None
        self._taken_events = 0

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that a power cut would take."""
        unsynced = 0 if self._active is None else self._active.size - self._active.synced
        return unsynced + (sum(len(batch.payload) for batch in self._refused.batches) if self._refused else 0)

    @property
    def is_due(self) -> bool:
        """Whether the active segment is full, so that `sync` should close it."""
        return self._active is not None and self._active.size >= SEGMENT_BYTES

    def append(self, batch: Batch) -> None:
        """Write a batch. After OSError nothing of it is there, and the next attempt begins a new segment.

        What was written before is synced then: nobody would come back to that file for it.
        """
        active = self._active
        if active is None:
            active = self._active = Segment.create(self._folder, self._kind, self._next_index)
            self._next_index += 1
            self._segments.append(active)
        try:
            active.append(batch)
        except OSError:
            if active.size == 0:
                self._active = None
                self._unsynced.clear()
                self._segments.remove(active)
                active.delete()
            else:
                self._refused = self._sync_active(active)
                self._active = None
            raise
        self._unsynced.append((active.size, batch))

    def sync(self) -> Refused | None:
        """Make everything appended survive a power cut.

        Returns what the disk refused: its segment is given up, and the next `append` begins a new one. Raises nothing.
        """
        refused, self._refused = self._refused, None
        if refused is not None or (active := self._active) is None:
            return refused
        refused = self._sync_active(active)
        if active.size >= SEGMENT_BYTES:
            self._active = None
            active.close()
        return refused

    def take(self, max_events: int, max_bytes: int) -> Batch | None:
        """The oldest events as one batch, which stay here until `done` or `give_back`. None when there are none."""
        while self._segments:
            segment = self._segments[0]
            try:
                batch, end = segment.oldest(max_events, max_bytes, self._on_damage)
            except OSError:  # the file is gone, or its disk
                batch = None
            if batch is not None:
                self._taken_to, self._taken_events = end, batch.n_events
                return batch
            is_active = segment is self._active
            self._finish(segment)
            if is_active:
                return None
        return None

    def done(self) -> None:
        """What `take` gave was dealt with: remove it."""
        taken_to, self._taken_to = self._taken_to, None
        if taken_to is None:
            return
        segment = self._segments[0]
        segment.done = taken_to
        segment.n_done += self._taken_events
        if segment.done >= segment.size:
            self._finish(segment)

    def give_back(self) -> None:
        """What `take` gave was not dealt with: the next `take` gives it again."""
        self._taken_to = None

    def close(self) -> None:
        """Leave what is there to the next process; remove what is empty."""
        self._active = None
        for segment in list(self._segments):
            if segment.done >= segment.size:
                self._finish(segment)
            else:
                segment.close()

    def close_descriptors(self) -> None:
        """In a forked child: the files are the parent's."""
        for segment in self._segments:
            segment.close()

    def _finish(self, segment: Segment) -> None:
        """Nothing of a segment is left to read: begin it anew when it is the active one, else remove it."""
        if lost := segment.n_events - segment.n_done:
            segment.n_done = segment.n_events
            self._on_lost(lost)
        if segment is self._active:
            try:
                segment.empty()
            except OSError:
                self._active = None
            else:
                self._unsynced.clear()
                return
        self._segments.remove(segment)
        segment.delete()

    def _sync_active(self, active: Segment) -> Refused | None:
        try:
            active.sync()
        except OSError:
            return self._give_up(active)
        self._unsynced.clear()
        return None

    def _give_up(self, segment: Segment) -> Refused:
        self._active = None
        done = taken_to = 0
        if segment is self._segments[0]:
            done = segment.done
            taken_to = done if self._taken_to is None else self._taken_to
        waiting = [batch for end, batch in self._unsynced if end > taken_to]
        in_hand = [batch for end, batch in self._unsynced if done < end <= taken_to]
        self._unsynced.clear()
        segment.n_events -= sum(batch.n_events for batch in waiting)
        segment.cut(max(segment.synced, taken_to))
        return Refused(in_hand + waiting, len(in_hand))
