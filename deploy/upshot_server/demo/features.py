"""The features of a flight, built by one function for training and for serving, so that only what is *put in* can
differ."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from upshot_server.demo.planes import Plane
from upshot_server.demo.weather import Reading

Value = str | int | float | bool | None


class BoardEntry(Protocol):
    """What the departure board says about a flight before it leaves."""

    @property
    def carrier(self) -> str: ...  # noqa: D102  the names are those of flights.Flight, which describes them

    @property
    def origin(self) -> str: ...  # noqa: D102

    @property
    def dest(self) -> str: ...  # noqa: D102

    @property
    def departs(self) -> datetime: ...  # noqa: D102

    @property
    def distance(self) -> int: ...  # noqa: D102

    @property
    def origin_delay(self) -> float | None: ...  # noqa: D102

    @property
    def origin_waiting(self) -> int: ...  # noqa: D102


TIMETABLE = ("carrier", "origin", "dest", "hour", "weekday", "is_weekend", "distance", "manufacturer", "plane_age")
WEATHER = ("temp", "humid", "wind_speed", "precip", "visib", "pressure")
LIVE = ("origin_delay", "origin_waiting")
"""Only the board of the very moment knows these; no archive kept them. The service logs them, version 2 learns from the
log."""

ARCHIVE_FEATURES = TIMETABLE + WEATHER
SERVED_FEATURES = ARCHIVE_FEATURES + LIVE
CATEGORICAL = ("carrier", "origin", "dest", "manufacturer")


def features_of(flight: BoardEntry, plane: Plane, reading: Reading) -> dict[str, Value]:
    """All of :data:`SERVED_FEATURES`, with ``None`` for what is not known. ``hour`` and ``weekday`` (Monday is 0) are
    New York's."""
    weekday = flight.departs.weekday()
    return {
        "carrier": flight.carrier,
        "origin": flight.origin,
        "dest": flight.dest,
        "hour": flight.departs.hour,
        "weekday": weekday,
        "is_weekend": weekday >= 5,
        "distance": flight.distance,
        "manufacturer": plane.manufacturer,
        "plane_age": plane.age,
        "temp": reading.temp,
        "humid": reading.humid,
        "wind_speed": reading.wind_speed,
        "precip": reading.precip,
        "visib": reading.visib,
        "pressure": reading.pressure,
        "origin_delay": flight.origin_delay,
        "origin_waiting": flight.origin_waiting,
    }
