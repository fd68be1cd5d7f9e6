"""Gaps between segments: the worst one is found, and chance is told from it."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from tests.bench.performance_intervals import population
from tests.monitoring.conftest import START, Flywheel
from upshot_monitoring.performance import gaps
from upshot_monitoring.performance.answers import Asked
from upshot_monitoring.performance.binary import sums
from upshot_monitoring.performance.binary.sums import cells_of_rows, of_cells


def pairs(segment: Any, p: Any, y: Any) -> dict[str, Any]:
    return {
        str(k): tuple(
            of_cells(cells_of_rows(p[rows], y[rows]), int(rows.sum())) for rows in (segment == k, segment != k)
        )
        for k in np.unique(segment)
    }


def test_where_segments_do_not_differ_one_answer_in_twenty_shows_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 12 segments the worst is shown; its interval leaves 0 out in at most 8 of 100 rounds, uncorrected in a third."""
    clear = dict.fromkeys(("recall", "roc_auc", "predicted_rate", "precision"), 0)
    monkeypatch.setattr(sums, "METRICS", tuple(metric for metric in sums.METRICS if metric.about.name in clear))
    uncorrected = 0
    for k in range(300):
        rng = np.random.default_rng([1, k])
        p, y = population(6_000, rng)
        p = np.clip(np.round(p, 1), 0.05, 0.95)
        found = gaps.gaps("binary", pairs(rng.integers(0, 12, 6_000), p, y), [])
        for name in clear:
            clear[name] += not found[name]["by_chance"]
        gap, (low, high) = found["predicted_rate"]["difference"], found["predicted_rate"]["interval"]
        half = max(gap - low, high - gap) * 1.96 / 2.87  # 2.87: the 1 - 0.025 / 12 quantile
        uncorrected += abs(gap) > half
    assert all(count / 300 <= 0.08 for count in clear.values()), clear
    assert uncorrected / 300 > 0.3


def test_the_worst_segment_is_named_with_its_gap(flywheel: Flywheel) -> None:
    """In one of three regions half of the positives score low: its recall is behind, and the interval holds by how much."""
    flywheel.configure(labels={"y": {"window": "1h"}})
    rng = np.random.default_rng(2)
    p, y = population(6_000, rng)
    region = np.array(["north", "south", "west"])[np.arange(6_000) % 3]
    p = np.where((region == "west") & y & (rng.random(6_000) < 0.5), p / 4, p)
    ids = [f"{flywheel.model}-{i}" for i in range(6_000)]
    flywheel.serve(
        {"request_id": i, "features": {"region": str(r)}, "prediction": float(s), "at": START}
        for i, r, s in zip(ids, region, p, strict=True)
    )
    flywheel.label({i: int(v) for i, v in zip(ids, y, strict=True)})
    flywheel.roll()
    found = flywheel.monitor.performance(flywheel.model, Asked(segment="features.region"))["gaps"]
    recall = found["recall"]
    called, west = p >= 0.5, region == "west"
    wanted = called[y & west].mean() - called[y & ~west].mean()
    assert (recall["segment"], recall["segments"], recall["by_chance"]) == ("west", 3, False)
    assert abs(recall["difference"] - wanted) < 1e-9
    assert recall["interval"][0] < wanted < recall["interval"][1] < 0
    assert found["roc_auc"]["segment"] == "west"
    few = flywheel.monitor.performance(flywheel.model, Asked(segment="features.region=west"))
    assert "gaps" not in few


def test_the_example_of_gaps_is_true() -> None:
    """What the docstring prints."""
    found = doctest.testmod(gaps)
    assert found.attempted > 0
    assert found.failed == 0
