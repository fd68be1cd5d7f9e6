"""The band in which labels are expected to arrive, learnt from a feed's own history.

For stretches of many lengths, from ten minutes to eight days: the lowest share of what was due that any such stretch of the past
brought. A feed is silent when its newest stretch of some length brought less than half of that lowest share, and chance alone (a
Poisson count, at the share of the leanest day) explains it once in a million times at most. So a nightly batch is judged by
stretches longer than a day, a feed that rests at weekends by stretches longer than a weekend, a busy one by ten minutes; nobody
has to say which.

Parameters: the constants below. What they give (false alarms a year, delay) is measured by ``tests/bench/silence.py``; see
docs/silence.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from upshot_joiner.feed.course import BUCKET, Course, Floats

SCALES = tuple(timedelta(hours=hours) // BUCKET for hours in (1 / 6, 1 / 2, 1, 2, 4, 8, 16, 30, 54, 78, 102, 198))
"""Lengths of stretches, in buckets. Days with a quarter more, so that a nightly batch that comes an hour late is still in."""
HORIZON = timedelta(days=56) // BUCKET
"""How far back is learnt from."""
LEAST_HISTORY = timedelta(days=10) // BUCKET
"""Less than that says too little: a feed needs at least one weekend."""
QUARANTINE = timedelta(days=7) // BUCKET
"""The newest days are not learnt from, or a feed that dies slowly would teach that; at most a quarter of the history."""
REPEATS = 3
"""A length is used where the history holds at least so many stretches of it one after the other."""
SLACK = 0.5
"""Silent is below this part of the lowest share ever seen."""
LONG_RUN = 0.75
"""The same for the longer stretch that is looked at when the traffic ends."""
CHANCE = 1e-6
"""A busy feed is asked some 50,000 independent questions a year."""
PLENTY = 50
"""Where a stretch of a day or more usually brings so many labels, the lowest share of such a stretch is a habit, not noise."""
A_DAY = timedelta(hours=30) // BUCKET


@dataclass(frozen=True)
class _Scale:
    buckets: int
    minus_due: Floats
    """What was due in each stretch of the past, negative, so that it ascends from the most."""
    lowest: Floats
    """The lowest share of the stretches with at least so much due."""

    def lowest_share(self, due: float) -> float:
        """Of the stretches in which about as much was due, or more: what is rare at night says nothing about the day."""
        like = min(due / 2, -float(self.minus_due[len(self.minus_due) // 2]))
        return float(self.lowest[max(1, int(np.searchsorted(self.minus_due, -like, side="right"))) - 1])


@dataclass(frozen=True)
class Band:
    """What is expected of a feed."""

    usual: float
    """The usual share of what is due that arrives."""
    lean: float
    """That of lean times: chance is judged by it."""
    scales: Sequence[_Scale]


@dataclass(frozen=True)
class Finding:
    """A stretch that ends now, and what was expected of it."""

    buckets: int
    came: float
    usual: float
    """How many usually arrive in such a stretch."""
    lean: float
    """How many do in lean times."""
    at_least: float
    """Fewer are silence."""
    lowest: float
    """The fewest that any comparable stretch of the past would have brought."""


def learn(course: Course) -> Band | str:
    """The band, or why there is none: ``no_labels``, ``too_little_history``, ``nothing_due``."""
    arrived = np.flatnonzero(np.diff(course.came))
    if not len(arrived):
        return "no_labels"
    history = len(course.came) - 1 - int(arrived[0])
    if history < LEAST_HISTORY:
        return "too_little_history"
    start, end = int(arrived[0]), len(course.came) - 1 - min(QUARANTINE, history // 4)
    if course.due[end] <= course.due[start]:
        return "nothing_due"
    scales = []
    usual = 0.0
    for buckets in SCALES:
        if (end - start) < REPEATS * buckets:
            break
        at = np.arange(start, end - buckets + 1, max(1, buckets // 24))
        came, due, silent = (total[at + buckets] - total[at] for total in (course.came, course.due, course.silent))
        known = (silent == 0) & (due > 0)
        if known.sum() * max(1, buckets // 24) < REPEATS * buckets:
            continue
        came, due = came[known], due[known]
        order = np.argsort(-due, kind="stable")
        shares = came[order] / due[order]
        scales.append(_Scale(buckets, -due[order], np.minimum.accumulate(shares)))
        usual = float(np.median(shares))  # that of the longest stretches: the shorter ones of a batch are mostly empty
    if usual <= 0:
        return "nothing_due"
    lean = usual
    for scale in scales:
        habit = float(scale.lowest[-1])
        middle = -float(scale.minus_due[len(scale.minus_due) // 2])
        if scale.buckets >= A_DAY and usual * middle >= PLENTY and habit > 0:
            lean = min(usual, habit)
            break
    return Band(usual, lean, scales)


def look(band: Band, course: Course, buckets: int) -> Finding | None:
    """The newest stretch of a length; None where no such length was learnt, or the course is shorter."""
    scale = next((one for one in band.scales if one.buckets == buckets), None)
    if scale is None or course.end - buckets < course.first:
        return None
    came, due = course.during(course.end - buckets, course.end)
    lowest = scale.lowest_share(due) * due
    return Finding(buckets, came, band.usual * due, band.lean * due, SLACK * lowest, lowest)


def armed(band: Band, course: Course) -> Finding | None:
    """The shortest stretch of which silence could be told, if all of it were silent; None: of none, the feed is too thin."""
    for scale in band.scales:
        found = look(band, course, scale.buckets)
        if found is not None and found.at_least > 0 and improbable(0, found.lean):
            return found
    return None


def silent(band: Band, course: Course, since: int) -> Finding | None:
    """The shortest stretch, begun in bucket ``since`` or later, that brought too little; None: all is well."""
    for scale in band.scales:
        if course.end - scale.buckets < since:
            break
        found = look(band, course, scale.buckets)
        if found is None or found.came >= found.at_least or not improbable(found.came, found.lean):
            continue
        if not _traffic_ends(course, scale.buckets) or _short_in_the_long_run(band, course, scale.buckets):
            return found
    return None


def _traffic_ends(course: Course, buckets: int) -> bool:
    """Whether less was served of late than is due of it: then much hangs on how well the delays are known, and a batch that came
    may hold what only seems due."""
    at = max(0, len(course.served) - 1 - buckets)
    return bool(course.served[-1] - course.served[at] < (course.due[-1] - course.due[at]) / 2)


def _short_in_the_long_run(band: Band, course: Course, buckets: int) -> bool:
    """Whether a stretch of three times the length brought clearly less than ever, too."""
    longer = next((one.buckets for one in band.scales if one.buckets >= 3 * buckets), None)
    found = None if longer is None else look(band, course, longer)
    return found is not None and found.came < LONG_RUN * found.lowest


def wholly_silent(band: Band, course: Course, since: int) -> bool:
    """Whether nothing at all coming since the start of a bucket is no chance."""
    return since < course.end and improbable(0, band.lean * course.during(max(since, course.first), course.end)[1])


def fell_silent(band: Band, course: Course, since: int) -> int:
    """The bucket at whose start the feed was last on course (half of what is usual, or more), ``since`` at the earliest."""
    first = max(0, since - course.first)
    behind = SLACK * band.usual * course.due[first:] - course.came[first:]
    return course.first + first + len(behind) - 1 - int(np.argmin(behind[::-1]))


def improbable(came: float, mean: float) -> bool:
    """Whether a Poisson count of this mean is ``came`` or less with a probability of at most CHANCE (Chernoff's bound)."""
    if came >= mean:
        return False
    exponent = mean - came + (came * math.log(came / mean) if came > 0 else 0.0)
    return exponent >= -math.log(CHANCE)
