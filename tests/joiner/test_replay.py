"""Refused events through the intake again: from quarantine, and from the topic of dead letters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.joiner.conftest import Line
from upshot_joiner.errors import Problem
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.intake.replay import Replayer, Wanted, read_wanted

GOOD = "a reason of last week"


def events_of(fresh: str, *numbers: int) -> list[dict[str, Any]]:
    return [{"request_id": f"{fresh}-{n}", "model": fresh, "features": {"n": n}} for n in numbers]


def refuse(line: Line, *payloads: Any, kind: str = "predictions", code: str = GOOD) -> None:
    """As an intake of last week refused them, by a rule that is gone."""
    submit = getattr(line.committer, f"submit_{kind}")
    submit([], [Refused(index, code, "", payload) for index, payload in enumerate(payloads)]).result(30)


def replayer(line: Line) -> Replayer:
    return Replayer(line.store, Receiver(line.committer), line.clock)


def test_what_is_taken_now_is_stored_and_marked(line: Line, fresh: str) -> None:
    """A second replay finds nothing; a dry run changes nothing."""
    refuse(line, *events_of(fresh, 0, 1, 2))
    wanted = Wanted(model=fresh)
    dry = replayer(line).replay(wanted, dry_run=True)
    assert (dry.found, dry.replayed) == (3, 3)
    assert line.activity.predictions(fresh) == 0
    real = replayer(line).replay(wanted)
    assert (real.found, real.replayed, dict(real.refused), real.next) == (3, 3, {}, None)
    assert [told["features"] for told in line.story(f"{fresh}-2")["predictions"]] == [{"n": 2}]
    assert replayer(line).replay(wanted).found == 0


def test_what_is_refused_again_stays_and_is_counted(line: Line, fresh: str) -> None:
    """By its form, or as a conflict with what is stored; no entry is made for it anew."""
    line.predict(*events_of(fresh, 0))
    conflict = {**events_of(fresh, 0)[0], "prediction": 1}
    bad = {**events_of(fresh, 1)[0], "predicted_at": "yesterday"}
    refuse(line, conflict, bad, *events_of(fresh, 2))
    count = "SELECT count() FROM quarantine WHERE model = {m:String}"
    before = line.store.query(count, {"m": fresh})
    for _ in range(2):
        result = replayer(line).replay(Wanted(model=fresh))
        assert dict(result.refused) == {"conflict": 1, "invalid_time": 1}
    assert (result.found, result.replayed) == (2, 0)
    assert line.store.query(count, {"m": fresh}) == before


def test_labels_are_replayed_and_join(line: Line, fresh: str) -> None:
    """With the time they were refused at, where they name none: the same at every replay."""
    line.predict(*events_of(fresh, 0))
    refuse(line, {"request_id": f"{fresh}-0", "value": 1}, kind="labels", code=fresh)
    assert replayer(line).replay(Wanted(code=fresh)).replayed == 1
    assert line.outcomes(f"{fresh}-0") == [("", "", "label", "labelled", "1")]


def test_what_was_cut_or_is_no_object_is_left_alone(line: Line, fresh: str) -> None:
    """And said."""
    refuse(line, {"model": fresh, "x": "y" * 70_000}, "no JSON", code=fresh)
    result = replayer(line).replay(Wanted(code=fresh))
    assert (result.found, result.replayed, dict(result.unfit)) == (2, 0, {"cut": 1, "no_json": 1})


def test_pages_cover_all_entries_once_and_filters_hold(line: Line, fresh: str) -> None:
    """By code, model and time of refusal."""
    refuse(line, *events_of(fresh, *range(7)))
    refuse(line, *events_of(fresh, *range(7, 9)), code="other")
    after, found = 0, 0
    while True:
        page = replayer(line).replay(Wanted(model=fresh, code=GOOD, after=after, limit=3), dry_run=True)
        found += page.found
        if page.next is None:
            break
        after = page.next
    assert found == 7
    later = line.stamper.next() + timedelta(seconds=1)
    assert replayer(line).replay(Wanted(model=fresh, start=later), dry_run=True).found == 0
    assert replayer(line).replay(Wanted(model=fresh, end=later), dry_run=True).found == 9


@pytest.mark.parametrize(
    ("asked", "loc"),
    [
        ([], "body"),
        ({"sql": "1"}, "body"),
        ({"code": 1}, "code"),
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"after": "x"}, "after"),
        ({"start": "2026-01-01T00:00:00"}, "start"),
        ({"end": 5}, "end"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_its_place(asked: object, loc: str) -> None:
    """Nothing is replayed by mistake."""
    with pytest.raises(Problem) as refused:
        read_wanted(asked)
    assert [place["loc"] for place in refused.value.errors] == [loc]
