"""How predictions and features are laid out in ClickHouse, measured: docs/decisions/0001-layout.md rests on this.

    python tests/bench/bench_layout.py [rows]

One process, the embedded engine, the same generated rows in every layout: 20 float features, 10 text features, 30 days.
Contenders: typed columns against two maps; rows ordered by hour against rows ordered by request key, for UUIDv7 and for random
request IDs; reads with FINAL against reads without. Every figure is the median of five runs, layouts in turn.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from upshot_joiner.store.client import Store

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
RUNS = 5
NUMERIC = [f"n{i:02d}" for i in range(20)]
TEXT = [f"c{i}" for i in range(10)]
SETTINGS = "SETTINGS index_granularity = 1024"

BASE = f"""
SELECT
  toDateTime64('2024-01-01 00:00:00', 6, 'UTC')
    + toIntervalMicrosecond(intDiv(number * 30 * 86400 * 1000000, {ROWS})) AS predicted_at,
  toUInt128(toUnixTimestamp64Milli(predicted_at)) * toUInt128('1208925819614629174706176') + toUInt128(rand64(1)) AS time_key,
  reinterpretAsUInt128(sipHash128(number)) AS random_key,
  toString(number) AS request_id,
  {", ".join(f"randNormal({i}, {1 + i}) AS {name}" for i, name in enumerate(NUMERIC))},
  {", ".join(f"concat('v', toString(rand({i + 100}) % 50)) AS {name}" for i, name in enumerate(TEXT))}
FROM numbers({ROWS})
"""
PLAIN = ", ".join(
    [*(f"{name} Nullable(Float64)" for name in NUMERIC), *(f"{name} LowCardinality(Nullable(String))" for name in TEXT)]
)
MAPS = "numeric Map(LowCardinality(String), Float64), text Map(LowCardinality(String), String)"
_PAIRS = {
    kind: ", ".join(f"'{name}', {name}" for name in names) for kind, names in (("numeric", NUMERIC), ("text", TEXT))
}
AS_MAPS = f"map({_PAIRS['numeric']}) AS numeric, map({_PAIRS['text']}) AS text"
HEAD = "request_key UInt128, request_id String, predicted_at DateTime64(6, 'UTC'), first_wins UInt64"
ENGINE = "ENGINE = ReplacingMergeTree(first_wins)"
BY_HOUR = (
    f"{ENGINE} PRIMARY KEY (toStartOfHour(predicted_at), request_key) "
    f"ORDER BY (toStartOfHour(predicted_at), request_key, request_id) {SETTINGS}"
)
BY_KEY = f"{ENGINE} PRIMARY KEY request_key ORDER BY (request_key, request_id) {SETTINGS}, allow_nullable_key = 0"
DAY = "predicted_at >= '2024-01-20 00:00:00' AND predicted_at < '2024-01-21 00:00:00'"


TYPED_SCAN = "SELECT " + ", ".join([*(f"quantile(0.5)({n})" for n in NUMERIC), *(f"uniqExact({n})" for n in TEXT)])


def median_s(run: Callable[[], object]) -> float:
    """Seconds, median of RUNS runs after one to warm up."""
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def load(store: Store, table: str, columns: str, engine: str, select: str) -> float:
    """Make and fill a table in ten blocks, as a service's traffic would; returns seconds."""
    store.command(
        f"CREATE TABLE {table} ({HEAD}, {columns}, INDEX time predicted_at TYPE minmax GRANULARITY 1) {engine}"
    )
    start = time.perf_counter()
    for block in range(10):
        store.command(f"INSERT INTO {table} {select} WHERE cityHash64(request_id) % 10 = {block}")
    return time.perf_counter() - start


def size_mb(store: Store, table: str) -> float:
    """Compressed size on disk."""
    [(size,)] = store.query(
        "SELECT sum(data_compressed_bytes) FROM system.parts WHERE active AND table = {t:String}", {"t": table}
    )
    return float(size) / 1e6


