"""Which numbers of a writer arrived: exact under repetition, failure, crash, silence and eviction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.joiner.conftest import Line
from tests.joiner.test_committer import failing_once
from upshot_joiner.errors import Problem
from upshot_joiner.intake.decode import Refused
from upshot_joiner.store.client import Store
from upshot_joiner.writers.answers import WriterAnswers
from upshot_joiner.writers.books import GRACE_S


def event(writer: str, seq: int, **fields: Any) -> dict[str, Any]:
    """A prediction of a writer; its request ID is its number."""
    return {"request_id": f"{writer}-{seq}", "model": writer, "writer_id": writer, "seq": seq, **fields}


def label(writer: str, seq: int, of: int) -> dict[str, Any]:
    """A label of a writer, of the prediction with the number ``of``."""
    return {"request_id": f"{writer}-{of}", "value": 1, "writer_id": writer, "seq": seq}


def said(writer: str, next_seq: int, at: float = 1e9, *, is_last: bool = False, **counters: int) -> dict[str, Any]:
    """A report of a writer."""
    times = {"reported_at": at, "started_at": 1e9}
    return {"writer_id": writer, "next_seq": next_seq, "is_last": is_last, "counters": counters, **times}


def figures(told: dict[str, Any]) -> tuple[Any, ...]:
    """Received, rejected, missing and the gaps of a writer."""
    return told["received"], told["rejected"], told["missing"], told["gaps"]


def again(line: Line) -> Line:
    """The same store in the hands of a new process; the old one was killed. Close it."""
    line.close()
    opened = Line.open(line.store)
    if opened.processes is not None:
        opened.arrivals.recount()  # as `sharing` makes it at every look; the clock of these stamps stands still
    return opened


def after_restart(line: Line, writer: str) -> dict[str, Any]:
    """What a new process answers about a writer."""
    restarted = again(line)
    try:
        return restarted.writer(writer)
    finally:
        restarted.close()


def test_stored_duplicate_and_rejected_events_have_arrived_each_number_once(line: Line, fresh: str) -> None:
    """Predictions and labels share the numbers; a redelivered batch changes nothing."""
    for _ in range(2):
        line.predict(event(fresh, 0), event(fresh, 1), event(fresh, 4))
        line.label(label(fresh, 2, of=0), label(fresh, 6, of=1))
        line.predict(event(fresh, 7, request_id=f"{fresh}-0"))  # the same event again, under a number of its own
        line.predict(event(fresh, 9, request_id=f"{fresh}-0", prediction=0.5))  # a conflict
        refused = [Refused(0, "missing", "model", {"request_id": "r", "writer_id": fresh, "seq": 10})]
        line.committer.submit_predictions([], refused).result(30)
        assert figures(line.writer(fresh)) == (8, 2, 3, [[3, 3], [5, 5], [8, 8]])
    written = line.store.query("SELECT count() FROM writer_repeats WHERE writer_id = {w:String}", {"w": fresh})
    assert written == [(1,)], "of all the duplicates, one had a number that no stored event has"
    told = line.writer(fresh)
    assert told["rejected_by_code"] == {"conflict": 1, "missing": 1}
    assert told["models"] == [fresh]


@pytest.mark.parametrize(
    "payload",
    [
        "text",
        None,
        {"seq": 3},
        {"writer_id": 5, "seq": 3},
        {"writer_id": "W", "seq": -1},
        {"writer_id": "W", "seq": "3"},
    ],
)
def test_a_refused_item_without_a_readable_number_counts_for_nobody(line: Line, fresh: str, payload: Any) -> None:
    """It is in quarantine all the same."""
    if isinstance(payload, dict) and payload.get("writer_id") == "W":
        payload = payload | {"writer_id": fresh}
    answer = line.committer.submit_predictions([], [Refused(0, "wrong_type", "", payload)]).result(30)
    assert answer.rejected == 1
    with pytest.raises(Problem) as unknown:
        line.writer(fresh)
    assert unknown.value.code == "unknown_writer"


@pytest.mark.parametrize("checkpoint", [False, True], ids=["killed", "noted"])
def test_a_new_process_finds_every_number_again(store: Store, fresh: str, checkpoint: bool) -> None:
    """Whether or not the table was brought up to date before the end, and for what came after it."""
    line = Line.open(store)
    line.predict(event(fresh, 0), event(fresh, 1), event(fresh, 4))
    line.report(said(fresh, 12, dropped=1, dropped_full=1))
    if checkpoint:
        line.arrivals.checkpoint()
    line.label(label(fresh, 2, of=0))
    line.predict(event(fresh, 6, request_id=f"{fresh}-0"), event(fresh, 8, request_id=f"{fresh}-0", prediction=1))
    line.report(said(fresh, 14, dropped=2, dropped_full=2))
    before = line.writer(fresh)
    assert (before["received"], before["rejected"], before["next_seq"], before["explained"]) == (6, 1, 14, {"full": 2})
    line = again(line)
    assert line.writer(fresh) == before
    line.arrivals.start()
    assert store.query("SELECT count() FROM writer_repeats") == [(0,)], "what the table holds is not kept twice"
    assert line.writer(fresh) == before
    line.arrivals.close()
    line = again(line)
    assert line.writer(fresh) == before
    line.close()


@pytest.mark.parametrize("table", ["served_", "predictions", "quarantine", "writer_repeats"])
def test_a_group_that_failed_halfway_is_counted_as_it_is_on_disk(
    store: Store, line: Line, fresh: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the group is cut off: what is stored has arrived, the rest has not, until it is sent again."""
    line.predict(event(fresh, 0))
    group = [
        event(fresh, 1),
        event(fresh, 2, request_id=f"{fresh}-0"),
        event(fresh, 3, request_id=f"{fresh}-0", prediction=1),
    ]
    failing_once(store, table, monkeypatch)
    with pytest.raises(Problem):
        line.predict(*group)
    line.predict(event(fresh, 5))
    stored = {"served_": set(), "predictions": {1}, "quarantine": {1}, "writer_repeats": {1, 3}}[table]
    assert line.writer(fresh)["received"] == 2 + len(stored)
    line.predict(*group)
    assert figures(line.writer(fresh)) == (5, 1, 1, [[4, 4]])
    assert figures(after_restart(line, fresh)) == (5, 1, 1, [[4, 4]])


