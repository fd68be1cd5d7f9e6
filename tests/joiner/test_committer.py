"""The one writer: what it answers is on disk, and a crash anywhere leaves nothing half done."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.joiner.conftest import NOW, Line
from tests.waiting import eventually
from upshot.wire import Prediction
from upshot_joiner.errors import Problem, StoreError, StoreUnavailable
from upshot_joiner.intake.check import CheckedPrediction, check_prediction
from upshot_joiner.intake.committer import LINGER_S
from upshot_joiner.store.client import Store


def failing_once(store: Store, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next insert into ``table`` fails, as when the disk is full."""
    real = store.insert
    left = [1]

    def insert(into: str, rows: pa.Table) -> None:
        if into.startswith(table) and left:
            left.pop()
            raise StoreUnavailable("no space left on device", 243)
        real(into, rows)

    monkeypatch.setattr(store, "insert", insert)


@pytest.mark.parametrize("table", ["served_", "predictions", "label_events"])
def test_a_write_that_fails_is_not_acknowledged_and_can_be_sent_again(
    store: Store, line: Line, fresh: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the group is cut off: 503, and after the second try one row, joined, with the first content."""
    prediction = {"request_id": fresh, "model": fresh, "features": {"x": 1}}
    label = {"request_id": fresh, "value": 1}
    if table == "label_events":
        line.predict(prediction)
    else:
        line.label(label)
    failing_once(store, table, monkeypatch)
    with pytest.raises(Problem) as refused:
        line.label(label) if table == "label_events" else line.predict(prediction)
    assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
    assert line.committer.failing
    again = line.label(label) if table == "label_events" else line.predict(prediction)
    assert again.accepted + again.duplicates == 1
    assert not line.committer.failing
    assert line.outcomes(fresh) == [("", "", "label", "labelled", "1")]
    assert line.activity.predictions(fresh) == 1
    assert len(line.story(fresh)["predictions"]) == 1


def test_a_store_that_takes_writes_again_is_found_out_without_traffic(
    store: Store, line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A balancer that was told "not ready" sends no request that would show it."""
    failing_once(store, "predictions", monkeypatch)
    with pytest.raises(Problem):
        line.predict({"request_id": fresh, "model": fresh})
    assert line.committer.failing
    failing_once(store, "progress", monkeypatch)
    with pytest.raises(StoreError):
        line.committer.probe()
    assert line.committer.failing
    line.committer.probe()
    assert not line.committer.failing
    assert line.activity.predictions(fresh) == 1


def test_a_group_cut_off_by_a_crash_is_finished_at_the_next_start(
    store: Store, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed rows without their spine rows are completed, and an early label joins them."""
    crashed = Line.open(store)
    crashed.label({"request_id": fresh, "value": 1})
    failing_once(store, "predictions", monkeypatch)
    with pytest.raises(Problem):
        crashed.predict({"request_id": fresh, "model": fresh, "features": {"x": 1}})
    crashed.close(killed=True)
    assert store.query("SELECT count() FROM predictions WHERE request_id = {r:String}", {"r": fresh}) == [(0,)]
    again = Line.open(store)
    try:
        # Where others write too, what a killed process left is finished beside the start, not before it.
        eventually(lambda: again.activity.predictions(fresh) == 1)
        assert again.predict({"request_id": fresh, "model": fresh, "features": {"x": 1}}).duplicates == 1
        assert again.outcomes(fresh) == [("", "", "label", "labelled", "1")]
    finally:
        again.close()


def test_requests_that_come_together_share_a_group(line: Line, fresh: str) -> None:
    """Forty requests at once need few writes: their stamps are few."""
    threads = [
        threading.Thread(target=line.predict, args=({"request_id": f"{fresh}-{n}", "model": fresh},)) for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [(rows, groups)] = line.store.query(
        "SELECT count(), uniqExact(received_at) FROM predictions FINAL WHERE model = {m:String}", {"m": fresh}
    )
    assert rows == 40
    assert groups < 20


def test_where_writing_is_slow_a_group_waits_for_a_request_that_is_being_decoded(
    line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that are decoded at the same time are written once, however long it takes until the second is handed over."""
    monkeypatch.setattr("upshot_joiner.intake.committer.MAX_LINGER_S", 60.0)
    monkeypatch.setattr(line.committer, "_took_s", 120.0)
    with line.committer.coming():
        first = line.committer.submit_predictions([(0, checked(f"{fresh}-1", fresh))], [])
        assert not wait([first], timeout=10 * LINGER_S).done
        second = line.committer.submit_predictions([(0, checked(f"{fresh}-2", fresh))], [])
    assert not wait([first, second], timeout=30).not_done
    sql = "SELECT count(), uniqExact(received_at) FROM predictions FINAL WHERE model = {m:String}"
    assert line.store.query(sql, {"m": fresh}) == [(2, 1)]


def test_where_writing_is_quick_no_group_waits_for_a_request_that_is_long_in_coming(line: Line, fresh: str) -> None:
    """A body of 16 MB that is decoded holds up no other's single event."""
    line.predict({"request_id": f"{fresh}-0", "model": fresh})
    with line.committer.coming():
        assert line.predict({"request_id": f"{fresh}-1", "model": fresh}).accepted == 1


def checked(request_id: str, model: str) -> CheckedPrediction:
    """A prediction in normal form."""
    return check_prediction(Prediction(request_id=request_id, model=model))


def test_stamps_grow_whatever_the_clock_does(line: Line, fresh: str) -> None:
    """A clock that stands still or jumps back a year does not: as-of depends on it."""
    stamps = []
    for step in range(4):
        line.predict({"request_id": f"{fresh}-{step}", "model": fresh})
        stamps.append(line.committer.barrier().result(10))
        line.clock.set(NOW - timedelta(days=365 * step))
    assert stamps == sorted(set(stamps))
    found = line.store.query(
        "SELECT received_at FROM predictions FINAL WHERE model = {m:String} ORDER BY request_id", {"m": fresh}
    )
    received = [moment for (moment,) in found]
    assert received == sorted(set(received))


def test_a_feature_may_change_its_kind_and_appear_and_vanish(line: Line, fresh: str) -> None:
    """Each row keeps what it was served with."""
    served: list[dict[str, Any]] = [
        {"x": 1},
        {"x": 1.0, "y": None},
        {"x": True},
        {"x": "1", "y": [1, 2]},
        {},
        {"x": None, "y": []},
        {"x": 2**64, "y": [0.5, 1]},
        {"x": {"a": [1, None]}},
    ]
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh, "features": f} for n, f in enumerate(served)))
    for number, features in enumerate(served):
        told = line.story(f"{fresh}-{number}")["predictions"][0]["features"]
        assert told == features
        assert list(map(type, told.values())) == [type(features[name]) for name in told]


