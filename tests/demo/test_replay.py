"""The driver's steps."""

from __future__ import annotations

import pytest

from upshot_server.demo.replay import step_for


@pytest.mark.parametrize(("flights", "hours"), [(255_987, 4), (100_000, 6), (10_000, 12), (9_999, 24), (1, 24)])
def test_fewer_flights_are_replayed_in_longer_steps(flights: int, hours: int) -> None:
    """So that a small demo is quick: the cost of a step is mostly its writes."""
    assert step_for(flights).total_seconds() == hours * 3600
