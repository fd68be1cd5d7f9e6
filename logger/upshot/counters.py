"""The books: every event a caller logged is in exactly one counter.

``accepted + recovered == stored + duplicates + rejected + dropped + queued + spooled + in_flight``, at every moment in
which no thread is inside a logging call. The caller's side counts without a lock (`Tally`); the sender moves events under one
(`Ledger.lock`), so that a reader never sees an event twice or not at all.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable

__all__ = ["Ledger", "Tally"]


class Tally:
    """A number that any thread may raise by one, without a lock: ``itertools.count`` is atomic in C."""

    __slots__ = ("_count", "next")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.next: Callable[[], int] = self._count.__next__
        """Raise by one and return the number before."""

    def raise_by(self, n: int) -> None:
        """Raise by ``n``."""
        deque(itertools.islice(self._count, n), maxlen=0)

    @property
    def value(self) -> int:
        """The number now. A count can be read only through its text: ``count(42)``."""
        return int(repr(self._count)[6:-1])


class Ledger:
    """The counters of one writer."""

    def __init__(self) -> None:
        self.accepted = Tally()
        """Calls taken; the number before is the event's ``seq``, so the server sees every loss as a gap."""
        self.full = Tally()
        self.spool_full = Tally()
        self.too_large = Tally()
        self.no_model = Tally()
        self.failed = Tally()
        self.after_close = Tally()
        self.misconfigured = Tally()
        self.sampled_out = Tally()
        """Calls not taken, because of ``sample_rate``. They have no ``seq``."""
        self.pruned = Tally()
        """Calls not taken, because the queue was filling. They have no ``seq``."""
        self.converted_repr = Tally()
        """Values that could not be converted and were kept as bounded ``repr``."""
        self.sanitized = Tally()
        """Events with text that is no valid Unicode, kept with U+FFFD in its place."""
        self.redacted = Tally()
        """Values that a redaction rule changed or removed."""
        self.spool_errors = Tally()
        """Times the disk refused to be written or synced."""
        self.spool_damaged = Tally()
        """Stretches of bytes in the spool that were no events any more."""
        self.spool_torn = Tally()
        """Those of them that stood at the end of what a former process had written: it was killed in a write."""
        self.lock = threading.Lock()
        self.in_flight = 0
        self.spooled = 0
        self.recovered = 0
        self.stored = 0
        self.duplicates = 0
        self.converted = 0
        """Values that the server had to keep as ``repr``."""
        self.retries = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def n_dropped(self) -> int:
        """Events given up, for whatever reason."""
        with self.lock:
            return self._dropped().total()

    def snapshot(self, queued: Callable[[], int]) -> Counter[str]:
        """All counters by name. ``queued`` is asked under the lock, while the sender moves nothing."""
        with self.lock:
            dropped = self._dropped()
            return Counter(
                {
                    "accepted": self.accepted.value,
                    "recovered": self.recovered,
                    "stored": self.stored,
                    "duplicates": self.duplicates,
                    "rejected": self.rejected.total(),
                    "dropped": dropped.total(),
                    "queued": queued(),
                    "spooled": self.spooled,
                    "in_flight": self.in_flight,
                    "retries": self.retries,
                    "sampled_out": self.sampled_out.value,
                    "pruned": self.pruned.value,
                    "converted_repr": self.converted_repr.value + self.converted,
                    "sanitized": self.sanitized.value,
                    "redacted": self.redacted.value,
                    "spool_errors": self.spool_errors.value,
                    "spool_damaged": self.spool_damaged.value,
                    "spool_torn": self.spool_torn.value,
                    **{f"rejected_{code}": n for code, n in self.rejected.items() if n},
                    **{f"dropped_{reason}": n for reason, n in dropped.items() if n},
                }
            )

    def _dropped(self) -> Counter[str]:
        dropped = Counter(self.dropped)
        for reason in ("full", "spool_full", "too_large", "no_model", "failed", "after_close", "misconfigured"):
            dropped[reason] += getattr(self, reason).value
        return dropped
