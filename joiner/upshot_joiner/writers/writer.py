"""What is known of one writer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

from upshot_joiner.intake.check import CheckedReport
from upshot_joiner.writers.books import GRACE_S, Books, balance
from upshot_joiner.writers.seqs import Seqs


@dataclass
class Writer:
    """A writer in memory. Uptimes are seconds of the server's monotonic clock, so that time in which nobody could reach it does
    not count as silence."""

    writer_id: str
    first_seen: datetime
    last_seen: datetime
    received: Seqs
    """The numbers that arrived: of stored events, duplicates, and refused ones."""
    rejected: Seqs
    """Those of them that are in quarantine."""
    heard_at: float
    """The uptime at which something last came from it."""
    models: set[str] = field(default_factory=set)
    report: CheckedReport | None = None
    due: int = 0
    """Numbers below were given out long enough ago to be judged."""
    marked: int = 0
    """How many numbers were known to be given out at ``marked_at``; they become due `GRACE_S` later."""
    marked_at: float = -math.inf
    is_changed: bool = True
    """Whether the table does not hold what is known here."""
    was_settled: bool = False
    """Whether the table's row still says that it is settled."""

    def heard(self, received: datetime, uptime: float) -> None:
        """Note that something came from it: call this after the numbers or the report are in."""
        self.first_seen = min(self.first_seen, received)
        self.last_seen = max(self.last_seen, received)
        self.heard_at = uptime
        self.is_changed = True
        if uptime - self.marked_at >= GRACE_S:
            self.due = self.marked
            self.marked = max(self.received.end, self.report.event.next_seq if self.report else 0)
            self.marked_at = uptime

    def is_settled_at(self, uptime: float) -> bool:
        """Whether nothing was heard of it for so long that all its numbers are due."""
        return uptime - self.heard_at >= GRACE_S

    def due_at(self, uptime: float) -> int:
        """Numbers below this were given out at least `GRACE_S` ago."""
        return self.marked if uptime - self.marked_at >= GRACE_S else self.due

    def books(self, uptime: float, *, is_settled: bool = False) -> Books:
        """Its balance at this uptime; with ``is_settled``, as of a writer that was silent for long."""
        report = self.report.event if self.report else None
        is_silent = is_settled or self.is_settled_at(uptime)
        return balance(self.received, self.rejected, report, self.due_at(uptime), is_silent=is_silent)
