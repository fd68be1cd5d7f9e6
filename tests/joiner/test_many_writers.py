"""Several processes write one store at once: each test has two lines of parts, as two processes have them, over one server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from tests import waiting
from upshot.wire import LabelEvent, Prediction
from upshot_joiner import processes as sharing
from upshot_joiner.clock import FixedClock, to_micros
from upshot_joiner.config import read_config
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.check import check_label, check_prediction
from upshot_joiner.join import knowledge, orphans
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import TIME
from upshot_joiner.writers.arrivals import FORGET_EVERY_S
from upshot_server.parts import Parts
from upshot_server.settings import Settings

SKEW = timedelta(hours=2)
HOUR = timedelta(hours=1)
MERGED_BETWEEN = [(0, 1), (0, 1)]
"""Both are told of a conflict, and both are in quarantine: a merge came between the inserts and the second look."""
MERGED_LATER = [(1, 0), (1, 0)]
"""A merge came after the second look, and kept the row of who was second: it stays."""


def eventually(check: Callable[[], Any]) -> None:
    """Within the time that a busy machine needs for what takes a second on a quiet one."""
    waiting.eventually(check, 300, every_s=0.2)


class Two:
    """Two processes on one store; their machines' clocks are four hours apart."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self.a = self.open("a", -SKEW)
        self.b = self.open("b", SKEW)

    def open(self, name: str, skew: timedelta) -> Parts:
        """One more process."""
        clock = FixedClock(datetime.now(UTC) + skew)
        return Parts.open(Settings(data_dir=self._folder / name, clickhouse=SecretStr(self._url)), clock)

    @property
    def store(self) -> Store:
        """The store, by the first of them."""
        return self.a.store

    def outcomes(self, request_id: str) -> list[tuple[Any, ...]]:
        """What is stored of a request: label, state, value."""
        return self.store.query(
            "SELECT toString(name), toString(state), value_text FROM outcomes FINAL WHERE request_id = {r:String} ORDER BY ALL",
            {"r": request_id},
        )

    def waiting(self, start: str) -> list[str]:
        """Requests, by the start of their IDs, with a label that waits. (The coverage of a model lists those of no model, too.)"""
        found = f"SELECT DISTINCT request_id FROM ({orphans.WAITING}) WHERE startsWith(request_id, {{start:String}})"
        return [request_id for (request_id,) in self.store.query(found, {"start": start})]

    def close(self) -> None:
        """End both."""
        self.a.close()
        self.b.close()


def predict(parts: Parts, **event: Any) -> Answer:
    """Store one prediction by this process."""
    checked = check_prediction(Prediction(**event))
    return parts.line.committer.submit_predictions([(0, checked)], []).result(60)


