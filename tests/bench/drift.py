"""Drift of one model three ways, in one run: from profiles, from all rows by SQL, by Evidently's DataDriftPreset.

    python -m tests.bench.drift [--rows 1000000] [--evidently-rows ROWS] [--skip-evidently]

30 features (20 numeric of ten shapes, each with and without drift; 10 categorical with 2 to 1,000 values), ``--rows`` a side,
against an uploaded reference. Then 400 features x 1,400 rows, the case of evidently #506. What counts are the ratios; both
numbers of each ratio are of this run. Evidently's time is that of the preset with its page, without its import and without
reading the rows from the store.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.bench_profiles import EVIDENTLY, MODEL, START, serve, side, timed
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import FixedClock, Stamper
from upshot_joiner.config import ConfigStore, read_config
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.monitor import Monitor

HOURS = 24


@dataclass
class Parts:
    """What is needed to serve and to ask."""

    store: Store
    served: ServedTables
    stamper: Stamper
    changes: ChangedHours
    monitor: Monitor
    folder: Path


@contextmanager
def opened() -> Iterator[Parts]:
    """An embedded store of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store.open_embedded(folder / "store")
        try:
            store.migrate("upshot_joiner.store.schema")
            clock = FixedClock(START + timedelta(days=40))
            stamper, changes, served = Stamper(clock), ChangedHours(), ServedTables(store)
            configs = ConfigStore(store, stamper)
            monitor = Monitor(
                store=store, served=served, configs=configs, changes=changes, clock=clock, data_dir=folder
            )
            configs.put(MODEL, read_config({}))
            yield Parts(store, served, stamper, changes, monitor, folder)
        finally:
            store.close()


def fill(parts: Parts, reference: dict[str, Any], current: dict[str, Any]) -> float:
    """Upload the reference, serve the rows, roll them up; the seconds of the roll-up."""
    pq.write_table(pa.table(reference), parts.folder / "r.parquet")
    pq.write_table(pa.table(current), parts.folder / "c.parquet")
    timed("upload and profile the reference", lambda: parts.monitor.add_reference(MODEL, parts.folder / "r.parquet"))
    serve(parts.store, parts.served, parts.stamper, current, HOURS)
    parts.changes.served(MODEL, [START + timedelta(hours=hour) for hour in range(HOURS)])
    return timed("roll up the served rows", parts.monitor.roll)[0]


def thirty_features(rows: int, evidently_rows: int) -> None:
    """Profiles and exact SQL at ``rows`` a side; Evidently at ``evidently_rows`` a side, 0 for not at all."""
    print(f"\n{rows:,} rows a side, 30 features, {HOURS} hours")
    rng = np.random.default_rng(1)
    reference, current = side(rng, rows, 0.0), side(rng, rows, 0.5)
    with opened() as parts:
        took = fill(parts, reference, current)
        print(f"{'  per million rows':<66}{took / rows * 1e6:>8.3f} s")
        asked = Asked()
        parts.monitor.drift(MODEL, asked)
        profiles_s, _, _ = timed("drift from profiles, with verdicts", lambda: parts.monitor.drift(MODEL, asked), 7)
        both_s, _, answer = timed(
            "the same and the exact numbers of all rows", lambda: parts.monitor.drift(MODEL, asked, exact=True), 3
        )
        exact_s = both_s - profiles_s
        features = [row for row in answer["features"] if row["role"] == "feature"]
        gap = max(abs(row["exact"]["difference"]) for row in features)
        print(f"{'  largest difference of the two':<66}{gap:>8.1e}")
        if not evidently_rows:
            return
        files = [parts.folder / "r.parquet", parts.folder / "c.parquet"]
        for file in files:
            if evidently_rows < rows:
                pq.write_table(pq.read_table(file)[:evidently_rows], file)
        scale = rows / evidently_rows
        imported, evidently_s, theirs = evidently(files)
        print(f"{'Evidently: import':<66}{imported:>8.3f} s")
        print(f"{f'Evidently: DataDriftPreset and page, {evidently_rows:,} rows a side':<66}{evidently_s:>8.3f} s")
        if scale > 1:
            print(f"  for {rows:,} rows it would be more; the ratios below are with its time of {evidently_rows:,}")
        print(f"{'  profiles are faster':<66}{evidently_s / profiles_s:>8.0f} x")
        print(f"{'  exact SQL is faster (reading the reference file included)':<66}{evidently_s / exact_s:>8.0f} x")
        if scale == 1:
            ours = {row["feature"]: row for row in features}
            exact = max(abs(theirs[name] - ours[name]["exact"]["statistic"]) for name in theirs)
            profile = max(abs(theirs[name] - ours[name]["statistic"]) for name in theirs)
            flips = sum((theirs[name] >= 0.1) != (ours[name]["statistic"] >= 0.1) for name in theirs)
            print(
                f"  largest difference to Evidently: exact {exact:.1e}, profiles {profile:.1e}; "
                f"{flips} of {len(theirs)} on the other side of 0.1"
            )


def evidently(files: list[Path]) -> tuple[float, float, dict[str, float]]:
    """Seconds of its import and of the preset with its page, and its numbers; in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", EVIDENTLY, *files], capture_output=True, text=True, check=True)
    first, *scores = ran.stdout.splitlines()
    imported, took = map(float, first.split())
    return imported, took, {name: float(value) for name, value in map(str.split, scores)}


def many_features(features: int = 400, rows: int = 1_400) -> None:
    """The case of evidently #506: many features, few rows."""
    print(f"\n{features} features, {rows:,} rows a side")
    rng = np.random.default_rng(2)

    def make(shift: float) -> dict[str, Any]:
        return {f"n{i:02}": rng.normal(shift if i % 10 == 0 else 0, 1, rows) for i in range(features)}

    with opened() as parts:
        fill(parts, make(0.0), make(0.5))
        parts.monitor.drift(MODEL, Asked())
        _, _, answer = timed("drift from profiles, with verdicts", lambda: parts.monitor.drift(MODEL, Asked()), 7)
        drifted = [row["feature"] for row in answer["features"] if row["verdict"] == "drift"]
        print(
            f"  {len(drifted)} of {features} features drifted ({features // 10} were shifted by half a standard deviation)"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--evidently-rows", type=int, default=None, help="fewer rows for Evidently alone")
    parser.add_argument("--skip-evidently", action="store_true")
    asked = parser.parse_args()
    thirty_features(asked.rows, 0 if asked.skip_evidently else min(asked.rows, asked.evidently_rows or asked.rows))
    many_features()


if __name__ == "__main__":
    main()
