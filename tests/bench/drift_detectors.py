"""Drift detectors judged as detectors: how often they cry wolf, and how long they sleep. Beside Evidently's defaults.

    python -m tests.bench.drift_detectors [--days 90] [--features 400] [--repeats 40]

A quiet model of 400 features (300 numeric of ten shapes, 100 of classes, all of them correlated through a common factor) is looked
at once a day, for 90 days: every verdict ``drift`` is a false alarm. Then one feature shifts, by 0.1, 0.25, 0.5 and 1 standard
deviation of the normal variable that it is made from: how many days until it is called drift, with the other 399 quiet?

Evidently's defaults are computed by its rules (``legacy/calculations/stattests/registry.py``: Wasserstein and Jensen-Shannon from
0.1 up where the reference has more than 1,000 rows, else KS and chi-square below 0.05), by SciPy, as its source does; its own
reports on 36,000 features would take hours. Seeded: the same numbers each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import chisquare, ks_2samp, wasserstein_distance

from upshot_monitoring.drift.verdict import Judgement, compare, settle
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values
from upshot_monitoring.profiles.profile import Profile

Floats = NDArray[np.float64]

COMMON = 0.3
"""The share of each feature's variance that it has in common with all others."""
SHIFTS = (0.1, 0.25, 0.5, 1.0)
MOST_DAYS = 30
SHAPES: list[Callable[[Floats], Floats]] = [
    lambda z: z,
    np.exp,
    lambda z: -np.log(ndtr(-z)),
    ndtr,
    lambda z: 1000 + 5 * z,
    lambda z: np.sinh(1.2 * z),
    lambda z: np.floor(20 + 4.5 * z),
    lambda z: np.clip(np.floor(1.5 * z + 4), 0, 7),
    lambda z: np.where(z < 0.5, 0.0, np.exp(z)),
    lambda z: np.round(10 + z, 2),
]
LEVELS = (2, 5, 20, 100)
SCENARIOS = {
    "1,000 reference rows, 500 a day": (1_000, 500),
    "20,000 reference rows, 200 a day": (20_000, 200),
    "20,000 reference rows, 2,000 a day": (20_000, 2_000),
}


@dataclass
class Found:
    """What a detector did in one scenario."""

    alarms: int = 0
    """Features called drift, summed over the days, without any drift."""
    alarm_days: int = 0
    delays: dict[float, list[int]] = field(default_factory=dict)
    """By shift: the day of the first verdict, from 1; MOST_DAYS + 1 where there was none."""


def is_class(feature: int) -> bool:
    """Every fourth feature is one of classes."""
    return feature % 4 == 3


