"""The table ``writers``: from writers in memory to rows, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from upshot.wire import WriterReport
from upshot_joiner.intake.check import CheckedReport, check_report
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import TIME
from upshot_joiner.writers.seqs import Seqs
from upshot_joiner.writers.writer import Writer

NUMBERS = pa.list_(pa.uint64())
_COUNTS = pa.map_(pa.string(), pa.uint64())

COLUMNS = """writer_id, settled, first_seen, last_seen, models, report, due,
  received_firsts, received_lasts, received_floor, received_below_floor,
  rejected_firsts, rejected_lasts, rejected_floor, rejected_below_floor"""
_UNSETTLED = f"SELECT {COLUMNS} FROM writers FINAL WHERE NOT settled"
_OF = f"SELECT {COLUMNS} FROM writers FINAL WHERE writer_id IN {{ids:Array(String)}}"


def unsettled(store: Store, uptime: float) -> list[Writer]:
    """Writers that were in memory when the table was last written."""
    return [writer_of(row, uptime) for row in store.query(_UNSETTLED)]


def settled_of(store: Store, ids: Sequence[str], uptime: float) -> list[Writer]:
    """Those of these writers that the table holds."""
    return [writer_of(row, uptime) for row in store.query(_OF, {"ids": list(ids)})]


def writer_of(row: Sequence[Any], uptime: float) -> Writer:
    """The writer of a row of ``COLUMNS``, as one that was heard of just now."""
    writer_id, is_settled, first_seen, last_seen, models, report, due, *numbers = row
    return Writer(
        writer_id,
        first_seen,
        last_seen,
        _seqs(*numbers[:4]),
        _seqs(*numbers[4:]),
        uptime,
        set(models),
        report_from_json(report) if report else None,
        due=due,
        marked=due,
        is_changed=False,
        was_settled=is_settled,
    )


def rows(writers: Sequence[Writer], n_settled: int, version: int, uptime: float) -> pa.Table:
    """The rows of writers, the first ``n_settled`` of them as settled."""
    books = [writer.books(uptime, is_settled=i < n_settled) for i, writer in enumerate(writers)]
    dues = [
        of.next_seq if i < n_settled else writer.due_at(uptime)
        for i, (writer, of) in enumerate(zip(writers, books, strict=True))
    ]
    count = len(writers)
    return pa.table(
        {
            "writer_id": pa.array([writer.writer_id for writer in writers], pa.string()),
            "settled": pa.array([i < n_settled for i in range(count)], pa.bool_()),
            "first_seen": pa.array([writer.first_seen for writer in writers], TIME),
            "last_seen": pa.array([writer.last_seen for writer in writers], TIME),
            "models": pa.array([sorted(writer.models) for writer in writers], pa.list_(pa.string())),
            "report": pa.array([report_json(w.report) if w.report else "" for w in writers], pa.string()),
            "due": pa.array(dues, pa.uint64()),
            **_columns("received", [writer.received for writer in writers]),
            **_columns("rejected", [writer.rejected for writer in writers]),
            "state": pa.array([of.state for of in books], pa.string()),
            "next_seq": pa.array([of.next_seq for of in books], pa.uint64()),
            "received": pa.array([of.received for of in books], pa.uint64()),
            "rejected": pa.array([of.rejected for of in books], pa.uint64()),
            "missing": pa.array([of.missing for of in books], pa.uint64()),
            "explained": pa.array([list(of.explained.items()) for of in books], _COUNTS),
            "waiting": pa.array([list(of.waiting.items()) for of in books], _COUNTS),
            "unexplained": pa.array([of.unexplained for of in books], pa.uint64()),
            "version": pa.array([version] * count, pa.uint64()),
        }
    )


def report_json(report: CheckedReport) -> str:
    """A report as it is stored."""
    return msgspec.json.encode(report.event).decode()


def report_from_json(text: str) -> CheckedReport:
    """The inverse of `report_json`."""
    return check_report(msgspec.json.decode(text, type=WriterReport))


def _columns(name: str, sets: Sequence[Seqs]) -> dict[str, pa.Array]:
    return {
        f"{name}_firsts": pa.array([[first for first, _ in numbers.runs()] for numbers in sets], NUMBERS),
        f"{name}_lasts": pa.array([[last for _, last in numbers.runs()] for numbers in sets], NUMBERS),
        f"{name}_floor": pa.array([numbers.floor for numbers in sets], pa.uint64()),
        f"{name}_below_floor": pa.array([numbers.size_below_floor for numbers in sets], pa.uint64()),
    }


def _seqs(firsts: list[int], lasts: list[int], floor: int, below_floor: int) -> Seqs:
    return Seqs(zip(firsts, lasts, strict=True), floor=floor, size_below_floor=below_floor)
