"""Which numbers of which writer have arrived: kept by the one who commits, found again after a crash.

Stored rows carry their ``writer_id`` and ``seq``, so noting that an event arrived costs no write of its own, and cannot be lost
apart from the event. Writers that are heard of are kept in memory. Now and then what is known of them is written to the table
``writers``, with the stamp up to which it holds; a start reads that, and counts only the rows that came later. A writer of whom
nothing was heard for `books.GRACE_S` is settled: it lives in the table alone, until it is heard of again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import pyarrow as pa

from upshot_joiner.clock import MICROSECOND, Stamper, to_micros
from upshot_joiner.errors import StoreError
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction, CheckedReport
from upshot_joiner.intake.decode import Refused
from upshot_joiner.store import progress
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import TIME
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers import recount, table
from upshot_joiner.writers.seqs import Seqs, runs_of
from upshot_joiner.writers.writer import Writer

_log = logging.getLogger("upshot.writers")

T = TypeVar("T")

TASK = "writers"
"""The note of how far the table covers the rows."""
CHECKPOINT_S = 30.0
"""How often the table is brought up to date: bounds what a start after a crash has to count."""
MAX_ACTIVE = 20_000
"""Writers kept in memory; of more than that, those that were silent longest are settled early."""

KEPT_FOR_OTHERS = timedelta(days=1)
"""Where several processes take events, what only bridges the time to the next count is kept for so long after the table covers it:
a process that the store was away from has to count it, too."""
FORGET_EVERY_S = 3600.0
CATCH_UP_S = 1.0
"""How old what is known of events that other processes took may be."""

_LOOKED_UP_AT_ONCE = 1000
_BRIDGES = ("writer_repeats", "writer_reports")
_FORGET = "DELETE FROM %s WHERE received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')"


class Sharing(Protocol):
    """The others that take events into the same store; see ``processes.py``."""

    def is_first(self) -> bool:
        """Whether the table is ours to write."""
        ...

    def settled_until(self) -> datetime:
        """What was stamped at or before this is stored, of whomever it is."""
        ...


@dataclass
class _Group:
    """What one commit brought of one writer."""

    stored: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    models: set[str] = field(default_factory=set)


class Arrivals:
    """Writers and the numbers that arrived of them.

    `arrived`, `reported` and `recount` are called by the one who commits; every other method may be called from any thread.
    """

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        stamper: Stamper,
        uptime: Callable[[], float] = time.monotonic,
        max_active: int = MAX_ACTIVE,
        sharing: Sharing | None = None,
    ) -> None:
        self._store = store
        self._served = served
        self._stamper = stamper
        self._uptime = uptime
        self._max_active = max_active
        self._sharing = sharing
        self._lock = threading.Lock()
        self._table_lock = threading.Lock()
        """Held while writers move between memory and table, so that a reader sees each of them once."""
        self._active: dict[str, Writer] = {writer.writer_id: writer for writer in table.unsettled(store, uptime())}
        self._until = self._noted = progress.until(store, TASK)
        self._caught_up = -CATCH_UP_S
        self._forgot = -FORGET_EVERY_S
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="upshot-writers", daemon=True)

    # -- called by the one who commits ---------------------------------------------------------------------------------

    def arrived(
        self,
        received: datetime,
        *,
        stored: Iterable[CheckedPrediction | CheckedLabel],
        repeated: Iterable[CheckedPrediction | CheckedLabel],
        refused: Iterable[Refused],
    ) -> None:
        """Note the events of a group: ``stored`` and ``refused`` are on disk already, each with its number.

        Writes the numbers of repeated events that no stored one has; raises StoreError when that fails.
        """
        groups: defaultdict[str, _Group] = defaultdict(_Group)
        for one in stored:
            if one.event.writer_id:
                group = groups[one.event.writer_id]
                group.stored.append(one.event.seq)
                group.models.add(one.event.model)
        for one in repeated:
            if one.event.writer_id:
                groups[one.event.writer_id].repeated.append(one.event.seq)
        for refusal in refused:
            named = number_of(refusal)
            if named is not None:
                groups[named[0]].rejected.append(named[1])
        with self._lock:
            self._load(groups)
            for writer_id, group in groups.items():
                writer = self._writer(writer_id, received)
                writer.received.add(group.stored)
                writer.received.add(group.rejected)
                writer.rejected.add(group.rejected)
                writer.models |= group.models - {""}
                writer.heard(received, self._uptime())
            new = [
                (
                    writer_id,
                    runs_of(number for number in group.repeated if number not in self._active[writer_id].received),
                )
                for writer_id, group in groups.items()
                if group.repeated
            ]
        new = [(writer_id, runs) for writer_id, runs in new if runs]
        if new:
            self._store.insert(
                "writer_repeats",
                pa.table(
                    {
                        "writer_id": [writer_id for writer_id, _ in new],
                        "firsts": pa.array([[first for first, _ in runs] for _, runs in new], table.NUMBERS),
                        "lasts": pa.array([[last for _, last in runs] for _, runs in new], table.NUMBERS),
                        "received_at": pa.array([received] * len(new), TIME),
                    }
                ),
            )
        with self._lock:
            self._load(writer_id for writer_id, _ in new)
            for writer_id, runs in new:
                writer = self._writer(writer_id, received)
                for first, last in runs:
                    writer.received.add_run(first, last)
                writer.heard(received, self._uptime())
            if self._sharing is None:
                self._until = to_micros(received)
            if len(self._active) > self._max_active:
                self._wake.set()

    def reported(self, received: datetime, reports: Sequence[CheckedReport]) -> list[bool]:
        """Store what writers say of themselves; for each report whether it is new (else it is known). The latest counts.

        Raises StoreError when it cannot be stored.
        """
        with self._lock:
            ids = {report.event.writer_id for report in reports}
            self._load(ids)
            known = {
                writer_id: self._active[writer_id].report if writer_id in self._active else None for writer_id in ids
            }
        is_new, latest = [], {}
        for report in reports:
            before = known[report.event.writer_id]
            is_new.append(before is None or before.order != report.order)
            if before is None or before.order < report.order:
                known[report.event.writer_id] = latest[report.event.writer_id] = report
        if latest:
            self._store.insert(
                "writer_reports",
                pa.table(
                    {
                        "writer_id": list(latest),
                        "report": [table.report_json(report) for report in latest.values()],
                        "received_at": pa.array([received] * len(latest), TIME),
                    }
                ),
            )
        with self._lock:
            self._load(known)
            for writer_id, newest in known.items():
                writer = self._writer(writer_id, received)
                writer.report = newest
                writer.heard(received, self._uptime())
        return is_new

    def recount(self) -> None:
        """Count every row that came after the last group that was noted: at start, and after a group that failed halfway."""
        found = list(recount.numbers_since(self._store, self._served, self._until))
        reports = recount.reports_since(self._store, self._until)
        with self._lock:
            self._load({*(one.writer_id for one in found), *(report.event.writer_id for report, _ in reports)})
            for one in found:
                writer = self._writer(one.writer_id, one.first_received)
                writer.received.add_run(one.first, one.last)
                if one.are_rejected:
                    writer.rejected.add_run(one.first, one.last)
                if one.model:
                    writer.models.add(one.model)
                writer.first_seen = min(writer.first_seen, one.first_received)
                writer.heard(one.last_received, self._uptime())
            for report, received in reports:
                writer = self._writer(report.event.writer_id, received)
                if writer.report is None or writer.report.order < report.order:
                    writer.report = report
                writer.heard(received, self._uptime())

    # -- life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep the table current. What only bridges the time to the next start is not needed any more then."""
        self.checkpoint()
        if self._sharing is not None:
            self._thread.start()
            return  # others may have to count it yet: see `checkpoint`
        for name in _BRIDGES:
            if self._store.query(f"SELECT 1 FROM {name} LIMIT 1"):
                self._store.command(f"TRUNCATE TABLE {name}")
        self._thread.start()

    def close(self) -> None:
        """Bring the table up to date and stop. Call it when no more groups are committed."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        try:
            self.checkpoint()
        except StoreError:
            _log.exception("the writers could not be noted; the next start counts them")

    def checkpoint(self) -> None:
        """Write what changed to the table, and settle those of whom nothing was heard for long."""
        self._catch_up(at_once=True)
        writes = self._sharing is None or self._sharing.is_first()
        with self._table_lock:
            now = self._uptime()
            with self._lock:
                until = self._until
                by_age = sorted(self._active.values(), key=lambda writer: writer.heard_at)
                n_silent = sum(writer.is_settled_at(now) for writer in by_age)
                n_settled = max(n_silent, len(by_age) - self._max_active)
                settled = by_age[:n_settled]
                changed = [writer for writer in by_age[n_settled:] if writer.is_changed]
                rows = table.rows([*settled, *changed], len(settled), to_micros(self._stamper.next()), now)
                for writer in (*settled, *changed):
                    writer.is_changed = False
            try:
                if writes:
                    self._store.insert("writers", rows)
                if writes and until != self._noted:
                    progress.note(self._store, TASK, until)
                    self._noted = until
            except StoreError:
                with self._lock:
                    for writer in (*settled, *changed):
                        writer.is_changed = True
                raise
            with self._lock:
                for writer in changed:
                    writer.was_settled = False
                for writer in settled:
                    if not writer.is_changed:  # else it was heard of meanwhile
                        del self._active[writer.writer_id]

        if writes and self._sharing is not None and time.monotonic() - self._forgot > FORGET_EVERY_S:
            self._forgot = time.monotonic()
            for name in _BRIDGES:
                self._store.command(_FORGET % name, {"until": self._noted - KEPT_FOR_OTHERS // MICROSECOND})

    @contextmanager
    def table_at_rest(self) -> Iterator[None]:
        """While the block runs, no writer moves from memory to the table: a reader of both sees each of them once."""
        self._catch_up()
        with self._table_lock:
            yield

    def look(self, read: Callable[[Mapping[str, Writer], float], T]) -> T:
        """What ``read`` makes of the writers in memory, by ID, and the uptime. It must not keep them, and be quick."""
        with self._lock:
            return read(self._active, self._uptime())

    def _catch_up(self, *, at_once: bool = False) -> None:
        """Where others take events too: count what they stored."""
        if self._sharing is None:
            return
        now = time.monotonic()
        if at_once or now - self._caught_up >= CATCH_UP_S:
            self._caught_up = now
            settled_us = to_micros(self._sharing.settled_until())
            self.recount()
            self._until = max(self._until, settled_us)

    def _keep(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(CHECKPOINT_S)
            self._wake.clear()
            if self._closing.is_set():
                return
            try:
                self.checkpoint()
            except StoreError as error:
                _log.warning("the writers could not be noted (code %d); trying again", error.code)

    def _load(self, ids: Iterable[str]) -> None:
        """Bring those of these writers that only the table knows back into memory. Called with the lock held."""
        unknown = [writer_id for writer_id in ids if writer_id not in self._active]
        for at in range(0, len(unknown), _LOOKED_UP_AT_ONCE):
            for writer in table.settled_of(self._store, unknown[at : at + _LOOKED_UP_AT_ONCE], self._uptime()):
                self._active[writer.writer_id] = writer

    def _writer(self, writer_id: str, seen: datetime) -> Writer:
        """A writer that is in memory, or else is new. Called with the lock held, after `_load`."""
        writer = self._active.get(writer_id)
        if writer is None:
            writer = self._active[writer_id] = Writer(writer_id, seen, seen, Seqs(), Seqs(), self._uptime())
        return writer


def number_of(refused: Refused) -> tuple[str, int] | None:
    """Writer and number of an event that was refused; None where its payload does not say them."""
    payload = refused.payload
    if not isinstance(payload, dict):
        return None
    writer_id, seq = payload.get("writer_id"), payload.get("seq", 0)
    if not isinstance(writer_id, str) or not 0 < len(writer_id) <= 512:
        return None
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 2**63:
        return None
    return writer_id, seq
