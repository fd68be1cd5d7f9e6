"""Simulated label feeds, and the breaker over them: what judges it by false alarms and delay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from upshot_joiner.config import FeedConfig
from upshot_joiner.feed import band
from upshot_joiner.feed.breaker import Watched, decide
from upshot_joiner.feed.course import BUCKET, BUCKETS_PER_HOUR, Course, bucket_of, course, start_of
from upshot_joiner.join.silence import Change, silence

START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
FIRST = bucket_of(START)
DAY = 24 * BUCKETS_PER_HOUR
Counts = NDArray[np.int64]


@dataclass
class Feed:
    """Labels per bucket of ten minutes and predictions per hour, from START on."""

    arrivals: Counts
    served: Counts
    delays: dict[int, float]
    window: timedelta = timedelta(days=30)
    rules: FeedConfig = field(default_factory=FeedConfig)

    @property
    def days(self) -> int:
        """Its length."""
        return len(self.arrivals) // DAY

    def dying(
        self, day: float, factor: float = 0.0, over_days: float = 0.0, days: float | None = None, seed: int = 5
    ) -> Feed:
        """From a moment on only this part of the labels comes, after falling evenly for some days; for ever or for some days."""
        at = np.arange(len(self.arrivals)) / DAY - day
        fall = np.clip(at / over_days, 0, 1) if over_days else (at >= 0).astype(float)
        keep = 1 - (1 - factor) * fall
        if days is not None:
            keep[at >= days] = 1
        return replace(self, arrivals=np.random.default_rng(seed).binomial(self.arrivals, keep))


@dataclass
class Run:
    """What the breaker did."""

    changes: list[tuple[float, Change]]
    """With the day of each."""

    def openings(self, start: float = 0, end: float = 1e9) -> list[tuple[float, Change]]:
        """Those between two days."""
        return [(day, one) for day, one in self.changes if one.action == "open" and start <= day < end]


def day_of(moment: datetime | None) -> float:
    """Days since START."""
    assert moment is not None
    return (moment - START) / timedelta(days=1)


def poisson(
    per_hour: float,
    days: int,
    seed: int,
    *,
    delay_h: float = 2.0,
    share: float = 0.1,
    traffic: Callable[[Counts], NDArray[np.float64]] | None = None,
    labels: Callable[[Counts], NDArray[np.float64]] | None = None,
) -> Feed:
    """Labels as a Poisson process after Poisson traffic; ``traffic`` and ``labels`` are factors by hour."""  # fmt: skip
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    factor = traffic(hours) if traffic else np.ones(len(hours))
    served = rng.poisson(per_hour / share * factor)
    delays = exponential(delay_h)
    expected = course(FIRST, FIRST + days * DAY, {}, by_hour(served), delays, silence([])).due * share
    rate = np.diff(expected)
    if labels:
        rate = rate * np.repeat(labels(hours), BUCKETS_PER_HOUR)
    return Feed(rng.poisson(rate), served, delays)


def batches(
    per_day: float,
    days: int,
    seed: int,
    *,
    at_hour: float = 2,
    jitter_h: float = 1,
    skip: float = 0,
    weekdays: bool = False,
    share: float = 0.1,
) -> Feed:
    """All labels of a day in one batch the night after; ``skip``: how often a batch comes with the next one."""  # fmt: skip
    rng = np.random.default_rng(seed)
    served = rng.poisson(per_day / share / 24, days * 24)
    arrivals = np.zeros(days * DAY, np.int64)
    waiting = 0
    for day in range(1, days):
        waiting += rng.binomial(served[(day - 1) * 24 : day * 24].sum(), share)
        at = day * DAY + round((at_hour + rng.uniform(-jitter_h, jitter_h)) * BUCKETS_PER_HOUR)
        if rng.random() < skip or (weekdays and day % 7 >= 5) or at >= len(arrivals):
            continue
        arrivals[at] += waiting
        waiting = 0
    return Feed(arrivals, served, {round(24 * np.log2(1 + h)): 1 / 24 for h in range(2, 26)})


def exponential(mean_h: float) -> dict[int, float]:
    """Shares of delays by bin."""
    edges = 2 ** (np.arange(0, 320) / 24) - 1
    shares = -np.diff(np.exp(-edges / mean_h))
    return {i: float(share) for i, share in enumerate(shares) if share > 1e-6}


def by_hour(served: Counts) -> dict[datetime, int]:
    """As the counts in memory have it."""
    return {START + timedelta(hours=i): int(count) for i, count in enumerate(served)}


def run(feed: Feed, *, every: int = BUCKETS_PER_HOUR, start: int = 1, learn_every: int = 2 * DAY,
        known: Sequence[Change] = ()) -> Run:  # fmt: skip
    """The breaker over a feed, asked at the end of every so many buckets; it learns anew every so many."""
    total = course(
        FIRST, FIRST + len(feed.arrivals), dict(enumerate(feed.arrivals.tolist(), FIRST)), by_hour(feed.served),
        feed.delays, silence([]),
    )  # fmt: skip
    stamps: list[Change] = list(known)
    changes: list[tuple[float, Change]] = []
    lasts = np.concatenate(
        [[-1], np.maximum.accumulate(np.where(feed.arrivals > 0, np.arange(len(feed.arrivals)), -1))]
    )
    silent = total.silent
    learnt: band.Band | str = "no_labels"
    learnt_on = -1
    hours = [(hour, count) for hour, count in by_hour(feed.served).items()]
    for end in range(start, len(feed.arrivals), every):
        low = max(0, end - band.HORIZON)
        seen = Course(FIRST + low, total.came[low : end + 1], total.due[low : end + 1], silent[low : end + 1],
                      total.served[low : end + 1])  # fmt: skip
        if end // learn_every != learnt_on:
            learnt, learnt_on = band.learn(seen), end // learn_every
        last = int(lasts[end])
        near = hours[max(0, end // 6 - 24 * 40) : end // 6 + 1] if feed.rules != FeedConfig() else []
        watched = Watched(
            feed.rules,
            feed.window,
            seen,
            learnt,
            start_of(FIRST + last) + BUCKET / 2 if last >= 0 else None,
            stamps,
            near,
        )
        change = decide(watched)
        if change is not None:
            stamped = replace(change, received_at=start_of(FIRST + end))
            stamps.append(stamped)
            changes.append((end / DAY, stamped))
            silent = course(FIRST, FIRST + len(feed.arrivals), {}, {}, {}, silence(stamps)).silent
            learnt = band.learn(replace(seen, silent=silent[low : end + 1]))
    return Run(changes)
