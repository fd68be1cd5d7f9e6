"""The demo's year, shared between processes: eight bytes in a mapped file that the replay advances and the server
reads."""

from __future__ import annotations

import mmap
from datetime import UTC, datetime, timedelta
from pathlib import Path

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class SharedClock:
    """A clock that stands where another process has set it; satisfies ``upshot_joiner.clock.Clock``.

    The file holds one native 64-bit count of microseconds since 1970. It is read and written through a ``memoryview``
    of that type, which is one aligned load or store, so that no reader can see half of an update.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)
        self._micros = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, path: Path, at: datetime) -> SharedClock:
        """Make the file, set to ``at`` (aware)."""
        path.write_bytes(bytes(8))
        clock = cls(path)
        clock.advance(at)
        return clock

    def now(self) -> datetime:
        """The present moment of the replay, aware, in UTC."""
        return EPOCH + timedelta(microseconds=self._micros[0])

    def advance(self, to: datetime) -> None:
        """Move to ``to`` (aware). Raises ``ValueError`` for a moment before the present one: 2013 passes only
        forwards."""
        micros = (to - EPOCH) // MICROSECOND
        if micros < self._micros[0]:
            raise ValueError(f"the replay cannot go back from {self.now()} to {to}")
        self._micros[0] = micros

    def close(self) -> None:
        """Give the mapping back."""
        self._micros.release()
        self._map.close()
