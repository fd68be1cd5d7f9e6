"""The table ``label_feed_changes``: what was known of the silence of a feed, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from upshot_joiner.clock import Stamper, to_micros
from upshot_joiner.join.silence import Change, Silence, silence
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import TIME

Run = Callable[[Callable[[], Change]], "Future[Change]"]

_COLUMNS = "toString(action), since, until, toString(by), reason, numbers, received_at"
_OF_MODEL = f"SELECT name, {_COLUMNS} FROM label_feed_changes WHERE model = {{model:String}} ORDER BY received_at"
_AS_OF = f"""
SELECT name, {_COLUMNS} FROM label_feed_changes
WHERE model = {{model:String}} AND received_at <= fromUnixTimestamp64Micro({{as_of:Int64}}, 'UTC') ORDER BY received_at
"""
_ALL = f"SELECT model, name, {_COLUMNS} FROM label_feed_changes ORDER BY received_at"


class FeedRecords:
    """Reads and appends. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_model(self, model: str) -> dict[str, list[Change]]:
        """All records of a model by label, in the order of their stamps."""
        return _by_name(self._store.query(_OF_MODEL, {"model": model}))

    def all(self) -> dict[tuple[str, str], list[Change]]:
        """All records by model and label, in the order of their stamps."""
        found: defaultdict[tuple[str, str], list[Change]] = defaultdict(list)
        for model, name, *row in self._store.query(_ALL):
            found[model, name].append(_change(*row))
        return found

    def silences(self, model: str) -> dict[str, Silence]:
        """When the feeds of a model's labels were silent, as is known now; labels without a silence are left out."""
        return _silences(self.of_model(model))

    def silences_as_of(self, model: str, moment: datetime) -> dict[str, Silence]:
        """The same as was known at a moment."""
        rows = self._store.query(_AS_OF, {"model": model, "as_of": to_micros(moment)})
        return _silences(_by_name(rows))

    def append(self, model: str, name: str, change: Change, stamper: Stamper, run: Run) -> Change:
        """Stamp and store a record; returns it with its stamp.

        ``run`` is the committer's: between two groups, so that an export as of a moment finds every record stamped before it.
        """

        def store() -> Change:
            stamped = replace(change, received_at=stamper.next())
            self._store.insert("label_feed_changes", _row(model, name, stamped))
            return stamped

        return run(store).result()


def describe(change: Change) -> dict[str, Any]:
    """A record as the API shows it."""
    return {
        "action": change.action,
        "since": change.since,
        "until": change.until,
        "by": change.by,
        "reason": change.reason,
        "numbers": change.numbers,
        "received_at": change.received_at,
    }


def intervals(of: Silence) -> list[dict[str, Any]]:
    """Stretches of silence as the API shows them."""
    return [{"since": one.since, "until": one.until} for one in of.stretches]


def _silences(changes: dict[str, list[Change]]) -> dict[str, Silence]:
    found = {name: silence(of_label) for name, of_label in changes.items()}
    return {name: one for name, one in found.items() if one.stretches}


def _by_name(rows: list[tuple[Any, ...]]) -> dict[str, list[Change]]:
    found: defaultdict[str, list[Change]] = defaultdict(list)
    for name, *row in rows:
        found[name].append(_change(*row))
    return dict(found)


def _change(action: Any, since: Any, until: Any, by: Any, reason: str, numbers: str, received_at: datetime) -> Change:
    return Change(action, since, until, by, reason, msgspec.json.decode(numbers or b"{}"), received_at)


def _row(model: str, name: str, change: Change) -> pa.Table:
    return pa.table(
        {
            "model": [model],
            "name": [name],
            "action": [change.action],
            "since": pa.array([change.since], TIME),
            "until": pa.array([change.until], TIME),
            "by": [change.by],
            "reason": [change.reason],
            "numbers": [msgspec.json.encode(change.numbers).decode()],
            "received_at": pa.array([change.received_at], TIME),
        }
    )
