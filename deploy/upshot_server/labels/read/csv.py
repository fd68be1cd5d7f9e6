"""CSV, row by row, with the line of every row and with every bad row by itself.

Python's csv module parses: unlike the faster readers of whole columns it says at which line a row began, and goes on behind a bad
one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from upshot_server.labels.errors import WrongInput
from upshot_server.labels.read.lines import Lines, RowTooLong
from upshot_server.labels.read.opened import Opened
from upshot_server.labels.rows import BadRow, Position, Row


class CsvRows:
    """The rows below the header. A field may hold line breaks when it is quoted; quotes are doubled within."""

    unit = "line"
    are_text = True

    def __init__(self, opened: Opened, *, delimiter: str, encoding: str) -> None:
        self._lines = Lines(opened, _checked(encoding))
        try:
            self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        except (TypeError, ValueError) as error:
            raise WrongInput("--delimiter must be one character, not a quote or a line break") from error
        self._columns = self._header()

    @property
    def columns(self) -> Sequence[str]:
        """As the file names them."""
        return self._columns

    @property
    def position(self) -> Position:
        """The end of the last row."""
        return self._lines.position

    def read(self, needed: Sequence[str], start: Position) -> Iterator[Row | BadRow]:
        """All rows from ``start`` on. A row has as many cells as the header; blank lines are none."""
        lines, reader, width = self._lines, self._reader, len(self._columns)
        if start.offset:
            lines.move_to(start)
        while True:
            place = lines.position.place + 1
            lines.begin()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, RowTooLong) as error:
                lines.refuse()
                yield BadRow(place, "too_long" if isinstance(error, RowTooLong) else "invalid_csv")
                continue
            lines.end()
            if lines.bad_byte is not None:
                yield BadRow(place, "invalid_unicode", byte=lines.bad_byte)
            elif len(cells) == width:
                yield Row(place, cells)
            elif cells:
                yield BadRow(place, "column_count")

    def _header(self) -> list[str]:
        cells: list[str] = []
        while not cells:
            self._lines.begin()
            try:
                cells = next(self._reader)
            except StopIteration:
                raise WrongInput("the file has no header") from None
            except (csv.Error, RowTooLong) as error:
                raise WrongInput(f"the header, line {self._lines.position.place + 1}, is no CSV") from error
            self._lines.end()
        if self._lines.bad_byte is not None:
            raise WrongInput(
                f"the header is not in the encoding of the file: byte {self._lines.bad_byte}; say which it is with --encoding"
            )
        return cells


def _checked(encoding: str) -> str:
    try:
        if ',"\n'.encode(encoding) == b',"\n':
            return encoding
    except LookupError:
        raise WrongInput("--encoding is not one that Python knows") from None
    raise WrongInput("--encoding must be one that holds ASCII as it is, such as utf-8, latin-1 or cp1252")
