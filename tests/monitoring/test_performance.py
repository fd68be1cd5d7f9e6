"""Performance: metrics of matured rows, against scikit-learn on the rows themselves."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from upshot_joiner.errors import Problem
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.join.silence import Change
from upshot_monitoring.performance.answers import Asked
from upshot_monitoring.performance.binary.sums import BinarySums, add, metrics
from upshot_monitoring.performance.score_bins import above_threshold, decile

LABELS = {"y": {"window": "1d", "default": 0}}


def serve_scores(flywheel: Flywheel, scores: Any, *, hours: int = 48, **common: Any) -> list[str]:
    """One prediction per score, spread evenly over hours from START; returns the request IDs."""
    step = hours * HOUR / len(scores)
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{i}",
            "features": {"c": "abc"[i % 3]},
            "prediction": float(score),
            "at": START + i * step,
            "tags": {"channel": "web" if i % 2 else "app"},
        }
        | common
        for i, score in enumerate(scores)
    )
    return [f"{flywheel.model}-{i}" for i in range(len(scores))]


def scores_and_labels(rows: int, center: float, seed: int = 1) -> tuple[Any, Any]:
    """Calibrated scores around a log-odds, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-rng.normal(center, 1.5, rows)))
    return scores, (rng.random(rows) < scores**1.1).astype(int)