def label(parts: Parts, **event: Any) -> Answer:
    """Store one label event by this process."""
    return parts.line.committer.submit_labels([(0, check_label(LabelEvent(**event)))], []).result(60)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run these in threads of their own that start together; their results."""
    results: list[Any] = [None] * len(calls)
    ready = threading.Barrier(len(calls))

    def run(number: int) -> None:
        ready.wait()
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture(scope="module")
def two(clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    opened = Two(clickhouse, tmp_path_factory.mktemp("two"))
    yield opened
    opened.close()


def test_a_prediction_and_its_label_on_different_writers_always_join(two: Two, fresh: str) -> None:
    """Whichever is stored first, and when both are stored at once: at least one of the two sees both."""
    for n in range(12):
        prediction = {"request_id": f"{fresh}-{n}", "model": fresh}
        of = {"request_id": f"{fresh}-{n}", "value": n}
        one, other = (two.a, two.b) if n % 2 else (two.b, two.a)
        calls = [lambda p=prediction, w=one: predict(w, **p), lambda e=of, w=other: label(w, **e)]
        if n % 3 == 1:
            calls.reverse()
        if n % 3 == 2:
            at_once(*calls)
        else:
            for call in calls:
                call()
    for n in range(12):
        eventually(lambda n=n: two.outcomes(f"{fresh}-{n}") == [("label", "labelled", str(n))])
    [told] = two.a.coverage.labels(fresh)["labels"]
    assert told["labelled"] == 12
    assert two.waiting(fresh) == []


def test_two_writers_with_the_same_redelivered_events_show_each_once(two: Two, fresh: str) -> None:
    """As when a partition has two owners for a moment."""
    predicted_at = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    for n in range(4):
        event = {"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": predicted_at, "features": {"x": n}}
        said = {"request_id": f"{fresh}-{n}", "value": 1, "label_id": f"{fresh}-{n}", "observed_at": predicted_at + 60}
        answers = at_once(lambda e=event: predict(two.a, **e), lambda e=event: predict(two.b, **e))
        answers += at_once(lambda s=said: label(two.a, **s), lambda s=said: label(two.b, **s))
        assert sum(answer.accepted + answer.duplicates for answer in answers) == 4
    eventually(lambda: two.b.line.activity.predictions(fresh) == 4)
    table = two.a.line.served.table(fresh)
    assert two.store.query(f"SELECT count(), uniqExact(request_id) FROM {table} FINAL") == [(4, 4)]
    eventually(lambda: two.a.coverage.labels(fresh)["labels"][0]["labelled"] == 4)


def test_of_two_contents_under_one_identity_everybody_sees_the_same_one(two: Two, fresh: str) -> None:
    """One writer is told that it was first, the other that it met a conflict; also where the hour of the two differs."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for n in range(6):
        first = {"request_id": f"{fresh}-{n}", "model": fresh, "prediction": 1.0, "predicted_at": noon.timestamp()}
        second = first | {"prediction": 2.0, "predicted_at": (noon + HOUR * n).timestamp()}
        answers = at_once(lambda e=first: predict(two.a, **e), lambda e=second: predict(two.b, **e))
        told = sorted((answer.accepted, answer.rejected) for answer in answers)
        assert told in ([(0, 1), (1, 0)], MERGED_BETWEEN, MERGED_LATER)
        if told == MERGED_BETWEEN:
            continue
        seen = [parts.stories.tell(f"{fresh}-{n}")["predictions"] for parts in (two.a, two.b)]
        assert seen[0] == seen[1]
        [value] = [one["prediction"] for one in seen[0]]
        if told == MERGED_LATER:  # the typed rows of two hours are both there; the spine names one
            continue
        assert value == (1.0 if answers[0].accepted else 2.0)
        table = two.a.line.served.table(fresh)
        rows = two.store.query(
            f"SELECT prediction_number FROM {table} FINAL WHERE request_id = {{r:String}}", {"r": f"{fresh}-{n}"}
        )
        assert rows == [(value,)]


def test_a_label_with_other_content_on_another_writer_is_a_conflict_too(two: Two, fresh: str) -> None:
    """The ledger decides which of them is known."""
    predict(two.a, request_id=fresh, model=fresh)
    said = {"request_id": fresh, "label_id": fresh}
    answers = at_once(lambda: label(two.a, **said, value=1), lambda: label(two.b, **said, value=2))
    told = sorted((answer.accepted, answer.rejected) for answer in answers)
    assert told in ([(0, 1), (1, 0)], MERGED_BETWEEN, MERGED_LATER)
    if told != [(0, 1), (1, 0)]:
        return
    value = "1" if answers[0].accepted else "2"
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", value)])


def test_what_one_puts_in_force_the_other_folds_by(two: Two, fresh: str) -> None:
    """A process reads the rules anew before it folds: nothing is folded by rules that are not in force any more."""
    predict(two.a, request_id=fresh, model=fresh)
    label(two.a, request_id=fresh, value=3, observed_at=1_700_000_000)
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", "3")])
    two.a.configure(fresh, read_config({"labels": {"label": {"window": "1d", "combine": "sum"}}}))
    label(two.b, request_id=fresh, value=4, observed_at=1_700_000_060)
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", "7")])
    assert two.b.line.configs.get(fresh).label("label").combine == "sum"


def test_a_fold_that_knew_less_never_wins_whenever_it_is_written(two: Two, fresh: str) -> None:
    """The version of an outcome is its knowledge: a fold that was held up does not take a later one back."""
    predict(two.a, request_id=fresh, model=fresh)
    label(two.a, request_id=fresh, value=1, observed_at=1_700_000_000)
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", "1")])
    label(two.b, request_id=fresh, value=2, observed_at=1_700_000_060)
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", "2")])
    two.store.command(
        "INSERT INTO outcomes SELECT * REPLACE ('1' AS value_text, now64(6) + INTERVAL 3 HOUR AS folded_at, "
        "{version:UInt64} AS version) FROM outcomes FINAL WHERE request_id = {r:String}",
        {"r": fresh, "version": knowledge.version(two.a.line.configs.changed_at(fresh), 1)},
    )
    assert two.outcomes(fresh) == [("label", "labelled", "2")]


