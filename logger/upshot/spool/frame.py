"""One frame: a batch as it lies in a segment, with checksums that tell whether it still is what was written.

::

    4 bytes   "\xf1USP"
    1         kind: 0 predictions, 1 labels
    1         form: 0 packed, 1 NDJSON, 2 Arrow
    2         zero
    4         number of events
    4         length of the payload before compression
    4         length of the payload
    4         CRC-32 of the payload
    4         CRC-32 of the 24 bytes above, begun with the segment's salt
    n         payload (compressed, as it will be sent)

All numbers are little-endian and unsigned. The salt is a random number in the name of the segment: without it, events that hold
the bytes of a frame could pass for one once a header before them is damaged.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple
from zlib import crc32

from upshot.delivery.batch import Batch, Kind
from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE

__all__ = ["HEADER_BYTES", "Damage", "Frame", "encode_frame", "read_frame"]

_MAGIC = b"\xf1USP"
_FIELDS = struct.Struct("<4sBBHIIII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size

_KINDS: tuple[Kind, ...] = ("predictions", "labels")
_FORMS = (PACKED_CONTENT_TYPE, NDJSON_CONTENT_TYPE, ARROW_CONTENT_TYPE)


class Frame(NamedTuple):
    """A whole frame and where it ends."""

    batch: Batch
    end: int


class Damage(NamedTuple):
    """Bytes that are no frame, and where the next one may begin. ``is_tail``: nothing follows them."""

    start: int
    end: int
    is_tail: bool


def encode_frame(batch: Batch, salt: int) -> bytes:
    """The frame's bytes."""
    fields = _FIELDS.pack(
        _MAGIC,
        _KINDS.index(batch.kind),
        _FORMS.index(batch.content_type),
        0,
        batch.n_events,
        batch.n_bytes,
        len(batch.payload),
        crc32(batch.payload),
    )
    return b"".join((fields, _CRC.pack(crc32(fields, salt)), batch.payload))


def read_frame(fd: int, offset: int, limit: int, salt: int) -> Frame | Damage | None:
    """Read what begins at ``offset`` of a file whose valid part ends at ``limit``; None at its end.

    Never takes damaged bytes for events. Raises OSError as the file system does.
    """
    if offset >= limit:
        return None
    header = _header(os.pread(fd, HEADER_BYTES, offset), salt)
    if header is None:
        return _resynced(fd, offset, limit, salt)
    kind, form, n_events, n_bytes, length, payload_crc = header
    start = offset + HEADER_BYTES
    if start + length > limit:
        return Damage(offset, limit, is_tail=True)
    payload = os.pread(fd, length, start)
    if len(payload) != length or crc32(payload) != payload_crc:
        return Damage(offset, start + length, is_tail=start + length == limit)
    return Frame(Batch(_KINDS[kind], _FORMS[form], n_events, payload, n_bytes), start + length)


def _header(data: bytes, salt: int) -> tuple[int, int, int, int, int, int] | None:
    if len(data) < HEADER_BYTES or not data.startswith(_MAGIC):
        return None
    fields = data[: _FIELDS.size]
    if _CRC.unpack_from(data, _FIELDS.size)[0] != crc32(fields, salt):
        return None
    _, kind, form, _, n_events, n_bytes, length, payload_crc = _FIELDS.unpack(fields)
    if kind >= len(_KINDS) or form >= len(_FORMS):
        return None
    return kind, form, n_events, n_bytes, length, payload_crc


def _resynced(fd: int, offset: int, limit: int, salt: int) -> Damage:
    """A header is damaged: look for the next one that is not."""
    rest = os.pread(fd, limit - offset, offset)
    at = rest.find(_MAGIC, 1)
    while at >= 0:
        if _header(rest[at : at + HEADER_BYTES], salt) is not None:
            return Damage(offset, offset + at, is_tail=False)
        at = rest.find(_MAGIC, at + 1)
    return Damage(offset, limit, is_tail=True)
