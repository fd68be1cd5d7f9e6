"""How fast a backlog is sent after an outage."""

from __future__ import annotations

import threading
import time

from upshot.writer import Writer

__all__ = ["Pace"]

_SAMPLE_EVERY_S = 5.0


class Pace:
    """After an outage: twice as many requests a second as the events coming in need, until the backlog is gone.

    A server that comes back is met by all its clients at once; what they have saved up must not knock it over again. A flush
    and a close do not wait for this.
    """

    def __init__(self, writer: Writer) -> None:
        self._settings = writer.settings
        self._accepted = writer.ledger.accepted
        self._is_on = False
        self._per_s = 0.0
        self._sampled = 0
        self._sampled_at = time.monotonic()
        self._last = 0.0

    def after_outage(self) -> None:
        """An attempt failed."""
        self._is_on = True

    def caught_up(self) -> None:
        """Nothing waits any more."""
        self._is_on = False

    def wait(self, wake: threading.Event) -> None:
        """Called before a request: waits until it is time for it, or until ``wake`` is set."""
        now = time.monotonic()
        if now - self._sampled_at >= _SAMPLE_EVERY_S:
            sampled = self._accepted.value
            self._per_s = (sampled - self._sampled) / (now - self._sampled_at)
            self._sampled, self._sampled_at = sampled, now
        if self._is_on:
            needed_per_s = max(1.0 / self._settings.flush_interval_s, self._per_s / self._settings.batch_max_events)
            early_s = self._last + 0.5 / needed_per_s - now
            if early_s > 0:
                wake.wait(early_s)
        self._last = time.monotonic()
