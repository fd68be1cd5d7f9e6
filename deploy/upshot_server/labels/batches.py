"""Rows in, batches of encoded events out: as large as a request should be, each with the position where it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from upshot.wire import LabelEvent
from upshot_server.labels.books import Books
from upshot_server.labels.errors import Unreadable
from upshot_server.labels.events import EventMaker
from upshot_server.labels.rows import BadRow, Position, Row, Rows

MAX_EVENTS = 10_000
"""Half of what the server stores in one group."""
MAX_BYTES = 8 * 1024 * 1024
"""Encoded, not yet compressed: an eighth of what the server takes."""
MAX_ROWS = 100_000
"""So that rows without an event (empty cells) are noted as read too."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One event that was not stored, by its place."""

    place: int
    code: str
    loc: str
    column: str | None = None
    byte: int | None = None

    def line(self, unit: str) -> dict[str, Any]:
        """As it is listed: never with the value."""
        found: dict[str, Any] = {unit: self.place, "code": self.code, "loc": self.loc}
        if self.column is not None:
            found["column"] = self.column
        if self.byte is not None:
            found["byte"] = self.byte
        return found


@dataclass(slots=True)
class Batch:
    """What one request brings, and what of the same rows was settled before it was sent."""

    events: list[bytes] = field(default_factory=list)
    """MessagePack."""
    places: list[int] = field(default_factory=list)
    """Of each event."""
    names: list[str] = field(default_factory=list)
    """Of each event, in the wide form."""
    rejected: list[Rejected] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    """``rows``, ``read``, ``rejected`` and ``skipped`` of what was settled here."""
    end: Position = field(default_factory=Position)
    mark: Any = None
    """Of a database: up to which watermark everything is sent with this batch."""
    marks: dict[int, Any] = field(default_factory=dict)
    """Of a database: the watermark of each row."""
    n_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to send it."""
        return len(self.events) >= MAX_EVENTS or self.n_bytes >= MAX_BYTES or self.books.rows >= MAX_ROWS


_ENCODER = msgspec.msgpack.Encoder()


def add(batch: Batch, row: Row | BadRow, maker: EventMaker) -> list[LabelEvent]:
    """Put the events of a row into a batch; also returns them."""
    books = batch.books
    books.rows += 1
    books.read += maker.width
    if isinstance(row, BadRow):
        names: Sequence[str | None] = maker.resolved.value_columns or [None]
        batch.rejected += [Rejected(row.place, row.code, row.loc, name, row.byte) for name in names]
        books.rejected += maker.width
        return []
    made = maker.make(row.cells, row.place)
    books.skipped += made.skipped
    for code, loc, column in made.refused:
        books.rejected += 1
        batch.rejected.append(Rejected(row.place, code, loc, column))
    kept = []
    for event in made.events:
        try:
            encoded = _ENCODER.encode(event)
        except UnicodeEncodeError:
            books.rejected += 1
            batch.rejected.append(Rejected(row.place, "invalid_unicode", ""))
            continue
        batch.events.append(encoded)
        batch.places.append(row.place)
        batch.names.append(event.name)
        batch.n_bytes += len(encoded)
        kept.append(event)
    return kept


def batches(rows: Rows, found: Iterable[Row | BadRow], maker: EventMaker) -> Iterator[Batch]:
    """The rows of a file in batches; the last one may be small, and there is at least one.

    At a place from which the file cannot be read, first what came before it is given, then Unreadable is raised.
    """
    batch = Batch()
    damage: Unreadable | None = None
    try:
        for row in found:
            add(batch, row, maker)
            if batch.is_full:
                batch.end = rows.position
                yield batch
                batch = Batch()
    except Unreadable as error:
        damage = error
    batch.end = rows.position
    yield batch
    if damage is not None:
        raise damage
