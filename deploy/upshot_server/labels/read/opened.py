"""Opening a file or standard input: what compresses it, which format it has, how far it is read."""

from __future__ import annotations

import io
import tempfile
import zlib
from pathlib import Path
from shutil import copyfileobj
from types import TracebackType
from typing import BinaryIO, Literal, cast

import zstandard

from upshot_server.labels.errors import Unreadable, WrongInput
from upshot_server.labels.read.decompressed import GZIP_MAGIC, ZSTD_MAGIC, Decompressed

Format = Literal["csv", "ndjson", "parquet"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_COMPRESSIONS = (".gz", ".zst", ".zstd")
_BUFFER_BYTES = 1024 * 1024
_DISCARD_BYTES = 1024 * 1024

DAMAGE = (EOFError, zlib.error, zstandard.ZstdError)
"""How the decompressors say that a file is cut off or damaged."""


class Opened:
    """A source of bytes: compressed or not, a file or a pipe."""

    def __init__(self, raw: BinaryIO, path: Path | None) -> None:
        self.path = path
        self.size = path.stat().st_size if path is not None else None
        """Bytes as stored; None of a pipe."""
        self._raw = raw
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
        start = buffered.peek(4)[:4]
        self.is_compressed = True
        self.stream: BinaryIO
        """The bytes, decompressed."""
        if start.startswith(GZIP_MAGIC):
            self.stream = cast(BinaryIO, io.BufferedReader(Decompressed.gzip(buffered), _BUFFER_BYTES))
        elif start == ZSTD_MAGIC:
            self.stream = cast(BinaryIO, io.BufferedReader(Decompressed.zstd(buffered), _BUFFER_BYTES))
        else:
            self.stream = buffered
            self.is_compressed = False
        self._buffered = buffered

    @classmethod
    def file(cls, path: Path) -> Opened:
        """Open a file. Raises WrongInput when it cannot be."""
        try:
            if not path.is_file():
                raise WrongInput(f"{path}: no such file")
            return cls(path.open("rb", _BUFFER_BYTES), path)
        except OSError as error:
            raise WrongInput(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._raw.close()

    @property
    def consumed(self) -> int:
        """Bytes, as stored, that are read so far; 0 of a pipe."""
        return self._buffered.tell() if self.path is not None else 0

    def move_to(self, offset: int, at: int) -> None:
        """Go on at ``offset`` (of the decompressed bytes), from ``at`` where the stream is now."""
        if not self.is_compressed and self._buffered.seekable():
            self._buffered.seek(offset)
            return
        while at < offset:
            passed = len(self.stream.read(min(_DISCARD_BYTES, offset - at)))
            if not passed:
                raise Unreadable("the file ends before the place where an earlier run stopped; use --restart")
            at += passed

    def seekable(self) -> BinaryIO:
        """The decompressed bytes as a file in which a reader may jump, which takes a temporary file where they are compressed."""
        if not self.is_compressed and self._buffered.seekable():
            return self.stream
        copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # closed with the reader that jumps in it
        copyfileobj(self.stream, copy)
        copy.seek(0)
        return copy

    def format(self, given: Format | None) -> Format:
        """Of its content: as given, by the name of the file, or by the first character. Raises WrongInput."""
        if given is not None:
            return given
        if self.path is not None:
            name = self.bare_name
            suffix = Path(name).suffix.lower()
            if suffix not in _FORMATS:
                raise WrongInput(f"{self.path}: its name does not say what it is; use --format csv, ndjson or parquet")
            return _FORMATS[suffix]
        start = cast(io.BufferedReader, self.stream).peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(b"PAR1"):
            return "parquet"
        return "ndjson" if start.startswith(b"{") else "csv"

    @property
    def bare_name(self) -> str:
        """The file's name without the suffix of its compression; ``-`` of a pipe."""
        if self.path is None:
            return "-"
        name = self.path.name
        return name.rsplit(".", 1)[0] if name.lower().endswith(_COMPRESSIONS) else name


def damaged() -> Unreadable:
    """What is said of :data:`DAMAGE`."""
    return Unreadable("the file is cut off or damaged: it cannot be decompressed to its end")