def test_a_list_of_orphans_written_by_two_is_exact_when_it_is_read(two: Two, fresh: str) -> None:
    """A writer that saw only the label lists it, however late: whoever reads the list sees that the prediction is there."""
    predict(two.a, request_id=fresh, model=fresh)
    label(two.b, request_id=fresh, value=1)
    label(two.b, request_id=f"{fresh}-early", value=1, model=fresh)
    eventually(lambda: two.waiting(fresh) == [f"{fresh}-early"])
    two.store.command(
        "INSERT INTO orphans (request_key, request_id, label_id, name, model, received_at, waiting, version, item_id) "
        "SELECT request_key, request_id, label_id, name, model, received_at, 1, {version:UInt64}, item_id "
        "FROM label_events WHERE request_id = {r:String}",
        {"r": fresh, "version": 2**61},
    )
    assert two.waiting(fresh) == [f"{fresh}-early"]
    predict(two.b, request_id=f"{fresh}-early", model=fresh)
    eventually(lambda: two.waiting(fresh) == [])


def test_stamps_of_two_writers_are_of_one_clock(two: Two, fresh: str) -> None:
    """The machines' clocks are four hours apart; what is stored one after the other is stamped one after the other."""
    stamps = []
    for n in range(4):
        predict((two.a, two.b)[n % 2], request_id=f"{fresh}-{n}", model=fresh)
        [(stamp,)] = two.store.query(
            "SELECT received_at FROM predictions FINAL WHERE request_id = {r:String}", {"r": f"{fresh}-{n}"}
        )
        stamps.append(stamp)
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < timedelta(minutes=5)


def test_an_export_waits_until_every_writer_is_past_its_moment(two: Two, fresh: str) -> None:
    """As of T means that nothing more can come at or before T, from anybody: a busy writer is waited for."""
    predict(two.a, request_id=fresh, model=fresh, predicted_at=1_700_000_000)
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go_on.wait(30)

    stuck = two.b.line.committer.run(hold)
    held.wait(10)
    moment = two.a.line.committer.barrier().result(10)
    with pytest.raises(Problem) as behind:
        two.a.line.processes.wait_until_stored(moment, timeout_s=0.5)  # type: ignore[union-attr]
    assert (behind.value.status, behind.value.code) == (503, "writers_behind")
    go_on.set()
    stuck.result(10)
    two.a.line.processes.wait_until_stored(moment)  # type: ignore[union-attr]


