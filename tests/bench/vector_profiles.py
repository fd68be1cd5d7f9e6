"""What the roll-up of vectors costs, beside their norm alone, in one run.

    python -m tests.bench.vector_profiles [--rows 100000] [--dimensions 768]

One model with one vector and one number, a day of 24 hours in the embedded store. Timed: the roll-up of the number and of the
vector's norm (as before there were profiles by dimension), that with the profiles by dimension, and a question about drift that
reads them. Each roll-up in a process of its own, for its largest memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from tests.bench.bench_profiles import START
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import FixedClock, Stamper
from upshot_joiner.config import ConfigStore
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.store.shapes import shape_hash
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.profiles import hours

MODEL = "bench"


def fill(folder: Path, rows: int, dimensions: int) -> None:
    """The rows, made by the store itself."""
    store = Store.open_embedded(folder)
    store.migrate("upshot_joiner.store.schema")
    served = ServedTables(store)
    names = frozenset({"v", "x"})
    served.grow(MODEL, {"v": {"floats"}, "x": {"float"}}, {shape_hash(names): names})
    columns = served.columns(MODEL)
    store.command(
        f"INSERT INTO {served.table(MODEL)} (request_key, request_id, model_version, item_id, predicted_at, received_at, "
        f"first_wins, prediction_kind, prediction_number, score, shape, {columns['v']['floats']}, {columns['x']['float']}) "
        "SELECT number, toString(number), '1', '', {start:DateTime64(6, 'UTC')} + toIntervalSecond(number % 86400), "
        "now64(6), 1, 'float', 0.5, 0.5, {shape:UInt64}, "
        "arrayMap(i -> randNormal(0, 1, i + number), range({dimensions:UInt32})), randNormal(0, 1, number) "
        "FROM numbers({rows:UInt64}) SETTINGS max_block_size = 4096",
        {"start": START, "shape": shape_hash(names), "dimensions": dimensions, "rows": rows},
    )
    store.close()


def roll(folder: Path, without: str) -> tuple[float, float, float]:
    """Seconds and CPU seconds of the roll-up of everything but ``without``, and of a question about drift."""
    if without:
        setattr(hours.HourProfiles, without, lambda *_: None)
    store = Store.open_embedded(folder)
    clock = FixedClock(START + timedelta(days=40))
    stamper, served = Stamper(clock), ServedTables(store)
    monitor = Monitor(
        store=store,
        served=served,
        configs=ConfigStore(store, stamper),
        changes=ChangedHours(),
        clock=clock,
        data_dir=folder / "data",
    )
    for table in ("profiles", "vector_profiles", "rolled_hours", "profile_scales"):
        store.command(f"TRUNCATE TABLE {table}")
    monitor.reconcile()
    began, cpu = time.perf_counter(), time.process_time()
    monitor.roll()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    if not without:
        monitor.drift(MODEL, Asked(baseline="previous", window=timedelta(hours=12)))
    asked = time.perf_counter() - began
    store.close()
    return took, cpu, asked


def main() -> None:
    """Fill, then roll up with and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--without", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.folder is not None:
        took, cpu, question = roll(asked.folder, asked.without)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(took, cpu, question, peak)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        child = [sys.executable, "-m", "tests.bench.vector_profiles", "--folder", str(folder)]
        fill(folder, asked.rows, asked.dimensions)
        print(f"{asked.rows:,} vectors of {asked.dimensions} dimensions, a day")
        for title, without in (("number and norm", "roll_vectors"), ("also by dimension", "")):
            best: list[float] = []
            for _ in range(2):
                done = subprocess.run([*child, "--without", without], capture_output=True, text=True, check=True)
                found = [float(part) for part in done.stdout.split()]
                best = found if not best else [min(pair) for pair in zip(best, found, strict=True)]
            took, cpu, question, peak = best
            million = 1e6 / asked.rows
            print(
                f"{title:<20}{took * million:8.1f} s, {cpu * million:.1f} s of processor time for a million rows; {peak:.0f} MiB"
            )
            if not without:
                print(f"{'a question':<20}{question:8.3f} s")


if __name__ == "__main__":
    main()
