"""What became of the numbers a writer gave out: the server's side and the writer's own report, weighed against each other.

Every number is in exactly one place::

    next_seq = received + explained (by reason) + waiting (by place) + unexplained

*Explained* are those that the writer says it dropped. *Waiting* are those that it says it still holds (``spooled``, ``queued``,
``in_flight``), and ``recent`` ones, too young to be judged. All others are *unexplained*: lost without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from upshot.wire import WriterReport
from upshot_joiner.writers.seqs import Seqs

State = Literal["complete", "waiting", "lossy"]
STATES: tuple[State, ...] = ("complete", "waiting", "lossy")

GRACE_S = 300.0
"""How long a number may be neither here nor explained before it counts as lost, in seconds during which the server listened."""

_NEVER_SENT = ("full", "spool_full", "too_large", "no_model", "failed", "after_close", "misconfigured")
"""Reasons for which an event was certainly not sent. With any other it may have arrived although its writer gave it up."""
_IN_MEMORY = ("queued", "in_flight")
"""Where events are that end with their process; those in the spool are still to come."""


@dataclass(frozen=True)
class Books:
    """The balance of one writer; see the module."""

    state: State
    """``complete``: every number is here or explained. ``waiting``: some are still to come. ``lossy``: some are unexplained."""
    next_seq: int
    received: int
    rejected: int
    """How many of ``received`` are in quarantine."""
    missing: int
    """``next_seq`` - ``received``."""
    explained: dict[str, int]
    waiting: dict[str, int]
    unexplained: int


def balance(received: Seqs, rejected: Seqs, report: WriterReport | None, due: int, *, is_silent: bool) -> Books:
    """Weigh what arrived against what the writer says of itself.

    ``due``: numbers below it were given out at least ``GRACE_S`` ago. With ``is_silent`` (nothing was heard of the writer for
    that long), and after its last report, all are due.
    """
    is_over = is_silent or (report is not None and report.is_last)
    reported = report.next_seq if report is not None else 0
    next_seq = max(reported, received.end)
    missing = next_seq - len(received)
    explained: dict[str, int] = {}
    waiting: dict[str, int] = {}
    if report is not None:
        # Of numbers that it gave out later, the report knows nothing.
        left = max(0, reported - received.size_below(max(reported, received.floor)))
        for reason, n in _given_up(report, len(rejected)):
            left -= _take(explained, reason, min(n, left))
        for where in ("spooled", *(() if is_over else _IN_MEMORY)):
            left -= _take(waiting, where, min(report.counters.get(where, 0), left))
    accounted = sum(explained.values()) + sum(waiting.values())
    due = next_seq if is_over else min(due, next_seq)
    missing_due = due - received.size_below(max(due, received.floor)) if due >= received.floor else 0
    unexplained = min(missing - accounted, max(0, missing_due - accounted))
    _take(waiting, "recent", missing - accounted - unexplained)
    state: State = "lossy" if unexplained else "waiting" if waiting else "complete"
    return Books(state, next_seq, len(received), len(rejected), missing, explained, waiting, unexplained)


def _given_up(report: WriterReport, rejected_here: int) -> Iterator[tuple[str, int]]:
    """Why numbers will not come, by the writer's counters: what certainly was not sent first."""
    counters = report.counters
    dropped = {name.removeprefix("dropped_"): n for name, n in counters.items() if name.startswith("dropped_")}
    for reason in _NEVER_SENT:
        yield reason, dropped.pop(reason, 0)
    # Refused events whose number could not be read, or refused by something on the way that is not this server. Some may have
    # been another writer's, which this one found in its spool.
    yield "rejected", max(0, counters.get("rejected", 0) - counters.get("recovered", 0) - rejected_here)
    yield from sorted(dropped.items())
    yield "other", max(0, counters.get("dropped", 0) - sum(n for name, n in counters.items() if name[:8] == "dropped_"))


def _take(into: dict[str, int], name: str, n: int) -> int:
    if n > 0:
        into[name] = n
    return max(0, n)
