"""One size of history in a process of its own: joins new labels, and prints the seconds as JSON.

python -m tests.bench.join_incremental PREDICTIONS LABELS FOLDER [--contenders]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.bench import join_history
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import FixedClock, Stamper
from upshot_joiner.config import ConfigStore
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.last_stamp import last_stamp
from upshot_joiner.store.served import ServedTables

ROUNDS = 5
NOW = join_history.END + timedelta(hours=1)

_RESULT = """
CREATE OR REPLACE TABLE plain_join (request_id String, name String, predicted_at DateTime64(6, 'UTC'), value Nullable(Float64))
ENGINE = MergeTree ORDER BY request_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""
# What one writes without knowing better, over the same two tables.
_PLAIN = """
INSERT INTO plain_join
SELECT p.request_id, e.name, p.predicted_at, e.value_number
FROM predictions AS p INNER JOIN label_events AS e ON p.request_id = e.request_id
WHERE e.received_at >= {since:DateTime64(6, 'UTC')}
"""


def main() -> None:
    """Measure and print."""
    predictions, labels, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    store = Store.open_embedded(folder)
    store.migrate("upshot_joiner.store.schema")
    begin = time.perf_counter()
    join_history.fill(store, predictions)
    filled_s = time.perf_counter() - begin
    clock = FixedClock(NOW)
    stamper = Stamper(clock, after=last_stamp(store, ServedTables(store).tables()))
    joiner = Joiner(store, ConfigStore(store, stamper), stamper, ChangedHours(), EntityTypes(store, stamper))
    joiner.start()
    ours, plain = [], []
    for number in range(ROUNDS):
        events = join_history.labels_of_last_day(store, labels, number)
        clock.advance(timedelta(seconds=1))
        received = stamper.next()
        store.insert("label_events", join_history.ledger_block(events, received))
        begin = time.perf_counter()
        joiner.touched([one.key for one in events], received)
        if not joiner.wait_until_idle(600):
            raise SystemExit("the joiner did not finish")
        ours.append(time.perf_counter() - begin)
        if (joined := _joined(store, received)) != len(events):
            raise SystemExit(f"{joined} of {len(events)} were joined")
        store.command(_RESULT)
        begin = time.perf_counter()
        store.command(_PLAIN, {"since": received})
        plain.append(time.perf_counter() - begin)
    joiner.close()
    found: dict[str, Any] = {
        "predictions": predictions,
        "labels": len(events),
        "filled_s": filled_s,
        "ours_s": statistics.median(ours),
        "plain_s": statistics.median(plain),
        "rounds": ROUNDS,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if "--contenders" in sys.argv:
        from tests.bench.join_contenders import duckdb_and_polars

        found |= duckdb_and_polars(store, received, folder)
    store.close()
    print(json.dumps(found))


def _joined(store: Store, received: datetime) -> int:
    [(count,)] = store.query(
        "SELECT count() FROM outcomes FINAL WHERE state = 'labelled' AND received_at = {received:DateTime64(6, 'UTC')}",
        {"received": received},
    )
    return int(count)


if __name__ == "__main__":
    main()
