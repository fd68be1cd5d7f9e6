"""Batches: what travels in one request or one message."""

from __future__ import annotations

from typing import Literal

import zstandard

from upshot.events import is_json
from upshot.wire import NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, pack

__all__ = ["Batch", "Kind", "batches"]

Kind = Literal["predictions", "labels"]

_ZSTD_LEVEL = 1  # the fastest; level 3 takes twice the time for no smaller size on events


class Batch:
    """Encoded events of one kind and one form.

    ``payload`` is their body, compressed; made once, so that a retry sends the same bytes. (Not by ``cached_property``: until
    Python 3.12 that holds a lock, one for all instances, and zstd leaves the GIL meanwhile. A fork then copies the lock held.)
    """

    content_encoding = "zstd"

    def __init__(self, kind: Kind, events: tuple[bytes, ...], content_type: str) -> None:
        self.kind = kind
        self.events = events
        self.content_type = content_type
        body = pack(events) if content_type == PACKED_CONTENT_TYPE else b"\n".join(events)
        self.payload = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)

    def halves(self) -> list[Batch]:
        """The batch as two of half its events."""
        middle = len(self.events) // 2
        return [Batch(self.kind, part, self.content_type) for part in (self.events[:middle], self.events[middle:])]


def batches(kind: Kind, events: list[bytes]) -> list[Batch]:
    """The packed events as one batch; those few that had to be JSON as another, after it."""
    packed = tuple(event for event in events if not is_json(event))
    as_json = tuple(event for event in events if is_json(event))
    forms = ((packed, PACKED_CONTENT_TYPE), (as_json, NDJSON_CONTENT_TYPE))
    return [Batch(kind, part, content_type) for part, content_type in forms if part]
