"""Where encoded events wait for the sender."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

__all__ = ["Buffer"]


class Buffer:
    """A bounded queue of encoded events: any thread appends, one thread takes. No lock.

    ``deque.append`` and ``popleft`` are atomic. ``size_bytes`` is not protected: CPython switches threads at calls
    and jumps, never inside ``x.n += 1``, and should an interpreter do so one day, the sum heals whenever the queue is
    empty. The bounds are checked before the append, so n threads at the border may exceed them by n - 1 events.
    """

    __slots__ = ("append", "events", "max_bytes", "max_events", "size_bytes")

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.events: deque[bytes] = deque()
        self.append: Callable[[bytes], None] = self.events.append
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.size_bytes = 0

    def has_room(self, size_bytes: int) -> bool:
        """Whether an event of this size may be appended."""
        return len(self.events) < self.max_events and self.size_bytes + size_bytes <= self.max_bytes

    def clear(self) -> int:
        """Remove everything; returns how many events that were."""
        return len(self.take(sys.maxsize, sys.maxsize))

    def take(self, max_events: int, max_bytes: int) -> list[bytes]:
        """Remove the oldest events: at most ``max_events`` and, from the second on, at most ``max_bytes`` together."""
        taken: list[bytes] = []
        total = 0
        events = self.events
        while events and len(taken) < max_events:
            if taken and total + len(events[0]) > max_bytes:
                break
            event = events.popleft()
            total += len(event)
            taken.append(event)
        self.size_bytes = self.size_bytes - total if events else 0
        return taken
