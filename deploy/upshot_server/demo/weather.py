"""The weather at the three airports, hour by hour, and the two ways to look it up that make the demo's training-serving
skew.

A reading stands for the hour that begins at its time, and is published when that hour is over. An archive lets a
trainer take the reading *of the hour of departure*, which nobody had at departure. A service can only take the latest
one *published before*.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from upshot_server.demo.dataset import rows_of

HOUR_S = 3600
MAX_AGE_HOURS = 3
"""A reading older than this says too little: the service then has none."""


class Reading(NamedTuple):
    """One hour at one airport; ``None`` is what the station did not report."""

    temp: float | None = None
    """Degrees Fahrenheit."""
    humid: float | None = None
    """Relative humidity, percent."""
    wind_speed: float | None = None
    """Miles per hour."""
    precip: float | None = None
    """Inches in the hour."""
    visib: float | None = None
    """Miles."""
    pressure: float | None = None
    """Millibars at sea level."""


MISSING = Reading()


class Weather:
    """The readings of all airports."""

    def __init__(self, readings: dict[tuple[str, int], Reading]) -> None:
        self._readings = readings

    @classmethod
    def load(cls) -> Weather:
        """The readings of 2013."""
        readings = {}
        for row in rows_of("weather.csv"):
            hour = (
                int(datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) // HOUR_S
            )
            values = (float(row[name]) if row[name] else None for name in Reading._fields)
            readings[row["origin"], hour] = Reading(*values)
        return cls(readings)

    def of_the_hour(self, airport: str, moment: datetime) -> Reading:
        """The reading of the hour in which ``moment`` lies: what an archive offers, too late for a service."""
        return self._readings.get((airport, int(moment.timestamp()) // HOUR_S), MISSING)

    def published_before(self, airport: str, moment: datetime) -> Reading:
        """The latest reading that was published by ``moment``, at most three hours old."""
        this_hour = int(moment.timestamp()) // HOUR_S
        for age in range(1, MAX_AGE_HOURS + 1):
            reading = self._readings.get((airport, this_hour - age))
            if reading is not None:
                return reading
        return MISSING
