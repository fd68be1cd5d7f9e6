"""The airport's arrival feed: says of each flight, when it has landed, whether it was late, and is as unreliable as
such feeds are.

Three in a hundred statements are sent twice; one in a hundred first says the opposite and is corrected within four
hours. Both are drawn from the seed, per flight in order of departure, so the same demo tells the same story.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from upshot_server.demo.flights import Flight

REPEATED = 0.03
REVISED = 0.01
MAX_REPEAT_AFTER_S = 6 * 3600
REVISION_AFTER_S = (30 * 60, 4 * 3600)
SOURCE = "faa-feed"

Event = dict[str, str | int]


@dataclass(order=True, frozen=True)
class Statement:
    """An event of the webhook, and when the feed sends it."""

    due: datetime
    order: int
    event: Event = field(compare=False)


class Feed:
    """Statements waiting to be sent, earliest first."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._waiting: list[Statement] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, flight: Flight, request_id: str) -> None:
        """Plan what the feed will say of ``flight``, whose prediction was made under ``request_id``; nothing if it
        never lands."""
        repeat, revise, wait = self._random.random(
            3
        )  # drawn for every flight, so that one flight does not change the next
        if flight.lands is None or flight.late is None:
            return
        if revise >= REVISED:
            first = self._say(flight, request_id, 1, flight.late, flight.lands)
        else:
            first = self._say(flight, request_id, 1, 1 - flight.late, flight.lands)
            low, high = REVISION_AFTER_S
            self._say(
                flight, request_id, 2, flight.late, flight.lands + timedelta(seconds=low + int(wait * (high - low)))
            )
        if repeat < REPEATED:
            self._wait_until(flight.lands + timedelta(seconds=1 + int(wait * MAX_REPEAT_AFTER_S)), first)

    def due(self, until: datetime) -> Iterator[Event]:
        """Take out what is sent by ``until``, in order."""
        while self._waiting and self._waiting[0].due <= until:
            yield heapq.heappop(self._waiting).event

    def _say(self, flight: Flight, request_id: str, number: int, value: int, at: datetime) -> Event:
        event: Event = {
            "label_id": f"{flight.flight_id}/{number}",
            "request_id": request_id,
            "model": "flights",
            "name": "late",
            "value": value,
            "observed_at": at.isoformat(),
            "source": SOURCE,
        }
        self._wait_until(at, event)
        return event

    def _wait_until(self, due: datetime, event: Event) -> None:
        self._count += 1
        heapq.heappush(self._waiting, Statement(due, self._count, event))