def test_a_second_process_cannot_open_the_folder(store: Store) -> None:
    """The error says what to do; a forked child is told, too."""
    import os

    if os.fork() == 0:
        try:
            store.query("SELECT 1")
        except StoreError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.wait()[1] == 0


def test_regression_conflicts_do_not_make_the_number_of_waiting_events_negative(line: Line, fresh: str) -> None:
    """A refused event was taken off twice, once as itself and once as refused: the bound of the queue grew with each conflict."""
    event = {"request_id": fresh, "model": fresh}
    line.predict(event)
    assert line.predict(event | {"prediction": 1}, event | {"prediction": 2}).rejected == 2
    label = {"request_id": fresh, "value": 1, "label_id": fresh}
    line.label(label)
    assert line.label(label | {"value": 2}).rejected == 1
    line.committer.barrier().result(30)
    assert line.committer.waiting == 0


def test_a_group_cut_off_is_finished_when_its_process_ends(
    store: Store, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next need not: the sender may be told by another server before that one has looked."""
    line = Line.open(store)
    failing_once(store, "predictions", monkeypatch)
    with pytest.raises(Problem):
        line.predict({"request_id": fresh, "model": fresh, "features": {"x": 1}})
    line.close()
    assert line.committer.is_whole
    assert store.query("SELECT count() FROM predictions WHERE request_id = {r:String}", {"r": fresh}) == [(1,)]
