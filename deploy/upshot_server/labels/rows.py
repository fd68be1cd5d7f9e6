"""What reading a source gives: rows, and parts of it that are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Position(NamedTuple):
    """How far a source is read, so that a later run can go on there."""

    offset: int = 0
    """Bytes of text (after decompression), or rows, before the next row."""
    place: int = 0
    """Lines, or rows, before the next row."""


class Row(NamedTuple):
    """One row. ``cells`` is a list in the order of the columns, or a dict where each row names its own."""

    place: int
    """Its first line, or its number, from 1."""
    cells: Any


@dataclass(frozen=True, slots=True)
class BadRow:
    """A part of the source that is no row: refused by itself, and the next one is read."""

    place: int
    code: str
    loc: str = ""
    byte: int | None = None
    """Offset in the (decompressed) source of the byte that is wrong, from 0."""


class Rows(Protocol):
    """A source, read from front to back in bounded memory."""

    unit: str
    """What ``place`` counts: ``line`` or ``row``."""
    are_text: bool
    """Whether cells are text without a type."""

    @property
    def columns(self) -> Sequence[str] | None:
        """None where each row names its own."""

    def read(self, needed: Sequence[str], start: Position) -> Iterator[Row | BadRow]:
        """Rows from ``start`` on, as lists of the cells of ``columns`` (only those ``needed`` may be filled in)."""

    @property
    def position(self) -> Position:
        """The end of the row that was given last."""
