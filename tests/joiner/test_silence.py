"""When a feed was silent, as of any moment; and that every reader of it says the same of every row."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.joiner.conftest import NOW, Line
from upshot_joiner.clock import Stamper, to_micros
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.export.exporter import Exporter
from upshot_joiner.export.request import ExportRequest
from upshot_joiner.export.training_set import TrainingSet
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.join.rule import Outcome, at
from upshot_joiner.join.silence import (
    NEVER,
    Change,
    Silence,
    Stretch,
    closes_in,
    opened_by,
    parameters,
    silence,
)
from upshot_joiner.store.client import Store

T0 = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
_numbers = itertools.count()


def hour(number: float) -> datetime:
    return T0 + number * HOUR


changes = st.builds(
    lambda action, since, length, stamp, by: Change(
        action,
        None if action == "close" else hour(since),
        hour(since + length) if length else (hour(since) if action == "close" else None),
        by,
        "",
        {},
        hour(stamp),
    ),
    action=st.sampled_from(["open", "open", "close", "void"]),
    since=st.integers(0, 20),
    length=st.integers(0, 8),
    stamp=st.integers(0, 30),
    by=st.sampled_from(["breaker", "operator"]),
)
histories = st.lists(changes, max_size=8, unique_by=lambda one: one.received_at)


def moments_of(known: list[Change]) -> set[int]:
    """The oracle of the oracle: hour by hour, what the records say one after the other."""
    silent: set[int] = set()
    for one in sorted(known, key=lambda one: one.received_at):
        since = 0 if one.since is None else (one.since - T0) // HOUR
        until = 100 if one.until is None else (one.until - T0) // HOUR
        if one.action == "open":
            silent |= set(range(since, until))
        elif one.action == "close":
            silent -= set(range(until, 100))
        else:
            silent -= set(range(since, until))
    return silent


@settings(deadline=None)
@given(histories, st.randoms(), st.integers(0, 31))
def test_a_silence_is_the_fold_of_its_records_as_of_any_moment(known: list[Change], rng: Any, stamp: int) -> None:
    """Any order and repetition of the records gives the same moments, those of going through them hour by hour."""
    by_then = [one for one in known if one.received_at <= hour(stamp)]
    shuffled = by_then * 2
    rng.shuffle(shuffled)
    found = silence(shuffled)
    assert {number for number in range(100) if found.covers(hour(number))} == moments_of(by_then)
    ends = [one.until for one in found.stretches]
    assert None not in ends[:-1]
    assert all(a.until < b.since for a, b in itertools.pairwise(found.stretches) if a.until)


def test_the_first_moment_of_a_silence_is_in_it_and_the_last_is_not() -> None:
    """A window that closes at the very border."""
    rules = LabelConfig(window=HOUR, default=0)
    known = Silence((Stretch(hour(10), hour(12)),))

    def state(closes: float) -> str:
        return at(Outcome("pending"), hour(closes - 1), rules, hour(50), known).state

    assert [state(9.99), state(10), state(11.99), state(12)] == ["defaulted", "censored", "censored", "defaulted"]


def test_only_what_would_have_been_a_default_is_censored() -> None:
    """Not an open window, not a label, not a retraction, not a label that has no default."""
    rules = LabelConfig(window=HOUR, default=0)
    known = Silence((Stretch(hour(0)),))
    assert at(Outcome("pending"), hour(5), rules, hour(5.5), known).state == "pending"
    assert at(Outcome("labelled", 1), hour(5), rules, hour(9), known).state == "labelled"
    assert at(Outcome("retracted"), hour(5), rules, hour(9), known).state == "retracted"
    assert at(Outcome("pending"), hour(5), LabelConfig(window=HOUR), hour(9), known).state == "pending"
    assert at(Outcome("pending"), hour(5), rules, hour(9), NEVER) == Outcome("defaulted", 0)


def test_an_operators_opening_stands_before_the_breakers() -> None:
    """Who opened a silence is who may close it."""
    breaker = Change("open", hour(1), None, "breaker", "", {}, hour(2))
    operator = Change("open", hour(3), None, "operator", "", {}, hour(3))
    closed = Change("close", None, hour(4), "breaker", "", {}, hour(4))
    assert opened_by([]) is None
    assert opened_by([breaker]) == "breaker"
    assert opened_by([breaker, operator]) == "operator"
    assert opened_by([breaker, operator, closed]) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.integers(0, 3))
def test_the_condition_in_sql_is_that_of_the_rule(store: Store, known: list[Change], window: int) -> None:
    """For moments around every border, to the microsecond."""
    found = silence(known)
    borders = [*(one.since for one in found.stretches), *(one.until for one in found.stretches if one.until), hour(7)]
    closes = [border + step * timedelta(microseconds=1) for border in borders for step in (-1, 0, 1)]
    shift = window * HOUR
    sql = f"SELECT {closes_in('moment')} FROM (SELECT arrayJoin({{moments:Array(Int64)}}) AS moment)"
    rows = store.query(sql, {"moments": [to_micros(one - shift) for one in closes], **parameters(found, shift)})
    assert [bool(silent) for (silent,) in rows] == [found.covers(one) for one in closes]


@pytest.fixture
def early(store: Store) -> Any:
    """A line whose clock runs in 2024, apart from the others' stamps."""
    line = Line.open(store)
    line.clock.set(T0)
    stamper = Stamper(line.clock)
    line.stamp_with(stamper)
    line.stamper = stamper
    yield line
    line.close()


