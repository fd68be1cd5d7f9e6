"""Bodies that wait for a mapping that understands them, and the counts of what came."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import Stamper, from_micros, to_micros
from upshot_joiner.errors import Place, Problem
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_column

MAX_WAITING = 10_000
MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Of all sources together. Beyond either, deliveries that cannot be mapped are not taken (503): their senders still have them."""
SETTLED_FOR = timedelta(days=7)
"""How long a body that was replayed is known, so that its sender's repeat is seen as one."""

_KNOWN = "SELECT body_key, settled FROM hook_bodies FINAL WHERE body_key IN ($keys)"
_SIZES = "SELECT count(), sum(length(body)) FROM hook_bodies FINAL WHERE NOT settled"
_WAITING = """
SELECT body_key, toUnixTimestamp64Micro(received_at), body, headers, places, length(body) FROM hook_bodies FINAL
WHERE source = {source:String} AND NOT settled
  AND (received_at, body_key) > (fromUnixTimestamp64Micro({after:Int64}, 'UTC'), {after_key:UInt128})
ORDER BY received_at, body_key LIMIT {limit:UInt64}
"""
_STATE = """
SELECT count(), sum(length(body)), min(received_at) FROM hook_bodies FINAL WHERE source = {source:String} AND NOT settled
"""
_FORGET = "DELETE FROM hook_bodies WHERE settled AND version <= {until:UInt64}"
_COUNTS = "SELECT toString(what), sum(n) FROM hook_counts WHERE source = {source:String} GROUP BY what"


@dataclass(frozen=True, slots=True)
class Body:
    """A body that could not be mapped wholly. ``text`` is JSON."""

    source: str
    text: str
    headers: Mapping[str, str]
    places: Sequence[Place]
    received_us: int = 0
    key: int = 0

    @property
    def identity(self) -> int:
        """The same for the same body, whenever it comes."""
        content = json.dumps([self.source, self.text, dict(self.headers)], sort_keys=True)
        return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=16).digest(), "big")


class Bodies:
    """The tables of both. ``add`` and ``settle`` are for one thread at a time, everything else for any."""

    def __init__(self, store: Store, stamper: Stamper) -> None:
        self._store = store.shards[0]
        self._stamper = stamper
        self._lock = threading.Lock()
        self._unwritten: Counter[tuple[str, str]] = Counter()
        [(self._waiting, size)] = self._store.query(_SIZES)
        self._bytes = int(size or 0)

    def check_room(self) -> None:
        """Raise a 503 :class:`Problem` when no more may wait."""
        if self._waiting >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES:
            raise Problem(
                503,
                "too_many_unmapped",
                "Too many bodies wait for a mapping: mend it and replay them.",
                retry_after_s=600,
            )

    def add(self, bodies: Sequence[Body], counts: Counter[tuple[str, str]]) -> None:
        """Keep bodies, and count (``(source, what)``); both are on disk when this returns. A body that waits already stays."""
        if bodies:
            by_key = {body.identity: body for body in bodies}
            known = dict(self._store.query(_KNOWN, keys=Keys(by_key)))
            new = {key: body for key, body in by_key.items() if known.get(key, 1)}
            stamp = to_micros(self._stamper.next())
            self._write([(key, body, stamp, body.text, 0) for key, body in new.items()], stamp)
            with self._lock:
                self._waiting += len(new)
                self._bytes += sum(len(body.text.encode()) for body in new.values())
        with self._lock:
            noted, self._unwritten = self._unwritten, Counter()
        try:
            self._count(counts + noted)
        except BaseException:
            with self._lock:
                self._unwritten += noted
            raise

    def note(self, source: str, what: str, n: int = 1) -> None:
        """Count without a write: it is written with the next that is. For what strangers can cause as often as they like."""
        with self._lock:
            self._unwritten[source, what] += n

    def flush(self) -> None:
        """Write what was only noted."""
        self.add([], Counter())

    def counts(self, source: str) -> dict[str, int]:
        """What became of deliveries and of label events, by word."""
        found = Counter({what: int(n) for what, n in self._store.query(_COUNTS, {"source": source})})
        with self._lock:
            found.update({what: n for (name, what), n in self._unwritten.items() if name == source})
        return dict(found)

    def state(self, source: str) -> tuple[int, int, datetime | None]:
        """Bodies that wait, their bytes, and since when the oldest does."""
        [(waiting, size, oldest)] = self._store.query(_STATE, {"source": source})
        return waiting, int(size or 0), oldest if waiting else None

    def waiting(self, source: str, limit: int, after: Body | None = None) -> list[Body]:
        """Bodies of a source that wait, the oldest first, those behind ``after``."""
        params = {
            "source": source,
            "limit": limit,
            "after": after.received_us if after else -1,
            "after_key": after.key if after else 0,
        }
        return [
            Body(source, body, json.loads(headers), json.loads(places), received_us, key)
            for key, received_us, body, headers, places, _ in self._store.query(_WAITING, params)
        ]

    def settle(self, settled: Iterable[Body], still: Iterable[Body], counts: Counter[tuple[str, str]]) -> None:
        """Note which bodies were mapped, and of those that still cannot be, why not now."""
        done = list(settled)
        stamp = to_micros(self._stamper.next())
        changed = [(body.key, body, body.received_us, "", 1) for body in done]
        changed += [(body.key, body, body.received_us, body.text, 0) for body in still]
        self._write(changed, stamp)
        with self._lock:
            self._waiting -= len(done)
            self._bytes -= sum(len(body.text.encode()) for body in done)
        self._count(counts)

    def forget(self) -> None:
        """Remove what was settled long ago."""
        self._store.command(_FORGET, {"until": to_micros(self._stamper.next() - SETTLED_FOR)})

    def _count(self, counts: Counter[tuple[str, str]]) -> None:
        counted = [(source, what, n) for (source, what), n in counts.items() if n]
        if counted:
            sources, whats, numbers = zip(*counted, strict=True)
            self._store.insert(
                "hook_counts", pa.table({"source": sources, "what": whats, "n": pa.array(numbers, pa.uint64())})
            )

    def _write(self, changed: Sequence[tuple[int, Body, int, str, int]], stamp: int) -> None:
        if not changed:
            return
        self._store.insert(
            "hook_bodies",
            pa.table(
                {
                    "source": pa.array([body.source for _, body, _, _, _ in changed], pa.string()),
                    "body_key": key_column([key for key, _, _, _, _ in changed]),
                    "received_at": pa.array([from_micros(at) for _, _, at, _, _ in changed], rows.TIME),
                    "body": pa.array([text for _, _, _, text, _ in changed], pa.string()),
                    "headers": pa.array([json.dumps(dict(body.headers)) for _, body, _, _, _ in changed], pa.string()),
                    "places": pa.array([json.dumps(list(body.places)) for _, body, _, _, _ in changed], pa.string()),
                    "settled": pa.array([settled for _, _, _, _, settled in changed], pa.uint8()),
                    "version": pa.array([stamp] * len(changed), pa.uint64()),
                }
            ),
        )


def listed(bodies: Iterable[Body], with_text: bool) -> list[dict[str, Any]]:
    """Bodies as an answer shows them."""
    return [
        {
            "received_at": from_micros(body.received_us),
            "errors": list(body.places),
            "bytes": len(body.text.encode()),
            **({"headers": dict(body.headers), "body": body.text} if with_text else {}),
        }
        for body in bodies
    ]
