"""The same join by DuckDB and Polars: both tables as Parquet on disk, the joined rows written as Parquet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq

from upshot_joiner.store.client import Store

ROUNDS = 3


def duckdb_and_polars(store: Store, since: datetime, folder: Path) -> dict[str, float]:
    """Seconds of each, with two threads as ours: medians of three."""
    predictions, labels, joined = (str(folder / f"{name}.parquet") for name in ("predictions", "labels", "joined"))
    pq.write_table(store.arrow("SELECT request_id, predicted_at FROM predictions"), predictions)
    pq.write_table(
        store.arrow(
            "SELECT request_id, toString(name) AS name, value_number AS value FROM label_events "
            "WHERE received_at >= {since:DateTime64(6, 'UTC')}",
            {"since": since},
        ),
        labels,
    )
    duck = duckdb.connect(config={"threads": 2})
    table = duckdb.connect(str(folder / "joined.duckdb"), config={"threads": 2})
    table.execute(f"CREATE TABLE predictions AS SELECT * FROM '{predictions}'")  # paths of our own

    def by_duckdb() -> None:
        duck.execute(
            f"COPY (SELECT p.request_id, l.name, p.predicted_at, l.value FROM '{predictions}' p "
            f"JOIN '{labels}' l USING (request_id)) TO '{joined}' (FORMAT parquet)"
        )

    def by_duckdb_table() -> None:
        table.execute(
            "CREATE OR REPLACE TABLE joined AS SELECT p.request_id, l.name, p.predicted_at, l.value "
            f"FROM predictions p JOIN '{labels}' l USING (request_id)"
        )
        table.execute("CHECKPOINT")

    def by_polars() -> None:
        pl.scan_parquet(labels).join(pl.scan_parquet(predictions), on="request_id").collect().write_parquet(joined)

    return {
        "duckdb_s": _median(by_duckdb),
        "duckdb_table_s": _median(by_duckdb_table),
        "polars_s": _median(by_polars),
    }


def _median(run: Callable[[], None]) -> float:
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)