@pytest.mark.timeout(600)
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    histories,
    st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 30))), min_size=1, max_size=30),
    st.integers(21, 31),
    st.booleans(),
)
def test_export_coverage_and_story_say_of_every_row_what_the_rule_says(
    store: Store, tmp_path_factory: pytest.TempPathFactory, known: list[Change],
    served: list[tuple[int, int | None]], as_of: int, defers: bool,
) -> None:  # fmt: skip
    """As of any moment, for windows that close at borders too; labels come before, in and after the silence."""
    model = f"silence-{next(_numbers)}"
    line = Line.open(store)
    try:
        stamper = Stamper(line.clock)
        line.clock.set(hour(0))
        line.stamp_with(stamper)
        rules = LabelConfig(window=2 * HOUR, default=0)
        line.configs.put(model, ModelConfig(labels={"label": rules}))
        line.predict(
            *(
                {"request_id": f"{model}-{n}", "model": model, "predicted_at": hour(at_hour).isoformat()}
                for n, (at_hour, _) in enumerate(served)
            )
        )
        if defers:
            line.predict(
                {"request_id": f"{model}-x", "model": model, "predicted_at": hour(5).isoformat(), "shown": False}
            )
        records = FeedRecords(store)
        steps: list[tuple[datetime, int | None, Change | None]] = [(one.received_at, None, one) for one in known]
        steps += [(hour(came), n, None) for n, (_, came) in enumerate(served) if came is not None]
        received: dict[int, datetime] = {}
        stamped: list[Change] = []
        for moment, n, change in sorted(steps, key=lambda step: step[0]):
            line.clock.set(max(moment, line.clock.now()))
            if n is not None:
                line.label({"request_id": f"{model}-{n}", "value": 1})
                received[n] = stamper.last
            elif change is not None:
                stamped.append(records.append(model, "label", change, stamper, line.committer.run))
        moment = hour(as_of) + timedelta(microseconds=500)

        def expected(n: int, by: datetime) -> str:
            labelled = n in received and received[n] <= by
            outcome = Outcome("labelled", 1) if labelled else Outcome("pending")
            of_then = silence([one for one in stamped if one.received_at <= by])
            return at(outcome, hour(served[n][0]), rules, by, of_then).state

        for by in (hour(as_of // 2) + timedelta(microseconds=500), moment):
            request = ExportRequest(model=model, as_of=by, force=True)
            writer = TrainingSet(store, line.served, ModelConfig(labels={"label": rules}), request,
                                 attributed=False, silences=records.silences_as_of(model, by))  # fmt: skip
            folder = tmp_path_factory.mktemp("export")
            manifest = writer.write(folder, lambda _: None)
            rows = pq.read_table(folder / "part-00000.parquet").to_pylist()
            states = {int(row["request_id"].rsplit("-", 1)[1]): row["label_state__label"] for row in rows}
            assert states == {n: expected(n, by) for n in range(len(served))}
            values = {row["label_state__label"]: row["label__label"] for row in rows}
            assert values.get("censored") is None
            counts = Counter(states.values())
            assert manifest["states"] == dict(counts)
            assert ("silences" in manifest) == bool(counts["censored"])
            again = TrainingSet(store, line.served, ModelConfig(labels={"label": rules}), request,
                                attributed=False, silences=records.silences_as_of(model, by))  # fmt: skip
            assert again.censored()["label"] == counts["censored"]
        present = hour(32)
        line.clock.set(present)
        told = line.coverage(model)
        now = Counter(expected(n, present) for n in range(len(served)))
        for state in ("labelled", "defaulted", "censored", "pending"):
            assert told[state] == now[state], state
        for n in range(len(served)):
            [outcome] = line.story(f"{model}-{n}")["outcomes"]
            assert outcome["state"] == expected(n, present)
            assert (outcome["value"] is None) == (outcome["state"] in ("pending", "censored"))
    finally:
        line.close()


def test_an_export_is_refused_while_it_holds_censored_rows_and_says_so_when_forced(
    early: Line, store: Store, fresh: str, tmp_path: Path
) -> None:
    """409 with the label, the count and the silence; with force, the manifest has them; a void silence is none."""
    early.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(window=HOUR, default=0)}))
    early.predict(
        *({"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": hour(n).isoformat()} for n in range(6))
    )
    early.clock.set(hour(10))
    records = FeedRecords(store)
    early.label({"request_id": f"{fresh}-2", "value": 1})
    exporter = Exporter(
        store,
        early.served,
        early.configs,
        early.clock,
        early.stamper,
        early.committer.barrier,
        tmp_path,
        early.entities,
    )
    before = early.stamper.next()
    early.clock.set(hour(11))
    say = Change("open", hour(3), hour(5), "operator", "the feed was down")
    records.append(fresh, "label", say, early.stamper, early.committer.run)
    early.clock.set(hour(12))
    with pytest.raises(Problem) as refused:
        exporter.submit(ExportRequest(model=fresh))
    assert (refused.value.status, refused.value.code) == (409, "label_feed_silent")
    assert refused.value.extra["censored"] == {"label": 1}  # of the two, one has its label
    assert refused.value.errors == [{"loc": "labels.label", "code": "silent"}]
    exporter.submit(ExportRequest(model=fresh, end=hour(2)))  # nothing of this range is censored
    exporter.submit(ExportRequest(model=fresh, as_of=before))  # nobody knew of it then
    exporter.submit(ExportRequest(model=fresh, force=True))
    void = Change("void", hour(0), None, "operator", "the labels were loaded")
    records.append(fresh, "label", void, early.stamper, early.committer.run)
    exporter.submit(ExportRequest(model=fresh))


def test_censored_rows_are_counted_from_hours_and_borders(line: Line, fresh: str) -> None:
    """The count equals that of the rows, whatever part of an hour a silence takes."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(window=HOUR, default=0)}))
    start = NOW - timedelta(days=3)
    moments = [start + n * timedelta(seconds=31) for n in range(2000)]
    line.predict(
        *(
            {"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": one.isoformat()}
            for n, one in enumerate(moments)
        )
    )
    since, until = moments[300] + HOUR, moments[1500] + HOUR
    records = FeedRecords(line.store)
    records.append(fresh, "label", Change("open", since, until, "operator", ""), line.stamper, line.committer.run)
    line.label(*({"request_id": f"{fresh}-{n}", "value": 1} for n in range(200, 400)))
    told = line.coverage(fresh)
    assert told["censored"] == 1200 - 100
    assert told["defaulted"] == 2000 - 200 - 1100
    assert told["coverage"] == pytest.approx((2000 - 1100) / 2000)
