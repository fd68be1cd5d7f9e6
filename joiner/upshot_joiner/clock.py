"""Where time comes from. Everything that asks for "now" takes a :class:`Clock`, so that windows, maturity and as-of can be
tested at any moment, and a replay of last year sees last year."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Tells the time; callable from any thread."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is set: for tests."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """The moment it was set to."""
        return self._at

    def set(self, at: datetime) -> None:
        """Move to another moment, forwards or backwards."""
        self._at = at

    def advance(self, by: timedelta) -> None:
        """Move forwards."""
        self._at += by


class Stamper:
    """Gives every committed group a moment of its own: strictly increasing, even when the clock stands still or jumps back.

    ``received_at`` of everything stored comes from here. That is what makes *as of T* reproducible: once a stamp at or after T
    has been given, nothing can be stored any more with a stamp at or before T.
    """

    def __init__(self, clock: Clock, after: datetime = EPOCH, hold: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._last = after
        self._hold = hold
        """Makes sure that we may give stamps: others that share the store may have taken us for dead."""
        self._lock = threading.Lock()

    @property
    def last(self) -> datetime:
        """The newest stamp given so far."""
        return self._last

    def next(self) -> datetime:
        """A moment later than every earlier one, and not before the clock's. Raises StoreError where a lease cannot be renewed."""
        self._hold()
        with self._lock:
            self._last = max(self._clock.now(), self._last + MICROSECOND)
            return self._last

    def pass_over(self, moment: datetime) -> None:
        """Make sure that every later stamp is after ``moment``."""
        with self._lock:
            self._last = max(self._last, moment)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment, exactly."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware moment, in UTC, that lies ``micros`` microseconds after 1970."""
    return EPOCH + timedelta(microseconds=micros)
