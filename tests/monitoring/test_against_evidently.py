"""The same data, the same formulas: Evidently's numbers, ours of all rows, ours of profiles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import kstwo

from tests.monitoring.shapes import SHAPES
from upshot_joiner.store.client import Store
from upshot_monitoring.drift.exact.sides import Side, Sides
from upshot_monitoring.drift.exact.statistic import exact_statistic
from upshot_monitoring.drift.registry import METHODS
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values

ROOT = Path(__file__).parents[2]
ROWS = 100_000, 80_000
LEVELS = [2, 3, 5, 8, 12, 25, 50, 100, 300, 900]
OURS = {
    "wasserstein": "wasserstein",
    "jensenshannon": "jensen_shannon",
    "psi": "psi_equal_width",
    "hellinger": "hellinger",
    "ks": "ks",
}
"""Evidently's names of the methods that both have, and ours. Its chi-square, TVD and Hellinger of numbers are other numbers."""


@dataclass(frozen=True)
class Both:
    """Two data sets of 30 features, in memory and in the store, and what Evidently says about them."""

    reference: dict[str, Any]
    current: dict[str, Any]
    sides: Sides
    evidently: dict[str, dict[str, float]]


def data(rng: np.random.Generator, rows: int, drift: float) -> dict[str, Any]:
    """Twenty numeric features of ten shapes, each with and without drift, ten categorical ones."""
    features: dict[str, Any] = {}
    shapes = [name for name in SHAPES if name != "billions"]
    for shape in shapes:
        features[f"{shape} quiet"] = SHAPES[shape](rng, rows, 0.0)
        features[f"{shape} drifted"] = SHAPES[shape](rng, rows, drift)
    for i, levels in enumerate(LEVELS):
        weights = 1 / np.arange(1, levels + 1)
        if i % 2 and drift:
            weights = np.roll(weights, 1)
        picked = rng.choice(levels, rows, p=weights / weights.sum())
        features[f"class of {levels}"] = pa.array([f"v{v}" for v in range(levels)]).take(pa.array(picked))
    return features


@pytest.fixture(scope="module")
def both(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    rng = np.random.default_rng(31)
    frames = data(rng, ROWS[0], 0.0), data(rng, ROWS[1], 0.3)
    folder = tmp_path_factory.mktemp("evidently")
    numeric = [name for name in frames[0] if not name.startswith("class")]
    classes = [name for name in frames[0] if name.startswith("class")]
    columns = {
        ("feature", name): Column("feature", name, **{"number" if name in numeric else "text": f"c{i}"})
        for i, name in enumerate(frames[0])
    }
    tables = []
    for side, frame in zip(("reference", "current"), frames, strict=True):
        pq.write_table(pa.table(frame), folder / f"{side}.parquet")
        ddl = ", ".join(
            f"c{i} {'Float64' if name in numeric else 'LowCardinality(String)'}" for i, name in enumerate(frame)
        )
        tables.append(f"evidently_{side}")
        store.command(f"CREATE TABLE evidently_{side} ({ddl}) ENGINE = MergeTree ORDER BY tuple()")
        store.insert(f"evidently_{side}", pa.table({f"c{i}": values for i, values in enumerate(frame.values())}))
    wanted = {
        **dict.fromkeys(("wasserstein", "ks"), numeric),
        **dict.fromkeys(("jensenshannon", "psi"), numeric + classes),
        "hellinger": classes,
    }
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tests.monitoring.evidently_scores"),
            *(folder / "reference.parquet", folder / "current.parquet", json.dumps(wanted)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=400,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    scores = json.loads(ran.stdout.splitlines()[-1])
    yield Both(*frames, Sides(*(Side(table, {}, columns) for table in tables)), scores)
    for table in tables:
        store.command(f"DROP TABLE {table} SYNC")


def kind_of(feature: str) -> str:
    return "categorical" if feature.startswith("class") else "numeric"


@pytest.mark.timeout(500)
@pytest.mark.parametrize("theirs", OURS)
def test_exact_numbers_are_evidentlys(store: Store, both: Both, theirs: str) -> None:
    """30 features, 100,000 against 80,000 rows: to 1e-9; KS by the p-value of our D."""
    scores = both.evidently[theirs]
    assert len(scores) in (10, 20, 30)
    for feature, score in scores.items():
        method = METHODS[OURS[theirs]]
        found = exact_statistic(store, both.sides, ("feature", feature), kind_of(feature), method)
        assert found.statistic is not None
        ours = found.statistic
        if theirs == "ks":
            ours = float(kstwo.sf(ours, round(ROWS[0] * ROWS[1] / sum(ROWS))))
        assert ours == pytest.approx(score, rel=1e-9, abs=1e-9), feature


@pytest.mark.timeout(500)
@pytest.mark.parametrize("theirs", ["wasserstein", "jensenshannon", "psi", "hellinger"])
def test_profiles_are_near_evidently_and_no_verdict_changes(both: Both, theirs: str) -> None:
    """30 features, on the same side of the threshold: Wasserstein within 1e-3, what counts 100,000 rows in bins within 2e-3 (PSI
    over equal-width bins, which has no upper end: or 3 %)."""
    method = METHODS[OURS[theirs]]
    relative = 0.03 if method.name == "psi_equal_width" else 0.0
    for feature, score in both.evidently[theirs].items():
        if kind_of(feature) == "numeric":
            scale = scale_of_values(both.reference[feature])
            sides = [profile_numbers(values[feature], scale) for values in (both.reference, both.current)]
        else:
            sides = [profile_classes(values[feature].to_pylist()) for values in (both.reference, both.current)]
        ours = method.statistic(*sides)
        assert ours == pytest.approx(score, abs=1e-3 if theirs == "wasserstein" else 2e-3, rel=relative), feature
        assert method.is_beyond(ours, method.threshold) == method.is_beyond(score, method.threshold), feature
