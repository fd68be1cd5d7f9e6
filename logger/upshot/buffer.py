"""Where encoded events wait for the threads behind the call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Buffer"]


class Buffer:
    """A bounded queue of encoded events: any thread appends, one thread takes. No lock.

    ``deque.append`` and ``popleft`` are atomic. ``size_bytes`` is not protected: CPython switches threads at calls
    and jumps, never inside ``x.n += 1``, and should an interpreter do so one day, the sum heals whenever the queue is
    empty. The bounds are checked before the append, so n threads at the border may exceed them by n - 1 events.
    """

    __slots__ = ("append", "events", "max_bytes", "max_events", "size_bytes", "watch_from")

    def __init__(self, max_events: int, max_bytes: int, watch_from: int | None = None) -> None:
        self.events: deque[bytes] = deque()
        self.append: Callable[[bytes], None] = self.events.append
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.watch_from = max_events if watch_from is None else watch_from
        """From so many events on, callers go the long way and look whether there is room."""
        self.size_bytes = 0

    def has_room(self, size_bytes: int, n_events: int = 1) -> bool:
        """Whether events of this size together may be appended."""
        return len(self.events) + n_events <= self.max_events and self.size_bytes + size_bytes <= self.max_bytes

    def clear(self) -> int:
        """Remove everything; returns how many events that were."""
        taken = 0
        while self.events:
            taken += len(self.take(len(self.events), self.max_bytes))
        return taken

    def take(self, max_events: int, max_bytes: int) -> list[bytes]:
        """Remove the oldest events: at most ``max_events`` and, from the second on, at most ``max_bytes`` together."""
        events = self.events
        pop = events.popleft
        n_events = min(len(events), max_events)
        if self.size_bytes > max_bytes:  # then look at each
            total = n_fitting = 0
            for event in (events[i] for i in range(n_events)):
                total += len(event)
                if n_fitting and total > max_bytes:
                    break
                n_fitting += 1
            n_events = n_fitting
        taken = [pop() for _ in range(n_events)]
        self.size_bytes = self.size_bytes - sum(map(len, taken)) if events else 0
        return taken
