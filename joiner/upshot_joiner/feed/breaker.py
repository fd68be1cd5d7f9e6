"""When the breaker opens and closes: a pure decision from what arrived, what was due, and the records so far.

Closed is normal. It opens when the feed brought too little (``band.py``, or what the configuration says), as of the moment at
which the feed was last on course. It closes when the kind of stretch that opened it is back in its band; arrivals are needed for
that, so a feed does not come back because the traffic ended. Stretches are counted from the last closing on: the silence before
it is over. What an operator opened, only an operator closes.

Decisions fall at the ends of buckets of ten minutes and depend on stored arrivals alone: any process comes to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upshot_joiner.config import FeedConfig, FeedPace
from upshot_joiner.feed import band as learnt
from upshot_joiner.feed.band import Band, Finding
from upshot_joiner.feed.course import BUCKET, Course, bucket_of, start_of
from upshot_joiner.join.silence import Change, opened_by, silence


@dataclass(frozen=True)
class Watched:
    """Everything that a decision rests on. The moment of the decision is the end of ``course``."""

    rules: FeedConfig
    window: timedelta
    """The label's: how long after its prediction it is waited for."""
    course: Course
    band: Band | str
    """What was learnt, or why nothing was."""
    last_arrival: datetime | None
    changes: Sequence[Change]
    """The records about this feed."""
    served: Sequence[tuple[datetime, int]]
    """Predictions by the start of the hour, in order."""

    @property
    def now(self) -> datetime:
        """The moment that is judged."""
        return start_of(self.course.end)

    @property
    def since(self) -> datetime:
        """From where on arrivals are judged: the latest closing, the end of the latest silence, or the beginning."""
        ends = [max(one.received_at, one.until or one.received_at) for one in self.changes if one.action != "open"]
        ends += [
            one.until for one in silence(self.changes).stretches if one.until is not None and one.until <= self.now
        ]
        return max([start_of(self.course.first), *ends])

    def served_in(self, start: datetime, end: datetime) -> bool:
        """Whether anything was served between the two."""
        return any(count and start < hour + timedelta(hours=1) and hour < end for hour, count in self.served)

    def arrivals_in(self, length: timedelta) -> int:
        """Arrivals in the newest stretch of this length, in whole buckets."""
        start = max(self.course.first, self.course.end - max(1, round(length / BUCKET)))
        return int(self.course.during(start, self.course.end)[0])


@dataclass(frozen=True)
class Expected:
    """What is expected of a feed now."""

    basis: str
    """``learnt``, ``configured``, or ``none``."""
    within: timedelta | None = None
    at_least: float | None = None
    usual: float | None = None
    because: str | None = None
    """Why nothing is expected: the breaker cannot open by itself."""


def decide(watched: Watched) -> Change | None:
    """The change to record now, if any; its stamp is not set."""
    by = opened_by(watched.changes)
    if by is None:  # what an operator has declared silent until later is silent already
        return None if silence(watched.changes).covers(watched.now) else _opening(watched)
    return _closing(watched) if by == "breaker" else None


def expected(watched: Watched) -> Expected:
    """What the feed is measured by now."""
    rules = watched.rules
    if isinstance(rules.expect, FeedPace):
        return Expected("configured", rules.expect.every, rules.expect.at_least)
    if rules.quiet_after is not None:
        return Expected("configured", rules.quiet_after, 1)
    if rules.expect == "none":
        return Expected("none", because="not_expected")
    if isinstance(watched.band, str):
        return Expected("none", because=watched.band)
    found = learnt.armed(watched.band, watched.course)
    if found is None:
        return Expected("none", because="too_few_labels")
    return Expected("learnt", found.buckets * BUCKET, found.at_least, found.usual)


def _opening(watched: Watched) -> Change | None:
    rules, now = watched.rules, watched.now
    paces = [("pace", rules.expect.every, rules.expect.at_least)] if isinstance(rules.expect, FeedPace) else []
    if rules.quiet_after is not None:
        paces.append(("quiet", rules.quiet_after, 1))
    for rule, within, at_least in paces:
        # Labels are waited for only where something was served whose window was open then.
        waited = watched.served_in(now - within - watched.window, now - within)
        came = watched.arrivals_in(within)
        if waited and now - within >= watched.since and came < at_least:
            since = now - within
            if came == 0 and watched.last_arrival is not None:
                since = max(watched.since, watched.last_arrival)
            return _open(watched, since, rule, within, came, at_least, None)
    if rules.expect != "learnt" or isinstance(watched.band, str):
        return None
    first = -((start_of(0) - watched.since) // BUCKET)
    found = learnt.silent(watched.band, watched.course, first)
    if found is None:
        return None
    last = watched.last_arrival
    if last is not None and learnt.wholly_silent(watched.band, watched.course, bucket_of(last) + 1):
        since = max(watched.since, last)
    else:
        since = start_of(learnt.fell_silent(watched.band, watched.course, first))
    within = found.buckets * BUCKET
    return _open(watched, min(since, now - BUCKET), "learnt", within, found.came, found.at_least, found.usual)


def _closing(watched: Watched) -> Change | None:
    last = [one for one in watched.changes if one.action == "open"][-1]
    rule = last.numbers.get("rule")
    rules, now = watched.rules, watched.now
    if rule == "pace" and isinstance(rules.expect, FeedPace):
        came = watched.arrivals_in(rules.expect.every)
        return _close(now, came) if came >= rules.expect.at_least else None
    if rule == "quiet" and rules.quiet_after is not None:
        opened = last.since or now
        back = watched.last_arrival is not None and watched.last_arrival > opened
        return _close(now, 1) if back else None
    if rule == "learnt" and rules.expect == "learnt":
        if isinstance(watched.band, str):
            return None
        found = _same_stretch(watched.band, watched.course, last)
        if found is not None and found.came >= 1 and found.came >= found.lowest:
            return _close(now, int(found.came))
        return None
    return Change("close", None, now, "breaker", "The configuration does not expect this any more.")


def _same_stretch(band: Band, course: Course, opened: Change) -> Finding | None:
    """The newest stretch of the length that opened the breaker; where that is not learnt any more, the shortest that is."""
    within_s = opened.numbers.get("within_s")
    buckets = round(within_s / BUCKET.total_seconds()) if isinstance(within_s, int | float) else 0
    return learnt.look(band, course, buckets) or learnt.armed(band, course)


def _open(
    watched: Watched, since: datetime, rule: str, within: timedelta, came: float, at_least: float, usual: float | None
) -> Change:
    last = watched.last_arrival
    numbers: dict[str, object] = {
        "rule": rule,
        "within_s": within.total_seconds(),
        "came": int(came),
        "at_least": round(at_least, 3),
        "usual": None if usual is None else round(usual, 3),
        "last_arrival": None if last is None else last.isoformat(),
        "judged_at": watched.now.isoformat(),
    }
    return Change("open", since, None, "breaker", "Fewer labels arrived than this feed ever brings.", numbers)


def _close(now: datetime, came: int) -> Change:
    return Change("close", None, now, "breaker", "Labels arrive as expected again.", {"came": came})