def expected(y: Any, p: Any, threshold: float = 0.5) -> dict[str, float]:
    """What scikit-learn says."""
    called = p >= threshold
    gaps = [(p[d].sum() - y[d].sum()) for d in (np.minimum(np.floor(p * 10), 9) == k for k in range(10))]
    return {
        "roc_auc": sk.roc_auc_score(y, p),
        "pr_auc": sk.average_precision_score(y, p),
        "log_loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p),
        "accuracy": sk.accuracy_score(y, called),
        "precision": sk.precision_score(y, called),
        "recall": sk.recall_score(y, called),
        "f1": sk.f1_score(y, called),
        "base_rate": y.mean(),
        "predicted_rate": called.mean(),
        "specificity": sk.recall_score(1 - y, ~called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "lift": sk.precision_score(y, called) / y.mean(),
        "ks": np.max(np.subtract(*sk.roc_curve(y, p)[1::-1])),
        "calibration_error": np.abs(gaps).sum() / len(y),
    }


TOLERANCE = {"roc_auc": 2e-5, "pr_auc": 5e-4, "ks": 1e-3}
"""Ranks are those of bins; everything else is a sum, and exact."""


@pytest.mark.parametrize(("center", "threshold"), [(-0.5, 0.5), (-4.0, 0.037)])
def test_binary_metrics_are_those_of_scikit_learn(flywheel: Flywheel, center: float, threshold: float) -> None:
    """12,000 rows, frequent and rare positives, a threshold that is no bin's edge: sums exact, AUC within 2e-5."""
    flywheel.configure(labels=LABELS, performance={"threshold": threshold})
    p, y = scores_and_labels(12_000, center)
    ids = serve_scores(flywheel, p)
    flywheel.label({i: int(v) for i, v in zip(ids, y, strict=True)})
    flywheel.roll()
    answer = flywheel.monitor.performance(flywheel.model, Asked())
    overall = answer["overall"]
    assert (overall["rows"], overall["matured"], overall["coverage"]) == (12_000, 12_000, 1.0)
    wanted = expected(y, p, threshold)
    assert set(overall["metrics"]) == set(wanted) | {"calibration_slope", "calibration_intercept"}
    for name, value in wanted.items():
        assert overall["metrics"][name] == pytest.approx(value, abs=TOLERANCE.get(name, 1e-9)), name
    for name, (low, high) in overall["intervals"].items():
        assert low < overall["metrics"][name] < high, name
    assert [window["rows"] for window in answer["windows"]] == [6000, 6000]
    first = expected(y[:6000], p[:6000], threshold)
    assert answer["windows"][0]["metrics"]["log_loss"] == pytest.approx(first["log_loss"], abs=1e-9)


def test_metrics_are_of_matured_rows_and_the_rest_is_apart(flywheel: Flywheel) -> None:
    """Labels wait one day; a day and a half after the start, half a day is matured, whatever else is labelled."""
    flywheel.configure(labels=LABELS)
    p, y = scores_and_labels(4_800, -0.5)
    ids = serve_scores(flywheel, p, hours=36)
    # All positives are known at once, no negative is: what is labelled so far is all positive.
    flywheel.label({i: 1 for i, v in zip(ids, y, strict=True) if v})
    flywheel.roll()
    flywheel.clock.set(START + 36 * HOUR)
    answer = flywheel.monitor.performance(flywheel.model, Asked())
    matured = 1_600
    overall = answer["overall"]
    assert (overall["rows"], overall["matured"]) == (4_800, matured)
    assert overall["metrics"]["base_rate"] == pytest.approx(y[:matured].mean())
    assert overall["metrics"]["roc_auc"] == pytest.approx(sk.roc_auc_score(y[:matured], p[:matured]), abs=1e-4)
    assert overall["so_far"]["metrics"]["base_rate"] == 1.0
    assert "roc_auc" not in overall["so_far"]["metrics"]
    first, second = answer["windows"]
    assert (first["matured"], second["matured"]) == (matured, 0)
    assert second["metrics"] == {}
    assert second["coverage"] is None
    assert second["so_far"]["rows"] == int(y[3200:].sum())


def test_a_row_without_a_label_and_without_a_default_counts_in_no_metric(flywheel: Flywheel) -> None:
    """Coverage says how many are known; the metrics are of those."""
    flywheel.configure(labels={"y": {"window": "1h"}})
    p, y = scores_and_labels(2_000, 0.0)
    ids = serve_scores(flywheel, p)
    flywheel.label({ids[i]: int(y[i]) for i in range(0, 2_000, 4)})
    flywheel.label({ids[0]: None}, op="retract")
    flywheel.roll()
    overall = flywheel.monitor.performance(flywheel.model, Asked())["overall"]
    assert (overall["labelled"], overall["defaulted"], overall["pending"], overall["retracted"]) == (499, 0, 1500, 1)
    assert overall["coverage"] == pytest.approx(499 / 2000)
    assert overall["metrics"]["base_rate"] == pytest.approx(y[4::4].mean())


def test_a_correction_replaces_what_was_rolled_up(flywheel: Flywheel) -> None:
    """A revised label moves its row from one side to the other, once, however often the hour is rolled."""
    flywheel.configure(labels=LABELS)
    ids = serve_scores(flywheel, np.linspace(0.1, 0.9, 200))
    flywheel.label(dict.fromkeys(ids[:100], 1))
    flywheel.roll()
    flywheel.label(dict.fromkeys(ids[:50], 0))
    flywheel.roll()
    flywheel.monitor._roller.reconcile(flywheel.model)
    flywheel.roll()
    overall = flywheel.monitor.performance(flywheel.model, Asked())["overall"]
    assert overall["metrics"]["base_rate"] == pytest.approx(50 / 200)
    assert overall["labelled"] + overall["defaulted"] == 200


def test_a_row_that_is_stored_twice_counts_once(flywheel: Flywheel) -> None:
    """Until the table merges a repeated row is there twice; no metric sees it."""
    flywheel.configure(labels=LABELS)
    serve_scores(flywheel, [0.2, 0.8, 0.9])
    ids = serve_scores(flywheel, [0.2, 0.8, 0.9])
    flywheel.label({ids[1]: 1})
    flywheel.roll()
    overall = flywheel.monitor.performance(flywheel.model, Asked())["overall"]
    assert (overall["rows"], overall["labelled"], overall["defaulted"]) == (3, 1, 2)


def test_an_outcome_that_was_undone_is_unlabelled_again(flywheel: Flywheel) -> None:
    """Labels that came after the window count until late ones are rejected; then their rows have the default."""
    flywheel.configure(labels=LABELS)
    ids = serve_scores(flywheel, [0.2, 0.8, 0.9])
    flywheel.label(dict.fromkeys(ids, 1))
    flywheel.roll()
    assert flywheel.monitor.performance(flywheel.model, Asked())["overall"]["labelled"] == 3
    flywheel.configure(labels={"y": {**LABELS["y"], "late": "reject"}})
    flywheel.joiner.refold(flywheel.model)
    flywheel.roll()
    overall = flywheel.monitor.performance(flywheel.model, Asked())["overall"]
    assert (overall["labelled"], overall["defaulted"], overall["metrics"]["base_rate"]) == (0, 3, 0)


def test_another_positive_class_or_threshold_rolls_the_history_again(flywheel: Flywheel) -> None:
    """After a change of configuration no sum of the earlier one is shown."""
    flywheel.configure(labels=LABELS)
    ids = serve_scores(flywheel, np.linspace(0.01, 0.99, 100))
    flywheel.label({i: int(n >= 60) for n, i in enumerate(ids)})
    flywheel.roll()
    assert flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]["recall"] == 1.0
    flywheel.configure(labels=LABELS, performance={"threshold": 0.8})
    flywheel.monitor.configured(flywheel.model)
    assert flywheel.monitor.performance(flywheel.model, Asked())["overall"]["rows"] == 0
    flywheel.roll()
    assert flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]["recall"] == pytest.approx(
        20 / 40
    )


