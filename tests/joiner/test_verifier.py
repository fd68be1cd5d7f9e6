"""The verifier finds what is not what it follows from, and makes it right; of what is right it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from tests.joiner.conftest import Line
from tests.waiting import eventually
from upshot_joiner.clock import EPOCH
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import key_bytes, request_key
from upshot_joiner.verify import ranges
from upshot_joiner.verify.verifier import Round, Verifier


@pytest.fixture
def verifier(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verifier]:
    """It does not wait before it looks again: nothing else happens in these tests."""
    monkeypatch.setattr(ranges, "KEYS_AT_ONCE", 7)
    made = Verifier(
        line.store, line.served, line.configs, line.joiner, line.committer, line.changes, line.clock, recheck_s=0.0
    )
    made.start()
    yield made
    made.close()


def labelled(line: Line, model: str, n: int = 5) -> list[str]:
    """So many labelled predictions and one orphan of each."""
    ids = [f"{model}-{number}" for number in range(n)]
    line.predict(*({"request_id": id_, "model": model, "features": {"x": 1}} for id_ in ids))
    line.label(*({"request_id": id_, "value": number} for number, id_ in enumerate(ids)))
    line.label(*({"request_id": f"{id_}-early", "name": model, "value": 1, "model": model} for id_ in ids))
    assert line.joiner.wait_until_idle(30)
    return ids


def done(verifier: Verifier, model: str) -> Round:
    """A round about a model, or about all."""
    made = verifier.run(Round(0, EPOCH, model))
    assert (made.status, made.error) == ("done", "")
    return made


def outcome_row(store: Store, of: str, **changed: Any) -> pa.Table:
    """A stored outcome with something changed, as it would be inserted."""
    [row] = store.arrow(
        "SELECT * REPLACE (toString(state) AS state) FROM outcomes FINAL WHERE request_id = {r:String}",
        {"r": of},
    ).to_pylist()
    row |= changed
    version, key = row.pop("version"), key_bytes(request_key(row["request_id"]))
    table = (
        pa.Table.from_pylist([row]).drop_columns("request_key").append_column("request_key", pa.array([key], rows.KEY))
    )
    return table.append_column("version", pa.array([version], pa.uint64()))


def test_what_is_right_is_counted_and_left_alone(line: Line, fresh: str, verifier: Verifier) -> None:
    """A round over a sound store writes nothing."""
    labelled(line, fresh)
    done(verifier, "")  # whatever other tests left
    before = line.store.query("SELECT count(), max(version) FROM outcomes")
    made = done(verifier, fresh)
    assert (made.checked["outcomes"], made.checked["predictions"], made.wrong.total()) == (5, 5, 0)
    assert made.checked["orphans"] >= 5
    assert line.store.query("SELECT count(), max(version) FROM outcomes") == before


@pytest.mark.parametrize("damage", ["deleted", "stale value", "higher version", "wrong moment"])
def test_a_damaged_outcome_is_found_and_repaired(line: Line, fresh: str, verifier: Verifier, damage: str) -> None:
    """A row that is gone, a stale one, one that no fold could override, and one of another hour."""
    ids = labelled(line, fresh)
    if damage == "deleted":
        line.store.command("DELETE FROM outcomes WHERE request_id = {r:String}", {"r": ids[2]})
    else:
        [(version, moment)] = line.store.query(
            "SELECT version, received_at FROM outcomes FINAL WHERE request_id = {r:String}", {"r": ids[2]}
        )
        changed: dict[str, Any] = {"value_text": "77", "value_number": 77.0, "version": version}
        if damage == "higher version":
            changed["version"] = 2**64 - 1
        if damage == "wrong moment":
            changed["predicted_at"] = moment.replace(year=2020)
        line.store.insert("outcomes", outcome_row(line.store, ids[2], **changed))
    assert line.outcomes(ids[2]) != [("", "", "label", "labelled", "2")], "the damage must be seen"
    made = done(verifier, fresh)
    assert (made.wrong["outcomes"], made.repaired["outcomes"]) == (1, 1)
    assert [line.outcomes(id_) for id_ in ids] == [[("", "", "label", "labelled", str(n))] for n in range(5)]
    assert done(verifier, fresh).wrong.total() == 0


def test_an_outcome_of_nothing_is_removed(line: Line, fresh: str, verifier: Verifier) -> None:
    """No label event and no prediction of it are known."""
    ids = labelled(line, fresh)
    line.store.insert("outcomes", outcome_row(line.store, ids[0], request_id=f"{fresh}-never"))
    assert line.coverage(fresh)["labelled"] == 6
    made = done(verifier, fresh)
    assert (made.wrong["outcomes"], made.repaired["outcomes"]) == (1, 1)
    assert line.coverage(fresh)["labelled"] == 5
    assert line.outcomes(f"{fresh}-never") == []


@pytest.mark.parametrize("damage", ["forgotten", "listed though joined"])
def test_a_damaged_list_of_orphans_is_repaired(line: Line, fresh: str, verifier: Verifier, damage: str) -> None:
    """One that waits and is not listed; one that is listed and has long joined."""
    ids = labelled(line, fresh)
    if damage == "forgotten":
        line.store.command("DELETE FROM orphans WHERE request_id = {r:String}", {"r": f"{ids[0]}-early"})
    else:
        events = line.store.query("SELECT label_id FROM label_events WHERE request_id = {r:String}", {"r": ids[0]})
        row = {"request_id": ids[0], "label_id": events[0][0], "name": fresh, "model": fresh, "waiting": 1}
        table = pa.Table.from_pylist([row | {"received_at": line.clock.now()}])
        key = pa.array([key_bytes(request_key(ids[0]))], rows.KEY)
        table = table.append_column("request_key", key)
        line.store.insert("orphans", table.append_column("version", pa.array([1], pa.uint64())))
    # What has joined is never shown as waiting, whatever the list says; but the list must not keep it.
    assert line.coverage(fresh, name=fresh)["orphans"] == (4 if damage == "forgotten" else 5)
    made = done(verifier, "")
    assert made.wrong["orphans"] == made.repaired["orphans"] == 1
    assert line.coverage(fresh, name=fresh)["orphans"] == 5


def test_a_typed_row_without_its_spine_is_finished_and_joins(line: Line, fresh: str, verifier: Verifier) -> None:
    """Whatever lost it: the prediction is back, with its label."""
    ids = labelled(line, fresh)
    line.store.command("DELETE FROM predictions WHERE request_id = {r:String}", {"r": ids[1]})
    line.store.command("DELETE FROM outcomes WHERE request_id = {r:String}", {"r": ids[1]})
    made = done(verifier, fresh)
    assert (made.wrong["predictions"], made.repaired["predictions"]) == (1, 1)
    assert line.outcomes(ids[1]) == [("", "", "label", "labelled", "1")]
    assert len(line.story(ids[1])["predictions"]) == 1


def test_a_spine_row_without_its_typed_row_is_said(line: Line, fresh: str, verifier: Verifier) -> None:
    """Its features are gone: nobody can repair that, so it stays wrong."""
    ids = labelled(line, fresh)
    line.store.command(f"DELETE FROM {line.served.table(fresh)} WHERE request_id = {{r:String}}", {"r": ids[1]})
    made = done(verifier, fresh)
    assert (made.wrong["predictions"], made.repaired["predictions"]) == (1, 0)


def test_since_looks_only_where_something_came(line: Line, fresh: str, verifier: Verifier) -> None:
    """A moment after everything: nothing is looked at."""
    labelled(line, fresh)
    later = line.stamper.next()
    made = verifier.run(Round(0, EPOCH, fresh, since=later))
    assert (made.status, made.checked.total()) == ("done", 0)


def test_what_was_asked_for_is_told(line: Line, fresh: str, verifier: Verifier) -> None:
    """Asked from another thread: it runs, and the sums grow."""
    labelled(line, fresh)
    asked = verifier.ask(fresh)
    eventually(lambda: verifier.one(asked.id).status == "done", 300)
    told = verifier.told()
    assert (told["rounds"], told["wrong"], told["last"]["id"]) == (1, 0, asked.id)
    assert told["checked"] == sum(told["last"][what]["checked"] for what in ("outcomes", "orphans", "predictions"))
