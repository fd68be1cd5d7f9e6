"""The table of halves: what waits for its other half, and what was settled of late."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import to_micros
from upshot_joiner.intake.kserve.inference import Half, Side
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import key_column

Key = tuple[int, Side]

_KNOWN = """
SELECT pair, toString(side), digest, settled, length(body) FROM inference_halves FINAL WHERE pair IN {pairs:Array(UInt128)}
"""
_STORED = """
SELECT pair, toString(side), event_id, source, extensions, toUnixTimestamp64Micro(at), received_at, digest,
  base64Encode(substring(body, 1, {bytes:UInt64}))
FROM inference_halves FINAL WHERE NOT settled AND %s
"""
_OF_PAIRS = _STORED % "pair IN {pairs:Array(UInt128)}"
_OLDEST = _STORED % "received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')" + (
    " ORDER BY received_at, pair, side LIMIT {limit:UInt64}"
)
_BOTH = """
SELECT pair, sum(length(body)) FROM inference_halves FINAL WHERE NOT settled
GROUP BY pair HAVING count() = 2 LIMIT {limit:UInt64}
"""
_WAITING = """
SELECT countIf(side = 'request'), countIf(side = 'response'), sum(length(body)), min(received_at)
FROM inference_halves FINAL WHERE NOT settled
"""
_SETTLED = (
    "SELECT toString(because), count() FROM inference_halves FINAL WHERE settled GROUP BY because ORDER BY because"
)
_NEWEST_TO_GO = """
SELECT received_at FROM inference_halves FINAL WHERE NOT settled ORDER BY received_at, pair, side
LIMIT 1 OFFSET {offset:UInt64}
"""
_FORGET = "DELETE FROM inference_halves WHERE received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')"


_WHOLE = 2**40
"""Bytes: more than any body has."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A half in the table, waiting."""

    half: Half
    received_at: datetime
    key: Key
    digest: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the table knows of a half; ``size`` is the bytes of its body, 0 once it is settled."""

    digest: int
    settled: bool
    size: int


class Halves:
    """Reads and writes the table. For one thread, but for :meth:`waiting`, :meth:`settled` and :meth:`oldest`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, pairs: Sequence[int]) -> dict[Key, Known]:
        """Every half of these pairs."""
        found = self._store.query(_KNOWN, {"pairs": list(pairs)})
        return {(pair, side): Known(digest, bool(settled), size) for pair, side, digest, settled, size in found}

    def of_pairs(self, pairs: Sequence[int]) -> dict[int, dict[Side, Stored]]:
        """The waiting halves of these pairs, by side."""
        found: dict[int, dict[Side, Stored]] = {}
        for one in self._read(_OF_PAIRS, {"pairs": list(pairs), "bytes": _WHOLE}):
            found.setdefault(one.key[0], {})[one.key[1]] = one
        return found

    def both(self, limit: int) -> dict[int, int]:
        """Pairs that have both halves and are not settled (a failure came between), with the bytes of their bodies."""
        return dict(self._store.query(_BOTH, {"limit": limit}))

    def oldest(self, until: datetime, limit: int, body_bytes: int) -> list[Stored]:
        """Waiting halves that were received by a moment, the oldest first, with the beginnings of their bodies."""
        return self._read(_OLDEST, {"until": to_micros(until), "limit": limit, "bytes": body_bytes})

    def surplus_until(self, most: int, waiting: int) -> datetime | None:
        """The moment by which those were received that wait beyond ``most``; None when there are no more than that."""
        if waiting <= most:
            return None
        [(moment,)] = self._store.query(_NEWEST_TO_GO, {"offset": waiting - most - 1})
        return moment if isinstance(moment, datetime) else None

    def waiting(self) -> tuple[int, int, int, datetime | None]:
        """Requests and responses that wait, bytes of their bodies, and when the oldest was received."""
        [(requests, responses, size, oldest)] = self._store.query(_WAITING)
        return requests, responses, size, oldest if requests + responses else None

    def settled(self) -> dict[str, int]:
        """Halves that were settled of late, by why."""
        return dict(self._store.query(_SETTLED))

    def add(self, halves: Sequence[tuple[Key, int, Half]], received: datetime) -> None:
        """Store new halves, each with its key and digest; they are on disk when this returns."""
        self._write([(key, digest, half, received, half.body, 0, "") for key, digest, half in halves])

    def settle(self, settled: Iterable[tuple[Stored, str]]) -> None:
        """Note why these halves do not wait any more; their bodies go."""
        self._write([(one.key, one.digest, one.half, one.received_at, b"", 1, why) for one, why in settled])

    def forget(self, until: datetime) -> None:
        """Remove what was received by a moment; nothing of that may be waiting."""
        self._store.command(_FORGET, {"until": to_micros(until)})

    def _read(self, sql: str, params: dict[str, Any]) -> list[Stored]:
        found = []
        for pair, side, event_id, source, extensions, at_us, received, digest, body in self._store.query(sql, params):
            half = Half(side, event_id, source, json.loads(extensions), at_us, base64.b64decode(body))
            found.append(Stored(half, received, (pair, side), digest))
        return found

    def _write(self, made: Sequence[tuple[Key, int, Half, datetime, bytes, int, str]]) -> None:
        keys, digests, halves, received, bodies, settled, because = zip(*made, strict=True) if made else [()] * 7
        self._store.insert(
            "inference_halves",
            pa.table(
                {
                    "pair": key_column([pair for pair, _ in keys]),
                    "side": pa.array([side for _, side in keys], pa.string()),
                    "event_id": pa.array([half.event_id for half in halves], pa.string()),
                    "source": pa.array([half.source for half in halves], pa.string()),
                    "extensions": pa.array([json.dumps(dict(half.extensions)) for half in halves], pa.string()),
                    "at": pa.array([half.at_us for half in halves], pa.int64()).cast(rows.TIME),
                    "received_at": pa.array(received, rows.TIME),
                    "digest": key_column(digests),
                    "body": pa.array(bodies, pa.binary()),
                    "settled": pa.array(settled, pa.uint8()),
                    "because": pa.array(because, pa.string()),
                }
            ),
        )
