"""The breaker is judged by false alarms and delay, on simulated feeds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tests.joiner.feeds import DAY, START, Feed, batches, day_of, poisson, run
from upshot_joiner.config import FeedConfig, FeedPace
from upshot_joiner.join.silence import Change

Make = Callable[[int], Feed]


def day_and_night(hours: Any) -> Any:
    return 1 + 0.8 * np.sin(hours / 24 * 2 * np.pi)


def weekends(hours: Any) -> Any:
    return np.where((hours // 24) % 7 >= 5, 0.3, 1.0) * day_and_night(hours)


def office_hours(hours: Any) -> Any:
    return np.where(((hours // 24) % 7 < 5) & (hours % 24 >= 9) & (hours % 24 < 17), 4.2, 0.0)


FEEDS: dict[str, tuple[Make, float]] = {
    "one an hour": (lambda days: poisson(1, days, 1), 32),
    "ten an hour": (lambda days: poisson(10, days, 2), 4),
    "a thousand an hour": (lambda days: poisson(1000, days, 3), 1),
    "day and night": (lambda days: poisson(20, days, 4, traffic=day_and_night), 8),
    "quiet weekends": (lambda days: poisson(20, days, 5, traffic=weekends), 8),
    "labels ten days later": (lambda days: poisson(20, days, 6, delay_h=240), 4),
    "people label in office hours": (lambda days: poisson(20, days, 7, labels=office_hours), 100),
    "a batch a night": (lambda days: batches(500, days, 8), 32),
    "a batch a night on weekdays": (lambda days: batches(500, days, 9, weekdays=True), 80),
}
"""A feed, and within how many hours its silence must be noticed."""


@pytest.mark.parametrize("name", FEEDS)
def test_a_well_feed_is_not_called_silent(name: str) -> None:
    """A year, asked every hour: no opening."""
    assert run(FEEDS[name][0](365)).openings() == []


@pytest.mark.parametrize("name", FEEDS)
def test_a_dead_feed_is_called_silent_within_some_gaps(name: str) -> None:
    """It opens in time, as of the last arrival, and stays open."""
    make, within_h = FEEDS[name]
    dead = 60.4
    done = run(make(75).dying(dead))
    opened, change = done.changes[0]
    assert dead < opened <= dead + within_h / 24
    assert len(done.changes) == 1
    last = np.flatnonzero(make(75).dying(dead).arrivals)[-1] / DAY
    assert day_of(change.since) == pytest.approx(last, abs=1 / DAY)


@pytest.mark.parametrize("name", ["ten an hour", "quiet weekends", "a batch a night"])
def test_a_feed_that_comes_back_closes_the_breaker_once(name: str) -> None:
    """Two days of silence: one opening, one closing soon after, and the silence behind it opens nothing again."""
    make, within_h = FEEDS[name]
    done = run(make(90).dying(60.4, days=2))
    assert [one.action for _, one in done.changes] == ["open", "close"]
    assert 62.4 < done.changes[1][0] <= 62.4 + within_h / 24


@pytest.mark.parametrize("name", ["ten an hour", "a thousand an hour", "day and night", "a batch a night"])
def test_a_slow_decay_is_noticed(name: str) -> None:
    """Two weeks of falling to a fifth are no new habit."""
    done = run(FEEDS[name][0](110).dying(60, factor=0.2, over_days=14))
    opened, change = done.changes[0]
    assert 60 < opened < 78
    assert 60 < day_of(change.since) <= opened


@pytest.mark.parametrize("name", ["ten an hour", "labels ten days later", "a batch a night"])
def test_a_model_that_stops_serving_has_no_silent_feed(name: str) -> None:
    """Nothing is due any more."""
    feed = FEEDS[name][0](120)
    feed.served[80 * 24 :] = 0
    rng = np.random.default_rng(1)
    # What was served before still gets its labels: the rest of the delays.
    left = 1.0 if "night" not in name else 0.0
    ages = (np.arange(len(feed.arrivals)) / DAY - 80) * 24
    mean = {"ten an hour": 2.0, "labels ten days later": 240.0}.get(name, 26.0)
    keep = np.where(ages < 0, 1.0, np.exp(-np.maximum(ages, 0) / mean) if left else (ages < 26).astype(float))
    feed.arrivals = rng.binomial(feed.arrivals, keep)
    assert run(feed).openings() == []


def test_a_bulk_of_old_labels_changes_no_habit() -> None:
    """A backfill of a hundred days' worth: neither then nor when the traffic ends weeks later is anything called silent."""
    feed = poisson(10, 120, 3)
    feed.arrivals[50 * DAY] += 24_000
    assert run(feed).openings() == []
    [(opened, _)] = run(feed.dying(90)).changes
    assert 90 < opened < 90.2


def test_a_thin_or_young_feed_is_not_judged() -> None:
    """A label a week, or a history of nine days: the breaker cannot open, however silent."""
    assert run(poisson(1 / 168, 200, 1).dying(150)).changes == []
    assert run(poisson(10, 9, 1).dying(5)).changes == []


def test_a_configured_pace_needs_no_history() -> None:
    """At least twenty an hour; back when there are."""
    rules = FeedConfig(expect=FeedPace(every=timedelta(hours=1), at_least=20))
    feed = poisson(100, 6, 4)
    feed.rules = rules
    done = run(feed.dying(3, days=1), every=1)
    assert [one.action for _, one in done.changes] == ["open", "close"]
    assert 3.03 < done.changes[0][0] <= 3.06
    assert day_of(done.changes[0][1].since) == pytest.approx(3 - 1 / 24 + 1 / 24, abs=0.05)
    assert 4 < done.changes[1][0] <= 4.05


def test_quiet_after_is_the_longest_silence_allowed() -> None:
    """Six hours without any label; the first one closes it. Where nothing is served, nothing is expected."""
    feed = poisson(10, 8, 5)
    feed.rules = FeedConfig(expect="none", quiet_after=timedelta(hours=6))
    done = run(feed.dying(4, days=1), every=1)
    assert [one.action for _, one in done.changes] == ["open", "close"]
    assert 4.24 < done.changes[0][0] < 4.30
    assert 5 < done.changes[1][0] < 5.05
    feed.window = timedelta(hours=2)
    feed.served[4 * 24 - 3 :] = 0
    assert run(feed.dying(4), every=1).changes == []


def test_what_is_expected_of_nothing_is_not_judged() -> None:
    """``expect: none`` alone turns the breaker off."""
    feed = poisson(100, 75, 3)
    feed.rules = FeedConfig(expect="none")
    assert run(feed.dying(60)).changes == []


def test_an_outage_that_was_declared_is_not_found_once_more() -> None:
    """Neither while it lasts nor after it: the breaker judges what came after its end."""
    feed = poisson(10, 75, 6).dying(60, days=2)
    declared = Change("open", START + timedelta(days=60), START + timedelta(days=62), "operator", "")
    assert len(run(feed).openings()) == 1
    assert run(feed, known=[declared]).openings() == []