def test_labels_may_be_bools_numbers_or_words(flywheel: Flywheel) -> None:
    """True, 1 and 1.0 are the positive class 1; a word is one where it is configured."""
    flywheel.configure(labels={"y": {"window": "1h"}}, positive="fraud")
    ids = serve_scores(flywheel, [0.9, 0.8, 0.2, 0.1], hours=1)
    flywheel.label(dict(zip(ids, ["fraud", "fraud", "fine", "fraud"], strict=True)))
    flywheel.roll()
    assert flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]["base_rate"] == 0.75
    flywheel.configure(labels={"y": {"window": "1h"}}, positive=1)
    flywheel.label(dict(zip(ids, [True, 1, 0, 1.0], strict=True)))
    flywheel.roll()
    assert flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]["base_rate"] == 0.75


def test_scores_that_are_no_probabilities_have_an_auc_and_no_log_loss(flywheel: Flywheel) -> None:
    """Margins rank; what is undefined for them is left out."""
    flywheel.configure(labels=LABELS, performance={"threshold": 0.0})
    rng = np.random.default_rng(3)
    p = rng.normal(0, 4, 3_000)
    y = (rng.random(3_000) < 1 / (1 + np.exp(-p))).astype(int)
    ids = serve_scores(flywheel, p)
    flywheel.label({i: int(v) for i, v in zip(ids, y, strict=True)})
    flywheel.roll()
    found = flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p), abs=2e-4)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p >= 0))
    assert {"log_loss", "brier", "calibration_error"}.isdisjoint(found)


def test_one_class_alone_has_no_auc(flywheel: Flywheel) -> None:
    """Undefined is left out, not 0."""
    flywheel.configure(labels=LABELS)
    serve_scores(flywheel, [0.2] * 50)
    flywheel.roll()
    found = flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]
    assert {"roc_auc", "pr_auc", "recall", "precision", "f1"}.isdisjoint(found)
    assert found["base_rate"] == 0


def test_versions_and_segments(flywheel: Flywheel) -> None:
    """By version from the sums, by segment from the rows; the parts add up to the whole."""
    flywheel.configure(labels=LABELS)
    p, y = scores_and_labels(3_000, 0.0)
    ids = serve_scores(flywheel, p)
    serve_scores(flywheel, 1 - p, model_version="2")
    flywheel.label({i: int(v) for i, v in zip(ids, y, strict=True)})
    flywheel.roll()
    ask = flywheel.monitor.performance
    both = ask(flywheel.model, Asked())
    assert {v: one["rows"] for v, one in both["versions"].items()} == {"1": 3000, "2": 3000}
    auc = sk.roc_auc_score(y, p)
    assert both["versions"]["1"]["metrics"]["roc_auc"] == pytest.approx(auc, abs=1e-4)
    assert ask(flywheel.model, Asked(version="2"))["overall"]["metrics"]["roc_auc"] == pytest.approx(1 - auc, abs=1e-4)
    b = np.arange(3_000) % 3 == 1
    one = ask(flywheel.model, Asked(version="1", segment="features.c=b"))
    assert one["overall"]["rows"] == 1000
    assert one["overall"]["metrics"]["roc_auc"] == pytest.approx(sk.roc_auc_score(y[b], p[b]), abs=2e-4)
    each = ask(flywheel.model, Asked(version="1", segment="tags.channel"))["segments"]
    assert {found["value"]: found["rows"] for found in each} == {"app": 1500, "web": 1500}
    with pytest.raises(Problem) as refused:
        ask(flywheel.model, Asked(segment="features.unknown=1"))
    assert (refused.value.status, refused.value.code) == (422, "unknown_segment")


