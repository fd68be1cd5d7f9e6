"""Two versions on the same requests."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from upshot_joiner.errors import Problem
from upshot_monitoring.performance.binary.ranks import METRICS
from upshot_monitoring.performance.binary.sums import cells_of_rows
from upshot_monitoring.performance.delong import delong, difference_error

roc_auc = METRICS[0]


def brute_force(y: Any, scores: list[Any]) -> tuple[Any, Any]:
    """DeLong by its definition: every positive with every negative."""
    positive = np.flatnonzero(y)
    negative = np.flatnonzero(~y)
    psi = np.zeros((len(scores), len(positive), len(negative)))
    for k, score in enumerate(scores):
        for (a, i), (b, j) in itertools.product(enumerate(positive), enumerate(negative)):
            psi[k, a, b] = 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    return v10.mean(axis=1), np.cov(v10) / len(positive) + np.cov(v01) / len(negative)


def correlated(rng: np.random.Generator, rows: int) -> tuple[Any, list[Any]]:
    """Two scores of the same rows, the second a little better, both with ties."""
    y = rng.random(rows) < 0.3
    base = rng.normal(y * 1.0, 1)
    return y, [np.round(base, 1), np.round(base + rng.normal(y * 0.3, 0.5), 1)]


def test_delong_is_its_definition() -> None:
    """The fast placements give the same AUCs and covariances as every pair counted, ties included."""
    y, scores = correlated(np.random.default_rng(1), 150)
    aucs, covariance = delong(y, scores)
    wanted_aucs, wanted = brute_force(y, scores)
    np.testing.assert_allclose(aucs, wanted_aucs, atol=1e-12)
    np.testing.assert_allclose(covariance, wanted, atol=1e-12)
    assert aucs[0] == pytest.approx(roc_auc_score(y, scores[0]))


def test_the_error_of_a_difference_is_that_of_the_bootstrap() -> None:
    """Drawing the rows anew 800 times spreads the difference as DeLong says, within 15 %."""
    rng = np.random.default_rng(2)
    y, scores = correlated(rng, 800)
    _, covariance = delong(y, scores)
    found = []
    for _ in range(800):
        rows = rng.integers(0, 800, 800)
        found.append(roc_auc_score(y[rows], scores[1][rows]) - roc_auc_score(y[rows], scores[0][rows]))
    assert difference_error(covariance) == pytest.approx(np.std(found), rel=0.15)
    assert difference_error(covariance) < 0.6 * np.sqrt(covariance[0, 0] + covariance[1, 1])


def test_the_auc_of_cells_is_delong_where_bins_are_values() -> None:
    """From counts per value: the same AUC and the same error as from rows."""
    y, (score, _) = correlated(np.random.default_rng(3), 2_000)
    measured = roc_auc.measure(cells_of_rows(score, y))
    assert measured is not None
    aucs, covariance = delong(y, [score])
    assert measured.value == pytest.approx(float(aucs[0]), abs=1e-12)
    assert measured.error == pytest.approx(float(np.sqrt(covariance[0, 0])), abs=1e-12)


def test_delong_needs_two_of_each() -> None:
    """One positive has no variance."""
    with pytest.raises(ValueError, match="two positives"):
        delong([True, False, False], [[1, 2, 3]])


def serve_both(flywheel: Flywheel, rows: int) -> tuple[list[str], Any, list[Any]]:
    y, scores = correlated(np.random.default_rng(4), rows)
    ids = [f"{flywheel.model}-{i}" for i in range(rows)]
    for version, score in zip(("1", "2"), scores, strict=True):
        flywheel.serve(
            (
                {"request_id": i, "features": {"x": 1.0}, "prediction": float(s), "at": START + n * HOUR / 20}
                for n, (i, s) in enumerate(zip(ids, score, strict=True))
            ),
            version=version,
        )
    return ids, y, scores


def test_versions_are_compared_on_the_same_matured_rows(flywheel: Flywheel) -> None:
    """Only rows that both scored and whose label is in or defaulted; the difference is known better than either AUC."""
    flywheel.configure(labels={"y": {"window": "1d", "default": 0}})
    ids, y, scores = serve_both(flywheel, 1_500)
    flywheel.serve([{"request_id": f"{flywheel.model}-alone", "features": {"x": 1.0}, "prediction": 0.1}], version="1")
    flywheel.label({i: 1 for i, v in zip(ids, y, strict=True) if v})
    flywheel.clock.set(START + 2 * DAY)
    matured = 24 * 20
    answer = flywheel.monitor.compare(flywheel.model, "1", "2")
    assert (answer["label"], answer["metric"], answer["rows"], answer["sampled"]) == ("y", "roc_auc", matured, False)
    aucs, covariance = delong(y[:matured], [score[:matured] for score in scores])
    for name, auc in zip("ab", aucs, strict=True):
        assert answer["values"][name]["value"] == pytest.approx(float(auc), abs=1e-9)
        low, high = answer["values"][name]["interval"]
        assert low < auc < high
    assert answer["difference"]["value"] == pytest.approx(float(aucs[1] - aucs[0]), abs=1e-9)
    low, high = answer["difference"]["interval"]
    assert (high - low) / 2 == pytest.approx(1.959964 * difference_error(covariance), rel=1e-5)


def test_nothing_to_compare_is_said_as_nothing(flywheel: Flywheel) -> None:
    """A version that never served, or rows that are not matured: no value, no error."""
    flywheel.configure(labels={"y": {"window": "1d"}})
    ids, y, _ = serve_both(flywheel, 200)
    flywheel.label({i: int(v) for i, v in zip(ids, y, strict=True)})
    flywheel.clock.set(START + timedelta(hours=5))
    assert flywheel.monitor.compare(flywheel.model, "1", "2")["rows"] == 0
    flywheel.clock.set(START + 60 * DAY)
    assert flywheel.monitor.compare(flywheel.model, "1", "2")["rows"] == 200
    answer = flywheel.monitor.compare(flywheel.model, "1", "9")
    assert answer["difference"] == {"value": None, "interval": None}
    flywheel.configure(task="regression", labels={"y": {"window": "1d"}})
    with pytest.raises(Problem) as refused:
        flywheel.monitor.compare(flywheel.model, "1", "2")
    assert refused.value.code == "not_binary"
