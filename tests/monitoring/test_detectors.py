"""The benchmark of the detectors in small: no wolf, no sleep. The whole of it is ``tests/bench/drift_detectors.py``."""

from __future__ import annotations

from tests.bench.drift_detectors import MOST_DAYS, simulate


def test_a_quiet_model_has_no_false_alarms_and_shifts_are_seen_soon() -> None:
    """200 correlated features, 4 days of 300 rows: no alarm, where Evidently's defaults have some every day; a shift of one sigma
    is seen on its first day, of half a sigma within two."""
    found = dict(simulate(1_000, 300, features=200, days=4, repeats=4))
    ours, theirs = found["Upshot"], found["Evidently's defaults"]
    assert (ours.alarms, ours.alarm_days) == (0, 0)
    assert theirs.alarm_days == 4
    assert ours.delays[1.0] == [1] * 4
    assert max(ours.delays[0.5]) <= 2
    assert sorted(ours.delays[0.25])[1] <= MOST_DAYS
