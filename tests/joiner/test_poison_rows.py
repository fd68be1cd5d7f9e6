"""Rows that pass every check and that cannot be stored: each goes to quarantine alone (fault row F26)."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest

from tests.joiner.conftest import Line
from upshot_joiner.errors import Problem, StoreError

N = 10_000

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


def test_one_row_of_10_000_is_quarantined_and_9_999_are_stored(line: Line, fresh: str) -> None:
    """Exactly. How long it takes is printed: 2 s is the goal on a quiet machine."""
    events = [{"request_id": f"{fresh}-{n}", "model": fresh, "features": {"n": n}} for n in range(N)]
    events[N // 3] |= POISON["a probability beyond all floats"]
    began = time.monotonic()
    answer = line.predict(*events)
    print(f"F26: {time.monotonic() - began:.2f} s")
    assert (answer.accepted + answer.duplicates, answer.rejected) == (N - 1, 1)
    assert quarantined(line, fresh) == [("store_refused",)]
    [(stored,)] = line.store.query("SELECT count() FROM predictions FINAL WHERE model = {m:String}", {"m": fresh})
    assert stored == N - 1


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
