"""The numbers of rows that were stored after a moment: what a start, or a group that failed halfway, has to count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from upshot_joiner.intake.check import CheckedReport
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers import table

_EVENTS = """
SELECT writer_id, min(seq), max(seq), min(first), max(last)
FROM (
  SELECT writer_id, seq, min(received_at) AS first, max(received_at) AS last,
    toInt64(seq) - toInt64(row_number() OVER (PARTITION BY writer_id ORDER BY seq)) AS island
  FROM %s
  WHERE received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC') AND writer_id != ''
  GROUP BY writer_id, seq
)
GROUP BY writer_id, island
"""
_LABELS = _EVENTS % "label_events"
_ENTITY_LABELS = _EVENTS % "entity_label_events"
_REFUSED = _EVENTS % "(SELECT writer_id, assumeNotNull(seq) AS seq, received_at FROM quarantine WHERE seq IS NOT NULL)"
_REPEATS = """
SELECT writer_id, run.1, run.2, received_at, received_at
FROM (SELECT writer_id, arrayJoin(arrayZip(firsts, lasts)) AS run, received_at FROM writer_repeats
  WHERE received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC'))
"""
_REPORTS = """
SELECT report, received_at FROM writer_reports FINAL
WHERE received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A run of numbers of one writer, and when the first and the last of its rows were received."""

    writer_id: str
    first: int
    last: int
    first_received: datetime
    last_received: datetime
    model: str = ""
    are_rejected: bool = False


def numbers_since(store: Store, served: ServedTables, after_us: int) -> Iterator[Found]:
    """Every number in a row received after ``after_us`` (microseconds since 1970); one may come more than once."""
    params = {"after": after_us}
    for model in served.models():
        for writer_id, first, last, since, until in store.query(_EVENTS % served.table(model), params):
            yield Found(writer_id, first, last, since, until, model=model)
    for sql in (_LABELS, _ENTITY_LABELS, _REPEATS):
        for row in store.query(sql, params):
            yield Found(*row)
    for writer_id, first, last, since, until in store.query(_REFUSED, params):
        yield Found(writer_id, first, last, since, until, are_rejected=True)


def reports_since(store: Store, after_us: int) -> list[tuple[CheckedReport, datetime]]:
    """The newest report of each writer that reported after ``after_us``, and when it was received."""
    rows = store.query(_REPORTS, {"after": after_us})
    return [(table.report_from_json(text), received) for text, received in rows]
