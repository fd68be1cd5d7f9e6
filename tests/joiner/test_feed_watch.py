"""The watch over stored labels: what it counts, records, and finds again after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.joiner.conftest import Line
from upshot_joiner.clock import Stamper
from upshot_joiner.config import FeedConfig, FeedPace, LabelConfig, ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.feed.arrivals import LabelArrivals
from upshot_joiner.feed.course import bucket_of
from upshot_joiner.feed.feeds import Feeds, FeedStatement
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.feed.watch import FeedWatch
from upshot_joiner.join.silence import Change
from upshot_joiner.store.client import Store

T0 = datetime(2023, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEN_MINUTES = timedelta(minutes=10)


@dataclass
class Watching:
    """A line whose clock runs in 2023, and the watch over it."""

    line: Line
    model: str
    records: FeedRecords
    watch: FeedWatch
    feeds: Feeds
    labelled: int = 0

    def another(self) -> FeedWatch:
        """One more watch over the same store, as of another process."""
        line = self.line
        return FeedWatch(line.store, self.records, line.configs, line.clock, line.stamper, line.committer.run,
                         line.activity.by_hour, lambda _: False)  # fmt: skip

    def configure(self, **feed: Any) -> None:
        """Windows of two hours, the default 0."""
        rules = LabelConfig(window=2 * HOUR, default=0, feed=FeedConfig(**feed))
        self.line.configs.put(self.model, ModelConfig(labels={"label": rules}))

    def serve(self, hours: int, each: int) -> None:
        """Predictions on the whole hours from T0 on."""
        for start in range(0, hours, 200):
            self.line.predict(
                *(
                    {
                        "request_id": f"{self.model}-{h}-{n}",
                        "model": self.model,
                        "predicted_at": (T0 + h * HOUR).isoformat(),
                    }
                    for h in range(start, min(hours, start + 200))
                    for n in range(each)
                )
            )

    def label(self, hour: int, each: int) -> None:
        """Labels of the predictions of an hour, now."""
        self.line.label(*({"request_id": f"{self.model}-{hour}-{n}", "value": 1} for n in range(each)))
        assert self.line.joiner.wait_until_idle(30)

    def step(self, to: datetime) -> list[Change]:
        """Move the clock on by ten minutes at a time, looking each time."""
        made = []
        while self.line.clock.now() < to:
            self.line.clock.advance(TEN_MINUTES)
            made += self.look(self.watch)
        return made

    def look(self, watch: FeedWatch) -> list[Change]:
        """What a watch records of this model: the store is shared with other tests."""
        return [change for model, _, change in watch.look() if model == self.model]

    def told(self) -> dict[str, Any]:
        """The answer about the feed."""
        return self.feeds.of_model(self.model, ["label"])["label"]


@contextmanager
def watching_over(store: Store, model: str) -> Iterator[Watching]:
    """A watch over a line that begins at T0."""
    line = Line.open(store)
    line.clock.set(T0 - HOUR)
    line.stamper = Stamper(line.clock)
    line.stamp_with(line.stamper)
    records = FeedRecords(store)
    one = Watching(line, model, records, None, None)  # type: ignore[arg-type]
    one.watch = one.another()
    one.feeds = Feeds(records, one.watch, line.clock, line.stamper, line.committer.run)
    yield one
    line.close()


@pytest.fixture
def watching(store: Store, fresh: str) -> Iterator[Watching]:
    with watching_over(store, fresh) as one:
        yield one


def test_a_feed_that_stops_is_recorded_as_silent_since_its_last_label(watching: Watching) -> None:
    """A configured pace: open when an hour brought nothing, closed when one does; all of it in the answer."""
    watching.configure(expect=FeedPace(every=HOUR, at_least=2))
    watching.serve(20, 3)
    made = watching.step(T0)
    for hour in range(4):
        watching.label(hour, 3)
        made += watching.step(T0 + (hour + 1) * HOUR)
    assert made == []
    last = T0 + 3 * HOUR
    made = watching.step(T0 + 6 * HOUR)
    assert [(one.action, one.by) for one in made] == [("open", "breaker")]
    assert made[0].since is not None
    assert abs(made[0].since - last) < timedelta(seconds=1)
    assert T0 + 4 * HOUR <= made[0].received_at <= T0 + 4.5 * HOUR
    told = watching.told()
    assert (told["state"], told["opened_by"], told["since"]) == ("open", "breaker", made[0].since)
    assert told["expected"]["basis"] == "configured"
    assert told["observed"]["arrivals"] == 0
    assert told["intervals"] == [{"since": made[0].since, "until": None}]
    label = watching.line.coverage(watching.model)
    # Windows of 2 h: those of 00:00 to 04:00 are closed, and 00:00 to 03:00 have labels.
    assert (label["labelled"], label["censored"], label["defaulted"]) == (12, 3, 0)

    watching.label(4, 3)
    made = watching.step(T0 + 7 * HOUR)
    assert [one.action for one in made] == ["close"]
    assert watching.told()["state"] == "closed"
    label = watching.line.coverage(watching.model)
    assert (label["labelled"], label["censored"]) == (15, 0)


def test_a_learnt_band_opens_closes_and_survives_a_restart(watching: Watching) -> None:
    """Twelve days of history; the next process reads its counts, not the outcomes, and decides the same."""
    watching.configure()
    watching.serve(15 * 24, 6)
    clock = watching.line.clock
    for hour in range(0, 12 * 24, 3):
        clock.set(T0 + hour * HOUR + timedelta(minutes=30))
        watching.label(hour, 6)
        if hour % 24 == 0:
            watching.watch.look()
    assert watching.told()["expected"]["basis"] == "learnt"
    start = clock.now()
    twin = watching.another()
    assert watching.step(start + 2 * HOUR) == []
    [opened] = watching.step(start + 14 * HOUR)
    assert opened.since is not None
    assert abs(opened.since - start) < timedelta(seconds=5)
    assert opened.numbers["rule"] == "learnt"

    clock.advance(-TEN_MINUTES)
    assert watching.look(twin) == []  # its first look: what was held back may still come
    clock.advance(TEN_MINUTES)
    assert watching.look(twin) == []
    clock.advance(TEN_MINUTES)
    assert watching.look(twin) == []  # the other's record is known
    histories = watching.watch._arrivals.histories[watching.model, "label"]
    assert twin._arrivals.histories[watching.model, "label"].arrivals == histories.arrivals
    counted = LabelArrivals(watching.line.store)
    counted.count(bucket_of(clock.now()))
    assert counted.histories[watching.model, "label"].arrivals == histories.arrivals
    assert sum(histories.arrivals.values()) == 12 * 8 * 6


def test_what_came_while_the_server_was_away_is_not_called_silence(watching: Watching) -> None:
    """After a leap of the clock, senders get twenty minutes to bring what they held back."""
    watching.configure(quiet_after=HOUR, expect="none")
    watching.serve(20, 3)
    watching.step(T0)
    watching.label(0, 3)
    watching.step(T0 + HOUR)
    watching.line.clock.advance(5 * HOUR)
    assert watching.look(watching.watch) == []
    watching.label(1, 1)
    assert watching.step(T0 + 6.5 * HOUR) == []


def test_a_joiner_that_is_far_behind_is_no_silent_feed(watching: Watching) -> None:
    """What has arrived is not counted yet, so nothing is judged."""
    watching.configure(quiet_after=HOUR, expect="none")
    watching.serve(20, 3)
    watching.step(T0)
    watching.label(0, 1)
    watching.watch._is_held_up = lambda _: True
    assert watching.step(T0 + 5 * HOUR) == []
    watching.watch._is_held_up = lambda _: False
    assert [one.action for one in watching.step(T0 + 6 * HOUR)] == ["open"]


def test_what_is_not_joined_for_longer_than_a_day_is_missing(watching: Watching) -> None:
    """Whoever's fault it is: the watch does not stay blind, and ``censored`` is no guess."""
    watching.configure(quiet_after=HOUR, expect="none")
    watching.serve(40, 1)
    watching.step(T0)
    watching.watch._is_held_up = lambda _: True
    assert watching.step(T0 + 24 * HOUR) == []
    assert watching.told()["observed"]["held_up_since"] == T0 + TEN_MINUTES
    assert [one.action for one in watching.step(T0 + 26 * HOUR)] == ["open"]


