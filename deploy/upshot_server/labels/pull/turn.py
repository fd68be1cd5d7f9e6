"""One turn of a pull: from a bit before the watermark to the newest row, noting the watermark behind each answered batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upshot.wire import LabelEvent
from upshot_joiner.store.keys import content_hash
from upshot_server.labels.batches import Batch, Rejected, add
from upshot_server.labels.books import Books
from upshot_server.labels.errors import Unreadable, WrongInput, printable
from upshot_server.labels.events import EventMaker
from upshot_server.labels.load import Preview, look
from upshot_server.labels.pull import watermark
from upshot_server.labels.pull.database import Database
from upshot_server.labels.pull.definition import PullDefinition
from upshot_server.labels.pull.notes import Notes
from upshot_server.labels.pull.watermark import Mark
from upshot_server.labels.rejected import RejectedFile
from upshot_server.labels.rows import Row
from upshot_server.labels.sender import LabelSender
from upshot_server.labels.settle import send_all

UNIT = "row"


@dataclass
class Turned:
    """What became of one turn."""

    name: str
    books: Books = field(default_factory=Books)
    after: Mark | None = None
    """From where it read."""
    watermark: Mark | None = None
    """Up to where the next one need not read."""
    in_the_future: int = 0
    """Rows that claim to be from later than tomorrow; they are sent and do not move the watermark."""
    rejected_file: Path | None = None
    ignored_columns: list[str] = field(default_factory=list)


class Pull:
    """A named pull of one database."""

    def __init__(
        self,
        name: str,
        definition: PullDefinition,
        *,
        stopped: threading.Event | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._definition = definition
        self._rules = definition.rules()
        self._overlap = definition.read_again()
        self._database = Database(definition.url())
        self._stopped = stopped or threading.Event()
        """Set: a turn ends behind the batch that is under way."""
        self._now = now
        self._mark: Mark | None = None
        """Of the row that was read last."""

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def turn(
        self, sender: LabelSender, notes: Notes, rejected_path: Path, restart: bool, tell: Callable[[Books, int], None]
    ) -> Turned:
        """Read what is new and send it. Raises NotNow, WrongInput, Unreadable, ServerRefused; answered batches stay noted."""
        noted = None if restart else notes.read()
        turned = Turned(self.name, after=self._after(noted), watermark=noted)
        rejected = RejectedFile(rejected_path, UNIT, appends=True)

        def settled(batch: Batch, books: Books, refused: list[Rejected]) -> None:
            turned.books += books
            if refused:
                rejected.add(
                    refused,
                    {
                        place: {"watermark": watermark.shown(mark) if mark is not None else ""}
                        for place, mark in batch.marks.items()
                    },
                )
                turned.rejected_file = rejected_path
            if batch.mark is not None and batch.mark != turned.watermark:
                notes.write(batch.mark)
                turned.watermark = batch.mark
            tell(turned.books, 0)

        try:
            with self._database.rows(self._statement(turned.after)) as (columns, rows):
                at = self._watermark_of(columns)
                maker = self._maker(columns)
                turned.ignored_columns = [name for name in maker.resolved.ignored if name != self._definition.watermark]
                send_all(self._batches(at, rows, maker, turned), sender, maker.resolved, settled)
        finally:
            rejected.close()
        turned.books.check()
        return turned

    def preview(self, noted: Mark | None, n_first: int) -> Preview:
        """What a turn would store; nothing is sent, and no watermark noted."""
        found = Preview(self.name)
        with self._database.rows(self._statement(self._after(noted))) as (columns, rows):
            at = self._watermark_of(columns)
            maker = self._maker(columns)
            found.ignored_columns = [name for name in maker.resolved.ignored if name != self._definition.watermark]
            for number, cells in enumerate(rows, 1):
                self._mark = watermark.of_cell(cells[at])
                batch = Batch()
                look(Row(number, cells), batch, maker, UNIT, found, n_first)
                found.books += batch.books
        return found

    def _after(self, noted: Mark | None) -> Mark | None:
        if noted is not None:
            return watermark.earlier(noted, self._overlap)
        if self._definition.since:
            return self._database.since(self._definition.since)
        if self._definition.query:
            raise WrongInput(
                "the first turn of a query begins somewhere: say where with --since 1970-01-01, or --since 0"
            )
        return None

    def _statement(self, after: Mark | None) -> Any:
        definition = self._definition
        if definition.query:
            return self._database.query(definition.query, after if after is not None else "")
        return self._database.table(definition.table, definition.db_schema, definition.watermark, after)

    def _maker(self, columns: Sequence[str]) -> EventMaker:
        def id_of(event: LabelEvent, _: int) -> str:
            mark = "" if self._mark is None else watermark.encode(self._mark)
            return f"pull:{content_hash([self.name, mark, event]):032x}"

        return self._rules.maker(columns, are_text=False, id_of=id_of)

    def _watermark_of(self, columns: Sequence[str]) -> int:
        name = self._definition.watermark
        if name not in columns:
            raise WrongInput(f"the query gives no column {printable(name)}, which is to be its watermark")
        return list(columns).index(name)

    def _batches(self, at: int, rows: Iterator[Sequence[Any]], maker: EventMaker, turned: Turned) -> Iterator[Batch]:
        """Rows in batches. A batch is complete up to the last mark behind which another one came: ties may be cut in two."""
        batch = Batch()
        complete: Mark | None = None
        latest: Mark | None = None
        for number, cells in enumerate(rows, 1):
            mark = self._mark = watermark.of_cell(cells[at])
            if mark is not None and watermark.is_in_the_future(mark, self._now()):
                turned.in_the_future += 1
            elif mark is not None:
                if latest is not None and mark != latest:
                    if watermark.is_before(mark, latest):
                        raise Unreadable(
                            f"the rows are not in the order of {printable(self._definition.watermark)}: ORDER BY it"
                        )
                    complete = latest
                latest = mark
            add(batch, Row(number, cells), maker)
            batch.marks[number] = mark
            if batch.is_full:
                batch.mark = complete
                yield batch
                batch = Batch()
                if self._stopped.is_set():
                    return
        batch.mark = latest
        yield batch
