"""Orphans and the quarantine as lists: filtered, counted, and paged to the end without a gap or a repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.joiner.conftest import Line
from upshot_joiner.errors import Problem
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.quarantine_list import MOST_LETTERS, Quarantine
from upshot_joiner.join.orphan_list import Orphans


@pytest.fixture
def line(line: Line) -> Line:
    """A line whose clock is not behind what other tests have stamped."""
    line.clock.set(line.stamper.next())
    return line


def orphans(line: Line, **asked: Any) -> dict[str, Any]:
    """An answer about orphans."""
    assert line.joiner.wait_until_idle(30)
    wanted = {"model": None, "name": None, "older_than": timedelta(), "limit": 100, "after": ""} | asked
    return Orphans(line.store, line.clock).page(**wanted)


def quarantine(line: Line, **asked: Any) -> dict[str, Any]:
    """An answer about the quarantine."""
    wanted = {"code": None, "kind": None, "model": None, "start": None, "end": None, "limit": 100, "after": ""} | asked
    return Quarantine(line.store).page(**wanted)


def pages(ask: Any, kind: str, **asked: Any) -> list[dict[str, Any]]:
    """All pages, one after the other."""
    found, cursor = [], ""
    while True:
        answer = ask(after=cursor, **asked)
        found += answer[kind]
        if answer["next"] is None:
            return found
        assert len(answer[kind]) == asked["limit"]
        cursor = answer["next"]


def test_orphans_have_their_age_and_what_they_say(line: Line, fresh: str) -> None:
    """The one that waits longest first; gone when the prediction comes."""
    line.label(
        {
            "request_id": f"{fresh}-a",
            "name": fresh,
            "value": 0,
            "source": "feed",
            "model": f"{fresh}-m",
            "label_id": "x",
        }
    )
    line.clock.advance(timedelta(days=8))
    line.label({"request_id": f"{fresh}-b", "name": fresh, "op": "retract", "item_id": "i"})
    line.clock.advance(timedelta(minutes=30))
    answer = orphans(line, name=fresh)
    first, second = answer["orphans"]
    assert (first["request_id"], first["value"], first["source"], first["op"], first["model"]) == (
        f"{fresh}-a", 0, "feed", "set", f"{fresh}-m",
    )  # fmt: skip
    assert round(first["age_s"]) == 8 * 86400 + 1800
    assert (second["request_id"], second["value"], second["op"], second["item_id"]) == (
        f"{fresh}-b",
        None,
        "retract",
        "i",
    )
    ages = {"under_1h": 1, "under_1d": 0, "under_7d": 0, "under_30d": 1, "over_30d": 0}
    assert (answer["total"], answer["ages"], answer["oldest"]) == (2, ages, first["received_at"])
    assert [(one["name"], one["orphans"]) for one in answer["names"]] == [(fresh, 2)]
    assert orphans(line, name=fresh, older_than=timedelta(days=1))["total"] == 1
    assert orphans(line, name=fresh, model="other")["total"] == 1  # the one that names no model may be any model's
    line.predict({"request_id": f"{fresh}-a", "model": f"{fresh}-m"})
    assert [one["request_id"] for one in orphans(line, name=fresh)["orphans"]] == [f"{fresh}-b"]


def test_orphans_are_paged_without_a_gap_or_a_repeat(line: Line, fresh: str) -> None:
    """Many of one stamp, and new ones while somebody turns the pages."""
    for block in range(3):
        line.label(*({"request_id": f"{fresh}-{block}-{n}", "name": fresh, "value": n} for n in range(7)))
    first = orphans(line, name=fresh, limit=5)
    line.label({"request_id": f"{fresh}-new", "name": fresh, "value": 1})
    rest = orphans(line, name=fresh, limit=100, after=first["next"])
    got = [one["request_id"] for one in [*first["orphans"], *rest["orphans"]]]
    assert len(got) == len(set(got)) == 22
    assert got[-1] == f"{fresh}-new"
    by_page = pages(lambda **asked: orphans(line, name=fresh, **asked), "orphans", limit=4)
    assert [one["request_id"] for one in by_page] == got


def test_the_quarantine_is_paged_by_rows_that_are_all_the_same(line: Line, fresh: str) -> None:
    """Refused events of one group share their stamp, and may share everything."""
    for n in (7, 3):
        refused = [Refused(i, "missing", "model", {"model": fresh, "n": i % 2}) for i in range(n)]
        assert line.committer.submit_labels([], refused).result(30).rejected == n
    whole = quarantine(line, model=fresh)
    assert (whole["total"], len(whole["refused"])) == (10, 10)
    for limit in (1, 3, 4, 10):
        got = pages(lambda **asked: quarantine(line, model=fresh, **asked), "refused", limit=limit)
        assert got == whole["refused"]
    assert whole["codes"] == [
        {"kind": "label", "code": "missing", "events": 10, "newest": whole["refused"][0]["received_at"]}
    ]


def test_the_quarantine_is_filtered_and_payloads_are_bounded_text(line: Line, fresh: str) -> None:
    """By code, kind, model and time; a payload is cut and says so."""
    half_an_hour_later = line.clock.now() + timedelta(minutes=30)
    long = {"model": fresh, "text": "ä" * 5000}
    line.committer.submit_labels([], [Refused(0, "conflict", "", long)]).result(30)
    line.clock.advance(timedelta(hours=1))
    line.committer.submit_predictions([], [Refused(0, "too_deep", "features", {"model": fresh})]).result(30)
    [cut] = quarantine(line, model=fresh, code="conflict")["refused"]
    assert (len(cut["payload_text"]), cut["payload_is_cut"], cut["payload_bytes"] > 10_000) == (
        MOST_LETTERS,
        True,
        True,
    )
    [short] = quarantine(line, model=fresh, kind="prediction")["refused"]
    assert (short["payload_is_cut"], short["loc"]) == (False, "features")
    assert [one["code"] for one in quarantine(line, model=fresh, start=half_an_hour_later)["refused"]] == ["too_deep"]
    assert [one["code"] for one in quarantine(line, model=fresh, end=half_an_hour_later)["refused"]] == ["conflict"]


@pytest.mark.parametrize("cursor", ["x", "%%%", "kwECAw", "lAEBAQE", "5" * 3000])
def test_a_cursor_that_was_never_given_is_refused(line: Line, cursor: str) -> None:
    """With the place, and without a statement."""
    for ask in (orphans, quarantine):
        with pytest.raises(Problem) as refused:
            ask(line, after=cursor)
        assert (refused.value.status, refused.value.code) == (422, "invalid_cursor")
