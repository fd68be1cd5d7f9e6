"""What the roll-up of ages and attributions costs, beside the same numbers as features, in one run.

    python -m tests.bench.map_profiles [--rows 200000] [--names 30]

Two models in the embedded store, a day of 24 hours each: one with ``--names`` numbers as features, one with one feature and the
same numbers as attributions, a map in each row. Timed: processor time of the roll-up of either, without what both have in common
(score, prediction, one feature).
"""

from __future__ import annotations

import argparse
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
from upshot_monitoring.monitor import Monitor

_INSERT = """
INSERT INTO {table} (request_key, request_id, model_version, item_id, predicted_at, received_at, first_wins, prediction_kind,
  prediction_number, score, shape, attributions, {columns})
SELECT number, toString(number), '1', '', {{start:DateTime64(6, 'UTC')}} + toIntervalSecond(number % 86400), now64(6), 1, 'float',
  0.5, 0.5, {{shape:UInt64}}, mapFromArrays({names}, {in_map}), {values}
FROM numbers({{rows:UInt64}})
"""


def fill(store: Store, served: ServedTables, model: str, rows: int, features: int, attributions: int) -> None:
    """The rows, made by the store itself."""
    names = [f"f{i:03}" for i in range(features)]
    served.grow(model, {name: {"float"} for name in names}, {shape_hash(frozenset(names)): frozenset(names)})
    columns = served.columns(model)

    def drawn(count: int) -> str:
        return ", ".join(f"randNormal(0, 1, number + {i})" for i in range(count))

    carried = ", ".join(f"'a{i:03}'" for i in range(attributions))
    store.command(
        _INSERT.format(
            table=served.table(model),
            columns=", ".join(columns[name]["float"] for name in names),
            values=drawn(features),
            names=f"CAST([{carried}] AS Array(LowCardinality(String)))",
            in_map=f"CAST([{drawn(attributions)}] AS Array(Float64))",
        ),
        {"start": START, "shape": shape_hash(frozenset(names)), "rows": rows},
    )


def rolled(rows: int, features: int, attributions: int) -> float:
    """Processor seconds of the roll-up of a model, the second of two."""
    with tempfile.TemporaryDirectory() as name:
        store = Store.open_embedded(Path(name) / "store")
        try:
            store.migrate("upshot_joiner.store.schema")
            clock = FixedClock(START + timedelta(days=40))
            stamper, served = Stamper(clock), ServedTables(store)
            monitor = Monitor(
                store=store, served=served, configs=ConfigStore(store, stamper), changes=ChangedHours(), clock=clock,
                data_dir=Path(name) / "data",
            )  # fmt: skip
            fill(store, served, "bench", rows, features, attributions)
            cpu = 0.0
            for _ in range(2):  # scales are pinned in the first
                store.command("TRUNCATE TABLE rolled_hours")
                monitor.reconcile()
                began = time.process_time()
                monitor.roll()
                cpu = time.process_time() - began
            return cpu
        finally:
            store.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--names", type=int, default=30)
    asked = parser.parse_args()
    million = 1e6 / asked.rows
    common = rolled(asked.rows, 1, 0) * million
    features = rolled(asked.rows, 1 + asked.names, 0) * million - common
    maps = rolled(asked.rows, 1, asked.names) * million - common
    print(f"{asked.rows:,} rows, {asked.names} numbers; processor seconds for a million rows")
    print(f"{'score, prediction, one feature':<40}{common:8.1f}")
    print(f"{'the numbers as features':<40}{features:8.1f}")
    print(f"{'the numbers as attributions':<40}{maps:8.1f}   {maps / features:.1f} x")


if __name__ == "__main__":
    main()
