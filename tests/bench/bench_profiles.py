"""Roll-up cost, drift query time and Evidently's DataDriftPreset on the same data, in one run.

    python tests/bench/bench_profiles.py [rows a side, default 200000] [rows a side for Evidently, default 50000]

30 features: 20 numeric of ten shapes (each once without and once with drift), 10 categorical with 2 to 1,000 values.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import FixedClock, Stamper, to_micros
from upshot_joiner.config import ConfigStore, read_config
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.store.shapes import shape_hash
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.performance.answers import Asked as PerformanceAsked

START = datetime(2024, 3, 4, tzinfo=UTC)
MODEL = "bench"
NUMERIC: list[Callable[[np.random.Generator, int, float], Any]] = [
    lambda r, n, d: r.normal(d, 1, n),
    lambda r, n, d: r.lognormal(d, 1, n),
    lambda r, n, d: r.exponential(1 + d, n),
    lambda r, n, d: r.uniform(d, 1 + d, n),
    lambda r, n, d: r.normal(1000 + 5 * d, 5, n),
    lambda r, n, d: r.standard_t(3, n) + d,
    lambda r, n, d: r.poisson(20 + 4 * d, n).astype(float),
    lambda r, n, d: np.minimum(r.integers(0, 8, n) + (r.random(n) < d), 7).astype(float),
    lambda r, n, d: np.where(r.random(n) < 0.7 - 0.2 * d, 0.0, r.gamma(2, 1, n)),
    lambda r, n, d: np.round(r.normal(10 + d, 1, n), 2),
]
LEVELS = [2, 3, 5, 8, 12, 25, 50, 100, 300, 1000]
EVIDENTLY = """
import os, sys, time
os.environ["DO_NOT_TRACK"] = "1"
t = time.perf_counter()
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
imported = time.perf_counter() - t
r, c = (pd.read_parquet(f) for f in sys.argv[1:3])
numeric = [n for n in r if n.startswith("n")]
t = time.perf_counter()
d = DataDefinition(numerical_columns=numeric, categorical_columns=[n for n in r if n not in numeric])
s = Report([DataDriftPreset(num_method="wasserstein", cat_method="jensenshannon", num_threshold=0.1, cat_threshold=0.1)]).run(
    Dataset.from_pandas(c, data_definition=d), Dataset.from_pandas(r, data_definition=d))
s.get_html_str(as_iframe=False)
print(imported, time.perf_counter() - t)
for m in s.dict()["metrics"]:
    if "column" in m["config"]:
        print(m["config"]["column"], float(m["value"]))
"""


def side(rng: np.random.Generator, rows: int, drift: float) -> dict[str, Any]:
    """One side's features."""
    features: dict[str, Any] = {}
    for i, shape in enumerate(NUMERIC):
        features[f"n{2 * i:02}"] = shape(rng, rows, 0.0)
        features[f"n{2 * i + 1:02}"] = shape(rng, rows, drift)
    for i, levels in enumerate(LEVELS):
        weights = 1 / np.arange(1, levels + 1)
        if i % 2 and drift:
            weights = np.roll(weights, 1)
        picked = rng.choice(levels, rows, p=weights / weights.sum())
        features[f"c{i:02}"] = pa.array([f"v{v}" for v in range(levels)]).take(pa.array(picked))
    return features


def serve(store: Store, served: ServedTables, stamper: Stamper, features: dict[str, Any], hours: int) -> None:
    """Put rows into the typed table and labels into the outcomes, as Arrow blocks."""
    rows = len(features["n00"])
    names = frozenset(features)
    kinds = {name: {"float" if name.startswith("n") else "str"} for name in features}
    served.grow(MODEL, kinds, {shape_hash(names): names})  # type: ignore[arg-type]
    columns = served.columns(MODEL)
    rng = np.random.default_rng(3)
    at = to_micros(START) + np.sort(rng.integers(0, hours * 3_600_000_000, rows))
    score = rng.beta(1, 4, rows)
    keys = [i.to_bytes(16, "little") for i in range(rows)]
    block = 50_000
    for start in range(0, rows, block):
        cut = slice(start, min(rows, start + block))
        size = cut.stop - cut.start
        stamp = to_micros(stamper.next())
        identity = {
            "request_key": pa.array(keys[cut], pa.binary(16)),
            "request_id": pa.array([f"r{i}" for i in range(cut.start, cut.stop)]),
            "model_version": pa.array(["1"] * size),
            "item_id": pa.array([""] * size),
            "predicted_at": pa.array(at[cut]).cast(pa.timestamp("us", "UTC")),
            "received_at": pa.array(np.full(size, stamp)).cast(pa.timestamp("us", "UTC")),
        }
        store.insert(
            str(served.table(MODEL)),
            pa.table(
                {
                    **identity,
                    "first_wins": pa.array(np.full(size, 2**63), pa.uint64()),
                    "prediction_kind": pa.array(["float"] * size),
                    "prediction_number": pa.array(score[cut]),
                    "score": pa.array(score[cut]),
                    "shape": pa.array([shape_hash(names)] * size, pa.uint64()),
                    **{next(iter(columns[name].values())): values[cut] for name, values in features.items()},
                }
            ),
        )
        y = (rng.random(size) < score[cut]).astype(float)
        store.insert(
            "outcomes",
            pa.table(
                {
                    **identity,
                    "model": pa.array([MODEL] * size),
                    "name": pa.array(["y"] * size),
                    "state": pa.array(["labelled"] * size),
                    "value_kind": pa.array(["int"] * size),
                    "value_number": pa.array(y),
                    "value_text": pa.array([str(int(v)) for v in y]),
                    "first_received_at": identity["received_at"],
                    "version": pa.array(np.full(size, stamp), pa.uint64()),
                }
            ),
        )


