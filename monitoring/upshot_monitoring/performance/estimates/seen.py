"""When the labels of a model come, by class: what :mod:`delay_corrected` weights them by."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from upshot_joiner.clock import EPOCH
from upshot_joiner.delays.bins import followed
from upshot_joiner.delays.delay_curve import kaplan_meier
from upshot_joiner.store.client import Store
from upshot_monitoring.performance.estimates.delay_corrected import Seen

HISTORY = timedelta(days=30)
"""Cohorts are those of the last three windows and this."""
WATCHED = 30
"""So many predictions must have been watched for a whole window."""
ARRIVED = 50
"""So many labels of a class must have come, or nothing can be said of its delay."""

_RANGE = "hour >= {start:DateTime('UTC')} AND hour < {end:DateTime('UTC')}"
_PREDICTIONS = f"""
SELECT hour, sum(rows) FROM performance_sums FINAL
WHERE model = {{model:String}} AND label = {{label:String}} AND setup = {{setup:UInt64}} AND {_RANGE} AND rows > 0 GROUP BY hour
"""
_ARRIVALS = f"""
SELECT hour, bin, sum(n), sum(good) FROM label_hours FINAL
ARRAY JOIN bins AS bin, arrived AS n, positives AS good
WHERE model = {{model:String}} AND name = {{label:String}} AND {_RANGE} GROUP BY hour, bin
"""


def seen_by_class(
    store: Store, model: str, label: str, setup: int, window: timedelta, now: datetime
) -> dict[bool, Seen | None]:
    """By class (true: positive) when its labels come; None where too little is known of it."""
    params = {
        "model": model,
        "label": label,
        "setup": setup,
        "start": max(EPOCH, now - 3 * window - HISTORY),
        "end": now,
    }
    arrived: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    ended: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    by_hour: defaultdict[datetime, list[tuple[int, int, int]]] = defaultdict(list)
    for hour, bin_, n, good in store.query(_ARRIVALS, params):
        by_hour[hour].append((bin_, n, good))
    for hour, predictions in store.query(_PREDICTIONS, params):
        bins = followed((now - hour).total_seconds() - 3600)
        came = {True: 0, False: 0}
        for bin_, n, good in by_hour[hour]:
            if bin_ < bins:
                for which, number in ((True, good), (False, n - good)):
                    arrived[which][bin_] += number
                    came[which] += number
        for which, number in came.items():
            ended[which][bins] += max(0, predictions - number)
    found: dict[bool, Seen | None] = {}
    for which in (True, False):
        curve = kaplan_meier(arrived[which], ended[which])
        enough = curve.arrived >= ARRIVED and curve.followed_s(WATCHED) >= window.total_seconds()
        found[which] = Seen(curve, window.total_seconds()) if enough else None
    return found
