"""Parameters that several routes take: moments, lengths of time, model versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query

from upshot_joiner.config import parse_duration
from upshot_joiner.errors import Problem

Moment = Annotated[datetime | None, Query(description="RFC 3339; without an offset, UTC")]
Version = Annotated[str | None, Query(description="One model version; all together otherwise")]

EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def moment(given: datetime | None, loc: str) -> datetime | None:
    """A moment of a query, in UTC; raises a 422 :class:`Problem` that names the parameter ``loc`` when it is out of range."""
    if given is None:
        return None
    given = given.replace(tzinfo=UTC) if given.tzinfo is None else given
    if not EARLIEST <= given <= LATEST:
        raise Problem(
            422, "invalid_moment", "A moment lies between 1980 and 2100.", [{"loc": loc, "code": "out_of_range"}]
        )
    return given.astimezone(UTC)


def duration(given: str | None, loc: str, *, least: timedelta = timedelta(microseconds=1)) -> timedelta | None:
    """A length of time of a query; raises a 422 :class:`Problem` that names the parameter ``loc`` when it is none."""
    if given is None:
        return None
    try:
        length = parse_duration(given)
    except (ValueError, OverflowError):
        length = None
    if not isinstance(length, timedelta) or not least <= length <= timedelta(days=3650):
        raise Problem(
            422,
            "invalid_duration",
            "A duration is a number and a unit, such as 1h or 7d.",
            [{"loc": loc, "code": "invalid"}],
        )
    return length
