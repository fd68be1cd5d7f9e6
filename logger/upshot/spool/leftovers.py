"""What writers that are gone have left behind: taken over, read oldest first, and removed when dealt with."""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from upshot.delivery.batch import Batch
from upshot.spool.folder import Destination, WriterFolder
from upshot.spool.frame import Damage
from upshot.spool.segment import Segment, kind_of

__all__ = ["Leftovers"]

_NAMES_AT_ONCE = 1_000
"""A folder may hold a million segments; only so many names are kept in memory."""


class Leftovers:
    """Gives the batches of dead writers of one destination, one at a time. For one thread.

    ``on_damage`` is called for bytes that are no events any more.
    """

    def __init__(self, destination: Destination, on_damage: Callable[[Segment, Damage], None]) -> None:
        self._destination = destination
        self._on_damage = on_damage
        self._folders: Iterator[WriterFolder] = iter(())
        self._folder: WriterFolder | None = None
        self._paths: deque[Path] = deque()
        self._segment: Segment | None = None
        self._unreadable: set[str] = set()
        self._taken_to = 0

    def look(self) -> None:
        """Look (again) for folders whose writers are gone. Raises OSError."""
        if self._folder is None:
            self._folders = self._destination.claim_left()

    def take(self, max_events: int, max_bytes: int) -> Batch | None:
        """The oldest events as one batch, which stay here until `done`; without it the next `take` gives them again."""
        while (segment := self._segment or self._next_segment()) is not None:
            try:
                batch, end = segment.oldest(max_events, max_bytes, self._on_damage)
            except OSError:
                self._leave(segment)
                continue
            if batch is not None:
                self._taken_to = end
                return batch
            self._remove(segment)
        return None

    def done(self) -> None:
        """What `take` gave was dealt with: do not give it again."""
        if (segment := self._segment) is None:
            return
        segment.done = self._taken_to
        if segment.done >= segment.size:
            self._remove(segment)

    def close(self) -> None:
        """Let another process take over what is left."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        self._folders = iter(())

    def close_descriptors(self) -> None:
        """In a forked child: the files and the lock are the parent's."""
        if self._segment is not None:
            self._segment.close()
        if self._folder is not None:
            self._folder.close_descriptors()

    def _next_segment(self) -> Segment | None:
        while True:
            while self._paths:
                path = self._paths.popleft()
                try:
                    self._segment = Segment.found(path)
                except OSError:
                    self._unreadable.add(path.name)
                    continue
                return self._segment
            if self._folder is not None:
                self._paths.extend(self._oldest_paths(self._folder.path))
                if self._paths:
                    continue
                self._folder.close()
            self._unreadable.clear()
            self._folder = next(self._folders, None)
            if self._folder is None:
                return None

    def _oldest_paths(self, folder: Path) -> list[Path]:
        names = (
            entry.name for entry in os.scandir(folder) if kind_of(entry.name) and entry.name not in self._unreadable
        )
        return [folder / name for name in heapq.nsmallest(_NAMES_AT_ONCE, names, key=_age)]

    def _remove(self, segment: Segment) -> None:
        if not segment.delete():
            self._unreadable.add(segment.path.name)
        self._segment = None

    def _leave(self, segment: Segment) -> None:
        """It cannot be read (now): the next process may try again."""
        self._unreadable.add(segment.path.name)
        segment.close()
        self._segment = None


def _age(name: str) -> tuple[str, str]:
    """Predictions before labels of the same age, so that a label normally comes after its prediction."""
    kind, index, _ = name.split("-", 2)
    return index, "a" if kind == "predictions" else "b"
