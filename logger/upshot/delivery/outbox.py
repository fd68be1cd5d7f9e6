"""What waits to be sent, as batches. The sender takes one at a time, and says what became of it.

`MemoryOutbox` takes events straight from the queues. ``upshot.delivery.spooled`` puts the spool in between.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from upshot.delivery.batch import Batch, Packer
from upshot.writer import Writer

__all__ = ["MemoryOutbox", "Outbox"]


class Outbox(Protocol):
    """One thread at a time calls `take` and what follows it; the others may be called from any thread."""

    keeps_refused: bool
    """Whether events that the other side refuses for a reason that can be mended (a wrong key) are kept."""

    def start(self) -> None:
        """Begin to work on its own, if it does."""
        ...

    def put(self, batch: Batch) -> bool:
        """Take over a batch that was never in the queues. False when there is no room; then nothing was done."""
        ...

    def take(self) -> Batch | None:
        """The oldest events as one batch, *in flight* from now on; None when there are none.

        Follow with `done` or `give_back`.
        """
        ...

    def take_left(self) -> Batch | None:
        """Events that a writer which is gone has left behind; None when there are none. Follow as after `take`."""
        ...

    def done(self) -> None:
        """Every event of what was taken was dealt with."""
        ...

    def give_back(self, n_events: int) -> None:
        """``n_events`` of what was taken were not dealt with, and will not be before the end, or for a while."""
        ...

    def secure(self, timeout_s: float) -> bool:
        """Put everything logged before this call where a power cut does not reach it; False where it cannot be."""
        ...

    def close(self) -> int:
        """Stop. Returns how many events are lost by that."""
        ...

    def close_descriptors(self) -> None:
        """In a forked child: let go of the parent's files."""
        ...


class MemoryOutbox:
    """Events wait in the queues and nowhere else."""

    keeps_refused = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._packer = Packer()
        self._ready: deque[Batch] = deque()
        self._put: deque[Batch] = deque()
        self._put_bytes = 0

    def start(self) -> None:
        """Nothing to do."""

    def put(self, batch: Batch) -> bool:
        """See `Outbox`. As many bytes may wait as in a queue, compressed."""
        ledger = self._writer.ledger
        with ledger.lock:
            if self._put and self._put_bytes + len(batch.payload) > self._writer.settings.queue_max_bytes:
                return False
            self._put.append(batch)
            self._put_bytes += len(batch.payload)
            self._writer.n_held += batch.n_events
        return True

    def take(self) -> Batch | None:
        """See `Outbox`. Predictions first, so that a label normally comes after its prediction."""
        if self._ready:
            return self._ready.popleft()
        settings, ledger = self._writer.settings, self._writer.ledger
        for kind, buffer in self._writer.buffers():
            with ledger.lock:
                events = buffer.take(settings.batch_max_events, settings.batch_max_bytes)
                ledger.in_flight += len(events)
            if events:
                self._ready.extend(self._packer.batches(kind, events))
                return self._ready.popleft()
        with ledger.lock:
            if not self._put:
                return None
            batch = self._put.popleft()
            self._put_bytes -= len(batch.payload)
            self._writer.n_held -= batch.n_events
            ledger.in_flight += batch.n_events
        return batch

    def take_left(self) -> Batch | None:
        """There are none."""
        return None

    def done(self) -> None:
        """Nothing to do."""

    def give_back(self, n_events: int) -> None:
        """They are lost: what is in nobody's hands is nowhere."""
        with self._writer.ledger.lock:
            self._writer.ledger.in_flight -= n_events
            self._writer.ledger.dropped["close"] += n_events

    def secure(self, timeout_s: float) -> bool:
        """Memory is not secure."""
        return not self._writer.queued() and not self._writer.ledger.in_flight

    def close(self) -> int:
        """Drop what is queued."""
        ledger = self._writer.ledger
        with ledger.lock:
            n_lost = sum(buffer.clear() for _, buffer in self._writer.buffers()) + self._writer.n_held
            self._put.clear()
            self._put_bytes = self._writer.n_held = 0
            ledger.dropped["close"] += n_lost
        return n_lost

    def close_descriptors(self) -> None:
        """There are none."""
