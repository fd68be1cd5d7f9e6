"""The task that watches the feeds: counts what arrived, decides, records."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upshot_joiner.clock import Clock, Stamper
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import StoreError
from upshot_joiner.feed import band, breaker
from upshot_joiner.feed.arrivals import DAY, History, LabelArrivals
from upshot_joiner.feed.band import Band
from upshot_joiner.feed.course import bucket_of, course, start_of
from upshot_joiner.feed.records import FeedRecords, Run
from upshot_joiner.join.silence import Change, silence
from upshot_joiner.store.client import Store

_log = logging.getLogger("upshot.feeds")

LOOK_EVERY_S = 1.0
"""How often the clock is looked at; there is something to do once in ten minutes of it."""
SETTLES = timedelta(minutes=1)
"""How long after its end a bucket is judged: the joiner takes a moment."""
LEAP = 3
"""A clock that moved on by more buckets than this between two looks: nobody could deliver meanwhile (the server was not there)."""
HELD_UP_AT_MOST = timedelta(days=1)
"""For so long nothing is judged while what has come is not joined. After that it is missing, whoever's fault that is: a default
would be a guess, and ``censored`` is none."""
WAIT_S = 1.0
"""How long an answer waits for the watch."""
GRACE = 2
"""For so many buckets after a start or a leap nothing is judged: senders try again, and bring what they held back."""


@dataclass(frozen=True)
class _Learnt:
    band: Band | str
    day: int
    records: int


class FeedWatch:
    """Watches every label that ever arrived or is configured. Its state is in the store; any number of processes may watch."""

    def __init__(
        self,
        store: Store,
        records: FeedRecords,
        configs: ConfigStore,
        clock: Clock,
        stamper: Stamper,
        run: Run,
        served_by_hour: Callable[[str], Mapping[datetime, int]],
        is_held_up: Callable[[datetime], bool],
    ) -> None:
        self._records = records
        self._configs = configs
        self._clock = clock
        self._stamper = stamper
        self._run = run
        self._served_by_hour = served_by_hour
        self._is_held_up = is_held_up
        """Whether something that had come by a moment is not counted yet."""
        self._held_up_since: datetime | None = None
        self._arrivals = LabelArrivals(store)
        self._learnt: dict[tuple[str, str], _Learnt] = {}
        self._lock = threading.RLock()
        self._seen: int | None = None
        self._judged_from = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upshot-feeds", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def look(self) -> list[tuple[str, str, Change]]:
        """Judge the moment, if ten minutes are over since the last one that was judged; returns what was recorded of which label of
        which model."""
        with self._lock:
            now = self._clock.now()
            end = bucket_of(now - SETTLES)
            if self._seen is not None and end <= self._seen:
                return []
            if self._must_wait(now, start_of(end)):
                return []
            self._arrivals.count(end)
            if self._seen is None or end - self._seen > LEAP:
                self._judged_from = end + GRACE
            self._seen = end
            return self._judge(end) if end >= self._judged_from else []

    def describe(self, model: str, name: str, changes: list[Change]) -> dict[str, Any]:
        """What is expected of a feed and what arrived, for the API."""
        if not self._lock.acquire(timeout=WAIT_S):  # at the very first start, history is being counted
            return {"expected": _told(breaker.Expected("none", because="counting")), "observed": _told_none()}
        try:
            end = self._seen if self._seen is not None else bucket_of(self._clock.now() - SETTLES)
            watched = self._watched(model, name, changes, end)
            expected = breaker.expected(watched)
            came = None if expected.within is None else watched.arrivals_in(expected.within)
            return {
                "expected": _told(expected),
                "observed": {
                    "arrivals": came,
                    "last_arrival": watched.last_arrival,
                    "until": watched.now,
                    "held_up_since": self._held_up_since,
                },
            }
        finally:
            self._lock.release()

    def _must_wait(self, now: datetime, end: datetime) -> bool:
        if not self._is_held_up(end):
            if self._held_up_since is not None:
                _log.warning("what had come is joined; the feeds of labels are judged again")
            self._held_up_since = None
            return False
        if self._held_up_since is None:
            self._held_up_since = now
            _log.info("the feeds of labels are not judged while what has come is not joined")
        return now - self._held_up_since <= HELD_UP_AT_MOST

    def _judge(self, end: int) -> list[tuple[str, str, Change]]:
        records = self._records.all()
        labels = {*self._arrivals.histories, *records}
        labels |= {(model, name) for model in self._configs.models() for name in self._configs.get(model).labels}
        made = []
        for model, name in sorted(labels):
            change = breaker.decide(self._watched(model, name, records.get((model, name), []), end))
            if change is not None:
                made.append((model, name, self._records.append(model, name, change, self._stamper, self._run)))
                word = "silent" if change.action == "open" else "back"
                _log.warning("the feed of a label is %s: %s", word, change.numbers)
        return made

    def _watched(self, model: str, name: str, changes: list[Change], end: int) -> breaker.Watched:
        rules = self._configs.get(model).label(name)
        history = self._arrivals.histories.get((model, name), History())
        served = self._served_by_hour(model)
        seen = course(end - band.HORIZON, end, history.arrivals, served, history.delay_shares(), silence(changes))
        known = self._learnt.get((model, name))
        if known is None or known.day != end // DAY or known.records != len(changes):
            known = self._learnt[model, name] = _Learnt(band.learn(seen), end // DAY, len(changes))
        return breaker.Watched(
            rules=rules.feed,
            window=rules.window,
            course=seen,
            band=known.band,
            last_arrival=history.last_before(end),
            changes=changes,
            served=sorted(served.items()),
        )

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                self.look()
            except StoreError as error:
                _log.error("the feeds of labels could not be looked at (code %d); trying again", error.code)
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died, and silence would pass for negatives
                _log.exception("the feeds of labels could not be looked at; trying again")
            self._closing.wait(LOOK_EVERY_S)


def _told(expected: breaker.Expected) -> dict[str, Any]:
    return {
        "basis": expected.basis,
        "within_s": None if expected.within is None else expected.within.total_seconds(),
        "at_least": expected.at_least,
        "usual": expected.usual,
        "because": expected.because,
    }


def _told_none() -> dict[str, Any]:
    return {"arrivals": None, "last_arrival": None, "until": None, "held_up_since": None}
