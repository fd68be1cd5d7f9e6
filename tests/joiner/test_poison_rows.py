"""Rows that pass every check and that cannot be stored: each goes to quarantine alone (fault row F26)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.joiner.conftest import Line
from upshot_joiner.errors import Problem, StoreError

HUGE = 10**400
POISON: dict[str, dict[str, Any]] = {
    "a probability beyond all floats": {"probabilities": {"a": HUGE}},
    "an attribution beyond all floats": {"attributions": {"a": HUGE}},
}


def quarantined(line: Line, fresh: str) -> list[tuple[Any, ...]]:
    return line.store.query(
        "SELECT toString(code) FROM quarantine WHERE model = {m:String} AND startsWith(request_id, {m:String})",
        {"m": fresh},
    )


@pytest.mark.parametrize("kind", POISON)
def test_a_row_that_cannot_be_stored_costs_no_other(line: Line, fresh: str, kind: str) -> None:
    """The answer names it; the rest of the request, and of the group, is stored."""
    events = [{"request_id": f"{fresh}-{n}", "model": fresh, "features": {"n": n}} for n in range(100)]
    events[37] |= POISON[kind]
    answer = line.predict(*events)
    assert (answer.accepted + answer.duplicates, answer.rejected) == (99, 1)
    assert answer.errors == [{"index": 37, "loc": "", "code": "store_refused"}]
    assert quarantined(line, fresh) == [("store_refused",)]
    assert line.activity.predictions(fresh) == 99
    assert not line.committer.failing
    assert line.predict(*events[:37], *events[38:]).duplicates == 99


def test_rows_that_a_refused_insert_has_stored_all_the_same_are_seen_once(line: Line, fresh: str) -> None:
    """A view of an operator's own, which cannot take one of the rows, fails the insert after they are on disk."""
    rows = [{"request_id": f"{fresh}-{n}", "model": fresh, "features": {"x": float(n)}} for n in range(40)]
    line.predict(*rows[:20])
    table, column = line.served.table(fresh), line.served.columns(fresh)["x"]["float"]
    line.store.command(
        f"CREATE MATERIALIZED VIEW view_of_{table} ENGINE = MergeTree ORDER BY () "
        f"AS SELECT CAST(if({column} = 33, 'x', '1') AS UInt8) AS v FROM {table}"
    )
    try:
        answer = line.predict(*rows[20:])
        assert (answer.accepted + answer.duplicates, answer.rejected) == (20, 0)
        assert line.predict(*rows).duplicates == 40
    finally:
        line.store.command(f"DROP TABLE view_of_{table} SYNC")
    assert line.activity.predictions(fresh) == 40
    for read in ("predictions FINAL WHERE model = {m:String}", f"{table} FINAL"):
        assert line.store.query(f"SELECT count(), uniqExact(request_id) FROM {read}", {"m": fresh}) == [(40, 40)]


def test_a_label_that_the_store_refuses_costs_no_other(line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own refusal, by a code that does not pass."""
    real = line.store.insert

    def insert(into: str, rows: pa.Table) -> None:
        if into == "label_events" and f"{fresh}-5" in rows["request_id"].to_pylist():
            raise StoreError("CANNOT_PARSE_TEXT", 6)
        real(into, rows)

    monkeypatch.setattr(line.store, "insert", insert)
    answer = line.label(*({"request_id": f"{fresh}-{n}", "value": n} for n in range(20)))
    assert (answer.accepted, answer.errors) == (19, [{"index": 5, "loc": "", "code": "store_refused"}])


def test_a_store_that_refuses_every_row_puts_none_into_quarantine(
    line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the rows: the sender is told to come again."""
    real = line.store.insert

    def insert(into: str, rows: pa.Table) -> None:
        if into.startswith("served_"):
            raise StoreError("UNKNOWN_TABLE", 60)
        real(into, rows)

    monkeypatch.setattr(line.store, "insert", insert)
    with pytest.raises(Problem) as refused:
        line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(40)))
    assert refused.value.status == 503
    assert quarantined(line, fresh) == []
    monkeypatch.undo()
    answer = line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(40)))
    assert answer.accepted + answer.duplicates == 40