def test_regression_metrics_are_those_of_scikit_learn(flywheel: Flywheel) -> None:
    """MAE, RMSE, R2 and bias, of values far from 0, over hours of different level."""
    flywheel.configure(task="regression", labels={"y": {"window": "1h"}})
    rng = np.random.default_rng(4)
    y = 1e6 + np.linspace(0, 20, 2_000) + rng.normal(0, 3, 2_000)
    p = y + rng.normal(0.4, 2, 2_000)
    ids = serve_scores(flywheel, p)
    flywheel.label({i: float(v) for i, v in zip(ids[:1500], y[:1500], strict=True)})
    flywheel.roll()
    overall = flywheel.monitor.performance(flywheel.model, Asked())["overall"]
    y, p = y[:1500], p[:1500]
    wanted = {
        "mae": sk.mean_absolute_error(y, p),
        "rmse": sk.root_mean_squared_error(y, p),
        "r2": sk.r2_score(y, p),
        "bias": (p - y).mean(),
    }
    for name, value in wanted.items():
        assert overall["metrics"][name] == pytest.approx(value, rel=1e-6), name
    assert (overall["matured"], overall["coverage"]) == (2000, 0.75)


def test_multiclass_metrics_are_those_of_scikit_learn(flywheel: Flywheel) -> None:
    """Accuracy and macro F1; classes by word, by number, or the likeliest of the probabilities."""
    flywheel.configure(task="multiclass", labels={"y": {"window": "1h"}})
    rng = np.random.default_rng(4)
    y = rng.choice(["cat", "dog", "eel"], 900, p=[0.6, 0.3, 0.1])
    called = np.where(rng.random(900) < 0.7, y, rng.choice(["cat", "dog", "eel"], 900))
    ids = [f"{flywheel.model}-{i}" for i in range(900)]
    flywheel.serve(
        {"request_id": i, "features": {"x": 1.0}, "prediction": str(c)}
        if n % 2
        else {
            "request_id": i,
            "features": {"x": 1.0},
            "probabilities": {k: 0.8 if k == c else 0.1 for k in ("cat", "dog", "eel")},
        }
        for n, (i, c) in enumerate(zip(ids, called, strict=True))
    )
    flywheel.label({i: str(v) for i, v in zip(ids, y, strict=True)})
    flywheel.roll()
    found = flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, called))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, called, average="macro"))


def test_windows_are_whole_days_in_utc(flywheel: Flywheel) -> None:
    """Asked from any moment, windows begin at midnight; hours and weeks are possible, less than an hour is not."""
    flywheel.configure(labels=LABELS)
    serve_scores(flywheel, [0.5] * 72, hours=72)
    flywheel.roll()
    ask = flywheel.monitor.performance
    answer = ask(flywheel.model, Asked(start=START + 5 * HOUR, end=START + 30 * HOUR))
    assert [(w["start"], w["rows"]) for w in answer["windows"]] == [(START, 24), (START + DAY, 24)]
    assert len(ask(flywheel.model, Asked(window=HOUR))["windows"]) == 72
    for wrong in (
        Asked(window=timedelta(minutes=5)),
        Asked(start=START, end=START),
        Asked(start=START - 4000 * DAY, window=HOUR),
    ):
        with pytest.raises(Problem) as refused:
            ask(flywheel.model, wrong)
        assert refused.value.status == 422
    with pytest.raises(Problem) as unknown:
        ask("never seen", Asked())
    assert (unknown.value.status, unknown.value.code) == (404, "unknown_model")


def test_only_configured_metrics_are_shown(flywheel: Flywheel) -> None:
    """``performance.metrics`` chooses."""
    flywheel.configure(labels=LABELS, performance={"metrics": ["brier", "roc_auc"]})
    ids = serve_scores(flywheel, [0.1, 0.9])
    flywheel.label({ids[1]: 1})
    flywheel.roll()
    assert set(flywheel.monitor.performance(flywheel.model, Asked())["overall"]["metrics"]) == {"brier", "roc_auc"}


