"""Row-level skew over a cluster: each shard compares its own requests, and the sums are those of one store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring.test_row_skew import compared, serve
from upshot_joiner.store.client import Store
from upshot_monitoring.row_skew import comparison
from upshot_monitoring.row_skew.rows import table_of
from upshot_monitoring.row_skew.served_rows import served_rows


def test_two_shards_find_what_one_store_finds(
    two_shards: Store, store: Store, tmp_path: Path, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, sizes, examples and rows that were not served; pages of served rows hold every row of every shard once."""
    monkeypatch.setattr(comparison, "ROWS_PER_RANGE", 40)
    was = [{"request_id": f"r{i}", "item_id": str(i % 2), "features": {"x": i / 7, "v": [i, 1.5]}} for i in range(200)]
    again = [
        {"request_id": f"r{i}", "item_id": str(i % 2), "x": i / 7 + (i % 3) / 100, "v": [float(i), 1.5 + (i == 9)]}
        for i in range(230)
    ]
    answers = []
    for one in (two_shards, store):
        served = serve(one, fresh, was)
        answers.append(compared(one, served, fresh, table_of(again), tmp_path))
        seen, cursor = [], ""
        while True:
            page = served_rows(one, served, fresh, start=None, end=None, version=None, limit=30, after=cursor)
            seen += [row["request_id"] for row in page["rows"]]
            cursor = page["next"]
            if not cursor:
                break
        assert sorted(seen) == sorted(row["request_id"] for row in was)
    assert answers[0]["rows"]["compared"] == 200
    assert min(len(shard.query(f"SELECT 1 FROM {served.table(fresh)}")) for shard in two_shards.shards) > 50
    assert answers[0] == answers[1]
