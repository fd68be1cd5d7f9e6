"""Drift of embeddings judged as a detector: how often it cries wolf, and how long it sleeps.

    python -m tests.bench.drift_vectors [--days 90] [--repeats 20]

A model with 40 embeddings (half of their variance is in a low-rank part, as embeddings have it, half is noise; half of them are
scaled to length 1) is looked at once a day for 90 days without drift: every verdict ``drift`` is a false alarm. Then one embedding
changes and the others stay quiet: by a shift of all dimensions, by a shift of one, by a rotation. How many days until it is called
drift?

Beside it: the norm alone (Wasserstein, what Upshot looked at before there were centroids), and Evidently's ``distance`` for
embeddings (Euclidean, from 0.2 up, in the unit of the embedding). Seeded: the same numbers each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.verdict import compare, settle
from upshot_monitoring.profiles.from_values import profile_vectors, scale_of_values
from upshot_monitoring.profiles.profile import Floats, Profile

EMBEDDINGS = 40
RANK = 8
MOST_DAYS = 30
SCENARIOS = {
    "64 dimensions, 2,000 reference rows, 200 a day": (64, 2_000, 200),
    "64 dimensions, 20,000 reference rows, 2,000 a day": (64, 20_000, 2_000),
    "768 dimensions, 2,000 reference rows, 200 a day": (768, 2_000, 200),
}


@dataclass(frozen=True)
class Source:
    """One embedding: where its rows come from."""

    factors: Floats
    center: Floats
    is_unit: bool

    def rows(self, rng: np.random.Generator, rows: int) -> Floats:
        """Vectors as ever."""
        dimensions = len(self.center)
        low_rank = rng.normal(size=(rows, RANK)) @ self.factors
        vectors = self.center + low_rank + np.sqrt(0.5) * rng.normal(size=(rows, dimensions))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if self.is_unit else vectors


def source(rng: np.random.Generator, dimensions: int, number: int) -> Source:
    """A centre that is about as far from 0 as the vectors are from it."""
    factors = rng.normal(size=(RANK, dimensions)) * np.sqrt(0.5 / RANK)
    return Source(factors, rng.normal(size=dimensions), number % 2 == 1)


def shift_all(by: float) -> Callable[[Floats, Floats], Floats]:
    """Every dimension by so many of its standard deviations, in a direction of its own."""
    return lambda vectors, std: vectors + by * std * np.where(np.arange(len(std)) % 2, 1, -1)


def shift_one(by: float) -> Callable[[Floats, Floats], Floats]:
    """The first dimension alone."""
    return lambda vectors, std: vectors + by * std * (np.arange(len(std)) == 0)


def turn(degrees: float) -> Callable[[Floats, Floats], Floats]:
    """Every pair of neighbouring dimensions, about 0: all norms stay what they are."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))

    def turned(vectors: Floats, std: Floats) -> Floats:
        del std
        x, y = vectors[:, 0::2], vectors[:, 1::2]
        return np.stack([c * x - s * y, s * x + c * y], axis=2).reshape(vectors.shape)

    return turned


CHANGES = {
    "all 0.1": shift_all(0.1),
    "all 0.25": shift_all(0.25),
    "all 0.5": shift_all(0.5),
    "one 0.5": shift_one(0.5),
    "one 1": shift_one(1),
    "turned 5": turn(5),
    "turned 20": turn(20),
}


class Centroid:
    """Our verdicts at defaults."""

    name = "Upshot"
    config: FeatureDriftConfig | None = None

    def __init__(self, reference: list[Floats]) -> None:
        self._scales = [scale_of_values(np.linalg.norm(one, axis=1)) for one in reference]
        self._profiles = [profile_vectors(one, scale) for one, scale in zip(reference, self._scales, strict=True)]

    def profile(self, number: int, vectors: Floats) -> Profile:
        """Of a day of one embedding."""
        return profile_vectors(vectors, self._scales[number])

    def drifted(self, day: dict[int, Floats]) -> set[int]:
        """The embeddings called drift on a day; those that are not given count as quiet ones."""
        judged = {
            number: compare(self._profiles[number], self.profile(number, vectors), self.config)
            for number, vectors in day.items()
        }
        settle(list(judged.values()), family=EMBEDDINGS)
        return {number for number, one in judged.items() if one.verdict == "drift"}


class Norm(Centroid):
    """The norm alone."""

    name = "the norm alone"
    config = FeatureDriftConfig(method="wasserstein")


class EvidentlyDistance:
    """``legacy/metrics/data_drift/embedding_drift_methods.py``: ``distance(dist="euclidean", threshold=0.2)``."""

    name = "Evidently's distance"

    def __init__(self, reference: list[Floats]) -> None:
        self._means = [one.mean(axis=0) for one in reference]

    def drifted(self, day: dict[int, Floats]) -> set[int]:
        """By its rule."""
        return {n for n, one in day.items() if np.linalg.norm(one.mean(axis=0) - self._means[n]) > 0.2}


def simulate(dimensions: int, rows_reference: int, a_day: int, *, days: int, repeats: int, seed: int = 7) -> None:
    """Print what each detector did, on the same data."""
    rng = np.random.default_rng(seed)
    sources = [source(rng, dimensions, number) for number in range(EMBEDDINGS)]
    reference = [one.rows(rng, rows_reference) for one in sources]
    stds = [one.std(axis=0) for one in reference]
    detectors = [Centroid(reference), Norm(reference), EvidentlyDistance(reference)]
    alarms = dict.fromkeys(detectors, 0)
    for _ in range(days):
        day = {number: one.rows(rng, a_day) for number, one in enumerate(sources)}
        for detector in detectors:
            alarms[detector] += len(detector.drifted(day))
    delays: dict[object, list[str]] = {detector: [] for detector in detectors}
    for change in CHANGES.values():
        found: dict[object, list[int]] = {detector: [] for detector in detectors}
        for repeat in range(repeats):
            number = repeat % EMBEDDINGS
            waiting = list(detectors)
            for day_number in range(1, MOST_DAYS + 2):
                vectors = {number: change(sources[number].rows(rng, a_day), stds[number])}
                for detector in list(waiting):
                    if day_number > MOST_DAYS or detector.drifted(vectors):
                        found[detector].append(day_number)
                        waiting.remove(detector)
                if not waiting:
                    break
        for detector, those in found.items():
            median = float(np.median(those))
            delays[detector].append(f"> {MOST_DAYS}" if median > MOST_DAYS else f"{median:g}")
    print(f"\n{'':<22}{'false alarms/week':>18}" + "".join(f"{name:>11}" for name in CHANGES))
    for detector in detectors:
        print(
            f"{detector.name:<22}{alarms[detector] / days * 7:>18.2f}"
            + "".join(f"{one:>11}" for one in delays[detector]),
            flush=True,
        )


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    print(f"{EMBEDDINGS} embeddings, {asked.days} quiet days; delays: median of {asked.repeats}, in days")
    for title, (dimensions, reference, a_day) in SCENARIOS.items():
        print(f"\n{title}")
        simulate(dimensions, reference, a_day, days=asked.days, repeats=asked.repeats)


if __name__ == "__main__":
    main()
