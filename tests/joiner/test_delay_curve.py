"""The delay curve is right where counting labelled rows is wrong, and its band says how right."""

from __future__ import annotations

import doctest
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upshot_joiner.delays import delay_curve, window_advice
from upshot_joiner.delays.bins import bin_of, end_s, followed, start_s
from upshot_joiner.delays.delay_curve import DelayCurve, kaplan_meier

DAY = 86400.0
NEVER = 1e15


def curve_of(delays: np.ndarray, ages: np.ndarray) -> DelayCurve:
    """The curve of single rows, each watched for its age."""
    arrived: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    for delay, age in zip(delays, ages, strict=True):
        watched = followed(age)
        if bin_of(delay) < watched:
            arrived[bin_of(delay)] += 1
        else:
            ended[watched] += 1
    return kaplan_meier(arrived, ended)


def simulated(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """70 % of predictions get a label, after ten days on average; they were made over the last thirty."""
    delays = np.where(rng.random(rows) < 0.7, rng.exponential(10 * DAY, rows), NEVER)
    return delays, rng.uniform(0, 30 * DAY, rows)


def truth(time_s: float) -> float:
    """The share that has its label by a time."""
    return 0.7 * (1 - math.exp(-time_s / (10 * DAY)))


@pytest.mark.parametrize("module", [delay_curve, window_advice])
def test_the_example_in_the_documentation_is_what_comes_out(module: object) -> None:
    """The seeded example of the module."""
    tried = doctest.testmod(module, raise_on_error=False)  # type: ignore[arg-type]
    assert tried.attempted > 0
    assert tried.failed == 0


def test_the_band_holds_the_truth_in_95_of_100_simulations() -> None:
    """At every time looked at, 93 to 97 % of 95 % bands hold it."""
    rng = np.random.default_rng(11)
    times = [end_s(bin_of(days * DAY)) for days in (1, 5, 15, 25)]
    held = dict.fromkeys(times, 0)
    runs = 1000
    for _ in range(runs):
        curve = curve_of(*simulated(rng, 600))
        for time_s in times:
            share = curve.share_by(time_s)
            held[time_s] += share.low <= truth(time_s) <= share.high
    for time_s, inside in held.items():
        assert 0.93 <= inside / runs <= 0.97, (time_s / DAY, inside / runs)


def test_counting_labelled_rows_is_wrong_and_the_curve_is_not() -> None:
    """Labelled rows alone are the fast ones: their share within ten days is far outside of the band."""
    delays, ages = simulated(np.random.default_rng(5), 20_000)
    time_s = end_s(bin_of(10 * DAY))
    labelled = delays[delays <= ages]
    among_labelled = float(np.mean(labelled <= time_s))
    conditional = truth(time_s) / 0.7
    curve = curve_of(delays, ages)
    share = curve.share_by(time_s)
    assert share.low <= truth(time_s) <= share.high
    assert share.high - share.low < 0.03
    # Of the labels that ever come, 64 % come within ten days; counting what is there says 80 %, and of all rows 38 % have one.
    assert among_labelled > conditional + 0.1
    assert len(labelled) / len(delays) < truth(30 * DAY) - 0.1


def test_what_a_window_loses_is_right_in_95_of_100_simulations() -> None:
    """The interval of the late share, of the labels that come within the horizon."""
    rng = np.random.default_rng(3)
    runs, held, window_s, horizon = 600, 0, end_s(bin_of(12 * DAY)), end_s(bin_of(25 * DAY))
    late = (truth(horizon) - truth(window_s)) / truth(horizon)
    for _ in range(runs):
        share = window_advice.late_share(curve_of(*simulated(rng, 800)), window_s, horizon)
        assert share is not None
        held += share.low <= late <= share.high
    assert 0.93 <= held / runs <= 0.97


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=60),
)
def test_the_grouped_product_is_that_of_single_rows(rows: list[tuple[float, float]]) -> None:
    """Kaplan-Meier row by row, of the same rows watched until the same borders of bins."""
    curve = curve_of(np.array([delay for delay, _ in rows]), np.array([age for _, age in rows]))
    single = [
        (delay, True) if bin_of(delay) < followed(age) else (end_s(followed(age) - 1), False)
        for delay, age in rows
        if followed(age)
    ]
    survival = 1.0
    for moment in sorted({time for time, came in single if came}):
        at_risk = sum(time > moment or (time == moment and came) for time, came in single)
        survival *= 1 - sum(time == moment and came for time, came in single) / at_risk
    assert curve.survival(1e9).value == pytest.approx(survival)


@given(st.floats(0, 1e9))
def test_a_delay_lies_in_its_bin_and_an_age_beyond_what_was_followed(seconds: float) -> None:
    """Bins follow each other without a gap; what was followed lies within the age."""
    bin_ = bin_of(seconds)
    assert start_s(bin_) <= seconds * (1 + 1e-9)
    assert seconds < end_s(bin_) * (1 + 1e-9)
    assert followed(seconds) == 0 or end_s(followed(seconds) - 1) <= seconds * (1 + 1e-9)


def test_few_rows_have_a_wide_band_and_no_rows_no_curve() -> None:
    """One prediction with its label is not certainty; none is nothing."""
    one = kaplan_meier({5: 1}, {})
    share = one.share_by(1e6)
    assert (share.value, share.low, share.high) == (1.0, 0.025, 1.0)
    before = one.share_by(0.5)
    assert (before.value, before.low) == (0.0, 0.0)
    assert before.high == pytest.approx(0.975)
    assert kaplan_meier({}, {}).steps == []
    assert kaplan_meier({}, {}).share_by(10).high == 1.0


def test_the_curve_never_falls_and_stays_in_its_band() -> None:
    """At every step."""
    curve = curve_of(*simulated(np.random.default_rng(2), 3000))
    shares = [curve.share_by(end_s(step.bin)) for step in curve.steps]
    assert len(shares) > 50
    assert all(a.value <= b.value for a, b in itertools.pairwise(shares))
    assert all(share.low <= share.value <= share.high for share in shares)


def test_a_window_is_judged_only_as_far_as_predictions_were_watched() -> None:
    """A configured window of a year, after a month of watching: no number."""
    curve = curve_of(*simulated(np.random.default_rng(9), 5000))
    judged = {one.window_s: one.late for one in window_advice.candidates(curve, 365 * DAY)}
    assert judged[365 * DAY] is None
    assert window_advice.horizon_s(curve) <= 30 * DAY
    assert max(window for window, late in judged.items() if late is not None) <= 30 * DAY


def test_the_shortest_window_is_one_that_surely_loses_no_more() -> None:
    """By the upper end of the interval, not by luck."""
    hour = 3600.0
    curve = kaplan_meier({bin_of(2 * hour): 985, bin_of(4 * DAY): 15}, {followed(30 * DAY): 9000})
    judged = window_advice.candidates(curve, 30 * DAY)
    assert window_advice.shortest(judged, 0.05) == 3 * hour
    assert window_advice.shortest(judged, 0.01) == 7 * DAY
    few = kaplan_meier({bin_of(2 * hour): 60}, {followed(30 * DAY): 9000})
    assert window_advice.shortest(window_advice.candidates(few, 30 * DAY), 0.01) is None
