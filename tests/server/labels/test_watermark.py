"""What a watermark is, and what a bit before it is, in each form that drivers give."""

# ruff: noqa: DTZ001  # databases give times without a zone

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from upshot_server.labels.errors import Unreadable
from upshot_server.labels.pull.watermark import Mark, Overlap, decode, earlier, encode, is_before, is_in_the_future

HOUR = Overlap(time=timedelta(hours=1), count=10)
NONE = Overlap(time=timedelta(0), count=0)
EAST = timezone(timedelta(hours=2))

MARKS: list[tuple[Mark, Mark, Mark]] = [
    (datetime(2026, 11, 1, 0, 30), datetime(2026, 10, 31, 23, 30), datetime(2026, 11, 1, 0, 29, 59, 999999)),
    (
        datetime(2026, 11, 1, 12, tzinfo=EAST),
        datetime(2026, 11, 1, 11, tzinfo=EAST),
        datetime(2026, 11, 1, 11, 59, 59, 999999, tzinfo=EAST),
    ),
    (date(2026, 11, 1), date(2026, 10, 31), date(2026, 10, 31)),
    (100, 90, 99),
    (2.5, -7.5, 1.5),
    ("2026-11-01 00:30:00", "2026-10-31 23:30:00", "2026-11-01 00:29:59.999999"),
    ("2026-11-01T00:30:00.250Z", "2026-10-31T23:30:00.250000Z", "2026-11-01T00:30:00.249999Z"),
    ("2026-11-01 00:30:00.000000", "2026-10-31 23:30:00.000000", "2026-11-01 00:29:59.999999"),
    ("2026-11-01", "2026-10-31", "2026-10-31"),
    ("order-17", "order-17", "order-17"),
]


@pytest.mark.parametrize(("mark", "hour", "least"), MARKS, ids=lambda mark: str(mark))
def test_a_turn_begins_before_the_mark_in_the_marks_own_form(mark: Mark, hour: Mark, least: Mark) -> None:
    assert earlier(mark, HOUR) == hour
    assert earlier(mark, NONE) == least
    if mark != least:
        assert least < mark  # type: ignore[operator]


@pytest.mark.parametrize("mark", [mark for mark, _, _ in MARKS], ids=str)
def test_a_mark_comes_back_from_the_server_as_it_was(mark: Mark) -> None:
    assert decode(encode(mark)) == mark
    assert type(decode(encode(mark))) is type(mark)


def test_marks_without_a_common_order_are_an_error() -> None:
    with pytest.raises(Unreadable):
        is_before(1, datetime(2026, 1, 1))
    with pytest.raises(Unreadable):
        is_before(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC))


def test_only_times_of_after_tomorrow_are_in_the_future() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    ahead: list[Mark] = [datetime(9999, 1, 1), date(2027, 1, 1), "2026-12-01 00:00:00"]
    assert all(is_in_the_future(mark, now) for mark in ahead)
    fine: list[Mark] = [datetime(2026, 11, 1, 20), "2026-11-01", "z", 10**15, date(2026, 11, 1)]
    assert not any(is_in_the_future(mark, now) for mark in fine)
