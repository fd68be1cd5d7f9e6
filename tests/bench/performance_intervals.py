"""How often 95 % intervals of performance hold the truth: `python -m tests.bench.performance_intervals [ROUNDS]`.

Simulations whose truth is known: rows with labels; rows without any (CBPE); early positives (delay-corrected). Prints the
coverage of every metric, and how far off the naive metric is. Nothing here depends on the clock of the machine.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from upshot_joiner.delays.bins import PER_OCTAVE, followed
from upshot_joiner.delays.delay_curve import kaplan_meier
from upshot_monitoring.performance.binary.sums import METRICS, BinarySums, add, cells_of_rows, metrics
from upshot_monitoring.performance.estimates import cbpe, delay_corrected
from upshot_monitoring.performance.estimates.calibrator import fit
from upshot_monitoring.performance.estimates.delay_corrected import OpenHour, Seen
from upshot_monitoring.performance.metrics import Measured

HOUR_S = 3600.0
WINDOW_H = 48
HISTORY_H = 240


def population(rows: int, rng: np.random.Generator, power: float = 1.2) -> tuple[Any, Any]:
    """Scores, and labels drawn from them; the scores are not calibrated."""
    p = 1 / (1 + np.exp(-rng.normal(-0.5, 1.5, rows)))
    return p, rng.random(rows) < p**power


def truth_of(rows: int = 2_000_000) -> dict[str, float]:
    """Every metric of the source."""
    cells = cells_of_rows(*population(rows, np.random.default_rng(0)))
    return {metric.about.name: one.value for metric in METRICS if (one := metric.measure(cells)) is not None}


def sums_of(p: Any, group: Any) -> BinarySums:
    """The sums of rows in memory by the bins of the roll-up; groups: 0 negative, 1 positive, 2 unlabelled."""
    odds = np.clip(np.floor(np.log(p / (1 - p)) * 128), -5000, 5000)
    keys = ((odds + 100_000) * 16 + np.minimum(np.floor(p * 10), 9)) * 2 + (p >= 0.5)
    found, where = np.unique(keys.astype(np.int64), return_inverse=True)
    place = group * len(found) + where
    weights = np.bincount(place, minlength=3 * len(found)).reshape(3, -1).astype(np.float64)
    scores = np.bincount(place, p, 3 * len(found)).reshape(3, -1)
    right = np.where(group == 1, p, 1 - p)
    loss, error2 = -np.log(right), (1 - right) ** 2
    parts = [loss, loss, loss**2, error2, error2, error2**2]
    sums = np.append(np.array([np.bincount(group, one, 3) for one in parts]).T.ravel(), 0.0)
    counts = np.array([*np.bincount(group, minlength=3), 0])
    return BinarySums(len(p), counts, counts.astype(float), found, weights, weights, scores, sums)


@dataclass
class Coverage:
    """How often intervals held the truth, by metric."""

    rounds: int
    inside: Counter[str]
    errors: dict[str, list[float]]
    naive: dict[str, list[float]]

    def share(self, name: str) -> float:
        """Between 0 and 1."""
        return self.inside[name] / self.rounds


Round = Callable[[np.random.Generator], tuple[dict[str, Measured], dict[str, float], dict[str, float]]]


def cover(rounds: int, seed: int, one_round: Round) -> Coverage:
    """Repeat a simulation, each time with what was measured, the truth, and what a naive eye would see."""
    found = Coverage(rounds, Counter(), {}, {})
    for k in range(rounds):
        measured, truth, naive = one_round(np.random.default_rng([seed, k]))
        for name, one in measured.items():
            assert one.interval is not None, name
            found.inside[name] += one.interval[0] <= truth[name] <= one.interval[1]
            found.errors.setdefault(name, []).append(one.value - truth[name])
            if name in naive:
                found.naive.setdefault(name, []).append(naive[name] - truth[name])
    return found


def labelled(rows: int, truth: dict[str, float]) -> Round:
    """All labels are known."""

    def one_round(rng: np.random.Generator) -> tuple[dict[str, Measured], dict[str, float], dict[str, float]]:
        return metrics(sums_of_labelled(rows, rng), default=None).measured, truth, {}

    return one_round


def sums_of_labelled(rows: int, rng: np.random.Generator) -> BinarySums:
    """Of rows with labels."""
    p, y = population(rows, rng)
    return sums_of(p, y.astype(int))


def unlabelled(rows: int, learnt_from: int) -> Round:
    """No label is known; the truth is what the metrics of these very rows turn out to be. The scores have shifted, too."""

    def one_round(rng: np.random.Generator) -> tuple[dict[str, Measured], dict[str, float], dict[str, float]]:
        calibrator = fit(sums_of_labelled(learnt_from, rng).cells(None))
        p = 1 / (1 + np.exp(-rng.normal(0.0, 1.2, rows)))
        y = rng.random(rows) < p**1.2
        measured = cbpe.estimate([cbpe.Open(sums_of(p, np.full(rows, 2)).cells(False), calibrator)])
        cells = cells_of_rows(p, y)
        truth = {metric.about.name: one.value for metric in METRICS if (one := metric.measure(cells)) is not None}
        return measured, truth, {}

    return one_round


def early_positives(per_hour: int, truth: dict[str, float], *, has_default: bool) -> Round:
    """Positives are told after half a day on average, negatives after one to two days, or never where 0 is the default."""

    def one_round(rng: np.random.Generator) -> tuple[dict[str, Measured], dict[str, float], dict[str, float]]:
        rows = per_hour * HISTORY_H
        p, y = population(rows, rng)
        hour = np.repeat(np.arange(HISTORY_H), per_hour)
        age = hour * HOUR_S + rng.random(rows) * HOUR_S  # hour 0 is the last one
        delay = np.where(
            y, np.minimum(rng.exponential(12 * HOUR_S, rows), 47 * HOUR_S), (24 + 24 * rng.random(rows)) * HOUR_S
        )
        if has_default:
            delay = np.where(y, delay, np.inf)
        group = np.where(delay <= age, y.astype(int), 2)
        seen = {which: Seen(_curve(hour, delay, group == which), WINDOW_H * HOUR_S) for which in (True, False)}
        is_open = hour < WINDOW_H
        open_hours = [OpenHour(h * HOUR_S, sums_of(p[hour == h], group[hour == h])) for h in range(WINDOW_H)]
        default = False if has_default else None
        measured, _ = delay_corrected.estimate(
            open_hours, BinarySums(), default=default, of_positives=seen[True], of_negatives=seen[False]
        )
        so_far = metrics(add(one.sums for one in open_hours), default=default).values
        assert is_open.any()
        return {name: one for name, one in measured.items() if name != "calibration_error"}, truth, so_far

    return one_round


def _curve(hour: Any, delay: Any, came: Any) -> Any:
    """Kaplan-Meier of one class over cohorts of hours, as ``estimates/seen.py`` makes it of the roll-ups."""
    whole = np.array([followed(h * HOUR_S) for h in range(HISTORY_H)])[hour]
    with np.errstate(invalid="ignore"):
        bins = np.where(came & (delay >= 1), 1 + np.floor(PER_OCTAVE * np.log2(np.maximum(1, delay))), 0)
    counted = came & (bins < whole)
    arrived = Counter(bins[counted].astype(int).tolist())
    ended = Counter(whole[~counted].tolist())
    return kaplan_meier(arrived, ended)


def main(rounds: int) -> None:
    """Print everything."""
    truth = truth_of()
    for title, simulation in (
        ("2,000 labelled rows", labelled(2_000, truth)),
        ("CBPE: 3,000 rows, learnt from 10,000", unlabelled(3_000, 10_000)),
        ("early positives, default 0", early_positives(40, truth, has_default=True)),
        ("early positives, negatives come late", early_positives(40, truth, has_default=False)),
    ):
        found = cover(rounds, 1, simulation)
        print(f"\n{title}: {rounds} rounds\n{'metric':24}{'covered':>9}{'mean error':>13}{'naive error':>13}")
        for name, errors in found.errors.items():
            naive = f"{np.mean(found.naive[name]):13.4f}" if name in found.naive else ""
            print(f"{name:24}{found.share(name):9.1%}{np.mean(errors):13.4f}{naive}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
