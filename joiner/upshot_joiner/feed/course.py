"""What arrived and what was due, as running totals over buckets of ten minutes.

*Due* follows from what was served: the predictions of each hour, spread over the delays that this label is known to have. Its
unit is predictions, so that arrivals over due is the share that gets a label; a model without traffic has nothing due, once the
delays of what it served before are over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from upshot_joiner.clock import EPOCH
from upshot_joiner.join.silence import Silence

Floats = NDArray[np.float64]

BUCKET = timedelta(minutes=10)
BUCKETS_PER_HOUR = 6
BINS_PER_DOUBLING = 24
"""Delays are kept in bins of log2(1 + hours): each is 3 % wide."""


def bucket_of(moment: datetime) -> int:
    """The number of the bucket, counted from 1970, that a moment lies in."""
    return (moment - EPOCH) // BUCKET


def start_of(bucket: int) -> datetime:
    """The moment at which a bucket begins."""
    return EPOCH + bucket * BUCKET


@dataclass(frozen=True)
class Course:
    """Running totals: element i is what happened before bucket ``first + i`` began."""

    first: int
    came: Floats
    due: Floats
    silent: Floats
    """Buckets that touch a recorded silence."""
    served: Floats
    """Predictions."""

    @property
    def end(self) -> int:
        """The bucket at whose start the totals end: the moment that is judged."""
        return self.first + len(self.came) - 1

    def during(self, start: int, end: int) -> tuple[float, float]:
        """Arrivals and due from the start of one bucket to that of another; both lie within the totals."""
        i, k = start - self.first, end - self.first
        return float(self.came[k] - self.came[i]), float(self.due[k] - self.due[i])


def course(
    first: int,
    end: int,
    arrivals: Mapping[int, int],
    served_by_hour: Mapping[datetime, int],
    delays: Mapping[int, float],
    silence: Silence,
) -> Course:
    """The totals from the start of bucket ``first`` to that of ``end``.

    ``arrivals`` by bucket, ``served_by_hour`` by the start of the hour, ``delays`` as shares by bin.
    """
    came = np.zeros(end - first + 1)
    for bucket, count in arrivals.items():
        if first <= bucket < end:
            came[bucket - first + 1] = count
    silent = np.zeros(end - first + 1)
    for one in silence.stretches:
        low = max(0, bucket_of(one.since) - first)
        high = end - first if one.until is None else min(end - first, -((EPOCH - one.until) // BUCKET) - first)
        silent[low + 1 : max(low, high) + 1] = 1
    served, due = _served_and_due(first, end, served_by_hour, delays)
    return Course(first, np.cumsum(came), due, np.cumsum(silent), served)


def _served_and_due(
    first: int, end: int, served_by_hour: Mapping[datetime, int], delays: Mapping[int, float]
) -> tuple[Floats, Floats]:
    if not served_by_hour:
        return np.zeros(end - first + 1), np.zeros(end - first + 1)
    hours = np.array([(hour - EPOCH) // timedelta(hours=1) for hour in served_by_hour], np.int64)
    begin = int(hours.min())
    served = np.zeros(int(hours.max()) - begin + 2)
    np.add.at(served, hours - begin + 1, list(served_by_hour.values()))
    ends = np.arange(begin, begin + len(served), dtype=np.float64)
    totals = np.cumsum(served)
    # Whole hours are enough: within an hour, what is due comes evenly.
    at = np.arange(first // BUCKETS_PER_HOUR, end // BUCKETS_PER_HOUR + 2, dtype=np.float64)
    due = np.zeros(len(at))
    for bin_, share in delays.items():
        delay_h = 2 ** ((bin_ + 0.5) / BINS_PER_DOUBLING) - 1
        due += share * np.interp(at - delay_h, ends, totals)
    buckets = np.arange(first, end + 1) / BUCKETS_PER_HOUR
    return np.interp(buckets, ends, totals), np.interp(buckets, at, due)
