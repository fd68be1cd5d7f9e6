"""Answers ``GET /v1/orphans``: label events whose prediction is not known (yet), the one that waits longest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from upshot_joiner import cursor
from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.intake.check import scalar_from_parts
from upshot_joiner.join import orphans
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys

BANDS = {
    "under_1h": timedelta(hours=1),
    "under_1d": timedelta(days=1),
    "under_7d": timedelta(days=7),
    "under_30d": timedelta(days=30),
    "over_30d": timedelta.max,
}
"""How long orphans wait, in bands. One of minutes is a race, one of weeks is a wrong ID."""
MOST_NAMES = 50

_WAITING = f"""
SELECT * FROM ({orphans.WAITING})
WHERE ({{any_model:Bool}} OR model = '' OR model = {{model:String}}) AND ({{any_name:Bool}} OR name = {{name:String}})
  AND received_at <= fromUnixTimestamp64Micro({{until:Int64}}, 'UTC')
"""
_PAGE = f"""
SELECT request_key, request_id, label_id, toString(name), toString(model), received_at, toString(entity_type), entity_id
FROM ({_WAITING})
WHERE (toUnixTimestamp64Micro(received_at), request_key, request_id, label_id)
  > ({{after:Int64}}, {{after_key:UInt128}}, {{after_id:String}}, {{after_label:String}})
ORDER BY received_at, request_key, request_id, label_id LIMIT {{limit:UInt32}}
"""
_COUNTS = f"""
SELECT toString(name) AS of_name,
  sumForEach(arrayMap(moment -> received_at > fromUnixTimestamp64Micro(moment, 'UTC'), {{moments:Array(Int64)}})),
  count(), min(received_at)
FROM ({_WAITING}) GROUP BY of_name ORDER BY count() DESC, of_name
"""
_EVENTS = """
SELECT request_key, request_id, label_id, item_id, toString(op), toString(value_kind), value_text, observed_at, toString(source)
FROM label_events FINAL WHERE request_key IN ($keys)
"""
_ENTITY_EVENTS = """
SELECT entity_key, '', label_id, item_id, toString(op), toString(value_kind), value_text, observed_at, toString(source)
FROM entity_label_events FINAL WHERE entity_key IN ($keys)
"""


class Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ended."""

    received_us: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    request_key: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,39}\Z")]
    request_id: str
    label_id: str


class Orphans:
    """The list and its counts."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def page(
        self, *, model: str | None, name: str | None, older_than: timedelta, limit: int, after: str
    ) -> dict[str, Any]:
        """A page of orphans with ``next`` as the cursor of the following one (None at the end), and the counts of all that match.

        An orphan that names no model may be any model's: it is in the list of each.
        """
        now = self._clock.now()
        place = cursor.read(after, Place) or Place(0, "0", "", "")
        params: dict[str, object] = {
            "any_model": model is None,
            "model": model or "",
            "any_name": name is None,
            "name": name or "",
            # A stamp may be ahead of the clock (see Stamper); what came just now is listed all the same.
            "until": to_micros(now - older_than) if older_than else 2**53,
        }
        rows = self._store.query(
            _PAGE,
            {
                **params,
                "after": place.received_us,
                "after_key": int(place.request_key),
                "after_id": place.request_id,
                "after_label": place.label_id,
                "limit": limit + 1,
            },
        )
        page = rows[:limit]
        return {
            "orphans": self._described(page, now),
            "next": _cursor(page[-1]) if len(rows) > limit else None,
            **self._counted(params, now),
        }

    def _described(self, page: Sequence[Sequence[Any]], now: datetime) -> list[dict[str, Any]]:
        events = {}
        of_requests, of_entities = [row for row in page if row[1]], [row for row in page if not row[1]]
        for sql, rows in ((_EVENTS, of_requests), (_ENTITY_EVENTS, of_entities)):
            if rows:
                for key, request_id, label_id, *event in self._store.query(sql, keys=Keys(row[0] for row in rows)):
                    events[key, request_id, label_id] = event
        return [
            _orphan(row, events.get((row[0], row[1], row[2])), max(0.0, (now - row[5]).total_seconds())) for row in page
        ]

    def _counted(self, params: dict[str, object], now: datetime) -> dict[str, Any]:
        moments = [to_micros(now - age) if age != timedelta.max else 0 for age in BANDS.values()]
        total = 0
        ages = dict.fromkeys(BANDS, 0)
        names = []
        oldest = None
        for name, younger, count, first in self._store.query(_COUNTS, {**params, "moments": moments}):
            total += count
            oldest = first if oldest is None else min(oldest, first)
            of_name = dict(zip(BANDS, _differences(younger), strict=True))
            for band, number in of_name.items():
                ages[band] += number
            names.append({"name": name, "orphans": count, "ages": of_name, "oldest": first})
        return {"total": total, "oldest": oldest, "ages": ages, "names": names[:MOST_NAMES]}


def _differences(growing: Sequence[int]) -> list[int]:
    return [number - before for before, number in zip([0, *growing], growing, strict=False)]


def _cursor(row: Sequence[Any]) -> str:
    return cursor.write(Place(to_micros(row[5]), str(row[0]), row[1], row[2]))


def _orphan(row: Sequence[Any], event: Sequence[Any] | None, age_s: float) -> dict[str, Any]:
    _, request_id, label_id, name, model, received_at, entity_type, entity_id = row
    item_id, op, kind, text, observed_at, source = event or ("", None, "", "", None, "")
    return {
        "request_id": request_id,
        "entity": {entity_type: entity_id} if entity_type else None,
        "item_id": item_id,
        "model": model,
        "name": name,
        "label_id": label_id,
        "op": op,
        "value": scalar_from_parts(kind, text),
        "source": source,
        "observed_at": observed_at,
        "received_at": received_at,
        "age_s": age_s,
    }
