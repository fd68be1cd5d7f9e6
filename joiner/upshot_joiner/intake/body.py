"""The bytes of a request, decompressed within a limit."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import zstandard

from upshot_joiner.errors import Problem

MAX_BODY_BYTES = 16 * 1024 * 1024
"""As sent. Ten thousand events of thirty features are about 2 MB compressed."""
MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024
"""zstd can pack 32,000 bytes into one, so the limit is on what comes out, counted while it comes out."""
_ZSTD_SLICE = 512
"""Bytes of zstd given to the decompressor at once: what comes out of them is at most 16 MB."""


def too_large(limit: int) -> Problem:
    """The answer to a body over its limit."""
    return Problem(
        413,
        "body_too_large",
        f"The body is larger than {limit // (1024 * 1024)} MiB; send it in smaller batches.",
        [{"loc": "body", "code": "too_large"}],
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


def decompress(body: bytes, encoding: str, limit: int = MAX_DECOMPRESSED_BYTES) -> bytes:
    """Undo ``Content-Encoding`` (``gzip``, ``zstd`` or none); never holds more than ``limit`` bytes of result."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding == "zstd":
        return _zstd(body, limit)
    if encoding in ("gzip", "x-gzip"):
        return _gzip(body, limit)
    raise Problem(
        415,
        "unsupported_encoding",
        "Content-Encoding must be gzip, zstd or identity.",
        [{"loc": "header.content-encoding", "code": "unsupported"}],
    )


def _zstd(body: bytes, limit: int) -> bytes:
    result = bytearray()
    rest = body
    try:
        while rest:
            frame = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).decompressobj()
            view = memoryview(rest)
            position = 0
            while position < len(rest) and not frame.eof:
                result += frame.decompress(view[position : position + _ZSTD_SLICE])
                position += _ZSTD_SLICE
                if len(result) > limit:
                    raise too_large(limit)
            if not frame.eof:
                raise _corrupt()
            rest = frame.unused_data + rest[position:]
    except zstandard.ZstdError as error:
        raise _corrupt() from error
    return bytes(result)


def _gzip(body: bytes, limit: int) -> bytes:
    result = bytearray()
    rest = body
    try:
        while rest:
            member = zlib.decompressobj(wbits=31)
            result += member.decompress(rest, limit - len(result) + 1)
            if len(result) > limit:
                raise too_large(limit)
            if not member.eof:
                raise _corrupt()
            rest = member.unused_data
    except zlib.error as error:
        raise _corrupt() from error
    return bytes(result)


def _corrupt() -> Problem:
    return Problem(
        400,
        "corrupt_body",
        "The body cannot be decompressed as its Content-Encoding says.",
        [{"loc": "body", "code": "corrupt"}],
    )