def test_two_watches_that_record_the_same_change_do_no_harm(watching: Watching) -> None:
    """Two processes that decide at the same moment: one stretch of silence, one end."""
    watching.configure(expect=FeedPace(every=HOUR, at_least=1))
    watching.serve(20, 1)
    twin = watching.another()
    watching.line.clock.set(T0)
    for _ in range(4):
        twin.look()
        watching.watch.look()
        watching.line.clock.advance(TEN_MINUTES)
    watching.label(0, 1)
    real = watching.records.all
    before = real()
    watching.records.all = lambda: before  # type: ignore[method-assign]  # neither sees what the other writes
    made: list[Change] = []
    while len(made) < 2:
        watching.line.clock.advance(TEN_MINUTES)
        made += [*watching.look(twin), *watching.look(watching.watch)]
    assert [one.action for one in made] == ["open", "open"]
    watching.records.all = real  # type: ignore[method-assign]
    assert len(watching.told()["intervals"]) == 1
    assert len(watching.told()["changes"]) == 2


def test_an_operator_opens_closes_and_declares_void(watching: Watching) -> None:
    """Each a new record; what only an operator opened, the breaker leaves alone."""
    watching.configure(quiet_after=5 * HOUR, expect="none")
    watching.serve(20, 1)
    watching.step(T0 + 2 * HOUR)
    said = FeedStatement(action="open", since=T0, reason="the ledger is down")
    told = watching.feeds.state(watching.model, "label", said)
    assert (told["state"], told["opened_by"], told["since"]) == ("open", "operator", T0)
    watching.label(3, 1)
    assert watching.step(T0 + 3 * HOUR) == []
    until = T0 + 2 * HOUR
    told = watching.feeds.state(watching.model, "label", FeedStatement(action="close", until=until))
    assert (told["state"], told["intervals"]) == ("closed", [{"since": T0, "until": until}])
    told = watching.feeds.state(watching.model, "label", FeedStatement(action="void", since=T0 + HOUR))
    assert told["intervals"] == [{"since": T0, "until": T0 + HOUR}]
    assert [one["action"] for one in told["changes"]] == ["open", "close", "void"]
    assert told["changes"][0]["reason"] == "the ledger is down"


@pytest.mark.parametrize(
    ("said", "status", "loc"),
    [
        ({"action": "close"}, 409, None),
        ({"action": "void"}, 422, "since"),
        ({"action": "open", "since": T0, "until": T0}, 422, "since"),
        ({"action": "open", "since": datetime(1900, 1, 1, tzinfo=UTC)}, 422, "since"),
    ],
)
def test_a_statement_that_says_nothing_is_refused(
    watching: Watching, said: dict[str, Any], status: int, loc: str | None
) -> None:
    """With its place; nothing is recorded."""
    with pytest.raises(Problem) as refused:
        watching.feeds.state(watching.model, "label", FeedStatement(**said))
    assert refused.value.status == status
    assert [place["loc"] for place in refused.value.errors] == ([loc] if loc else [])
    assert watching.records.of_model(watching.model) == {}


def test_a_feed_says_why_nothing_is_expected_of_it(watching: Watching) -> None:
    """Too little history, or not wanted."""
    assert watching.told()["expected"] == {
        "basis": "none", "within_s": None, "at_least": None, "usual": None, "because": "no_labels",
    }  # fmt: skip
    watching.configure(expect="none")
    assert watching.told()["expected"]["because"] == "not_expected"
