"""Multivariate methods judged as detectors, beside Evidently's classifier: ``python -m tests.bench.multivariate [--windows 200]``.

30 features that hang together (a shared factor), a reference of 2,000 rows, windows of 2,000. Quiet windows: how many are called
drift, and how many p-values are below 0.05 and 0.01, where 5 % and 1 % are what they may be. Changed windows: how many of 20 are
called drift, of a feature that shifts by so many standard deviations, and of a pair whose correlation of 0.9 is gone.

Evidently 0.7 has a classifier of two samples for embeddings (``embedding_drift_methods.model``: a linear one, AUC above 0.55 is
drift, nothing about chance); it is given the same 30 numbers of each row.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "1"

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

from upshot_monitoring.multivariate.judged import judge
from upshot_monitoring.multivariate.methods.domain_classifier import domain_classifier
from upshot_monitoring.multivariate.methods.pca_reconstruction import pca_reconstruction
from upshot_monitoring.multivariate.question import THRESHOLDS
from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.profiles.profile import Floats

FEATURES, ROWS, CHANGED = 30, 2000, 20


def rows(rng: np.random.Generator, shift: float = 0.0, *, is_broken: bool = False) -> Floats:
    """Rows of the world; ``is_broken``: the first two features do not hang together any more."""
    made = 0.6 * rng.normal(size=(ROWS, 1)) + 0.8 * rng.normal(size=(ROWS, FEATURES))
    other = rng.normal(size=ROWS) if is_broken else made[:, 0]
    made[:, 1] = 0.9 * other + np.sqrt(1 - 0.81) * rng.normal(size=ROWS)
    made[:, 5] += shift
    return made


def of_evidently() -> Callable[[Floats, Floats], bool]:
    """Its verdict on two samples."""
    import pandas as pd
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import model

    compare = model(threshold=0.55, bootstrap=False)

    def verdict(reference: Floats, current: Floats) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(compare(pd.DataFrame(current), pd.DataFrame(reference))[1])

    return verdict


def main() -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser()
    options.add_argument("--windows", type=int, default=200)
    windows = options.parse_args().windows
    theirs = of_evidently()
    worlds: list[tuple[str, int, float, bool]] = [("quiet", windows, 0.0, False)]
    worlds += [(f"one of {FEATURES} shifts by {shift}", CHANGED, shift, False) for shift in (0.25, 0.5, 1.0)]
    worlds.append(("a correlation of 0.9 is gone", CHANGED, 0.0, True))
    print("| world | windows | classifier | PCA | Evidently | p <= 0.05 | p <= 0.01 | mean AUC | mean change |")
    seed = 0
    for name, count, shift, is_broken in worlds:
        called = {"domain_classifier": 0, "pca_reconstruction": 0, "evidently": 0}
        p_values, statistics = [], []
        began = time.process_time()
        for _ in range(count):
            seed += 1
            rng = np.random.default_rng(seed)
            reference, current = rows(rng), rows(rng, shift, is_broken=is_broken)
            sides = Sides.of(reference, current)
            told, again = domain_classifier(sides), pca_reconstruction(sides)
            p_values.append((told.p_value, again.p_value))
            statistics.append((told.statistic, again.change))
            found = {
                "domain_classifier": {"statistic": told.statistic, "p_value": told.p_value},
                "pca_reconstruction": {"statistic": again.statistic, "p_value": again.p_value},
            }
            for one in judge(found, THRESHOLDS, 0.01):
                called[one["method"]] += one["verdict"] == "drift"
            called["evidently"] += theirs(reference, current)
        below = [" / ".join(f"{share:.3f}" for share in (np.array(p_values) <= p).mean(axis=0)) for p in (0.05, 0.01)]
        means = np.mean(statistics, axis=0)
        shares = " | ".join(f"{n} of {count}" for n in called.values())
        print(
            f"| {name} | {count} | {shares} | {below[0]} | {below[1]} | {means[0]:.3f} | {means[1]:+.3f} |", flush=True
        )
        print(f"  {(time.process_time() - began) / count:.2f} s of processor time a window", flush=True)


if __name__ == "__main__":
    main()
