"""The queue of what goes out, in the store: a restart loses nothing, and what was put once is not put again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from upshot_joiner.clock import MICROSECOND, to_micros
from upshot_joiner.store.client import Store
from upshot_monitoring.alerts.message import Message

_log = logging.getLogger("upshot.alerts")

TIME = pa.timestamp("us", "UTC")

Status = Literal["waiting", "sent", "refused", "given_up", "dropped"]

MAX_WAITING = 1000
"""Of one channel. What comes then is dropped, and counted: its receiver has been away for long, and the first ones say so."""
LISTED = 20

_COLUMNS = (
    "channel, id, model, rule, kind, incident, status, attempts, created_at, next_at, settled_at, sent_as, "
    "error, message, version"
)
_WAITING = f"""
SELECT {_COLUMNS} FROM alert_deliveries FINAL WHERE channel = {{channel:String}} AND status = 'waiting'
ORDER BY created_at, id LIMIT 2000
"""
_ONE = f"SELECT {_COLUMNS} FROM alert_deliveries FINAL WHERE channel = {{channel:String}} AND id = {{id:String}}"
_KNOWN = """
SELECT channel, id FROM alert_deliveries FINAL WHERE id IN {ids:Array(String)}
"""
_COUNTS = "SELECT channel, count() FROM alert_deliveries FINAL WHERE status = 'waiting' GROUP BY channel"
_SENT = """
SELECT max(settled_at) AS at FROM alert_deliveries FINAL
WHERE channel = {channel:String} AND status = 'sent' AND settled_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY sent_as ORDER BY at
"""
_OF_MODEL = f"""
SELECT {_COLUMNS} FROM alert_deliveries FINAL WHERE model = {{model:String}} ORDER BY created_at DESC, id, channel
LIMIT {LISTED} BY rule
"""
_BY_CHANNEL = """
SELECT channel, countIf(status = 'waiting'), minOrNullIf(created_at, status = 'waiting'), countIf(status = 'sent'),
  countIf(status = 'refused'), countIf(status = 'given_up'), countIf(status = 'dropped'),
  maxOrNullIf(settled_at, status = 'sent'), argMaxIf(error, version, status = 'waiting' OR status = 'refused')
FROM alert_deliveries FINAL GROUP BY channel
"""


@dataclass(frozen=True)
class Delivery:
    """One message to one channel. ``created_at`` and the others are of the clock that the server goes by."""

    channel: str
    id: str
    model: str
    rule: str
    kind: str
    incident: str
    status: Status
    attempts: int
    created_at: datetime
    next_at: datetime
    settled_at: datetime | None
    sent_as: str
    error: str
    message: str
    version: int = 0

    def describe(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id,
            "channel": self.channel,
            "kind": self.kind,
            "status": self.status,
            "attempts": self.attempts,
            "created_at": self.created_at,
            "next_at": self.next_at if self.status == "waiting" else None,
            "settled_at": self.settled_at,
            "error": self.error or None,
        }


class Deliveries:
    """Reads and writes. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, messages: Iterable[tuple[Message, Sequence[str]]], now: datetime, channels: Collection[str]) -> int:
        """Queue each message for its channels; one that was queued before is not queued again. Returns how many were queued.

        One for a channel that is not among ``channels`` (it was taken out of the settings) is kept as refused.
        """
        wanted = [(message, channel) for message, to in messages for channel in to]
        if not wanted:
            return 0
        known = set(self._store.query(_KNOWN, {"ids": sorted({message.id for message, _ in wanted})}))
        waiting = Counter(dict(self._store.query(_COUNTS)))
        new: list[Delivery] = []
        for message, channel in wanted:
            if (channel, message.id) in known:
                continue
            known.add((channel, message.id))
            waiting[channel] += 1
            status: Status = "waiting"
            error = ""
            if channel not in channels:
                status, error = "refused", "no_such_channel"
            elif waiting[channel] > MAX_WAITING:
                status, error = "dropped", "too_many_wait"
            if error:
                _log.error("an alert to %s is %s (%s)", channel, status, error)
            new.append(
                Delivery(
                    *(channel, message.id, message.model, message.rule, message.kind, message.incident, status),
                    attempts=0,
                    created_at=now + len(new) * MICROSECOND,  # what is put together keeps its order
                    next_at=now,
                    settled_at=now if error else None,
                    sent_as="",
                    error=error,
                    message=message.stored(),
                )
            )
        self.write(new, now)
        return len(new)

    def waiting(self, channel: str) -> list[Delivery]:
        """What waits for a channel, the oldest first."""
        return [Delivery(*row) for row in self._store.query(_WAITING, {"channel": channel})]

    def still_waits(self, one: Delivery) -> bool:
        """Whether nobody has touched it since it was read."""
        rows = self._store.query(_ONE, {"channel": one.channel, "id": one.id})
        return bool(rows) and Delivery(*rows[0]) == one

    def sent_since(self, channel: str, since: datetime) -> list[datetime]:
        """When messages were sent to a channel; several that were sent as one count once."""
        return [at for (at,) in self._store.query(_SENT, {"channel": channel, "since": to_micros(since)})]

    def of_model(self, model: str) -> list[Delivery]:
        """The newest of each rule of a model."""
        return [Delivery(*row) for row in self._store.query(_OF_MODEL, {"model": model})]

    def by_channel(self) -> dict[str, dict[str, Any]]:
        """How many there are of each channel by what became of them."""
        names = ("waiting", "oldest_waiting", "sent", "refused", "given_up", "dropped", "last_sent", "last_error")
        return {channel: dict(zip(names, rest, strict=True)) for channel, *rest in self._store.query(_BY_CHANNEL)}

    def write(self, rows: Sequence[Delivery], now: datetime) -> None:
        """All of them in one block."""
        rows = [replace(one, version=max(one.version + 1, to_micros(now))) for one in rows]
        columns: dict[str, Any] = {
            name: [getattr(one, name) for one in rows]
            for name in ("channel", "id", "model", "rule", "kind", "incident", "status", "sent_as", "error", "message")
        }
        columns["attempts"] = pa.array([one.attempts for one in rows], pa.uint32())
        columns["version"] = pa.array([one.version for one in rows], pa.uint64())
        for name in ("created_at", "next_at", "settled_at"):
            columns[name] = pa.array([getattr(one, name) for one in rows], TIME)
        if rows:
            self._store.insert("alert_deliveries", pa.table(columns))


def age(one: Delivery, now: datetime) -> timedelta:
    """How long it waits."""
    return now - one.created_at
