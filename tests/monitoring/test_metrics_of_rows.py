"""Every metric against scikit-learn (or numpy, where it has none): from rows exactly, and from the hourly histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from tests.monitoring.conftest import HOUR, START, Flywheel
from upshot_monitoring.performance.answers import Asked
from upshot_monitoring.performance.binary.sums import METRICS as BINARY
from upshot_monitoring.performance.binary.sums import cells_of_rows
from upshot_monitoring.performance.ranking.slates import NAMES as OF_SLATES
from upshot_monitoring.performance.regression.catalogue import METRICS as REGRESSION
from upshot_monitoring.performance.regression.catalogue import metrics as regression_metrics
from upshot_monitoring.performance.regression.catalogue import sums_of_rows

EXACT = 1e-9
FROM_HISTOGRAMS = 1e-3


def binary_rows(rows: int, shape: str, seed: int = 1) -> tuple[Any, Any, Any]:
    """Scores, labels and weights: plain, with ties, with rare positives, of a sampled log."""
    rng = np.random.default_rng(seed)
    center = -5.0 if shape == "rare" else -0.5
    p = 1 / (1 + np.exp(-rng.normal(center, 1.5, rows)))
    if shape == "ties":
        p = np.round(p, 1)
    y = rng.random(rows) < p**1.2
    w = np.where(y | (p > 0.5), 1.0, 4.0) if shape == "weights" else np.ones(rows)
    return p, y.astype(int), w


def binary_truth(p: Any, y: Any, w: Any, threshold: float = 0.5) -> dict[str, float]:
    called = p >= threshold
    one = {"sample_weight": w}
    deciles = np.minimum(np.floor(p * 10), 9)
    gaps = [(w * (p - y))[deciles == k].sum() for k in range(10)]
    fpr, tpr, _ = sk.roc_curve(y, p, sample_weight=w, drop_intermediate=False)
    base_rate = np.average(y, weights=w)
    odds = np.log(np.clip(p, 1e-15, 1 - 1e-15) / (1 - np.clip(p, 1e-15, 1 - 1e-15)))[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-13, solver="newton-cholesky", max_iter=1000).fit(odds, y, sample_weight=w)
    return {
        "roc_auc": sk.roc_auc_score(y, p, **one),
        "pr_auc": sk.average_precision_score(y, p, **one),
        "ks": float(np.abs(tpr - fpr).max()),
        "log_loss": sk.log_loss(y, p, **one),
        "brier": sk.brier_score_loss(y, p, **one),
        "accuracy": sk.accuracy_score(y, called, **one),
        "precision": sk.precision_score(y, called, **one),
        "recall": sk.recall_score(y, called, **one),
        "specificity": sk.recall_score(1 - y, ~called, **one),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called, **one),
        "f1": sk.f1_score(y, called, **one),
        "lift": sk.precision_score(y, called, **one) / base_rate,
        "base_rate": base_rate,
        "predicted_rate": np.average(called, weights=w),
        "calibration_error": float(np.abs(gaps).sum() / w.sum()),
        "calibration_slope": float(fit.coef_[0, 0]),
        "calibration_intercept": float(fit.intercept_[0]),
    }


@pytest.mark.parametrize("shape", ["plain", "ties", "rare", "weights"])
@pytest.mark.parametrize("rows", [1_000, 10_000, 100_000])
def test_binary_metrics_of_rows_are_those_of_scikit_learn(rows: int, shape: str) -> None:
    """Every one within 1e-9."""
    p, y, w = binary_rows(rows, shape)
    threshold = 0.04 if shape == "rare" else 0.5
    cells = cells_of_rows(p, y, w, threshold=threshold)
    truth = binary_truth(p, y, w, threshold)
    for metric in BINARY:
        measured = metric.measure(cells)
        assert measured is not None, metric.about.name
        assert measured.value == pytest.approx(truth[metric.about.name], abs=EXACT), metric.about.name


def serve(flywheel: Flywheel, p: Any, y: Any, w: Any, **config: Any) -> None:
    """Two hours of predictions with labels; the weight is what was logged as ``keep_probability``."""
    flywheel.configure(labels={"y": {"window": "1h"}}, **config)
    ids = [f"{flywheel.model}-{i}" for i in range(len(p))]
    flywheel.serve(
        {
            "request_id": i,
            "features": {},
            "prediction": value,
            "keep_probability": 1 / float(weight),
            "at": START + k % 2 * HOUR,
        }
        for k, (i, value, weight) in enumerate(zip(ids, p.tolist(), w, strict=True))
    )
    flywheel.label(dict(zip(ids, y.tolist(), strict=True)))
    flywheel.roll()


@pytest.mark.parametrize(("shape", "rows"), [("plain", 1_000), ("ties", 20_000), ("rare", 20_000), ("weights", 5_000)])
def test_binary_metrics_of_the_store_are_those_of_scikit_learn(flywheel: Flywheel, shape: str, rows: int) -> None:
    """From the hourly histograms within 1e-3 (KS, a maximum over single rows, within two of them); ``exact`` within 1e-9."""
    p, y, w = binary_rows(rows, shape)
    threshold = 0.04 if shape == "rare" else 0.5
    serve(flywheel, p, y, w, performance={"threshold": threshold})
    truth = binary_truth(p, y, w, threshold)
    for exact, tolerance in ((True, EXACT), (False, FROM_HISTOGRAMS)):
        overall = flywheel.monitor.performance(flywheel.model, Asked(exact=exact))["overall"]
        assert set(overall["metrics"]) == set(truth) == set(overall["intervals"])
        for name, value in truth.items():
            allowed = max(tolerance, 2 / y.sum()) if name == "ks" and not exact else tolerance
            assert overall["metrics"][name] == pytest.approx(value, abs=allowed), (name, exact)
        assert overall["represents"] == pytest.approx(w.sum())


def regression_rows(rows: int, shape: str) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(2)
    y = rng.normal(1e5 if shape == "far" else 20, 5, rows)
    if shape == "ties":
        y = np.round(y)
    p = y + rng.standard_t(4, rows) * (1.5 if shape != "ties" else 1.0) + 0.3
    if shape == "ties":
        p = np.round(p)
    return p, y, rng.choice([1.0, 3.0], rows) if shape == "weights" else np.ones(rows)


def regression_truth(p: Any, y: Any, w: Any) -> dict[str, float]:
    one = {"sample_weight": w}
    away = y != 0
    both = np.abs(y) + np.abs(p)
    shares = np.divide(2 * np.abs(p - y), both, out=np.zeros(len(y)), where=both > 0)
    repeated = np.repeat(np.abs(p - y), w.astype(int))
    return {
        "mae": sk.mean_absolute_error(y, p, **one),
        "rmse": sk.root_mean_squared_error(y, p, **one),
        "bias": np.average(p - y, weights=w),
        "r2": sk.r2_score(y, p, **one),
        "mape": sk.mean_absolute_percentage_error(y[away], p[away], sample_weight=w[away]),
        "smape": np.average(shares, weights=w),
        "median_absolute_error": float(np.median(repeated)),
        "absolute_error_p90": float(np.quantile(repeated, 0.9, method="hazen")),
        "absolute_error_p95": float(np.quantile(repeated, 0.95, method="hazen")),
    }


@pytest.mark.parametrize("shape", ["plain", "far", "ties"])
@pytest.mark.parametrize("rows", [1_000, 10_000, 100_000])
def test_regression_metrics_of_rows_are_those_of_scikit_learn(rows: int, shape: str) -> None:
    """Every one within 1e-9; R2 of values around 100,000 within what their digits allow."""
    p, y, w = regression_rows(rows, shape)
    found = regression_metrics(sums_of_rows(p, y, w), with_default=False).values
    truth = regression_truth(p, y, w)
    assert set(found) == set(truth) == {metric.about.name for metric in REGRESSION}
    for name, value in truth.items():
        assert found[name] == pytest.approx(value, abs=EXACT), name


@pytest.mark.parametrize("shape", ["far", "weights"])
def test_regression_metrics_of_the_store_are_those_of_scikit_learn(flywheel: Flywheel, shape: str) -> None:
    """Means exactly; quantiles from bins of 0.2 % within 1e-3 of their size, and of the weights wholly exact."""
    p, y, w = regression_rows(6_000, shape)
    serve(flywheel, p, y, w, task="regression")
    truth = regression_truth(p, y, w)
    for exact in (True, False):
        overall = flywheel.monitor.performance(flywheel.model, Asked(exact=exact))["overall"]
        for name, value in truth.items():
            is_quantile = name.startswith(("median", "absolute_error_p"))
            if is_quantile and shape == "weights" and exact:
                continue  # a weight of 3 is not three rows: the places of quantiles between rows differ
            tolerance = FROM_HISTOGRAMS * 3 if is_quantile and not exact else EXACT
            assert overall["metrics"][name] == pytest.approx(value, abs=tolerance), (name, exact)
        assert set(overall["intervals"]) == set(truth)


CLASSES = ["cat", "dog", "eel", "fox"]


def multiclass_rows(rows: int) -> tuple[Any, Any, Any]:
    """Actual classes, probabilities, weights."""
    rng = np.random.default_rng(3)
    y = rng.choice(4, rows, p=[0.6, 0.25, 0.13, 0.02])
    raw = np.exp(rng.normal(0, 1, (rows, 4)) + 1.5 * np.eye(4)[y] + [1.0, 0.5, 0.0, -1.5])
    return y, raw / raw.sum(axis=1, keepdims=True), rng.choice([1.0, 2.0, 5.0], rows)


@pytest.mark.parametrize("rows", [1_000, 8_000])
def test_multiclass_metrics_of_the_store_are_those_of_scikit_learn(flywheel: Flywheel, rows: int) -> None:
    """Accuracy, F1 in every average, log loss, AUC one against the rest, and each class; with weights."""
    y, p, w = multiclass_rows(rows)
    flywheel.configure(task="multiclass", labels={"y": {"window": "1h"}})
    ids = [f"{flywheel.model}-{i}" for i in range(rows)]
    flywheel.serve(
        {
            "request_id": i,
            "features": {},
            "probabilities": dict(zip(CLASSES, one.tolist(), strict=True)),
            "keep_probability": 1 / float(weight),
            "at": START + k % 3 * HOUR,
        }
        for k, (i, one, weight) in enumerate(zip(ids, p, w, strict=True))
    )
    flywheel.label({i: CLASSES[k] for i, k in zip(ids, y, strict=True)})
    flywheel.roll()
    called = p.argmax(axis=1)
    one = {"sample_weight": w}
    wanted = {
        "accuracy": sk.accuracy_score(y, called, **one),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called, **one),
        "macro_precision": sk.precision_score(y, called, average="macro", zero_division=0, **one),
        "macro_recall": sk.recall_score(y, called, average="macro", **one),
        "macro_f1": sk.f1_score(y, called, average="macro", **one),
        "micro_f1": sk.f1_score(y, called, average="micro", **one),
        "weighted_f1": sk.f1_score(y, called, average="weighted", **one),
        "log_loss": sk.log_loss(y, p, **one),
        "roc_auc_ovr": sk.roc_auc_score(y, p, multi_class="ovr", average="macro", **one),
    }
    for exact in (True, False):
        overall = flywheel.monitor.performance(flywheel.model, Asked(exact=exact))["overall"]
        assert set(overall["metrics"]) == set(overall["intervals"]) == set(wanted)
        for name, value in wanted.items():
            tolerance = FROM_HISTOGRAMS if name == "roc_auc_ovr" and not exact else EXACT
            assert overall["metrics"][name] == pytest.approx(value, abs=tolerance), (name, exact)
    of_class = {found["class"]: found["metrics"] for found in overall["classes"]}
    precision, recall, f1, _ = sk.precision_recall_fscore_support(y, called, zero_division=0, **one)
    for k, name in enumerate(CLASSES):
        assert of_class[name]["recall"] == pytest.approx(recall[k], abs=EXACT)
        assert of_class[name]["f1"] == pytest.approx(f1[k], abs=EXACT)
        assert of_class[name].get("precision", 0.0) == pytest.approx(precision[k], abs=EXACT)


@pytest.mark.parametrize("ties", [False, True])
def test_ranking_metrics_of_the_store_are_those_of_scikit_learn(flywheel: Flywheel, *, ties: bool) -> None:
    """NDCG as scikit-learn has it, ties included; the others by their definition; graded labels, slates of 3 to 25 items."""
    rng = np.random.default_rng(4)
    flywheel.configure(
        task="ranking", labels={"y": {"window": "1h", "default": 0}}, performance={"metrics": list(OF_SLATES)}
    )
    slates, events, labels = [], [], {}
    for k in range(300):
        n = int(rng.integers(3, 26))
        scores = rng.normal(0, 1, n)
        if ties:
            scores = np.round(scores)
        gains = np.maximum(0, np.round(scores + rng.normal(0, 2, n))) * (rng.random() < 0.9)
        weight = float(rng.choice([1, 4]))
        slates.append((scores, gains, weight))
        request = f"{flywheel.model}-{k}"
        for i in range(n):
            event = {"request_id": request, "item_id": f"i{i:02}", "features": {}, "prediction": float(scores[i])}
            events.append({**event, "keep_probability": 1 / weight, "at": START + k % 2 * HOUR})
    flywheel.serve(events)
    # One label for each item with a gain; the others have the default.
    for k, (_, gains, _) in enumerate(slates):
        labels |= {(f"{flywheel.model}-{k}", f"i{i:02}"): float(g) for i, g in enumerate(gains) if g > 0}
    flywheel.label_items(labels)
    flywheel.roll()
    found = flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]
    wanted: dict[str, list[tuple[float, float]]] = {name: [] for name in OF_SLATES}
    for scores, gains, weight in slates:
        order = np.lexsort((np.arange(len(scores)), -scores))
        relevant = gains[order] > 0
        places = np.arange(1, len(scores) + 1)
        for k in (1, 3, 5, 10, 20, None):
            suffix = "" if k is None else f"@{k}"
            top = relevant[:k]
            if relevant.any():
                wanted[f"ndcg{suffix}"].append((sk.ndcg_score([gains], [scores], k=k), weight))
                hits = np.cumsum(relevant)
                ap = (hits / places * relevant)[:k].sum() / min(k or 10**9, relevant.sum())
                wanted[f"map{suffix}"].append((ap, weight))
            if k is not None:
                wanted[f"hit_rate@{k}"].append((float(top.any()), weight))
                if not ties:
                    wanted[f"precision@{k}"].append((top.sum() / k, weight))
        wanted["mrr"].append((1 / (1 + int(np.argmax(relevant))) if relevant.any() else 0.0, weight))
    for name, pairs in wanted.items():
        if pairs:
            value = np.average([x for x, _ in pairs], weights=[w for _, w in pairs])
            assert found[name] == pytest.approx(value, abs=EXACT), name


def test_a_sampled_log_has_the_metrics_of_the_whole() -> None:
    """Three in four low scores are not logged: naive metrics are far off, weighted ones near, and intervals of 95 % hold."""
    whole_p, whole_y, whole_w = binary_rows(400_000, "plain", 9)
    truth = binary_truth(whole_p, whole_y, whole_w)
    names = ("roc_auc", "pr_auc", "log_loss", "accuracy", "recall", "base_rate", "f1")
    inside = dict.fromkeys(names, 0)
    naive = dict.fromkeys(names, 0)
    rng = np.random.default_rng(10)
    rounds = 600
    for _ in range(rounds):
        rows = rng.integers(0, len(whole_p), 3_000)
        p, y = whole_p[rows], whole_y[rows]
        keep = np.where(p < 0.4, 0.25, 1.0)
        kept = rng.random(3_000) < keep
        of = {metric.about.name: metric for metric in BINARY}
        weighted, plain = cells_of_rows(p[kept], y[kept], 1 / keep[kept]), cells_of_rows(p[kept], y[kept])
        for name in names:
            for count, cells in ((inside, weighted), (naive, plain)):
                measured = of[name].measure(cells)
                assert measured is not None
                assert measured.interval is not None
                count[name] += measured.interval[0] <= truth[name] <= measured.interval[1]
    for name in names:
        assert 0.93 <= inside[name] / rounds <= 0.97, (name, inside[name] / rounds)
    assert naive["base_rate"] == naive["log_loss"] == 0
