"""The flights of 2013: when each was to leave, what the airport knew then, and when (if ever) it was known to be late.

How the moments are worked out, with the scheme's check in ``tests/demo/test_flights.py``:

- *scheduled departure* is the file's ``time_hour`` (UTC) plus ``minute``; the clock of New York is derived from that,
  so that both changes of daylight-saving time are right.
- *scheduled arrival* is the file's ``sched_arr_time`` on the clock of the destination: the first time after departure
  at which that clock shows it. No flight takes 24 hours, so this has one answer.
- *landing* (at the gate) is scheduled arrival plus ``arr_delay``. The file's ``arr_time`` is not used: it has no date,
  and a flight may be 21 hours late.

Cancelled and diverted flights have no ``arr_delay``: they never get a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from upshot_server.demo.dataset import path_of

LATE_MINUTES = 15
NEW_YORK = "America/New_York"
PUERTO_RICO = "America/Puerto_Rico"  # where the four airports are that the airports' file does not have
RECENT_S = 3600
WAITING_S = 4 * 3600
"""A flight that has not left four hours after its time is taken off the board: the file does not say when it was
cancelled."""

COUNTS = ("month", "day", "sched_arr_time", "flight", "distance", "minute")
DELAYS = ("dep_delay", "arr_delay")
NAMES = ("carrier", "tailnum", "origin", "dest", "time_hour")
TYPES = dict.fromkeys(COUNTS, "int64") | dict.fromkeys(DELAYS, "float64") | dict.fromkeys(NAMES, "str")


@dataclass(frozen=True, slots=True)
class Flight:
    """One flight. What is known at scheduled departure comes first, what only the landing tells comes last."""

    flight_id: str
    carrier: str
    number: int
    tail: str | None
    origin: str
    dest: str
    departs: datetime
    """Scheduled departure, aware, on New York's clock."""
    distance: int
    """Miles."""
    origin_delay: float | None
    """Mean departure delay, in minutes, of the flights that left this airport in the last hour; none left: ``None``."""
    origin_waiting: int
    """How many flights of this airport should have left within the last four hours and have not."""
    lands: datetime | None
    """When it reached the gate, aware, UTC; ``None`` for a cancelled or diverted flight."""
    late: int | None
    """1 when it arrived more than 15 minutes late."""


def load() -> pd.DataFrame:
    """All 336,776 flights in order of scheduled departure, with the columns ``departs``, ``lands`` (UTC), ``late``,
    ``origin_delay`` and ``origin_waiting`` added."""
    flights = pd.read_csv(path_of("flights.csv.zip"), usecols=list(TYPES), dtype=TYPES)
    hour = pd.to_datetime(flights["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", utc=True)
    flights["departs"] = hour + pd.to_timedelta(flights["minute"], unit="min")
    flights = flights.sort_values(["departs", "origin", "carrier", "flight"], ignore_index=True)
    flights["lands"] = scheduled_arrivals(flights) + pd.to_timedelta(flights["arr_delay"], unit="min")
    flights["late"] = (flights["arr_delay"] > LATE_MINUTES).where(flights["arr_delay"].notna())
    return with_departure_board(flights)


def scheduled_arrivals(flights: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """The moment (UTC) at which each flight is to arrive, from ``departs``, ``dest`` and ``sched_arr_time`` (HHMM over
    there)."""
    airports = pd.read_csv(path_of("airports.csv"), usecols=["faa", "tzone"])
    zone_of = flights["dest"].map(dict(zip(airports["faa"], airports["tzone"], strict=True))).fillna(PUERTO_RICO)
    parts = []
    for zone, group in flights.groupby(zone_of):
        there = group["departs"].dt.tz_convert(str(zone)).dt.tz_localize(None)
        minute_of_day = there.dt.hour * 60 + there.dt.minute
        due = group["sched_arr_time"] // 100 * 60 + group["sched_arr_time"] % 100
        wall = there + pd.to_timedelta((due - minute_of_day) % (24 * 60), unit="min")
        # On the one night that repeats an hour, timetables mean the second; the night that skips one has no arrivals in
        # it.
        repeated = np.zeros(len(wall), dtype=bool)
        parts.append(
            wall.dt.tz_localize(str(zone), ambiguous=repeated, nonexistent="shift_forward").dt.tz_convert("UTC")
        )
    arrivals: pd.Series[pd.Timestamp] = pd.concat(parts).sort_index()
    return arrivals


def with_departure_board(flights: pd.DataFrame) -> pd.DataFrame:
    """Add what the airport's board shows at each scheduled departure; only what had happened by then goes in."""
    seconds = flights["departs"].to_numpy(dtype="datetime64[s]").astype(np.int64)
    delay = flights["dep_delay"].to_numpy(dtype=np.float64)
    recent_delay, waiting = np.full(len(flights), np.nan), np.zeros(len(flights), dtype=np.int64)
    for rows in flights.groupby("origin").indices.values():
        scheduled, minutes = seconds[rows], np.nan_to_num(delay[rows])
        left = np.where(np.isnan(delay[rows]), np.inf, scheduled + minutes * 60)
        order = np.argsort(left, kind="stable")
        left_in_order = left[order]
        total = np.concatenate([[0.0], np.cumsum(minutes[order])])
        until = np.searchsorted(left_in_order, scheduled, "left")
        since = np.searchsorted(left_in_order, scheduled - RECENT_S, "left")
        with np.errstate(invalid="ignore"):  # no departure in the last hour: 0/0 is NaN, as it should be
            recent_delay[rows] = (total[until] - total[since]) / (until - since)
        first = np.searchsorted(scheduled, scheduled - WAITING_S, "left")
        last = np.searchsorted(scheduled, scheduled, "left")
        waiting[rows] = [int((left[a:b] > now).sum()) for a, b, now in zip(first, last, scheduled, strict=True)]
    return flights.assign(origin_delay=recent_delay, origin_waiting=waiting)


def of_months(flights: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    """The flights of the months ``first`` to ``last`` (New York's calendar)."""
    return flights[flights["month"].between(first, last)]


def sample(flights: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """``count`` flights evenly spread over ``flights`` in their order: every k-th from a seeded start; all when there
    are fewer."""
    if count >= len(flights):
        return flights
    start = np.random.default_rng(seed).random()
    return flights.iloc[((np.arange(count) + start) * (len(flights) / count)).astype(int)]


def as_flights(frame: pd.DataFrame) -> list[Flight]:
    """The rows as objects, in order."""
    local = frame["departs"].dt.tz_convert(NEW_YORK)
    facts = [
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "distance",
        "origin_delay",
        "origin_waiting",
        "lands",
        "late",
    ]
    columns = [local.dt.strftime("%Y-%m-%d").tolist(), local.tolist(), *(frame[name].tolist() for name in facts)]
    return [
        Flight(
            flight_id=f"{day}-{carrier}{number}-{origin}",
            carrier=carrier,
            number=number,
            tail=None if pd.isna(tail) else tail,
            origin=origin,
            dest=dest,
            departs=departs.to_pydatetime(),
            distance=distance,
            origin_delay=None if pd.isna(delay) else delay,
            origin_waiting=waiting,
            lands=None if pd.isna(lands) else lands.to_pydatetime(),
            late=None if pd.isna(late) else int(late),
        )
        for day, departs, carrier, number, tail, origin, dest, distance, delay, waiting, lands, late in zip(
            *columns, strict=True
        )
    ]