def test_what_a_killed_process_left_is_finished_by_another(
    two: Two, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed rows without their spine, and labels that nobody joined, once its lease has run out."""
    dead = two.open("dead", timedelta())
    assert dead.line.processes is not None
    label(dead, request_id=fresh, value=1)
    real = Store.insert

    def insert(self: Store, table: str, rows: Any) -> None:
        if table == "predictions" and self is dead.store:
            raise StoreUnavailable("killed here")
        real(self, table, rows)

    monkeypatch.setattr(Store, "insert", insert)
    with pytest.raises(Problem):
        predict(dead, request_id=fresh, model=fresh, features={"x": 1})
    monkeypatch.undo()
    assert two.outcomes(fresh) == []
    monkeypatch.setattr(sharing, "LEASE_S", 3.0)
    dead.line.processes._closing.set()  # it says nothing any more
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", "1")])
    assert two.b.stories.tell(fresh)["predictions"][0]["features"] == {"x": 1}
    assert dead.line.processes.id not in {one.id for one in two.a.line.processes.living()}  # type: ignore[union-attr]
    dead.close()


def test_finishing_what_another_left_does_not_forget_what_was_cut_off_here(
    two: Two, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other died after our failure: its part begins later than ours, and both are finished."""
    real = Store.insert

    def insert(self: Store, table: str, rows: Any) -> None:
        if table == "predictions" and self is two.a.store:
            raise StoreUnavailable("cut off here")
        real(self, table, rows)

    monkeypatch.setattr(Store, "insert", insert)
    with pytest.raises(Problem):
        predict(two.a, request_id=fresh, model=fresh, features={"x": 1})
    monkeypatch.undo()
    committer, later = two.a.line.committer, two.a.line.stamper.next()
    committer.run(lambda: committer.recover(later)).result(60)
    assert not committer.is_whole
    predict(two.a, request_id=f"{fresh}-next", model=fresh)
    assert committer.is_whole
    assert two.b.stories.tell(fresh)["predictions"][0]["features"] == {"x": 1}


def test_one_of_them_rolls_up_what_both_stored(two: Two, fresh: str) -> None:
    """The hours that the other changed are found, and both show the same."""
    at = datetime.now(UTC) - timedelta(hours=3)
    for n in range(6):
        predict(
            (two.a, two.b)[n % 2],
            request_id=f"{fresh}-{n}",
            model=fresh,
            features={"x": n},
            predicted_at=at.timestamp(),
        )
    assert [one.line.processes.is_first() for one in (two.a, two.b)].count(True) == 1  # type: ignore[union-attr]
    sql = "SELECT sum(rows) FROM rolled_hours FINAL WHERE model = {m:String} AND task = 'profiles'"
    eventually(lambda: two.store.query(sql, {"m": fresh}) == [(6,)])


def test_the_books_of_a_writer_that_sends_to_both_are_whole(two: Two, fresh: str) -> None:
    """A logger behind a load balancer: half of its numbers went to either server, and either says that all of them came."""
    for n in range(6):
        predict((two.a, two.b)[n % 2], request_id=f"{fresh}-{n}", model=fresh, writer_id=fresh, seq=n)
    predict(
        two.b, request_id=f"{fresh}-0", model=fresh, writer_id=fresh, seq=6
    )  # logged twice, under a number of its own
    for parts in (two.a, two.b):
        eventually(lambda p=parts: p.writers.one(fresh)["received"] == 7)
        assert parts.writers.one(fresh)["missing"] == 0


def test_stamps_wait_for_a_lease(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was stopped for longer than its lease says that it lives before it stamps anything."""
    assert two.a.line.processes is not None
    notes: list[int] = []
    # Its own threads may say so, too, at the same moment.
    monkeypatch.setattr(two.a.line.processes, "_beat", lambda: notes.append(threading.get_ident()))
    monkeypatch.setattr(two.a.line.processes, "_beaten", -1e9)
    two.a.line.processes.hold()
    assert notes.count(threading.get_ident()) == 1
    assert to_micros(two.a.clock.now()) > 0


def test_what_a_joiner_of_another_process_holds_is_known(two: Two, fresh: str) -> None:
    """One cannot fold; the other one, whose joiner is idle, knows since when."""
    others = two.a.line.processes
    assert others is not None
    with two.b.line.joiner._fold_lock:
        label(two.b, request_id=fresh, value=1)
        stored = two.b.clock.now()
        eventually(lambda: others.is_held_up(stored + timedelta(seconds=1)))
        eventually(lambda: sum(one["to_join"] for one in two.a.lag()["processes"]) == 1)
        assert not others.is_held_up(stored - timedelta(minutes=1))
    eventually(lambda: not others.is_held_up(stored + timedelta(seconds=1)))


def test_what_bridges_the_time_to_the_next_count_of_writers_is_forgotten_a_day_later(
    two: Two, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table covers it by then; what is newer stays, for a process that was behind."""
    now = two.a.clock.now()
    ages = {"old": timedelta(days=1, minutes=1), "new": timedelta(hours=1)}
    for name, age in ages.items():
        moment = pa.array([now - age], TIME)
        numbers = pa.array([[1]], pa.list_(pa.uint64()))
        writer = pa.array([f"{fresh}-{name}"])
        repeats = pa.table({"writer_id": writer, "firsts": numbers, "lasts": numbers, "received_at": moment})
        report = f'{{"writer_id": "{fresh}-{name}", "reported_at": 1.7e9, "started_at": 1.7e9, "next_seq": 1}}'
        reports = pa.table({"writer_id": writer, "report": pa.array([report]), "received_at": moment})
        two.store.insert("writer_repeats", repeats)
        two.store.insert("writer_reports", reports)
    monkeypatch.setattr(two.a.line.processes, "is_first", lambda: True)
    two.a.line.arrivals._forgot = -FORGET_EVERY_S * 1e6
    two.a.line.arrivals.checkpoint()
    for table in ("writer_repeats", "writer_reports"):
        found = two.store.query(
            f"SELECT writer_id FROM {table} WHERE startsWith(writer_id, {{w:String}})", {"w": fresh}
        )
        assert found == [(f"{fresh}-new",)]


def test_regression_a_label_of_an_entity_finds_predictions_of_a_model_that_this_process_did_not_know(
    two: Two, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of a new type of entity was filled from the tables this process knew, and marked as filled for everybody."""
    monkeypatch.setattr(two.b.line.processes, "_refresh", lambda: None)  # it learns nothing by the way
    order = {f"order-{fresh}": "o-1"}
    predict(two.a, request_id=fresh, model=fresh, entities=order)
    label(two.b, entity=order, value=1)
    eventually(lambda: two.outcomes(fresh) == [("label", "labelled", "1")])