def timed(what: str, work: Callable[[], Any], repeats: int = 1) -> tuple[float, float, Any]:
    """Median wall and CPU time of ``work`` in seconds, printed, and its last result. CPU time counts on a busy machine."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu = sorted(walls)[len(walls) // 2], sorted(cpus)[len(cpus) // 2]
    print(f"{what:<66}{wall:>8.3f} s, CPU {cpu:>7.3f} s" + (f"  (median of {repeats})" if repeats > 1 else ""))
    return wall, cpu, result


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    small = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    rng = np.random.default_rng(1)
    for size in dict.fromkeys((small, rows)):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), side(rng, size, 0.0), side(rng, size, 0.5), size, evidently=size == small)


def measure(folder: Path, reference: dict[str, Any], current: dict[str, Any], rows: int, *, evidently: bool) -> None:
    """One size."""
    print(f"\n{rows:,} rows a side, 30 features, 24 hours")
    store = Store.open_embedded(folder / "store")
    store.migrate("upshot_joiner.store.schema")
    clock = FixedClock(START + timedelta(days=40))
    stamper, changes, served = Stamper(clock), ChangedHours(), ServedTables(store)
    configs = ConfigStore(store, stamper)
    monitor = Monitor(store=store, served=served, configs=configs, changes=changes, clock=clock, data_dir=folder)
    configs.put(MODEL, read_config({"labels": {"y": {"window": "1d", "default": 0}}, "primary_label": "y"}))
    pq.write_table(pa.table(reference), folder / "r.parquet")
    pq.write_table(pa.table(current), folder / "c.parquet")
    timed("upload and profile the reference", lambda: monitor.add_reference(MODEL, folder / "r.parquet"))
    serve(store, served, stamper, current, 24)
    hours = [START + timedelta(hours=h) for h in range(24)]
    changes.served(MODEL, hours)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu, _ = timed("roll up 24 hours: profiles of 30 features, label, performance", monitor.roll)
    print(f"{'  per million rows':<66}{wall / rows * 1e6:>8.3f} s, CPU {cpu / rows * 1e6:>7.3f} s")
    print(
        f"{'  growth of peak memory':<66}{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:>8.0f} MB"
    )
    changes.outcomes(MODEL, hours)
    wall, cpu, _ = timed("roll up 24 hours again: label and performance only", monitor.roll)
    print(f"{'  per million rows':<66}{wall / rows * 1e6:>8.3f} s, CPU {cpu / rows * 1e6:>7.3f} s")
    drift_s, _, answer = timed(
        "drift of 30 features from profiles, with verdicts", lambda: monitor.drift(MODEL, Asked()), 7
    )
    timed(
        "performance of the day by hour",
        lambda: monitor.performance(MODEL, PerformanceAsked(window=timedelta(hours=1))),
        7,
    )
    if evidently:
        ran = subprocess.run(
            [sys.executable, "-c", EVIDENTLY, folder / "r.parquet", folder / "c.parquet"],
            capture_output=True,
            text=True,
            check=True,
        )
        first, *scores = ran.stdout.splitlines()
        imported, took = map(float, first.split())
        print(f"{'Evidently: import':<66}{imported:>8.3f} s")
        print(f"{'Evidently: DataDriftPreset and HTML':<66}{took:>8.3f} s  = {took / drift_s:.0f} x the profiles'")
        theirs = {name: float(value) for name, value in map(str.split, scores)}
        ours = {row["feature"]: row for row in answer["features"] if row["feature"] in theirs}
        gaps = {kind: max(abs(theirs[n] - ours[n]["statistic"]) for n in theirs if n[0] == kind) for kind in "nc"}
        flips = sum((theirs[n] >= 0.1) != (ours[n]["statistic"] >= 0.1) for n in theirs)
        print(
            f"largest difference: Wasserstein {gaps['n']:.1e}, Jensen-Shannon {gaps['c']:.1e}; "
            f"{flips} of {len(theirs)} on the other side of 0.1"
        )
    store.close()


if __name__ == "__main__":
    main()
