"""IDs of deliveries: known for seven days of the server's clock, and only once the work was done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from upshot_joiner.clock import FixedClock
from upshot_joiner.errors import Problem
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.webhooks.remembered import Remembered
from upshot_joiner.store.client import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def remembered(store: Store, clock: FixedClock) -> Iterator[Remembered]:
    opened = Remembered(store, clock)
    opened.start()
    yield opened
    opened.close()


def deliver(remembered: Remembered, id_: str, body: bytes = b"{}") -> bool:
    """Whether a delivery had come before."""

    async def work() -> Answer:
        return Answer(accepted=1)

    answer, repeated = asyncio.run(remembered.once(id_, body, work))
    assert (answer.accepted, answer.duplicates) == (not repeated, repeated)
    return repeated


def test_an_id_is_known_for_seven_days(remembered: Remembered, clock: FixedClock, fresh: str) -> None:
    """Of the injected clock; after that it is new again, and known for another seven."""
    assert not deliver(remembered, fresh)
    clock.advance(timedelta(days=7) - timedelta(seconds=1))
    assert deliver(remembered, fresh)
    clock.advance(timedelta(seconds=1))
    assert not deliver(remembered, fresh)
    clock.advance(timedelta(days=6))
    assert deliver(remembered, fresh)


def test_what_is_older_leaves_the_table(remembered: Remembered, clock: FixedClock, store: Store, fresh: str) -> None:
    deliver(remembered, fresh)
    clock.advance(timedelta(days=8))
    deliver(remembered, f"{fresh}-later")
    [(oldest, ids)] = store.query("SELECT min(received_at), count() FROM webhook_ids")
    assert ids
    assert oldest > clock.now() - timedelta(days=7)


def test_another_body_under_a_known_id_is_a_conflict(remembered: Remembered, fresh: str) -> None:
    """For as long as the ID is known; the first body stays the one that counts."""
    deliver(remembered, fresh)
    with pytest.raises(Problem) as refused:
        deliver(remembered, fresh, b"{ }")
    assert (refused.value.status, refused.value.code) == (409, "id_conflict")
    assert deliver(remembered, fresh)


def test_a_delivery_that_failed_is_not_known(remembered: Remembered, fresh: str) -> None:
    async def fails() -> Answer:
        raise Problem(503, "store_unavailable", "Not now.")

    with pytest.raises(Problem):
        asyncio.run(remembered.once(fresh, b"{}", fails))
    assert not deliver(remembered, fresh)


def test_the_second_waits_for_the_first_and_takes_over_when_it_fails(remembered: Remembered, fresh: str) -> None:
    """Two at once: the work of the first fails, so the second does it; the third finds it done."""
    calls = []

    async def work() -> Answer:
        calls.append(len(calls))
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise Problem(503, "store_unavailable", "Not now.")
        return Answer(accepted=1)

    async def at_once() -> list[object]:
        return await asyncio.gather(*(remembered.once(fresh, b"{}", work) for _ in range(3)), return_exceptions=True)

    first, second, third = asyncio.run(at_once())
    assert isinstance(first, Problem)
    assert second == (Answer(accepted=1), False)
    assert third == (Answer(duplicates=1), True)
    assert calls == [0, 1]


@pytest.mark.parametrize("id_", ["'", "\\", "x' OR '1'='1", "{keys:String}", "a" * 256])
def test_an_id_is_data(remembered: Remembered, fresh: str, id_: str) -> None:
    assert not deliver(remembered, (fresh + id_.replace(" ", ""))[:256])
    assert deliver(remembered, (fresh + id_.replace(" ", ""))[:256])
