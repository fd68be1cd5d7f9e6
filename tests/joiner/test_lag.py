"""The join's lag, by the server's own clock."""

from __future__ import annotations

from tests.joiner.conftest import Line
from upshot_joiner.join.lag import OVER_S, JoinLag


class Ticks:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_the_lag_is_from_stored_to_joined() -> None:
    """Weighted by request; what waits is told with its age, and what is long past is forgotten."""
    ticks = Ticks()
    lag = JoinLag(ticks)
    lag.stored(98)
    ticks.now += 0.2
    lag.stored(2)
    lag.taken()
    lag.stored(7)  # after the batch was taken: it is in the next one
    ticks.now += 0.8
    assert lag.answer() == {
        "p50_s": None,
        "p99_s": None,
        "joined": 0,
        "over_s": OVER_S,
        "waiting": 107,
        "oldest_waiting_s": 1.0,
    }
    lag.joined()
    told = lag.answer()
    assert (round(told["p50_s"], 6), told["joined"], told["waiting"]) == (1.0, 100, 7)
    assert round(told["oldest_waiting_s"], 6) == 0.8
    ticks.now += 2
    lag.taken()
    lag.joined()
    assert round(lag.answer()["p99_s"], 6) == 2.8
    ticks.now += OVER_S + 1
    assert lag.answer()["joined"] == 0
    assert lag.answer()["oldest_waiting_s"] is None


def test_the_joiner_measures_itself(line: Line, fresh: str) -> None:
    """Every request that was stored is counted once it is joined."""
    line.settle()  # what an earlier process left is looked up again at the start
    before = line.joiner.lag.answer()["joined"]
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(5)))
    line.label(*({"request_id": f"{fresh}-{n}", "value": 1} for n in range(3)))
    assert line.joiner.wait_until_idle(30)
    told = line.joiner.lag.answer()
    assert (told["joined"] - before, told["waiting"]) == (8, 0)
    assert 0 <= told["p50_s"] <= told["p99_s"] < 30
