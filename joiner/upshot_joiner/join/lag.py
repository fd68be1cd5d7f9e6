"""How far the join is behind: from the moment a group of events was stored (and its sender answered) until it was joined.

Measured by the server itself, on the monotonic clock, over the last minutes.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

OVER_S = 300.0
"""How far back the quantiles look."""
MOST_GROUPS = 20_000
"""Of a very busy server the last so many groups are looked at: some minutes at a hundred groups a second."""


class JoinLag:
    """Counts requests whose events wait, and remembers how long those waited that were joined. May be called from any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, int]] = deque()
        self._in_hand: list[tuple[float, int]] = []
        self._joined: deque[tuple[float, float, int]] = deque(maxlen=MOST_GROUPS)

    def stored(self, requests: int) -> None:
        """Events of so many requests were stored just now."""
        if requests:
            with self._lock:
                self._waiting.append((self._monotonic(), requests))

    def taken(self) -> None:
        """Everything stored until now is in hand."""
        with self._lock:
            self._in_hand += self._waiting
            self._waiting.clear()

    def joined(self) -> None:
        """Everything in hand is joined."""
        with self._lock:
            now = self._monotonic()
            self._joined.extend((now, now - stored, requests) for stored, requests in self._in_hand)
            self._in_hand.clear()

    @property
    def oldest_waiting_s(self) -> float | None:
        """How long ago the oldest of what waits was stored; None while nothing waits."""
        with self._lock:
            waiting = [*self._in_hand[:1], *itertools.islice(self._waiting, 1)]  # both in the order of time
            return self._monotonic() - min(stored for stored, _ in waiting) if waiting else None

    def answer(self) -> dict[str, Any]:
        """``p50_s`` and ``p99_s`` by request over the last ``over_s`` seconds, and what waits, for how long."""
        with self._lock:
            now = self._monotonic()
            seen = sorted((lag, requests) for at, lag, requests in self._joined if now - at <= OVER_S)
            waiting = [*self._in_hand, *self._waiting]
        total = sum(requests for _, requests in seen)
        return {
            "p50_s": _quantile(seen, total * 0.5),
            "p99_s": _quantile(seen, total * 0.99),
            "joined": total,
            "over_s": OVER_S,
            "waiting": sum(requests for _, requests in waiting),
            "oldest_waiting_s": now - min(stored for stored, _ in waiting) if waiting else None,
        }


def _quantile(seen: list[tuple[float, int]], wanted: float) -> float | None:
    before = 0
    for lag, requests in seen:
        before += requests
        if before >= wanted:
            return lag
    return None
