"""What ``GET /v1/writers`` tells: the books of each writer, and of all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from upshot_joiner.clock import from_micros, to_micros
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_joiner.writers import table
from upshot_joiner.writers.arrivals import Arrivals
from upshot_joiner.writers.books import STATES, Books, State
from upshot_joiner.writers.writer import Writer

MAX_GAPS_IN_LIST = 20
MAX_GAPS = 1000

_FIGURES = ("next_seq", "received", "rejected", "missing", "unexplained")
_CHOSEN = """
FROM writers FINAL
WHERE settled AND NOT has({resumed:Array(String)}, writer_id)
  AND ({model:String} = '' OR has(models, {model:String}))
"""
_TOTALS = f"""
SELECT state, count(), sum(next_seq), sum(received), sum(rejected), sum(missing), sum(unexplained),
  sumMap(explained), sumMap(waiting)
{_CHOSEN} GROUP BY state
"""
_NEWEST = f"""
SELECT {table.COLUMNS} {_CHOSEN} AND ({{state:String}} = '' OR state = {{state:String}})
ORDER BY last_seen DESC, writer_id LIMIT {{limit:UInt32}}
"""
_CODES = """
SELECT code, uniqExact(seq) FROM quarantine
WHERE writer_id = {writer_id:String} AND seq IS NOT NULL
  AND received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY code ORDER BY code
"""


class WriterAnswers:
    """Answers about writers; every method may be called from any thread."""

    def __init__(self, store: Store, arrivals: Arrivals) -> None:
        self._store = store
        self._arrivals = arrivals

    def all(self, state: State | None = None, model: str = "", limit: int = 100) -> dict[str, Any]:
        """Writers, the one heard of last first, at most ``limit``; and the totals of all (of ``model``), whatever their state."""
        totals = _Totals()

        def active(writers: Mapping[str, Writer], uptime: float) -> tuple[list[dict[str, Any]], list[str]]:
            books = [
                (writer, writer.books(uptime)) for writer in writers.values() if not model or model in writer.models
            ]
            for _, of in books:
                totals.add(of.state, 1, vars(of), of.explained, of.waiting)
            chosen = [(writer, of) for writer, of in books if state in (None, of.state)]
            chosen.sort(key=lambda one: (-one[0].last_seen.timestamp(), one[0].writer_id))
            told = [describe(writer, of, is_silent=writer.is_settled_at(uptime)) for writer, of in chosen[:limit]]
            return told, [writer.writer_id for writer in writers.values() if writer.was_settled]

        with self._arrivals.table_at_rest():
            told, resumed = self._arrivals.look(active)
            params = {"resumed": resumed, "model": model}
            for of_state, writers, *sums, explained, waiting in self._store.query(_TOTALS, params):
                totals.add(of_state, writers, dict(zip(_FIGURES, sums, strict=True)), explained, waiting)
            rows = self._store.query(_NEWEST, {**params, "state": state or "", "limit": limit})
        told += [_describe_settled(table.writer_of(row, 0.0)) for row in rows]
        told.sort(key=lambda one: (-one["last_seen"].timestamp(), one["writer_id"]))
        return {"writers": told[:limit], "totals": totals.told()}

    def one(self, writer_id: str) -> dict[str, Any]:
        """One writer with up to 1,000 of its gaps, the counters it reported, and its rejected events by code.

        Raises a 404 :class:`Problem` when nothing ever came of it.
        """

        def active(writers: Mapping[str, Writer], uptime: float) -> dict[str, Any] | None:
            writer = writers.get(writer_id)
            if writer is None:
                return None
            return describe(writer, writer.books(uptime), is_silent=writer.is_settled_at(uptime), max_gaps=MAX_GAPS)

        with self._arrivals.table_at_rest():
            told = self._arrivals.look(active)
            if told is None:
                told = next(
                    (_describe_settled(w, MAX_GAPS) for w in table.settled_of(self._store, [writer_id], 0.0)), None
                )
        if told is None:
            raise Problem(404, "unknown_writer", "Nothing was received from this writer.")
        codes: list[Any] = []
        if told["rejected"]:
            codes = self._store.query(_CODES, {"writer_id": writer_id, "since": to_micros(told["first_seen"])})
        return {**told, "rejected_by_code": dict(codes)}


class _Totals:
    """The sums over writers."""

    def __init__(self) -> None:
        self._writers: Counter[str] = Counter()
        self._figures: Counter[str] = Counter()
        self._explained: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    def add(
        self,
        state: str,
        writers: int,
        figures: Mapping[str, Any],
        explained: Mapping[str, int],
        waiting: Mapping[str, int],
    ) -> None:
        """Add writers of one state."""
        self._writers[state] += writers
        self._figures.update({name: figures[name] for name in _FIGURES})
        self._explained.update(explained)
        self._waiting.update(waiting)

    def told(self) -> dict[str, Any]:
        """The sums by the names that a single writer's figures have."""
        return {
            "writers": self._writers.total(),
            "states": {state: self._writers[state] for state in STATES},
            **{name: self._figures[name] for name in _FIGURES},
            "explained": dict(self._explained.most_common()),
            "waiting": dict(self._waiting.most_common()),
        }


def describe(writer: Writer, books: Books, *, is_silent: bool, max_gaps: int = MAX_GAPS_IN_LIST) -> dict[str, Any]:
    """One writer as the API tells it."""
    report = writer.report
    return {
        "writer_id": writer.writer_id,
        "state": books.state,
        "host": report.event.host if report else "",
        "pid": report.event.pid if report else None,
        "sdk": report.event.sdk if report else "",
        "models": sorted(writer.models),
        "started_at": from_micros(report.started_us) if report else None,
        "first_seen": writer.first_seen,
        "last_seen": writer.last_seen,
        "last_report_at": from_micros(report.reported_us) if report else None,
        "is_last": report is not None and report.event.is_last,
        "is_silent": is_silent,
        "next_seq": books.next_seq,
        "received": books.received,
        "rejected": books.rejected,
        "missing": books.missing,
        "explained": books.explained,
        "waiting": books.waiting,
        "unexplained": books.unexplained,
        "gaps": [list(gap) for gap in islice(writer.received.gaps(books.next_seq), max_gaps)],
        "gap_count": sum(1 for _ in writer.received.gaps(books.next_seq)),
        "counters": report.event.counters if report else {},
    }


def _describe_settled(writer: Writer, max_gaps: int = MAX_GAPS_IN_LIST) -> dict[str, Any]:
    return describe(writer, writer.books(0.0, is_settled=True), is_silent=True, max_gaps=max_gaps)