def sums_of(p: Any, y: Any) -> BinarySums:
    """The sums of rows in memory, with the bins of the roll-up's formula."""
    with np.errstate(divide="ignore"):
        odds = np.clip(np.floor(np.log(p / (1 - p)) * 128), -5000, 5000)
    bins = ((odds + 100_000) * 16 + np.minimum(np.floor(p * 10), 9)) * 2 + (p >= 0.5)
    found, where = np.unique(bins.astype(np.int64), return_inverse=True)
    groups = np.array([np.bincount(where, w, len(found)) for w in (1 - y, y.astype(float), np.zeros(len(y)))])
    scores = [np.bincount(where, w, len(found)) for w in (p * (1 - y), p * y, np.zeros(len(y)))]
    return BinarySums(rows=len(y), bins=found, weights=groups, weights2=groups, scores=np.array(scores))


def test_ninety_five_percent_intervals_hold_the_truth_about_as_often() -> None:
    """In 400 samples of 400 rows, AUC, accuracy, precision, recall and F1 of the source lie inside in 92 to 98 %."""
    rng = np.random.default_rng(6)

    def sample(rows: int) -> tuple[Any, Any]:
        p = 1 / (1 + np.exp(-rng.normal(-0.5, 1.5, rows)))
        return p, (rng.random(rows) < p).astype(int)

    p, y = sample(400_000)
    truth = expected(y, p)
    names = ("roc_auc", "accuracy", "precision", "recall", "f1", "base_rate")
    inside = dict.fromkeys(names, 0)
    for _ in range(400):
        found = metrics(sums_of(*sample(400)), default=None)
        for name in names:
            low, high = found.intervals[name]
            inside[name] += low <= truth[name] <= high
    for name, count in inside.items():
        assert 0.92 <= count / 400 <= 0.985, (name, count)


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    """Binary sums add up, whatever bins each part has."""
    p, y = scores_and_labels(5_000, 0.0)
    parts = add(sums_of(p[i::7], y[i::7]) for i in range(7))
    whole = sums_of(p, y)
    assert parts.bins.tolist() == whole.bins.tolist()
    np.testing.assert_array_equal(parts.weights, whole.weights)
    assert (decile(whole.bins) == 9).sum() > 0
    assert above_threshold(whole.bins).any()


def test_hours_of_a_silence_are_in_no_metric(flywheel: Flywheel) -> None:
    """Their labels are a biased sample: they are in ``so_far``; rows without one are censored, and lower the coverage."""
    flywheel.configure(labels=LABELS)
    p, y = scores_and_labels(4_800, -0.5)
    ids = serve_scores(flywheel, p)  # 100 an hour
    positive = [i for i, v in zip(ids, y, strict=True) if v]
    flywheel.label(dict.fromkeys(positive, 1))
    flywheel.roll()
    whole = flywheel.monitor.performance(flywheel.model, Asked())["overall"]
    assert (whole["censored"], whole["coverage"]) == (0, 1.0)
    # Windows of a day that closed from 36 h to 40 h: the predictions of hours 12 to 15.
    silent = Change("open", START + 36 * HOUR, START + 40 * HOUR, "operator", "")
    FeedRecords(flywheel.store).append(flywheel.model, "y", silent, flywheel.stamper, lambda store: _done(store()))
    answer = flywheel.monitor.performance(flywheel.model, Asked(window=HOUR))
    overall = answer["overall"]
    known = [k for k in range(4_800) if not 1_200 <= k < 1_600]
    unlabelled = 400 - int(y[1_200:1_600].sum())
    assert (overall["censored"], overall["matured"], overall["rows"]) == (unlabelled, 4_800, 4_800)
    assert overall["defaulted"] == len(known) - int(y[known].sum())
    assert overall["coverage"] == pytest.approx((4_800 - unlabelled) / 4_800)
    assert overall["metrics"]["base_rate"] == pytest.approx(y[known].mean())
    assert overall["metrics"]["roc_auc"] == pytest.approx(sk.roc_auc_score(y[known], p[known]), abs=1e-4)
    hours = [(window["censored"] > 0, bool(window["metrics"])) for window in answer["windows"][10:18]]
    assert hours == [(False, True)] * 2 + [(True, False)] * 4 + [(False, True)] * 2
    rows = flywheel.monitor.performance(flywheel.model, Asked(segment="tags.channel"))["overall"]
    assert rows["censored"] == unlabelled


def _done(change: Change) -> Future[Change]:
    done: Future[Change] = Future()
    done.set_result(change)
    return done
