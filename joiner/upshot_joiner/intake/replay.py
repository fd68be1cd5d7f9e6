"""Refused events sent through the intake again, after what made them be refused was mended.

An entry of quarantine that is taken now is marked, and never sent again; one that is refused again stays as it was. So a replay
may be broken off, repeated, or run twice at once: the events are known by then, and an event that is known changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from upshot.wire import JSON_CONTENT_TYPE
from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.errors import Problem
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction
from upshot_joiner.intake.origin import Origin
from upshot_joiner.intake.receive import Received, Receiver
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import key_column
from upshot_joiner.store.rows import TIME

MAX_PAGE = 1000

_ENTRIES = """
SELECT entry_id, toString(kind), payload, is_cut, received_at
FROM quarantine
WHERE entry_id > {after:UInt128} AND entry_id NOT IN (SELECT entry_id FROM quarantine_replayed)
  AND ({code:String} = '' OR code = {code:String}) AND ({model:String} = '' OR model = {model:String})
  AND ({kind:String} = '' OR kind = {kind:String})
  AND received_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND received_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
ORDER BY entry_id, received_at
LIMIT 1 BY entry_id
LIMIT {limit:UInt32}
"""
_LATEST_US = 2**62 // 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries; empty means any. ``after`` is where the page before ended."""

    code: str = ""
    model: str = ""
    kind: str = ""
    start: datetime | None = None
    end: datetime | None = None
    after: int = 0
    limit: int = MAX_PAGE


@dataclass
class Replayed:
    """What became of a page of entries: ``found`` = ``replayed`` + all ``refused`` (by code) + all ``unfit`` (by reason)."""

    found: int = 0
    replayed: int = 0
    """Taken, as new ones or as events that were there already; in a dry run, those that would not be refused by their form."""
    refused: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    """Entries that cannot be sent: ``cut`` (the payload was too long to be kept whole), ``no_json`` (it could not be parsed)."""
    next: int | None = None
    """Where the next page begins; None after the last."""


@dataclass(frozen=True, slots=True)
class _Entry:
    entry_id: int
    kind: str
    payload: str
    received: datetime


class Replayer:
    """Sends entries of quarantine through a receiver that stores."""

    def __init__(self, store: Store, receiver: Receiver, clock: Clock) -> None:
        self._home = store.shards[0]  # where entries are
        self._clock = clock
        self._ways: dict[str, Any] = {
            "prediction": (receiver.decode_predictions, receiver.submit_predictions),
            "label": (receiver.decode_labels, receiver.submit_labels),
            "writer": (receiver.decode_reports, receiver.submit_reports),
        }

    def replay(self, wanted: Wanted, *, dry_run: bool = False) -> Replayed:
        """Send one page of entries and wait until they are stored. Raises Problem when the store takes nothing now."""
        result = Replayed()
        limit = min(wanted.limit, MAX_PAGE)
        by_kind: dict[str, list[_Entry]] = {kind: [] for kind in self._ways}
        for entry_id, kind, payload, is_cut, received in self._home.query(_ENTRIES, _params(wanted, limit)):
            result.found += 1
            result.next = int(entry_id)
            if is_cut:
                result.unfit["cut"] += 1
            elif kind not in by_kind or not _is_object(payload):
                result.unfit["no_json"] += 1
            else:
                by_kind[kind].append(_Entry(int(entry_id), kind, payload, received))
        for kind, entries in by_kind.items():
            if entries:
                self._send(kind, entries, result, dry_run)
        if result.found < limit:
            result.next = None
        return result

    def _send(self, kind: str, entries: list[_Entry], result: Replayed, dry_run: bool) -> None:
        decode, submit = self._ways[kind]
        body = f"[{','.join(entry.payload for entry in entries)}]".encode()
        received: Received[Any] = decode(body, JSON_CONTENT_TYPE, "")
        refused = {one.index: one.code for one in received.refused}
        for index, event in received.events:
            # As when it came first: an event without a time of its own gets the same one whenever it is replayed.
            if isinstance(event, CheckedPrediction) and event.predicted_us is None:
                event.predicted_us = to_micros(entries[index].received)
            elif isinstance(event, CheckedLabel) and event.observed_us is None:
                event.observed_us = to_micros(entries[index].received)
        if received.events and not dry_run:
            answer = submit(
                Received(received.events, []), lambda index: Origin(entry_id=entries[index].entry_id)
            ).result()
            refused |= {one.index: one.code for one in answer.refused}
        taken = [entry for index, entry in enumerate(entries) if index not in refused]
        result.replayed += len(taken)
        result.refused.update(refused.values())
        if not dry_run:
            self._mark(taken)

    def _mark(self, entries: Sequence[_Entry]) -> None:
        ids = key_column([entry.entry_id for entry in entries])
        now = pa.array([self._clock.now()] * len(entries), TIME)
        self._home.insert("quarantine_replayed", pa.table({"entry_id": ids, "replayed_at": now}))


def read_wanted(asked: object) -> tuple[Wanted, bool]:
    """The JSON of a request: which entries, and whether it is a dry run. Raises a 422 Problem."""
    if not isinstance(asked, dict):
        raise _invalid("body", "wrong_type")
    unknown = set(asked) - {"code", "model", "kind", "start", "end", "after", "limit", "dry_run"}
    if unknown:
        raise _invalid("body", "unknown_field")
    texts = {name: asked.get(name) or "" for name in ("code", "model", "kind", "after")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise _invalid(name, "wrong_type")
    after = texts.pop("after")
    if after and not (len(after) == 32 and all(digit in "0123456789abcdef" for digit in after)):
        raise _invalid("after", "invalid")
    limit, dry_run = asked.get("limit", MAX_PAGE), asked.get("dry_run", False)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_PAGE:
        raise _invalid("limit", "out_of_range")
    if not isinstance(dry_run, bool):
        raise _invalid("dry_run", "wrong_type")
    start, end = _moment(asked, "start"), _moment(asked, "end")
    return Wanted(**texts, start=start, end=end, after=int(after or "0", 16), limit=limit), dry_run


def _moment(asked: dict[str, Any], name: str) -> datetime | None:
    text = asked.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise _invalid(name, "invalid_time") from None
    if moment.tzinfo is None:
        raise _invalid(name, "time_without_offset")
    return moment


def _invalid(loc: str, code: str) -> Problem:
    return Problem(422, "invalid_request", "The request has errors.", [{"loc": loc, "code": code}])


def _params(wanted: Wanted, limit: int) -> dict[str, object]:
    return {
        "after": wanted.after,
        "code": wanted.code,
        "model": wanted.model,
        "kind": wanted.kind,
        "start": 0 if wanted.start is None else to_micros(wanted.start),
        "end": _LATEST_US if wanted.end is None else to_micros(wanted.end),
        "limit": limit,
    }


def _is_object(payload: str) -> bool:
    try:
        return isinstance(json.loads(payload), dict)
    except (ValueError, RecursionError):
        return False