def test_a_report_that_is_not_stored_is_not_acknowledged(
    store: Store, line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and it can be sent again."""
    failing_once(store, "writer_reports", monkeypatch)
    with pytest.raises(Problem):
        line.report(said(fresh, 5))
    assert line.report(said(fresh, 5)).accepted == 1
    assert line.writer(fresh)["next_seq"] == 5


def test_the_latest_report_counts_whatever_the_order_of_arrival(line: Line, fresh: str) -> None:
    """By its numbers first, since a writer's clock may jump; the same one again is a duplicate."""
    first, clock_back, last = (
        said(fresh, 10, 2e9, queued=1),
        said(fresh, 20, 1e9, queued=2),
        said(fresh, 20, 1e9, is_last=True),
    )
    answer = line.report(last, first)
    assert (answer.accepted, answer.duplicates) == (2, 0)
    answer = line.report(clock_back, last)
    assert (answer.accepted, answer.duplicates) == (1, 1)
    told = line.writer(fresh)
    assert (told["next_seq"], told["is_last"], told["state"], told["unexplained"]) == (20, True, "lossy", 20)


def test_missing_numbers_are_lost_after_five_minutes_of_silence(line: Line, fresh: str) -> None:
    """Before, they are on their way; an event that comes later still counts."""
    line.predict(event(fresh, 0), event(fresh, 2))
    line.report(said(fresh, 4, queued=1, in_flight=1))
    assert line.writer(fresh)["waiting"] == {"queued": 1, "in_flight": 1}
    line.uptime[0] += GRACE_S - 1
    assert line.writer(fresh)["state"] == "waiting"
    line.uptime[0] += 1
    told = line.writer(fresh)
    assert (told["state"], told["unexplained"], told["is_silent"]) == ("lossy", 2, True)
    line.predict(event(fresh, 1), event(fresh, 3))
    assert line.writer(fresh)["state"] == "complete"


def test_a_writer_that_never_falls_silent_is_found_out_too(line: Line, fresh: str) -> None:
    """A gap that is old enough is judged while newer ones are not yet."""
    line.predict(event(fresh, 0), event(fresh, 2))
    for step in range(1, 5):
        line.uptime[0] += GRACE_S / 2
        line.predict(event(fresh, 2 + 2 * step))
        told = line.writer(fresh)
        assert told["state"] == ("waiting" if step < 2 else "lossy")
        assert told["unexplained"] == (0 if step < 2 else 1 if step < 4 else 3)
    line.arrivals.checkpoint()
    told = after_restart(line, fresh)
    assert (told["state"], told["unexplained"], told["is_silent"]) == ("lossy", 3, False), "a restart forgives nothing"


def test_a_settled_writer_leaves_memory_and_comes_back_whole(line: Line, fresh: str) -> None:
    """It is answered from the table as from memory, counted once in the totals, and goes on where it was."""
    one, other = f"{fresh}-a", f"{fresh}-b"
    answers = WriterAnswers(line.store, line.arrivals)
    line.predict(event(one, 0, model=fresh), event(one, 2, model=fresh), event(other, 0, model=fresh))
    line.report(said(one, 5, dropped=1, dropped_full=1, spooled=1))
    line.uptime[0] += GRACE_S
    before = answers.all(model=fresh)
    assert before["totals"]["states"] == {"complete": 1, "waiting": 0, "lossy": 1}
    line.arrivals.checkpoint()
    assert line.arrivals.look(lambda writers, _: {one, other} & set(writers)) == set()
    assert answers.all(model=fresh) == before
    assert [writer["writer_id"] for writer in answers.all("lossy", fresh)["writers"]] == [one]
    line.predict(event(one, 2, model=fresh), event(one, 3, model=fresh))
    told = answers.all(model=fresh)
    assert [(w["writer_id"], w["received"], w["state"]) for w in told["writers"]] == [
        (one, 3, "waiting"),
        (other, 1, "complete"),
    ]
    totals = told["totals"]
    assert (totals["writers"], totals["next_seq"], totals["received"], totals["missing"]) == (2, 6, 4, 2)
    assert (totals["explained"], totals["waiting"], totals["unexplained"]) == ({"full": 1}, {"spooled": 1}, 0)
    line.arrivals.checkpoint()
    assert answers.all(model=fresh) == told


def test_a_writer_heard_of_while_it_is_settled_stays(
    store: Store, line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while its row is written is in no row yet, and must not leave memory with it."""
    line.predict(event(fresh, 0))
    line.uptime[0] += GRACE_S
    real = store.insert

    def insert(into: str, rows: pa.Table) -> None:
        real(into, rows)
        if into == "writers":
            line.predict(event(fresh, 1))

    monkeypatch.setattr(store, "insert", insert)
    line.arrivals.checkpoint()
    monkeypatch.setattr(store, "insert", real)
    assert figures(line.writer(fresh)) == (2, 0, 0, [])
    line.arrivals.checkpoint()
    assert figures(after_restart(line, fresh)) == (2, 0, 0, [])


def test_memory_holds_a_bounded_number_of_writers(store: Store, fresh: str) -> None:
    """Of too many, those that were silent longest live in the table alone; none is lost or counted twice."""
    line = Line.open(store, max_active=10)
    try:
        for number in range(30):
            line.uptime[0] += 1
            line.predict(event(f"{fresh}-{number:02d}", 1, model=fresh))
            if number in (5, 25):  # so that some of those that leave memory are known to the table, and some are not
                line.arrivals.checkpoint()
        line.arrivals.checkpoint()
        assert line.arrivals.look(lambda writers, _: len(writers)) == 10
        told = WriterAnswers(store, line.arrivals).all(model=fresh, limit=1000)
        assert [writer["writer_id"] for writer in told["writers"]] == [f"{fresh}-{n:02d}" for n in reversed(range(30))]
        assert (told["totals"]["writers"], told["totals"]["received"], told["totals"]["missing"]) == (30, 30, 30)
    finally:
        line.close()


EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 25), st.sampled_from(["predict", "label", "repeat", "refuse"])),
    min_size=1,
    max_size=12,
)
GROUPS = st.lists(st.tuples(EVENTS, st.sampled_from(["", "checkpoint", "restart", "silence"])), min_size=1, max_size=5)
_examples = iter(range(10**6))


@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GROUPS)
def test_what_arrived_is_the_set_of_what_was_sent(
    store: Store, fresh: str, groups: Sequence[tuple[list[tuple[str, int, str]], str]]
) -> None:
    """Any events in any groups, with checkpoints, kills and silences between them: per writer, the set of their numbers."""
    name = f"{fresh}-{next(_examples)}"
    expected: dict[str, set[int]] = {}
    line = Line.open(store)
    try:
        for events, then in groups:
            predictions, labels, refused = [], [], []
            for writer, seq, what in events:
                writer_id = f"{name}-{writer}"
                expected.setdefault(writer_id, set()).add(seq)
                if what == "predict":
                    predictions.append(event(writer_id, seq))
                elif what == "repeat":
                    predictions.append(event(writer_id, seq, request_id=name, model=name))
                elif what == "label":
                    labels.append(label(writer_id, seq, of=seq))
                else:
                    refused.append(Refused(0, "wrong_type", "", {"writer_id": writer_id, "seq": seq}))
            line.predict(*predictions)
            line.label(*labels)
            line.committer.submit_labels([], refused).result(30)
            if then == "silence":
                line.uptime[0] += GRACE_S
            if then in ("checkpoint", "silence"):
                line.arrivals.checkpoint()
            if then == "restart":
                line = again(line)
        for writer_id, numbers in expected.items():
            told = line.writer(writer_id)
            missing = {n for first, last in told["gaps"] for n in range(first, last + 1)}
            assert (told["received"], told["next_seq"]) == (len(numbers), max(numbers) + 1)
            assert missing == set(range(max(numbers))) - numbers
    finally:
        line.close()
