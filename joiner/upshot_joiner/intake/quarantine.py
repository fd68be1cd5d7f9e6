"""What could not be accepted, kept with its reason and its origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from upshot_joiner.intake.check import exact_json
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.origin import Origin
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_column
from upshot_joiner.store.rows import TIME
from upshot_joiner.writers.arrivals import number_of

MAX_PAYLOAD_BYTES = 64 * 1024
"""Of one refused payload; the rest of a longer one is cut off."""

_KNOWN = "SELECT entry_id FROM quarantine WHERE entry_id IN ($keys)"


@dataclass(frozen=True, slots=True)
class Entry:
    """A refused item. ``kind``: prediction, label, writer. Without an ``origin`` it came by a request that does not come again."""

    kind: str
    refused: Refused
    origin: Origin | None


def keep(store: Store, entries: Sequence[Entry], received: datetime) -> None:
    """Write those that are not there yet."""
    from_topics = [entry.origin.entry_id for entry in entries if entry.origin is not None]
    known = _known(store, from_topics) if from_topics else set()
    new: list[tuple[Entry, Origin]] = []
    for entry in entries:
        origin = entry.origin or Origin.once()
        if origin.entry_id not in known:
            known.add(origin.entry_id)
            new.append((entry, origin))
    if new:
        store.insert("quarantine", _rows(new, received))


def payload_text(payload: Any) -> bytes:
    """A refused payload as text."""
    text = payload if isinstance(payload, str) else exact_json(payload)
    return text.encode("utf-8", "backslashreplace")


def _known(store: Store, entry_ids: list[int]) -> set[int]:
    """Entries are about no request, so the first shard has all of them."""
    return {entry_id for (entry_id,) in store.shards[0].query(_KNOWN, keys=Keys(entry_ids))}


def _rows(entries: list[tuple[Entry, Origin]], received: datetime) -> pa.Table:
    refused = [entry.refused for entry, _ in entries]
    origins = [origin for _, origin in entries]
    payloads = [one.payload if isinstance(one.payload, dict) else {} for one in refused]
    numbers = [(entry.kind != "writer" and number_of(entry.refused)) or ("", None) for entry, _ in entries]
    texts = [payload_text(one.payload) for one in refused]
    return pa.table(
        {
            "received_at": pa.array([received] * len(refused), TIME),
            "kind": [entry.kind for entry, _ in entries],
            "code": [one.code for one in refused],
            "loc": [one.loc for one in refused],
            "model": [_short(payload.get("model")) for payload in payloads],
            "request_id": [_short(payload.get("request_id")) for payload in payloads],
            "payload": [text[:MAX_PAYLOAD_BYTES].decode("utf-8", "ignore") for text in texts],
            "writer_id": [writer_id for writer_id, _ in numbers],
            "seq": pa.array([seq for _, seq in numbers], pa.uint64()),
            "entry_id": key_column([origin.entry_id for origin in origins]),
            "topic": [origin.topic for origin in origins],
            "partition": pa.array([origin.partition for origin in origins], pa.uint32()),
            "offset": pa.array([origin.offset for origin in origins], pa.uint64()),
            "place": pa.array([origin.index for origin in origins], pa.uint32()),
            "is_cut": pa.array([int(len(text) > MAX_PAYLOAD_BYTES) for text in texts], pa.uint8()),
        }
    )


def _short(value: Any) -> str:
    return value[:512].encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else ""
