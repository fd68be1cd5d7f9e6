"""The arrival feed: late, repeated, corrected, and the same for a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from upshot_server.demo.feed import REPEATED, REVISED, Event, Feed
from upshot_server.demo.flights import Flight

START = datetime(2013, 5, 1, 12, tzinfo=UTC)
FLIGHT = Flight("", "UA", 1, None, "EWR", "ORD", START, 719, None, 0, None, None)
END = START + timedelta(days=400)


def landing(number: int) -> Flight:
    return replace(FLIGHT, flight_id=f"f{number}", lands=START + timedelta(minutes=number), late=number % 2)


def told(flights: Iterable[Flight], seed: int = 1) -> list[Event]:
    feed = Feed(seed)
    for flight in flights:
        feed.expect(flight, f"r-{flight.flight_id}")
    return list(feed.due(END))


def test_nothing_is_told_before_the_landing() -> None:
    feed = Feed(1)
    flight = landing(90)
    feed.expect(flight, "r")
    assert flight.lands is not None
    assert list(feed.due(flight.lands - timedelta(microseconds=1))) == []
    assert [event["request_id"] for event in feed.due(flight.lands)] == ["r"]
    assert list(feed.due(flight.lands)) == []


def test_a_flight_that_never_lands_gets_no_label() -> None:
    assert told([FLIGHT]) == []


@pytest.fixture(scope="module")
def year() -> list[Event]:
    return told(landing(number) for number in range(20_000))


def test_the_last_statement_of_every_flight_is_the_truth(year: list[Event]) -> None:
    """Whatever the order of arrival: the latest by observed_at, as the join's rule `last` sees it."""
    last: dict[str, Event] = {}
    for event in sorted(year, key=lambda event: str(event["observed_at"])):
        last[str(event["request_id"])] = event
    assert {request: event["value"] for request, event in last.items()} == {f"r-f{n}": n % 2 for n in range(20_000)}


def test_repeats_are_identical_and_as_frequent_as_documented(year: list[Event]) -> None:
    times = Counter(str(event["label_id"]) for event in year)
    assert set(times.values()) == {1, 2}
    assert sum(1 for count in times.values() if count == 2) / 20_000 == pytest.approx(REPEATED, rel=0.15)
    by_id: dict[str, Event] = {}
    assert all(by_id.setdefault(str(event["label_id"]), event) == event for event in year)


def test_corrections_come_within_four_hours_and_as_often_as_documented(year: list[Event]) -> None:
    by_id = {str(event["label_id"]): event for event in year}
    corrections = [event for label_id, event in by_id.items() if label_id.endswith("/2")]
    assert len(corrections) / 20_000 == pytest.approx(REVISED, rel=0.25)
    for event in corrections:
        first = by_id[str(event["label_id"]).replace("/2", "/1")]
        assert first["value"] == 1 - int(event["value"])
        wait = datetime.fromisoformat(str(event["observed_at"])) - datetime.fromisoformat(str(first["observed_at"]))
        assert timedelta(minutes=30) <= wait <= timedelta(hours=4)


def test_the_same_seed_tells_the_same_story() -> None:
    flights = [landing(number) for number in range(500)]
    assert told(flights, seed=7) == told(flights, seed=7)
    assert told(flights, seed=7) != told(flights, seed=8)


def test_a_cancelled_flight_changes_nothing_for_the_others() -> None:
    flights = [landing(number) for number in range(500)]
    without = [event for event in told(flights) if not str(event["label_id"]).startswith("f250/")]
    flights[250] = replace(flights[250], lands=None, late=None)
    assert told(flights) == without
