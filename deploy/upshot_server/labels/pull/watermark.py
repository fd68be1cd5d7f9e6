"""Watermarks: up to where a query is read, as the database's driver gives it, and a bit earlier.

A database may commit a row whose time is earlier than one that was read already, and several rows may have the same time. So a turn
begins ``overlap`` before the watermark: what it reads again are duplicates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from upshot_joiner.config import parse_duration
from upshot_server.labels.errors import Unreadable, WrongInput, printable

Mark = datetime | date | int | float | str

MICROSECOND = timedelta(microseconds=1)
FUTURE = timedelta(days=1)
"""A row that claims to be from later than this (a mistyped year) does not move the watermark: all others would be passed over."""

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:(?P<between>[ T])\d\d:\d\d(?::\d\d)?(?P<fraction>\.\d{1,9})?(?P<zone>Z|[+-]\d\d:?\d\d)?)?\Z"
)


@dataclass(frozen=True)
class Overlap:
    """How far before the watermark a turn begins."""

    time: timedelta = timedelta(hours=1)
    count: int = 1000
    """Where the watermark is a number."""

    @classmethod
    def parse(cls, text: str) -> Overlap:
        """``1h``, or ``1000`` where the watermark is a number. Raises WrongInput."""
        if not text:
            return cls()
        if text.isdecimal():
            return cls(count=int(text), time=timedelta(seconds=int(text)) if text == "0" else cls.time)
        try:
            found = parse_duration(text)
        except ValueError as error:
            raise WrongInput(f"--overlap: {error}; or a whole number where the watermark is one") from error
        assert isinstance(found, timedelta)  # noqa: S101  # of a text it is
        return cls(time=found)


def of_cell(cell: object) -> Mark | None:
    """A cell of the watermark column. Raises Unreadable for a type that has no order a watermark can have."""
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    if cell is None:
        return None
    if isinstance(cell, bool) or not isinstance(cell, datetime | date | int | float | str):
        raise Unreadable(f"a watermark must be a time, a number or a text, not {type(cell).__name__}")
    return cell


def of_text(text: str) -> Mark:
    """Where a first turn begins, as it is typed: a number, a time, or a text."""
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if _ISO.match(text):
        return datetime.fromisoformat(text)
    return text


def is_before(first: Mark, second: Mark) -> bool:
    """Whether ``first`` is certainly less: texts that are no times are ordered by rules only their database knows."""
    if isinstance(first, str) and not (_ISO.match(first) and isinstance(second, str) and _ISO.match(second)):
        return False
    try:
        return first < second  # type: ignore[operator]
    except TypeError as error:
        raise Unreadable("the watermark column holds values of different types, which have no order") from error


def earlier(mark: Mark, overlap: Overlap) -> Mark:
    """``overlap`` before a mark, in the mark's own form; at least the least step, so that ``>`` reads its ties again."""
    step = max(overlap.time, MICROSECOND)
    if isinstance(mark, datetime):
        return mark - step
    if isinstance(mark, date):
        return mark - timedelta(days=max(1, -(-overlap.time // timedelta(days=1))))
    if isinstance(mark, int | float):
        return mark - max(overlap.count, 1)
    return _earlier_text(mark, step)


def is_in_the_future(mark: Mark, now: datetime) -> bool:
    """Whether a mark is a time that cannot be: more than a day ahead."""
    if isinstance(mark, str):
        found = of_text(mark)
        return not isinstance(found, str | int) and is_in_the_future(found, now)
    if isinstance(mark, datetime):
        return (mark if mark.tzinfo is not None else mark.replace(tzinfo=UTC)) > now + FUTURE
    return isinstance(mark, date) and mark > (now + FUTURE).date()


def encode(mark: Mark) -> dict[str, str]:
    """As the server keeps it."""
    if isinstance(mark, datetime):
        return {"kind": "datetime", "value": mark.isoformat()}
    if isinstance(mark, date):
        return {"kind": "date", "value": mark.isoformat()}
    kind = "text" if isinstance(mark, str) else "int" if isinstance(mark, int) else "float"
    return {"kind": kind, "value": str(mark)}


def decode(kept: dict[str, str]) -> Mark:
    """The inverse of :func:`encode`."""
    kind, value = kept["kind"], kept["value"]
    if kind == "datetime":
        return datetime.fromisoformat(value)
    if kind == "date":
        return date.fromisoformat(value)
    return int(value) if kind == "int" else float(value) if kind == "float" else value


def shown(mark: Mark | None) -> str:
    """For a person, and for the list of what was rejected."""
    return "the beginning" if mark is None else printable(encode(mark)["value"])


def _earlier_text(text: str, step: timedelta) -> str:
    """A time that a database keeps as text (SQLite does), moved back in its own spelling: it is compared letter by letter."""
    found = _ISO.match(text)
    if found is None:
        return text
    moment = datetime.fromisoformat(text) - step
    if found["between"] is None:
        return moment.date().isoformat()
    digits = max(len(found["fraction"] or ".") - 1, 6 if moment.microsecond else 0)
    fraction = f".{moment.microsecond:06d}000"[: digits + 1] if digits else ""
    return f"{moment:%Y-%m-%d}{found['between']}{moment:%H:%M:%S}{fraction}{found['zone'] or ''}"
