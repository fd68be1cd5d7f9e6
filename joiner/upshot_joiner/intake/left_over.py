"""Whether a group that was refused left rows behind: most are refused before anything of them is stored, and then nothing has to be
finished or counted anew, which would cost a look at every model's table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from upshot_joiner.clock import to_micros
from upshot_joiner.intake.batch import Batch
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

_ROWS = """
SELECT 1 FROM %s
WHERE received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC') AND received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
LIMIT 1
"""


def left_over(store: Store, served: ServedTables, group: Sequence[Batch], after: datetime, until: datetime) -> bool:
    """Whether some event of the group may be stored with a stamp after ``after`` and up to ``until``.

    Rows of another process with a stamp between the two count, too. Raises StoreError.
    """
    params = {"after": to_micros(after), "until": to_micros(until)}
    return any(store.query(_ROWS % table, params) for table in _written_first(served, group))


def _written_first(served: ServedTables, group: Sequence[Batch]) -> Iterator[str]:
    """The tables that hold an event of the group as soon as any table does."""
    for model in sorted({one.event.model for batch in group for _, one in batch.predictions}):
        table = served.table(model)
        if table is not None:
            yield table
    if any(batch.labels for batch in group):
        yield "label_events"
    if any(batch.entity_labels for batch in group):
        yield "entity_label_events"
