"""Batches: what travels in one request or one message, and lies in one frame of the spool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import zstandard

from upshot.capture.events import is_json
from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, pack

__all__ = ["Batch", "Kind", "Packer", "join"]

Kind = Literal["predictions", "labels", "writers"]

_ZSTD_LEVEL = 1  # the fastest; level 3 takes twice the time for no smaller size on events

_raw_events = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Batch:
    """Encoded events of one kind and one form.

    ``payload`` is their body, compressed: one zstd frame, or several one after the other, each of them complete in itself
    (the packed form: one MessagePack array per frame). It is made once, so that the spool, the first attempt and
    every retry hold the same bytes.
    """

    __slots__ = ("content_type", "kind", "n_bytes", "n_events", "payload")

    content_encoding = "zstd"

    def __init__(
        self, kind: Kind, content_type: str, n_events: int, payload: bytes, n_bytes: int | None = None
    ) -> None:
        self.kind = kind
        self.content_type = content_type
        self.n_events = n_events
        self.payload = payload
        self.n_bytes = len(payload) if n_bytes is None else n_bytes
        """Before compression, or (when nobody counted) after it."""

    @classmethod
    def of(cls, kind: Kind, content_type: str, events: Sequence[bytes]) -> Batch:
        """Pack and compress encoded events."""
        body = pack(events) if content_type == PACKED_CONTENT_TYPE else b"\n".join((*events, b""))
        payload = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(body)
        return cls(kind, content_type, len(events), payload, len(body))

    def bodies(self) -> list[bytes]:
        """The uncompressed bodies, one per frame. Raises ``zstandard.ZstdError`` when the payload is damaged."""
        bodies: list[bytes] = []
        rest = self.payload
        while rest:
            frame = zstandard.ZstdDecompressor().decompressobj()
            bodies.append(frame.decompress(rest))
            rest = frame.unused_data
        return bodies

    def encoded_events(self) -> list[bytes]:
        """The events one by one, as they were encoded: packed or as JSON. The rows of an Arrow table are not encoded one by one."""
        if self.content_type == PACKED_CONTENT_TYPE:
            return [bytes(event) for body in self.bodies() for event in _raw_events(body)]
        return [line for body in self.bodies() for line in body.split(b"\n") if line]

    def events(self) -> list[dict[str, Any]]:
        """The events as dicts of the fields they were sent with: for tests, and for whoever looks into a message."""
        if self.content_type == ARROW_CONTENT_TYPE:
            from upshot.capture.frames.body import events  # needs pyarrow

            return events(b"".join(self.bodies()))
        decode = msgspec.msgpack.decode if self.content_type == PACKED_CONTENT_TYPE else msgspec.json.decode
        return [decode(event) for event in self.encoded_events()]

    def as_one_body(self) -> bytes:
        """All events as one uncompressed body, for ways that know no frames."""
        if self.content_type == PACKED_CONTENT_TYPE:
            bodies = self.bodies()
            return bodies[0] if len(bodies) == 1 else pack(self.encoded_events())
        return b"".join(self.bodies())

    def halves(self) -> list[Batch]:
        """The batch as two of half its events."""
        if self.content_type == ARROW_CONTENT_TYPE:
            from upshot.capture.frames.body import halves  # needs pyarrow

            return [self._arrow(n_events, body) for n_events, body in halves(b"".join(self.bodies()))]
        events = self.encoded_events()
        middle = len(events) // 2
        return [Batch.of(self.kind, self.content_type, part) for part in (events[:middle], events[middle:])]

    def _arrow(self, n_events: int, body: bytes) -> Batch:
        payload = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(body)
        return Batch(self.kind, self.content_type, n_events, payload, len(body))


def join(parts: Sequence[Batch]) -> Batch:
    """Several batches of the same kind and form as one, without unpacking them."""
    if len(parts) == 1:
        return parts[0]
    n_events, n_bytes = sum(part.n_events for part in parts), sum(part.n_bytes for part in parts)
    payload = b"".join([part.payload for part in parts])
    return Batch(parts[0].kind, parts[0].content_type, n_events, payload, n_bytes)


class Packer:
    """Makes batches of encoded events. For one thread at a time: it keeps its compressor."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress

    def batches(self, kind: Kind, events: list[bytes]) -> list[Batch]:
        """The packed events as one batch; those few that had to be JSON as another, after it."""
        as_json = [event for event in events if is_json(event)]
        if as_json:
            packed = [event for event in events if not is_json(event)]
            json_batch = Batch.of(kind, NDJSON_CONTENT_TYPE, as_json)
            return [self._packed(kind, packed), json_batch] if packed else [json_batch]
        return [self._packed(kind, events)]

    def _packed(self, kind: Kind, events: list[bytes]) -> Batch:
        body = pack(events)
        return Batch(kind, PACKED_CONTENT_TYPE, len(events), self._compress(body), len(body))
