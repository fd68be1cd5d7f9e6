"""Which rows a model served, page by page: who they were about and when, for somebody who recomputes their features."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from upshot_joiner import cursor
from upshot_joiner.clock import to_micros
from upshot_joiner.intake.check import EARLIEST_US, LATEST_US
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

_MOMENT = "fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')"
_AFTER = f"toStartOfHour({_MOMENT.format(name='after')})"
_ORDER = "toStartOfHour(predicted_at), request_key, request_id, toString(model_version), item_id"
_PAGE = f"""
SELECT request_id, item_id, model_version, predicted_at, entities, feature_times, toString(request_key) AS key FROM %s FINAL
WHERE predicted_at >= {_MOMENT.format(name="start")} AND predicted_at < {_MOMENT.format(name="end")}
  AND toStartOfHour(predicted_at) >= {_AFTER}
  AND ({_ORDER}) > ({_AFTER}, {{key:UInt128}}, {{id:String}}, {{of_version:String}}, {{item:String}}) %s
ORDER BY {_ORDER} LIMIT {{limit:UInt32}}
"""


class _Place(msgspec.Struct):
    after: int
    key: str
    id: str
    version: str
    item: str


def served_rows(
    store: Store,
    served: ServedTables,
    model: str,
    *,
    start: datetime | None,
    end: datetime | None,
    version: str | None,
    limit: int,
    after: str,
) -> dict[str, Any]:
    """A page of ``rows`` by hour, and the cursor of the ``next`` one (None after the last); a 422 ``Problem`` for no cursor."""
    place = cursor.read(after, _Place)
    if store.is_shared:
        served.refresh()
    table = served.table(model)
    if table is None:
        return {"rows": [], "next": None}
    first = EARLIEST_US if start is None else to_micros(start)
    found = store.arrow(
        _PAGE % (table, "" if version is None else "AND model_version = {version:String}"),
        {
            "start": first,
            "end": LATEST_US if end is None else to_micros(end),
            "after": first if place is None else place.after,
            "key": 0 if place is None or not place.key.isdecimal() else int(place.key),
            "id": "" if place is None else place.id,
            "of_version": "" if place is None else place.version,
            "item": "" if place is None else place.item,
            "version": version or "",
            "limit": limit,
        },
    ).to_pylist()
    last = None
    if len(found) == limit:
        one = found[-1]
        last = cursor.write(
            _Place(to_micros(one["predicted_at"]), one["key"], one["request_id"], one["model_version"], one["item_id"])
        )
    rows = [{**one, "entities": dict(one["entities"]), "feature_times": dict(one["feature_times"])} for one in found]
    for one in rows:
        del one["key"]
    return {"rows": rows, "next": last}