def values(feature: int, z: Floats) -> Floats:
    """The values of a feature, from normal ones; a class is a number here."""
    if is_class(feature):
        levels = LEVELS[feature // 4 % len(LEVELS)]
        return np.minimum(np.floor(ndtr(z) ** 1.5 * levels), levels - 1)
    return SHAPES[(feature // 4 * 3 + feature % 4) % len(SHAPES)](z)


def normal(rng: np.random.Generator, rows: int, features: int) -> Floats:
    """Correlated normal values, rows x features."""
    common = rng.normal(size=(rows, 1))
    return np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * rng.normal(size=(rows, features))


class Upshot:
    """Our verdicts, from profiles, at defaults."""

    name = "Upshot"

    def __init__(self, reference: list[Floats]) -> None:
        self._family = len(reference)
        self._scales = [scale_of_values(column) for column in reference]
        self._profiles = [self._profile(feature, column) for feature, column in enumerate(reference)]

    def _profile(self, feature: int, column: Floats) -> Profile:
        if is_class(feature):
            return profile_classes([f"{value:g}" for value in column])
        return profile_numbers(column, self._scales[feature])

    def drifted(self, day: dict[int, Floats]) -> set[int]:
        """The features called drift on a day; those that are not given count as quiet ones."""
        judged: dict[int, Judgement] = {
            feature: compare(self._profiles[feature], self._profile(feature, column)) for feature, column in day.items()
        }
        settle(list(judged.values()), family=self._family)
        return {feature for feature, one in judged.items() if one.verdict == "drift"}


class Evidently:
    """Its default rule for each feature."""

    name = "Evidently's defaults"

    def __init__(self, reference: list[Floats]) -> None:
        self._reference = reference
        self._large = len(reference[0]) > 1000

    def drifted(self, day: dict[int, Floats]) -> set[int]:
        """The features called drift on a day."""
        return {feature for feature, column in day.items() if self._is_drift(feature, self._reference[feature], column)}

    def _is_drift(self, feature: int, reference: Floats, current: Floats) -> bool:
        if is_class(feature) or len(np.unique(np.concatenate([reference, current]))) <= 5:
            known, at = np.unique(np.concatenate([reference, current]), return_inverse=True)
            r = np.bincount(at[: len(reference)], minlength=len(known)).astype(float)
            c = np.bincount(at[len(reference) :], minlength=len(known)).astype(float)
            if self._large:
                p, q = r / r.sum(), c / c.sum()
                m = (p + q) / 2
                with np.errstate(divide="ignore", invalid="ignore"):
                    parts = np.where(p > 0, p * np.log(p / m), 0.0) + np.where(q > 0, q * np.log(q / m), 0.0)
                return bool(np.sqrt(parts.sum() / 2) >= 0.1)
            with np.errstate(divide="ignore", invalid="ignore"):
                return bool(chisquare(c, r * c.sum() / r.sum(), sum_check=False).pvalue < 0.05)
        if self._large:
            return bool(wasserstein_distance(reference, current) / max(float(np.std(reference)), 0.001) >= 0.1)
        return bool(ks_2samp(reference, current).pvalue <= 0.05)


def simulate(
    rows_reference: int, rows_a_day: int, *, features: int, days: int, repeats: int, seed: int = 7
) -> Iterator[tuple[str, Found]]:
    """Both detectors on the same data."""
    rng = np.random.default_rng(seed)
    z = normal(rng, rows_reference, features)
    reference = [values(feature, z[:, feature]) for feature in range(features)]
    detectors = [Upshot(reference), Evidently(reference)]
    found = [Found() for _ in detectors]
    for _ in range(days):
        z = normal(rng, rows_a_day, features)
        day = {feature: values(feature, z[:, feature]) for feature in range(features)}
        for detector, one in zip(detectors, found, strict=True):
            drifted = detector.drifted(day)
            one.alarms += len(drifted)
            one.alarm_days += bool(drifted)
    for shift in SHIFTS:
        for one in found:
            one.delays[shift] = []
        for repeat in range(repeats):
            feature = repeat % features
            waiting = list(zip(detectors, found, strict=True))
            for number in range(1, MOST_DAYS + 2):
                column = {feature: values(feature, rng.normal(shift, 1, rows_a_day))}
                for detector, one in list(waiting):
                    if number > MOST_DAYS or detector.drifted(column):
                        one.delays[shift].append(number)
                        waiting.remove((detector, one))
                if not waiting:
                    break
    yield from ((detector.name, one) for detector, one in zip(detectors, found, strict=True))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--features", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=40)
    asked = parser.parse_args()
    print(f"{asked.features} features, {asked.days} quiet days; delays: median of {asked.repeats} features, in days")
    for title, (reference, a_day) in SCENARIOS.items():
        print(f"\n{title}")
        print(
            f"{'':<24}{'false alarms/week':>18}{'days with any':>15}"
            + "".join(f"{f'{shift:g} sigma':>12}" for shift in SHIFTS)
        )
        for name, found in simulate(reference, a_day, features=asked.features, days=asked.days, repeats=asked.repeats):
            delays = ""
            for shift in SHIFTS:
                median = float(np.median(found.delays[shift]))
                delays += f"{f'> {MOST_DAYS}' if median > MOST_DAYS else f'{median:g}':>12}"
            print(
                f"{name:<24}{found.alarms / asked.days * 7:>18.2f}{found.alarm_days / asked.days:>15.0%}{delays}",
                flush=True,
            )


if __name__ == "__main__":
    main()
