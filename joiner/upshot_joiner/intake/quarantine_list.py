"""Answers ``GET /v1/quarantine``: what was refused, why, and as it came; the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from upshot_joiner import cursor
from upshot_joiner.clock import to_micros
from upshot_joiner.store.client import Store

MOST_LETTERS = 2000
"""Of a payload in a list."""

_REFUSED = """
SELECT * FROM quarantine
WHERE ({any_code:Bool} OR code = {code:String}) AND ({any_kind:Bool} OR kind = {kind:String})
  AND ({any_model:Bool} OR model = {model:String})
  AND received_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND received_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
ORDER BY received_at LIMIT 1 BY entry_id
"""
"""Two writers may have noted the same message of a topic."""
_PAGE = f"""
SELECT received_at, entry_id, toString(kind), toString(code), loc, model, request_id, writer_id, seq,
  toString(topic), partition, offset, substringUTF8(payload, 1, {MOST_LETTERS}), length(payload),
  lengthUTF8(payload) > {MOST_LETTERS} OR is_cut, entry_id IN (SELECT entry_id FROM quarantine_replayed)
FROM ({_REFUSED})
WHERE (toUnixTimestamp64Micro(received_at), entry_id) < ({{before:Int64}}, {{before_entry:UInt128}})
ORDER BY received_at DESC, entry_id DESC LIMIT {{limit:UInt32}}
"""
_COUNTS = f"""
SELECT toString(kind) AS of_kind, toString(code) AS of_code, count(), max(received_at)
FROM ({_REFUSED}) GROUP BY of_kind, of_code ORDER BY count() DESC, of_kind, of_code
"""
_EVER, _NEVER_US = 0, 2**53


class Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ended."""

    received_us: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    entry_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,39}\Z")]


class Quarantine:
    """The list and its counts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def page(
        self,
        *,
        code: str | None,
        kind: str | None,
        model: str | None,
        start: datetime | None,
        end: datetime | None,
        limit: int,
        after: str,
    ) -> dict[str, Any]:
        """A page with ``next`` as the cursor of the following one (None at the end), and counts by kind and code of all that match.

        ``payload_text`` is text, whatever it looks like: never to be run, rendered or trusted.
        """
        place = cursor.read(after, Place) or Place(_NEVER_US, "0")
        params: dict[str, object] = {
            "any_code": code is None,
            "code": code or "",
            "any_kind": kind is None,
            "kind": kind or "",
            "any_model": model is None,
            "model": model or "",
            "start": _EVER if start is None else to_micros(start),
            "end": _NEVER_US if end is None else to_micros(end),
        }
        rows = self._store.query(
            _PAGE,
            {**params, "before": place.received_us, "before_entry": int(place.entry_id), "limit": limit + 1},
        )
        page = rows[:limit]
        last = page[-1] if len(rows) > limit else None
        counts = self._store.query(_COUNTS, params)
        return {
            "refused": [_refused(row) for row in page],
            "next": last and cursor.write(Place(to_micros(last[0]), str(last[1]))),
            "total": sum(count for _, _, count, _ in counts),
            "codes": [
                {"kind": of_kind, "code": of_code, "events": count, "newest": newest}
                for of_kind, of_code, count, newest in counts
            ],
        }


def _refused(row: Sequence[Any]) -> dict[str, Any]:
    (
        received_at,
        _,
        kind,
        code,
        loc,
        model,
        request_id,
        writer_id,
        seq,
        topic,
        partition,
        offset,
        text,
        size,
        cut,
        replayed,
    ) = row
    return {
        "received_at": received_at,
        "kind": kind,
        "code": code,
        "loc": loc,
        "model": model,
        "request_id": request_id,
        "writer_id": writer_id,
        "seq": seq,
        "origin": {"topic": topic, "partition": partition, "offset": offset} if topic else None,
        "payload_text": text,
        "payload_bytes": size,
        "payload_is_cut": bool(cut),
        "replayed": bool(replayed),
    }
