"""The bytes of a request, decompressed within a limit."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import zstandard

from upshot_joiner.errors import Problem
from upshot_joiner.intake.decoded import check_count

MAX_BODY_BYTES = 16 * 1024 * 1024
"""As sent. Ten thousand events of thirty features are about 2 MB compressed."""
MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024
"""zstd can pack 32,000 bytes into one, so the limit is on what comes out, counted while it comes out."""
_ZSTD_SLICE = 512
"""Bytes of zstd given to the decompressor at once: what comes out of them is at most 16 MB."""
_GZIP_SLICE = 16 * 1024
"""The same for gzip, which packs 1,030 bytes into one."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_MAX_DAMAGED = 64
"""A body in which more frames are damaged is not looked through to its end."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A part of a body that cannot be decompressed, as it was sent."""

    sent: bytes


Frame = bytes | Damaged
"""What one frame of a body holds."""


def too_large(limit: int) -> Problem:
    """The answer to a body over its limit."""
    return Problem(
        413,
        "body_too_large",
        f"The body is larger than {limit // (1024 * 1024)} MiB; send it in smaller batches.",
        [{"loc": "body", "code": "too_large"}],
    )


def corrupt() -> Problem:
    """The answer to a body that is not compressed as it says."""
    return Problem(
        400,
        "corrupt_body",
        "The body cannot be decompressed as its Content-Encoding says.",
        [{"loc": "body", "code": "corrupt"}],
    )


async def read_body(chunks: AsyncIterator[bytes], content_length: str | None, limit: int = MAX_BODY_BYTES) -> bytes:
    """Collect a request's chunks; raises a 413 :class:`Problem` as soon as they exceed ``limit`` bytes."""
    if content_length is not None and content_length.isdigit() and int(content_length) > limit:
        raise too_large(limit)
    collected = bytearray()
    async for chunk in chunks:
        collected += chunk
        if len(collected) > limit:
            raise too_large(limit)
    return bytes(collected)


def decompress(body: bytes, encoding: str, limit: int = MAX_DECOMPRESSED_BYTES) -> list[Frame]:
    """Undo ``Content-Encoding`` (``gzip``, ``zstd`` or none); never holds more than ``limit`` bytes of result.

    A zstd body gives its frames one by one, a damaged one among them as :class:`Damaged`; any other body is one frame. Raises a
    :class:`Problem`: 400 when nothing of the body can be decompressed, 413 when it is too much, 415 for another encoding.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return [body]
    if encoding == "zstd":
        return _zstd(body, limit)
    if encoding in ("gzip", "x-gzip"):
        return [_gzip(body, limit)]
    raise Problem(
        415,
        "unsupported_encoding",
        "Content-Encoding must be gzip, zstd or identity.",
        [{"loc": "header.content-encoding", "code": "unsupported"}],
    )


def whole(frames: list[Frame]) -> bytes:
    """The frames of a body as one text; raises a 400 :class:`Problem` when one of them is damaged."""
    parts = [frame for frame in frames if isinstance(frame, bytes)]
    if len(parts) != len(frames):
        raise corrupt()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _zstd(body: bytes, limit: int) -> list[Frame]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
    frames: list[Frame] = []
    size = start = 0
    damaged_from: int | None = None
    failures = 0
    while start < len(body):
        content, end = _member(decompressor.decompressobj, body, start, _ZSTD_SLICE, limit - size, limit)
        size += len(content)
        if end is None:  # the next frame can be told by its first four bytes
            failures += 1
            damaged_from = start if damaged_from is None else damaged_from
            start = body.find(_ZSTD_MAGIC, start + 1)
            if start < 0 or failures > _MAX_DAMAGED:
                break
            continue
        if damaged_from is not None:
            frames.append(Damaged(body[damaged_from:start]))
            damaged_from = None
        frames.append(content)
        check_count(len(frames))
        start = end
    if damaged_from is not None:
        frames.append(Damaged(body[damaged_from:]))
    frames = [frame for frame in frames if frame != b""]  # an empty frame, or one that says it is to be skipped
    if failures and not any(isinstance(frame, bytes) for frame in frames):
        raise corrupt()
    return frames or [b""]


def _gzip(body: bytes, limit: int) -> bytes:
    result = bytearray()
    start = 0
    while start < len(body):
        content, end = _member(
            lambda: zlib.decompressobj(wbits=31), body, start, _GZIP_SLICE, limit - len(result), limit
        )
        if end is None:
            raise corrupt()
        result += content
        start = end
    return bytes(result)


def _member(
    begin: Callable[[], Any], body: bytes, start: int, slice_bytes: int, room: int, limit: int
) -> tuple[bytes, int | None]:
    """Decompress what begins at ``start``: its content and its end; without an end when it is damaged or cut off."""
    one = begin()
    view = memoryview(body)
    content = bytearray()
    position = start
    try:
        while position < len(body) and not one.eof:
            content += one.decompress(view[position : position + slice_bytes])
            position = min(position + slice_bytes, len(body))
            if len(content) > room:
                raise too_large(limit)
    except (zstandard.ZstdError, zlib.error):
        return bytes(content), None
    return bytes(content), position - len(one.unused_data) if one.eof else None
