"""When so much is refused that it is not the events: the producer is broken, or we are. Then a partition stops, and its lag grows.

A few bad events go to quarantine and nothing waits for them. But a deployment that writes nonsense must not empty its topic into
quarantine: what was not taken yet stays in Kafka, in order, until somebody has mended the cause.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoisonLimit:
    """How much may be refused before a partition stops."""

    max_consecutive: int = 1000
    """Refused items without any good one between them."""
    max_ratio: float = 0.5
    """Refused items among the last ``window`` or so, once so many have come."""
    window: int = 5000


@dataclass(slots=True)
class PoisonCount:
    """What was refused lately of one partition, by the messages that came."""

    limit: PoisonLimit
    consecutive: int = 0
    """As they are opened."""
    consecutive_late: int = 0
    """As they are stored: what is good to look at may be refused then, a conflict say."""
    _recent: deque[tuple[int, int]] = field(default_factory=deque)
    _good: int = 0
    _bad: int = 0

    def would_exceed(self, good: int, bad: int) -> str:
        """Why a message with so many good and bad items must not be taken; empty when it may."""
        if not bad:
            return ""
        return self._verdict(self.consecutive + bad if not good else 0, self._good + good, self._bad + bad)

    def add(self, good: int, bad: int) -> None:
        """Count a message that is taken."""
        if good or bad:
            self.consecutive = 0 if good else self.consecutive + bad
            self._count(good, bad)

    def found_out(self, bad: int, *, none_was_good: bool) -> str:
        """Count items as bad that were taken for good, and turned out when they were stored; why to stop now, if so."""
        self.consecutive_late = self.consecutive_late + bad if none_was_good else 0
        if not bad:
            return ""
        self._count(-bad, bad)
        return self._verdict(self.consecutive_late, self._good, self._bad)

    def _verdict(self, consecutive: int, good: int, bad: int) -> str:
        if consecutive > self.limit.max_consecutive:
            return f"more than {self.limit.max_consecutive} items in a row were refused"
        if good + bad >= self.limit.window and bad > self.limit.max_ratio * (good + bad):
            return f"{bad} of the last {good + bad} items were refused"
        return ""

    def _count(self, good: int, bad: int) -> None:
        self._recent.append((good, bad))
        self._good += good
        self._bad += bad
        while self._recent and self._good + self._bad - sum(self._recent[0]) >= self.limit.window:
            old_good, old_bad = self._recent.popleft()
            self._good -= old_good
            self._bad -= old_bad
