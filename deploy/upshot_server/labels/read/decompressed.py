"""Reading gzip or zstd as a file that gives everything before a place where it is cut off or damaged, and then says so.

The libraries' own readers do not: one takes a file that was cut off for one that ends there, the other keeps back what it had read.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import zstandard

_CHUNK_BYTES = 16 * 1024
"""Read at once: gzip makes at most 17 MB of it."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Decompressed(io.RawIOBase):
    """The content of a file of one or more members (frames), one after the other.

    Raises EOFError at the end of a file that is cut off, ``zlib.error`` or ``zstandard.ZstdError`` at damage.
    """

    def __init__(self, compressed: BinaryIO, begin: Callable[[], Any]) -> None:
        self._compressed = compressed
        self._begin = begin
        self._member: Any = None
        self._rest = b""
        self._out = memoryview(b"")

    @classmethod
    def gzip(cls, compressed: BinaryIO) -> Decompressed:
        """Of a gzip file."""
        return cls(compressed, lambda: zlib.decompressobj(wbits=31))

    @classmethod
    def zstd(cls, compressed: BinaryIO) -> Decompressed:
        """Of a zstd file."""
        return cls(compressed, lambda: zstandard.ZstdDecompressor().decompressobj())

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as one step of the decompressor goes; 0 at the end of the last member."""
        while not self._out:
            chunk = self._rest or self._compressed.read(_CHUNK_BYTES)
            self._rest = b""
            if not chunk:
                if self._member is not None:
                    raise EOFError("the file ends within a member")
                return 0
            if self._member is None:
                chunk = chunk.lstrip(b"\0")  # some tools fill the last block of a tape, or of a gzip file, with zeros
                if not chunk:
                    continue
                self._member = self._begin()
            self._out = memoryview(self._member.decompress(chunk))
            if self._member.eof:
                self._rest = self._member.unused_data
                self._member = None
        size = min(len(self._out), len(buffer))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size
