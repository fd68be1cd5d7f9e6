"""Lines of a stream of bytes, counted, bounded, and able to be read again."""

from __future__ import annotations

from collections import deque

from upshot_server.labels.errors import WrongInput
from upshot_server.labels.read.opened import DAMAGE, Opened, damaged
from upshot_server.labels.rows import Position

MAX_ROW_BYTES = 1024 * 1024
"""A longer row is no row: the longest value has 64 Ki characters."""
BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class RowTooLong(Exception):  # the flow of a reader, not an error of ours
    """More bytes than a row may have."""


class Lines:
    """An iterator of lines as text, which knows where each began.

    :meth:`begin` starts a row; a row takes lines until :meth:`end` (all of them were the row) or :meth:`refuse` (only the
    first was, the others are read again).
    """

    def __init__(self, opened: Opened, encoding: str) -> None:
        self._opened = opened
        self._stream = opened.stream
        self._encoding = encoding
        self._again: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self._taken_bytes = 0
        self.position = Position()
        """The end of the last row."""
        self.bad_byte: int | None = None
        """Offset of the first byte of this row that is no text."""
        self._is_first = True

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._line()
        if not line:
            raise StopIteration
        self._taken.append(line)
        self._taken_bytes += len(line)
        if self._taken_bytes > MAX_ROW_BYTES:
            raise RowTooLong
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as error:
            if self.bad_byte is None:
                self.bad_byte = self.position.offset + self._taken_bytes - len(line) + error.start
            return line.decode(self._encoding, "replace")

    def begin(self) -> None:
        """The next line begins a row."""
        self._taken = []
        self._taken_bytes = 0
        self.bad_byte = None

    def end(self) -> None:
        """The lines taken since :meth:`begin` were a row."""
        self.position = Position(self.position.offset + self._taken_bytes, self.position.place + len(self._taken))

    def refuse(self) -> None:
        """Only the first line taken is given up; the others are read again."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        length = len(first)
        if not first.endswith(b"\n"):
            length += self._skip_line() if len(first) > MAX_ROW_BYTES else 0
        self.position = Position(self.position.offset + length, self.position.place + 1)

    def move_to(self, position: Position) -> None:
        """Go on at a position that an earlier run noted."""
        try:
            self._opened.move_to(position.offset, self.position.offset)
        except DAMAGE as error:
            raise damaged() from error
        self.position = position

    def _line(self) -> bytes:
        if self._again:
            return self._again.popleft()
        line = self._read(MAX_ROW_BYTES + 1)
        if self._is_first:
            self._is_first = False
            if line[:2] in _UTF_16:
                raise WrongInput("the file is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8")
            if line.startswith(BOM):
                self.position = Position(len(BOM), 0)
                line = line[len(BOM) :]
        return line

    def _skip_line(self) -> int:
        skipped = 0
        while part := self._read(MAX_ROW_BYTES):
            skipped += len(part)
            if part.endswith(b"\n"):
                break
        return skipped

    def _read(self, most: int) -> bytes:
        try:
            return self._stream.readline(most)
        except DAMAGE as error:
            raise damaged() from error
