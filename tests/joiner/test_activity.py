"""What each model has served is counted once, whoever counts when."""

from __future__ import annotations

from datetime import timedelta

from tests.joiner.conftest import NOW, Line
from upshot_joiner.activity import Activity


def test_rows_counted_between_their_write_and_their_note_are_not_counted_twice_for_good(line: Line, fresh: str) -> None:
    """Where several processes write, one thread counts what others wrote while another writes: the next count sees to it."""
    line.predict({"request_id": fresh, "model": fresh})
    activity = Activity(line.store)
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    activity.served(fresh, {("", hour): 1}, NOW + timedelta(seconds=1))
    activity.refresh(line.store)
    assert activity.predictions(fresh) == 1
