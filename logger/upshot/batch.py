"""Batches: what travels in one request or one message."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import zstandard

from upshot.events import is_json
from upshot.wire import NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, pack

__all__ = ["Batch", "Kind", "batches"]

Kind = Literal["predictions", "labels"]

_ZSTD_LEVEL = 1  # the fastest; level 3 takes twice the time for no smaller size on events


@dataclass(frozen=True)
class Batch:
    """Encoded events of one kind and one form."""

    kind: Kind
    events: tuple[bytes, ...]
    content_type: str

    content_encoding = "zstd"

    @cached_property
    def payload(self) -> bytes:
        """The body, compressed. Made once: a retry sends the same bytes. zstd works outside the GIL."""
        body = pack(self.events) if self.content_type == PACKED_CONTENT_TYPE else b"\n".join(self.events)
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)

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
