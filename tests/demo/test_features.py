"""What the model sees: the same in training and in serving, but for the weather."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from upshot_server.demo.features import ARCHIVE_FEATURES, CATEGORICAL, SERVED_FEATURES, WEATHER, features_of
from upshot_server.demo.flights import Flight
from upshot_server.demo.model_service_client import board_entry
from upshot_server.demo.planes import Planes
from upshot_server.demo.service import BoardFlight
from upshot_server.demo.weather import MISSING, Reading, Weather

NEW_YORK = ZoneInfo("America/New_York")
FLIGHT = Flight(
    flight_id="2013-07-06-B6123-JFK",
    carrier="B6",
    number=123,
    tail="N102UW",
    origin="JFK",
    dest="MCO",
    departs=datetime(2013, 7, 6, 23, 30, tzinfo=NEW_YORK),
    distance=944,
    origin_delay=None,
    origin_waiting=3,
    lands=datetime(2013, 7, 7, 6, 20, tzinfo=NEW_YORK),
    late=1,
)


def test_what_travels_over_http_gives_the_same_features() -> None:
    """Hour and weekday are New York's on both sides, though in UTC it is already Sunday morning."""
    received = BoardFlight.model_validate(board_entry(FLIGHT))
    trained, served = (features_of(flight, Planes.load().of(flight.tail), MISSING) for flight in (FLIGHT, received))
    assert served == trained
    assert [type(value) for value in served.values()] == [type(value) for value in trained.values()]
    assert (served["hour"], served["weekday"], served["is_weekend"]) == (23, 5, True)
    assert tuple(served) == SERVED_FEATURES


def test_the_board_does_not_give_the_outcome_away() -> None:
    entry = board_entry(FLIGHT)
    assert not {"lands", "late", "arr_delay", "dep_delay"} & set(entry)
    assert FLIGHT.lands is not None
    assert FLIGHT.lands.isoformat() not in map(str, entry.values())


def test_an_unknown_tail_number_leaves_the_planes_facts_null() -> None:
    planes = Planes.load()
    for tail in (None, "N0000X"):
        features = features_of(FLIGHT, planes.of(tail), MISSING)
        assert features["manufacturer"] is None
        assert features["plane_age"] is None
    assert planes.of("N102UW") == ("AIRBUS INDUSTRIE", 15)


def test_features_have_the_types_that_upshot_is_to_keep() -> None:
    """Integers, floats, a bool, texts and nulls side by side."""
    reading = Reading(temp=75.0, humid=50.0, wind_speed=5.0, precip=0.0, visib=10.0, pressure=None)
    features = features_of(FLIGHT, Planes.load().of(FLIGHT.tail), reading)
    kinds = {name: type(value).__name__ for name, value in features.items()}
    assert kinds["distance"] == kinds["origin_waiting"] == "int"
    assert kinds["is_weekend"] == "bool"
    assert kinds["precip"] == "float"
    assert kinds["pressure"] == kinds["origin_delay"] == "NoneType"
    assert {kinds[name] for name in CATEGORICAL} == {"str"}


@pytest.fixture(scope="module")
def weather() -> Weather:
    return Weather.load()


@pytest.mark.parametrize("minute", [0, 14, 59])
def test_training_takes_the_hour_of_departure_and_serving_the_hour_before(weather: Weather, minute: int) -> None:
    """Whatever the minute, the two look-ups are one reading apart."""
    at = datetime(2013, 7, 6, 13, minute, tzinfo=NEW_YORK)
    an_hour_earlier = datetime(2013, 7, 6, 12, 30, tzinfo=NEW_YORK)
    assert weather.of_the_hour("EWR", at).temp is not None
    assert weather.published_before("EWR", at) == weather.of_the_hour("EWR", an_hour_earlier)
    assert weather.published_before("EWR", at) != weather.of_the_hour("EWR", at)


def test_serving_goes_back_at_most_three_hours_for_a_reading() -> None:
    midnight = int(datetime(2013, 7, 6, 4, tzinfo=ZoneInfo("UTC")).timestamp()) // 3600
    weather = Weather({("JFK", midnight): Reading(temp=70.0)})
    found = {
        hour: weather.published_before("JFK", datetime(2013, 7, 6, hour, 30, tzinfo=NEW_YORK)).temp for hour in range(6)
    }
    assert found == {0: None, 1: 70.0, 2: 70.0, 3: 70.0, 4: None, 5: None}


def test_a_station_that_is_silent_makes_null_features(weather: Weather) -> None:
    """The file's last reading is of 30 December: on New Year's Eve the service has no weather."""
    features = features_of(
        FLIGHT, Planes.load().of(None), weather.published_before("JFK", datetime(2013, 12, 31, 12, tzinfo=NEW_YORK))
    )
    assert {features[name] for name in WEATHER} == {None}


def test_version_one_learns_nothing_that_no_archive_has() -> None:
    assert set(SERVED_FEATURES) - set(ARCHIVE_FEATURES) == {"origin_delay", "origin_waiting"}
