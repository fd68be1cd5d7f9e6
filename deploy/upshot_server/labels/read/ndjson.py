"""NDJSON: one JSON object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from upshot_server.labels.errors import WrongInput
from upshot_server.labels.read.lines import Lines, RowTooLong
from upshot_server.labels.read.opened import Opened
from upshot_server.labels.rows import BadRow, Position, Row


class NdjsonRows:
    """Rows whose cells have the types of JSON, and names of their own."""

    unit = "line"
    are_text = False
    columns: Sequence[str] | None = None

    def __init__(self, opened: Opened) -> None:
        self._lines = Lines(opened, "utf-8")

    @property
    def position(self) -> Position:
        """The end of the last row."""
        return self._lines.position

    def read(self, needed: Sequence[str], start: Position) -> Iterator[Row | BadRow]:
        """All rows from ``start`` on; blank lines are none."""
        lines = self._lines
        if start.offset:
            lines.move_to(start)
        while True:
            place = lines.position.place + 1
            lines.begin()
            try:
                text = next(lines)
            except StopIteration:
                return
            except RowTooLong:
                lines.refuse()
                yield BadRow(place, "too_long")
                continue
            lines.end()
            if lines.bad_byte is not None:
                yield BadRow(place, "invalid_unicode", byte=lines.bad_byte)
            elif text.strip():
                yield _row(place, text)


def _row(place: int, text: str) -> Row | BadRow:
    try:
        cells = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            cells = json.loads(text)  # takes NaN, and lone surrogates
            text.encode()
            json.dumps(cells, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return BadRow(place, "invalid_unicode")
        except RecursionError:
            return BadRow(place, "too_deep")
        except ValueError as error:
            if place == 1 and text.lstrip().startswith("["):
                raise WrongInput("the file is one JSON list; make lines of it first: jq -c '.[]'") from error
            return BadRow(place, "invalid_json")
    if not isinstance(cells, dict):
        if place == 1 and isinstance(cells, list):
            raise WrongInput("the file is one JSON list; make lines of it first: jq -c '.[]'")
        return BadRow(place, "wrong_type")
    return Row(place, cells)
