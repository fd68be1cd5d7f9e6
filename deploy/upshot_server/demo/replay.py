"""The year, in steps of some hours: departures are scored, landings are told, and nothing runs ahead of the clock.

Each step sets the clock to its end, sends the departures of the step to the model service, then lets the SDK deliver
while the landings are posted to the webhook. The two run side by side, so a label of a short flight may well come
before its prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from upshot_server.demo.clock import SharedClock
from upshot_server.demo.feed import Feed
from upshot_server.demo.flights import Flight
from upshot_server.demo.model_service_client import ModelService
from upshot_server.demo.upshot_api import UpshotApi

STEP_H = {200_000: 4, 50_000: 6, 10_000: 12, 0: 24}
"""Hours of a step, by how many flights are replayed at least. A step costs two writes whatever is in them, so fewer
flights go in longer steps; the delay of labels, as Upshot sees it, is coarser by as much."""


MAX_BOARD = 500
"""Flights sent to the model service at once: what the SDK's buffer takes without dropping, many times over."""


def step_for(flights: int) -> timedelta:
    """How much of the year passes at a time when ``flights`` are replayed."""
    return timedelta(hours=next(hours for least, hours in STEP_H.items() if flights >= least))


class Replay:
    """Drives the clock, the model service and the feed."""

    def __init__(
        self,
        clock: SharedClock,
        service: ModelService,
        api: UpshotApi,
        feed: Feed,
        step: timedelta,
        on_step: Callable[[datetime, int], None],
    ) -> None:
        self._clock = clock
        self._service = service
        self._api = api
        self._feed = feed
        self._length = step
        self._on_step = on_step
        self.scored = 0

    def run(self, flights: Sequence[Flight], until: datetime) -> None:
        """Replay ``flights`` (in order of departure) up to the moment ``until``."""
        position = 0
        with ThreadPoolExecutor(1, thread_name_prefix="flush") as pool:
            while self._clock.now() < until:
                now = min(self._clock.now() + self._length, until)
                self._clock.advance(now)
                first = position
                while position < len(flights) and flights[position].departs <= now:
                    position += 1
                self._step(flights[first:position], now, pool)
                self._on_step(now, self.scored)

    def _step(self, departures: Sequence[Flight], now: datetime, pool: ThreadPoolExecutor) -> None:
        for start in range(0, len(departures), MAX_BOARD):
            board = departures[start : start + MAX_BOARD]
            for flight, request_id in zip(board, self._service.score(board), strict=True):
                self._feed.expect(flight, request_id)
        flushed = pool.submit(self._service.flush) if departures else None
        self._api.send_labels(list(self._feed.due(now)))
        if flushed is not None:
            flushed.result()
        self.scored += len(departures)