def say(what: str, value: str, against: str = "") -> None:
    """One line of the report."""
    print(f"{what:<78} {value:>12}  {against}")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open_embedded(Path(folder))
        print(f"{ROWS:,} rows, 20 float + 10 text features, 30 days\n")
        store.command(f"CREATE TABLE rows ENGINE = MergeTree ORDER BY tuple() AS {BASE}")
        head = "SELECT {key} AS request_key, request_id, predicted_at, toUInt64(1) AS first_wins, {features} FROM rows"
        names = ", ".join([*NUMERIC, *TEXT])
        typed = load(store, "typed_hour", PLAIN, BY_HOUR, head.format(key="random_key", features=names))
        maps = load(store, "maps_hour", MAPS, BY_HOUR, head.format(key="random_key", features=AS_MAPS))
        apart = median_s(lambda: store.query(f"{TYPED_SCAN} FROM typed_hour"))
        apart_final = median_s(lambda: store.query(f"{TYPED_SCAN} FROM typed_hour FINAL"))
        load(store, "typed_random_key", PLAIN, BY_KEY, head.format(key="random_key", features=names))
        load(store, "typed_time_key", PLAIN, BY_KEY, head.format(key="time_key", features=names))
        for table in ("typed_hour", "maps_hour", "typed_random_key", "typed_time_key"):
            store.command(f"OPTIMIZE TABLE {table} FINAL")
        say("load, typed columns", f"{ROWS / typed:,.0f}/s")
        say("load, two maps", f"{ROWS / maps:,.0f}/s", f"{maps / typed:.1f} x the time of typed columns")
        say("size, typed columns", f"{size_mb(store, 'typed_hour'):.0f} MB")
        say(
            "size, two maps",
            f"{size_mb(store, 'maps_hour'):.0f} MB",
            f"{size_mb(store, 'maps_hour') / size_mb(store, 'typed_hour'):.2f} x",
        )

        maps_scan = "SELECT " + ", ".join(
            [*(f"quantile(0.5)(numeric['{n}'])" for n in NUMERIC), *(f"uniqExact(text['{n}'])" for n in TEXT)]
        )
        scan = median_s(lambda: store.query(f"{TYPED_SCAN} FROM typed_hour"))
        other = median_s(lambda: store.query(f"{maps_scan} FROM maps_hour"))
        say("all features of all rows, typed columns", f"{scan * 1e3:.0f} ms")
        say("all features of all rows, two maps", f"{other * 1e3:.0f} ms", f"{other / scan:.1f} x")
        final = median_s(lambda: store.query(f"{TYPED_SCAN} FROM typed_hour FINAL"))
        say("... FINAL, parts merged", f"{final * 1e3:.0f} ms", f"{final / scan:.2f} x without FINAL")
        say(
            "... FINAL, parts not merged yet",
            f"{apart_final * 1e3:.0f} ms",
            f"{apart_final / apart:.2f} x without FINAL",
        )

        by_hour = median_s(lambda: store.query(f"{TYPED_SCAN} FROM typed_hour FINAL WHERE {DAY}"))
        say("all features of one day, ordered by hour, any request IDs, FINAL", f"{by_hour * 1e3:.0f} ms")
        for table, ids in (("typed_time_key", "UUIDv7"), ("typed_random_key", "random")):
            by_key = median_s(lambda table=table: store.query(f"{TYPED_SCAN} FROM {table} FINAL WHERE {DAY}"))  # type: ignore[misc]
            say(
                f"all features of one day, ordered by key, {ids} request IDs, FINAL",
                f"{by_key * 1e3:.0f} ms",
                f"{by_key / by_hour:.1f} x by hour",
            )

        print()
        for ids, column in (("UUIDv7", "time_key"), ("random", "random_key")):
            store.command(
                f"CREATE TABLE spine_{column} ({HEAD}, model LowCardinality(String)) {ENGINE} "
                f"PRIMARY KEY (model, request_key) ORDER BY (model, request_key, request_id) {SETTINGS}"
            )
            store.command(f"INSERT INTO spine_{column} SELECT {column}, request_id, predicted_at, 1, 'm' FROM rows")
            store.command(f"OPTIMIZE TABLE spine_{column} FINAL")
            store.command("CREATE OR REPLACE TABLE batch (request_key UInt128) ENGINE = Memory")
            store.command(
                f"INSERT INTO batch SELECT {column} FROM rows WHERE predicted_at >= '2024-01-30 00:00:00' LIMIT 10000"
            )
            found = median_s(
                lambda column=column: store.arrow(  # type: ignore[misc]
                    f"SELECT * FROM spine_{column} FINAL WHERE request_key IN (SELECT request_key FROM batch)"
                )
            )
            say(f"find 10,000 predictions of the last day by key, {ids} request IDs", f"{found * 1e3:.1f} ms")
        block = pa.table({"request_key": pa.array([bytes(16)], pa.binary(16))})
        say("insert one row into a memory table", f"{median_s(lambda: store.insert('batch', block)) * 1e3:.1f} ms")
        store.close()


if __name__ == "__main__":
    main()
