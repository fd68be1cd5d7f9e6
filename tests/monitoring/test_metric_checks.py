"""What must be true of every metric, whatever it measures: checked on each one of the catalogue."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from upshot_joiner.config import read_config
from upshot_joiner.errors import Problem
from upshot_monitoring.performance.binary.cells import BinaryMetric, Cells
from upshot_monitoring.performance.binary.sums import METRICS as BINARY
from upshot_monitoring.performance.binary.sums import cells_of_rows
from upshot_monitoring.performance.catalogue import CATALOGUE, check
from upshot_monitoring.performance.metrics import Metrics
from upshot_monitoring.performance.multiclass.catalogue import metrics as multiclass
from upshot_monitoring.performance.multiclass.sums import MulticlassSums
from upshot_monitoring.performance.multiclass.sums import add as add_multiclass
from upshot_monitoring.performance.regression.catalogue import metrics as regression
from upshot_monitoring.performance.regression.catalogue import sums_of_rows
from upshot_monitoring.performance.regression.sums import add as add_regression

each_binary = pytest.mark.parametrize("metric", BINARY, ids=lambda metric: metric.about.name)


def rows(n: int, seed: int = 1) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    p = np.round(1 / (1 + np.exp(-rng.normal(-0.3, 1.5, n))), 3)
    return p, rng.random(n) < p**1.3, rng.choice([1.0, 2.0, 5.0], n)


def of_regression(n: int, seed: int = 1, scale: float = 1.0) -> Metrics:
    rng = np.random.default_rng(seed)
    y = rng.normal(40, 6, n)
    p, w = y + rng.normal(0.2, 3, n), rng.choice([1.0, 2.0], n)
    return regression(sums_of_rows(p, y, w * scale), with_default=False)


def multiclass_sums(n: int, seed: int = 1, scale: float = 1.0) -> MulticlassSums:
    rng = np.random.default_rng(seed)
    pairs: dict[tuple[str, str, int], Any] = {}
    for actual, called, w in zip(rng.integers(0, 3, n), rng.integers(0, 3, n), rng.choice([1.0, 3.0], n), strict=True):
        key = ("abc"[actual], "abc"[actual if w > 1 else called], 0)
        pairs[key] = pairs.get(key, np.zeros(2)) + np.array([w * scale, (w * scale) ** 2])
    return MulticlassSums(n, np.array([n, 0, 0, 0]), np.zeros(4), pairs)


@each_binary
def test_an_influence_function_is_the_derivative_by_one_more_row(metric: BinaryMetric) -> None:
    """The closed forms, from which every interval comes, equal numerical derivatives at fifty cells."""
    p, y, _ = rows(600)
    # Away from where the metric has a kink: KS and calibration error are not smooth where two gaps are equal.
    cells = replace(cells_of_rows(p, y), losses=None, errors2=None)
    found = metric.of(cells)
    assert found is not None
    h = 1e-4

    def moved(name: str, scores: str, k: int, step: float) -> float:
        weights, sums = getattr(cells, name).copy(), getattr(cells, scores).copy()
        score = cells.mean_scores[k]
        weights[k] += step
        sums[k] += step * score
        one = metric.of(replace(cells, **{name: weights, scores: sums}))
        assert one is not None
        return one.value

    for name, scores, by in (
        ("positives", "positive_scores", found.by_positives),
        ("negatives", "negative_scores", found.by_negatives),
    ):
        for k in range(3, len(cells.positives), 13):
            slope = (moved(name, scores, k, h) - moved(name, scores, k, -h)) / (2 * h)
            assert by[k] == pytest.approx(slope, abs=2e-6), (name, k)


@each_binary
def test_a_row_of_weight_three_is_three_rows(metric: BinaryMetric) -> None:
    """In its value; and its interval is wider, because they are not independent."""
    p, y, w = rows(900)
    weighted = metric.measure(cells_of_rows(p, y, w))
    repeated = metric.measure(cells_of_rows(*(np.repeat(one, w.astype(int)) for one in (p, y))))
    assert weighted is not None
    assert repeated is not None
    assert weighted.value == pytest.approx(repeated.value, abs=1e-12)
    assert weighted.error > repeated.error


@each_binary
def test_the_unit_of_weights_does_not_matter(metric: BinaryMetric) -> None:
    """Value and interval are those of shares: a log sampled at one in ten throughout is as good as its rows."""
    p, y, w = rows(900)
    one, ten = metric.measure(cells_of_rows(p, y, w)), metric.measure(cells_of_rows(p, y, w * 10))
    assert one is not None
    assert ten is not None
    assert one.value == pytest.approx(ten.value, abs=1e-12)
    assert one.interval == pytest.approx(ten.interval, abs=1e-12)


@each_binary
def test_an_interval_holds_its_value_and_shrinks_with_the_rows(metric: BinaryMetric) -> None:
    """About as the root of their number."""
    widths = []
    for n in (800, 12_800):
        p, y, _ = rows(n)
        measured = metric.measure(cells_of_rows(p, y))
        assert measured is not None
        assert measured.interval is not None
        assert metric.about.low <= measured.value <= metric.about.high
        low, high = measured.interval
        assert low <= measured.value <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5


@each_binary
@pytest.mark.parametrize("y", [[], [0, 0, 0], [1, 1, 1]], ids=["no rows", "no positive", "no negative"])
def test_what_is_undefined_is_left_out_and_never_nan(metric: BinaryMetric, y: list[int]) -> None:
    """No rows, or one class alone."""
    measured = metric.measure(cells_of_rows([0.2, 0.5, 0.9][: len(y)], y))
    assert measured is None or np.isfinite(measured.value)
    if not y:
        assert measured is None


@each_binary
def test_a_better_model_has_a_better_value(metric: BinaryMetric) -> None:
    """Scores that know more of the truth, by the direction that the catalogue gives."""
    rng = np.random.default_rng(5)
    x = rng.normal(0, 2, 4_000)
    y = rng.random(4_000) < 1 / (1 + np.exp(-x))
    good = metric.measure(cells_of_rows(1 / (1 + np.exp(-x)), y))
    worse = 1 / (1 + np.exp(-(x + rng.normal(0, 2, 4_000)) * 1.5))
    bad = metric.measure(cells_of_rows(worse, y))
    assert good is not None
    assert bad is not None
    if metric.about.better == "higher":
        assert good.value > bad.value
    elif metric.about.better == "lower":
        assert good.value < bad.value


def test_margins_have_no_metric_of_probabilities() -> None:
    """Scores outside 0 and 1 rank and decide; they promise nothing."""
    cells: Cells = cells_of_rows([-2.0, 0.5, 3.0], [0, 1, 1])
    named = {metric.about.name for metric in BINARY if metric.measure(cells) is None}
    assert named == {"log_loss", "brier", "calibration_error", "calibration_slope", "calibration_intercept"}


def test_the_regression_metrics_do_not_depend_on_how_rows_are_split_or_weighted() -> None:
    """Sums of parts about different centres are the sums of the whole; the unit of weights does not matter."""
    rng = np.random.default_rng(2)
    y = rng.normal(1000, 50, 900) + np.repeat([0, 500, -700], 300)
    p = y + rng.normal(0, 5, 900)
    whole = regression(sums_of_rows(p, y), with_default=False)
    parts = add_regression(sums_of_rows(p[i::3], y[i::3]) for i in range(3))
    shifted = add_regression(sums_of_rows(p[k : k + 300], y[k : k + 300]) for k in (0, 300, 600))
    for found in (regression(parts, with_default=False), regression(shifted, with_default=False)):
        assert found.values == pytest.approx(whole.values, rel=1e-9)
        for name, ends in found.intervals.items():
            assert ends == pytest.approx(whole.intervals[name], rel=1e-7), name
    one, ten = of_regression(500), of_regression(500, scale=10)
    assert ten.values == pytest.approx(one.values)
    for name, ends in ten.intervals.items():
        assert ends == pytest.approx(one.intervals[name]), name


def test_every_metric_of_the_catalogue_is_measured_and_the_reverse() -> None:
    """Names in the catalogue are names in answers."""
    p, y, _ = rows(300)
    assert {about.name for about in CATALOGUE["binary"]} == {
        metric.about.name for metric in BINARY if metric.measure(cells_of_rows(p, y))
    }
    assert {about.name for about in CATALOGUE["regression"]} == set(of_regression(300).values)
    found = multiclass(multiclass_sums(300), with_default=False)
    assert {about.name for about in CATALOGUE["multiclass"]} == set(found.values) | {"log_loss", "roc_auc_ovr"}


def test_the_multiclass_metrics_do_not_depend_on_how_rows_are_split_or_weighted() -> None:
    """As those of the other tasks."""
    whole = multiclass(add_multiclass([multiclass_sums(300, 1), multiclass_sums(200, 2)]), with_default=False)
    back = multiclass(add_multiclass([multiclass_sums(200, 2), multiclass_sums(300, 1)]), with_default=False)
    ten = multiclass(add_multiclass([multiclass_sums(300, 1, 10.0), multiclass_sums(200, 2, 10.0)]), with_default=False)
    for name, value in whole.values.items():
        assert back.values[name] == pytest.approx(value)
        assert ten.values[name] == pytest.approx(value)
        low, high = whole.intervals[name]
        assert low < value < high
        assert ten.intervals[name] == pytest.approx((low, high))


def test_configured_metrics_must_exist() -> None:
    """A misspelt name, or one of another task, is refused where the configuration is put, with its place."""
    check(read_config({"performance": {"metrics": ["roc_auc", "ks"]}}))
    check(read_config({"task": "ranking", "performance": {"metrics": ["ndcg@5", "roc_auc"]}}))
    with pytest.raises(Problem) as refused:
        check(read_config({"performance": {"metrics": ["roc_auc", "rcc", "rmse"]}}))
    assert refused.value.status == 422
    assert [(one["loc"], one["code"]) for one in refused.value.errors] == [
        ("performance.metrics.1", "unknown_metric"),
        ("performance.metrics.2", "metric_of_another_task"),
    ]


@pytest.mark.parametrize(
    "module",
    [
        *("binary.ranks", "binary.decisions", "binary.losses", "binary.calibration", "multiclass.confusion"),
        *("regression.errors", "regression.quantiles", "ranking.slates"),
    ],
)
def test_the_examples_of_the_metrics_are_true(module: str) -> None:
    """Seeded examples print what the docstring says."""
    found = doctest.testmod(importlib.import_module(f"upshot_monitoring.performance.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
