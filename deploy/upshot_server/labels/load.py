"""``upshot labels load``: one file from its first row, or from where an earlier run stopped, to its last."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from upshot.wire import LabelEvent
from upshot_joiner.intake.check import NotAccepted, check_label
from upshot_server.labels.batches import Batch, Rejected, add
from upshot_server.labels.batches import batches as in_batches
from upshot_server.labels.books import Books
from upshot_server.labels.errors import Unreadable
from upshot_server.labels.events import EventMaker, place_id
from upshot_server.labels.read.csv import CsvRows
from upshot_server.labels.read.ndjson import NdjsonRows
from upshot_server.labels.read.opened import Format, Opened
from upshot_server.labels.rejected import RejectedFile
from upshot_server.labels.resume import Bookmark, Progress
from upshot_server.labels.rows import BadRow, Position, Row, Rows
from upshot_server.labels.rules import Rules
from upshot_server.labels.sender import LabelSender
from upshot_server.labels.settle import send_all


@dataclass(frozen=True)
class FileRules:
    """How a file is read."""

    rules: Rules
    format: Format | None = None
    """None: by its name, or by its first character."""
    delimiter: str | None = None
    """None: a comma, or a tab in a file called ``.tsv``."""
    encoding: str = "utf-8"

    def options(self) -> dict[str, Any]:
        """What makes a load another one."""
        return self.rules.options() | {"file": [self.format, self.delimiter, self.encoding]}


@dataclass
class Loaded:
    """What became of one file."""

    file: str
    books: Books = field(default_factory=Books)
    resumed_at: int = 0
    """Lines (rows of Parquet) that an earlier run had done; 0: from the beginning."""
    rejected_file: Path | None = None
    ignored_columns: list[str] = field(default_factory=list)
    damage: str = ""
    """Why the rest of the file could not be read."""
    can_resume: bool = True
    """False where the state folder cannot be written."""
    unit: str = "line"


@dataclass
class Preview:
    """What a load would do: the first events as they would be stored, and counts of all rows."""

    file: str
    books: Books = field(default_factory=Books)
    events: int = 0
    """How many would be sent."""
    first: list[dict[str, Any]] = field(default_factory=list)
    first_rejected: list[dict[str, Any]] = field(default_factory=list)
    ignored_columns: list[str] = field(default_factory=list)


def open_rows(opened: Opened, how: FileRules) -> Rows:
    """The rows of a file or pipe. Raises WrongInput."""
    format_ = opened.format(how.format)
    if format_ == "parquet":
        from upshot_server.labels.read.parquet import ParquetRows  # loads pyarrow: only where it is needed

        return ParquetRows(opened)
    if format_ == "ndjson":
        return NdjsonRows(opened)
    delimiter = how.delimiter or ("\t" if opened.bare_name.lower().endswith(".tsv") else ",")
    return CsvRows(opened, delimiter=delimiter, encoding=how.encoding)


def load(
    opened: Opened,
    how: FileRules,
    sender: LabelSender,
    *,
    rejected_path: Path,
    bookmark: Bookmark | None,
    tell: Callable[[Books, int], None],
) -> Loaded:
    """Send every event of a file; ``tell`` hears the books and the bytes read so far after each answered batch.

    Without a bookmark (a pipe) a run that was stopped starts anew, which changes nothing but its duration. Raises what
    :meth:`LabelSender.send` raises; what was answered until then is in the bookmark.
    """
    rows = open_rows(opened, how)
    maker = _maker(rows, opened, how)
    before = bookmark.read() if bookmark is not None else None
    start = Position(before.offset, before.place) if before is not None else Position()
    loaded = Loaded(opened.bare_name if opened.path is None else str(opened.path), resumed_at=start.place)
    loaded.unit = rows.unit
    loaded.ignored_columns = list(maker.resolved.ignored)
    loaded.books = before.books if before is not None else Books()
    rejected = RejectedFile(rejected_path, rows.unit, before.rejected_bytes if before is not None else 0)

    def settled(batch: Batch, books: Books, refused: list[Rejected]) -> None:
        loaded.books += books
        rejected.add(refused)
        if bookmark is not None:
            bookmark.write(Progress(batch.end.offset, batch.end.place, loaded.books, rejected.size))
        tell(loaded.books, opened.consumed)

    try:
        send_all(in_batches(rows, rows.read(maker.resolved.needed, start), maker), sender, maker.resolved, settled)
        if bookmark is not None:
            bookmark.clear()
    except Unreadable as error:
        loaded.damage = str(error)
    finally:
        rejected.close()
    loaded.books.check()
    loaded.rejected_file = rejected_path if rejected.size else None
    loaded.can_resume = bookmark is None or bookmark.is_kept
    return loaded


def preview(opened: Opened, how: FileRules, n_first: int, tell: Callable[[Books, int], None]) -> Preview:
    """Read a whole file as :func:`load` would, send nothing and write nothing."""
    rows = open_rows(opened, how)
    maker = _maker(rows, opened, how)
    found = Preview(opened.bare_name if opened.path is None else str(opened.path))
    found.ignored_columns = list(maker.resolved.ignored)
    batch = Batch()
    for row in rows.read(maker.resolved.needed, Position()):
        look(row, batch, maker, rows.unit, found, n_first)
        if batch.is_full:
            found.books += batch.books
            batch = Batch()
            tell(found.books, opened.consumed)
    found.books += batch.books
    return found


def look(row: Row | BadRow, batch: Batch, maker: EventMaker, unit: str, found: Preview, n_first: int) -> None:
    """Add one row to a preview: the server's own check is made here."""
    refused_before = len(batch.rejected)
    for event in add(batch, row, maker):
        try:
            checked = check_label(event)
        except NotAccepted as reason:
            batch.books.rejected += 1
            batch.rejected.append(Rejected(row.place, reason.code, reason.loc, maker.resolved.column_of(reason.loc)))
            continue
        found.events += 1
        if len(found.first) < n_first:
            found.first.append(shown(event, checked.label_id))
    room = max(0, n_first - len(found.first_rejected))
    found.first_rejected += [one.line(unit) for one in batch.rejected[refused_before:][:room]]


def shown(event: LabelEvent, label_id: str) -> dict[str, Any]:
    """An event as it would be stored."""
    content: dict[str, Any] = json.loads(msgspec.json.encode(event))
    return content | {"op": event.op, "name": event.name, "label_id": label_id}


def _maker(rows: Rows, opened: Opened, how: FileRules) -> EventMaker:
    return how.rules.maker(rows.columns, are_text=rows.are_text, id_of=place_id(rows.unit, opened.bare_name))
