"""The moments of every flight: scheduled, landed, known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from upshot_server.demo import flights as year

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return year.load()


def timetable(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """A frame of (departure in UTC, destination, scheduled arrival HHMM over there)."""
    departs = pd.to_datetime([row[0] for row in rows], utc=True)
    return pd.DataFrame(
        {"departs": departs, "dest": [row[1] for row in rows], "sched_arr_time": [row[2] for row in rows]}
    )


@pytest.mark.parametrize(
    ("departs", "dest", "hhmm", "arrives"),
    [
        pytest.param("2013-01-01T10:15Z", "IAH", 819, "2013-01-01T14:19Z", id="to Houston, an hour behind"),
        pytest.param(
            "2013-07-01T03:59Z", "SJU", 340, "2013-07-01T07:40Z", id="overnight to Puerto Rico, same clock in summer"
        ),
        pytest.param(
            "2013-01-02T04:59Z", "SJU", 437, "2013-01-02T08:37Z", id="overnight to Puerto Rico, an hour ahead in winter"
        ),
        pytest.param("2013-07-01T14:00Z", "PHX", 1230, "2013-07-01T19:30Z", id="to Phoenix, which has no summer time"),
        pytest.param("2013-03-10T04:59Z", "SJU", 340, "2013-03-10T07:40Z", id="while New York's clock skips an hour"),
        pytest.param("2013-03-10T03:30Z", "IAH", 115, "2013-03-10T07:15Z", id="lands before Houston's clock skips"),
        pytest.param("2013-11-03T03:59Z", "BUF", 115, "2013-11-03T06:15Z", id="into the repeated hour: the second one"),
        pytest.param("2013-02-18T14:00Z", "HNL", 1540, "2013-02-19T01:40Z", id="to Honolulu, the longest flight"),
    ],
)
def test_scheduled_arrival_is_the_next_time_the_clock_over_there_shows_it(
    departs: str, dest: str, hhmm: int, arrives: str
) -> None:
    found = year.scheduled_arrivals(timetable((departs, dest, hhmm)))
    assert found[0] == pd.Timestamp(arrives)


def test_every_landing_is_later_than_departure_plus_time_in_the_air(flights: pd.DataFrame) -> None:
    """An independent column, the time in the air, agrees with all 327,346 landings: taxiing takes 1 to 300 minutes."""
    air_time = pd.read_csv(
        year.path_of("flights.csv.zip"), usecols=["air_time", "time_hour", "minute", "origin", "carrier", "flight"]
    )
    air_time["departs"] = pd.to_datetime(air_time.pop("time_hour"), utc=True) + pd.to_timedelta(
        air_time.pop("minute"), unit="min"
    )
    both = flights.merge(air_time, on=["departs", "origin", "carrier", "flight"]).dropna(subset=["lands"])
    assert len(both) == 327_346
    taxi = (both["lands"] - both["departs"]).dt.total_seconds() / 60 - both["dep_delay"] - both["air_time"]
    assert taxi.min() >= 1
    assert taxi.max() <= 300


def test_a_flight_without_arrival_delay_never_gets_a_label(flights: pd.DataFrame) -> None:
    """Cancelled and diverted flights: 9,430 in the year."""
    unknown = flights[flights["arr_delay"].isna()]
    assert len(unknown) == 9_430
    assert unknown["lands"].isna().all()
    assert unknown["late"].isna().all()
    assert all(flight.lands is None and flight.late is None for flight in year.as_flights(unknown.head(50)))


def test_late_means_more_than_fifteen_minutes(flights: pd.DataFrame) -> None:
    exactly, one_more = (flights[flights["arr_delay"] == minutes].head(3) for minutes in (15, 16))
    assert [flight.late for flight in year.as_flights(exactly)] == [0, 0, 0]
    assert [flight.late for flight in year.as_flights(one_more)] == [1, 1, 1]


def test_the_departure_is_told_on_new_yorks_clock_on_both_sides_of_both_changes(flights: pd.DataFrame) -> None:
    """The hour and the day of the timetable come back from the UTC moment, on every single flight."""
    local = flights["departs"].dt.tz_convert("America/New_York")
    assert (local.dt.day == flights["day"]).all()
    assert (local.dt.month == flights["month"]).all()
    for month, day, offset_h in ((3, 9, -5), (3, 11, -4), (11, 2, -4), (11, 4, -5)):
        first = year.as_flights(flights[(flights["month"] == month) & (flights["day"] == day)].head(1))[0]
        assert first.departs.utcoffset() == timedelta(hours=offset_h)


def test_flight_ids_are_unique(flights: pd.DataFrame) -> None:
    """Day, carrier, number and airport identify a flight, all year; so the ID that is made of them does."""
    assert not flights.duplicated(["month", "day", "carrier", "flight", "origin"]).any()
    ids = [flight.flight_id for flight in year.as_flights(flights[flights["month"] == 11])]
    assert len(set(ids)) == len(ids) == 27_268


def test_the_board_knows_only_what_has_happened(flights: pd.DataFrame) -> None:
    """The two live facts, counted again flight by flight from the definition, for 60 flights of a stormy week."""
    week = flights[(flights["month"] == 7) & flights["day"].between(8, 12)].reset_index(drop=True)
    board = year.with_departure_board(week)
    left = week["departs"] + pd.to_timedelta(week["dep_delay"], unit="min")
    for row in np.random.default_rng(5).choice(len(week), 60, replace=False):
        now, here = week["departs"][row], week["origin"] == week["origin"][row]
        recent = week["dep_delay"][here & (left < now) & (left >= now - timedelta(hours=1))]
        waiting = here & (week["departs"] < now) & (week["departs"] >= now - timedelta(hours=4)) & ~(left <= now)
        assert board["origin_waiting"][row] == waiting.sum()
        if len(recent):
            assert board["origin_delay"][row] == pytest.approx(recent.mean())
        else:
            assert np.isnan(board["origin_delay"][row])


def test_the_sample_is_the_same_for_a_seed_and_even_over_the_year(flights: pd.DataFrame) -> None:
    first, same, other = (year.sample(flights, 5_000, seed) for seed in (1, 1, 2))
    assert first.index.equals(same.index)
    assert not first.index.equals(other.index)
    assert len(first) == len(set(first.index)) == 5_000
    share = first["month"].value_counts() / flights["month"].value_counts()
    assert share.between(0.98 * 5_000 / 336_776, 1.02 * 5_000 / 336_776).all()


def test_a_sample_larger_than_the_year_is_the_year(flights: pd.DataFrame) -> None:
    assert len(year.sample(flights, 10**9, 1)) == len(flights)


def test_a_flight_has_the_facts_of_its_row(flights: pd.DataFrame) -> None:
    """UA 1545 of 1 January, the file's first row: 05:15, two minutes late out, eleven late in, due 08:19 in Houston."""
    row = flights[
        (flights["month"] == 1) & (flights["day"] == 1) & (flights["flight"] == 1545) & (flights["carrier"] == "UA")
    ]
    flight = year.as_flights(row)[0]
    assert flight.flight_id == "2013-01-01-UA1545-EWR"
    assert (flight.tail, flight.dest, flight.distance) == ("N14228", "IAH", 1400)
    assert flight.departs == datetime(2013, 1, 1, 5, 15, tzinfo=NEW_YORK)
    assert flight.lands == datetime(2013, 1, 1, 14, 30, tzinfo=UTC)
    assert flight.late == 0
