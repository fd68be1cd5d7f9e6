"""How many labels arrived in every ten minutes, kept up to date from what the joiner writes.

An arrival is the first label event of one label of one prediction, at the moment it was received: repetitions and revisions are
none. The newest two hours are counted again each time, so that what the joiner writes a little late is in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from upshot_joiner.clock import to_micros
from upshot_joiner.feed.band import HORIZON
from upshot_joiner.feed.course import BINS_PER_DOUBLING, BUCKET, bucket_of, start_of
from upshot_joiner.store import progress
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import TIME

TASK = "label_arrivals"
AGAIN = timedelta(hours=2) // BUCKET
CHUNK = timedelta(days=1) // BUCKET
"""How much history is counted at a time at the very first start."""
DAY = timedelta(days=1) // BUCKET

_COUNT = f"""
SELECT model, name, bucket, sum(rows) AS arrivals, max(last_at) AS last_at, groupArray(bin) AS bins, groupArray(rows) AS counts
FROM (
  SELECT model, name, toStartOfInterval(first_at, INTERVAL 10 MINUTE) AS bucket, count() AS rows, max(first_at) AS last_at,
    toUInt16(least(500, round({BINS_PER_DOUBLING} * log2(1 + delay_s / 3600)))) AS bin
  FROM (
    SELECT toString(model) AS model, toString(name) AS name, min(first_received_at) AS first_at,
      greatest(0, dateDiff('second', any(predicted_at), first_at)) AS delay_s
    FROM outcomes
    WHERE name != 'shown' AND first_received_at >= fromUnixTimestamp64Micro({{start:Int64}}, 'UTC')
      AND first_received_at < fromUnixTimestamp64Micro({{end:Int64}}, 'UTC')
    GROUP BY model, name, request_key, request_id, model_version, item_id
  )
  GROUP BY model, name, bucket, bin
)
GROUP BY model, name, bucket
"""
_LOAD = """
SELECT model, name, bucket, arrivals, last_at, delay_bins, delay_counts FROM label_arrivals FINAL
WHERE bucket >= {start:DateTime('UTC')}
"""


@dataclass
class History:
    """What is known of the arrivals of one label, about as far back as is learnt from."""

    arrivals: dict[int, int] = field(default_factory=dict)
    """By bucket."""
    last_at: dict[int, datetime] = field(default_factory=dict)
    """When the last of each bucket arrived."""
    delays: dict[int, dict[int, int]] = field(default_factory=dict)
    """By bucket: arrivals by bin of delay."""

    def last_before(self, bucket: int) -> datetime | None:
        """The last arrival before a bucket began."""
        known = [one for one in self.last_at if one < bucket]
        return self.last_at[max(known)] if known else None

    def delay_shares(self) -> dict[int, float]:
        """How long labels take, as shares by bin. A day counts for no more than the usual day: a bulk of old labels is no habit."""
        by_day: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for bucket, bins in self.delays.items():
            by_day[bucket // DAY].update(bins)
        if not by_day:
            return {}
        totals = sorted(day.total() for day in by_day.values())
        most = totals[len(totals) // 2]
        shares: defaultdict[int, float] = defaultdict(float)
        for day in by_day.values():
            weight = min(1.0, most / day.total())
            for bin_, count in day.items():
                shares[bin_] += weight * count
        total = sum(shares.values())
        return {bin_: share / total for bin_, share in shares.items()}

    def forget_before(self, bucket: int) -> None:
        """Drop what is older."""
        for of in (self.arrivals, self.last_at, self.delays):
            for old in [one for one in of if one < bucket]:
                del of[old]


class LabelArrivals:
    """The histories of all labels. Used by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counted_to: int | None = None
        self.histories: dict[tuple[str, str], History] = {}

    def count(self, end: int) -> None:
        """Bring the counts up to the start of bucket ``end``."""
        start = max(end - HORIZON, (self._load(end) if self._counted_to is None else self._counted_to) - AGAIN)
        for low in range(start, end, CHUNK):
            self._count(low, min(end, low + CHUNK))
        self._counted_to = end
        progress.note(self._store, TASK, to_micros(start_of(end)))
        for history in self.histories.values():
            history.forget_before(end - HORIZON - DAY)

    def _load(self, end: int) -> int:
        """Read what an earlier process counted; returns up to which bucket."""
        for row in self._store.query(_LOAD, {"start": start_of(max(0, end - HORIZON))}):
            self._keep(*row)
        counted_to = min(end, progress.until(self._store, TASK) // (BUCKET // timedelta(microseconds=1)))
        if not counted_to:
            [(outcomes, oldest)] = self._store.query("SELECT count(), min(first_received_at) FROM outcomes")
            counted_to = bucket_of(oldest) if outcomes else end
        return counted_to

    def _count(self, start: int, end: int) -> None:
        rows = self._store.query(_COUNT, {"start": to_micros(start_of(start)), "end": to_micros(start_of(end))})
        changed = [row for row in rows if self._keep(*row)]
        self._store.insert(
            "label_arrivals",
            pa.table(
                {
                    "model": [row[0] for row in changed],
                    "name": [row[1] for row in changed],
                    "bucket": pa.array([row[2] for row in changed], pa.timestamp("s", "UTC")),
                    "arrivals": pa.array([row[3] for row in changed], pa.uint64()),
                    "last_at": pa.array([row[4] for row in changed], TIME),
                    "delay_bins": pa.array([row[5] for row in changed], pa.list_(pa.uint16())),
                    "delay_counts": pa.array([row[6] for row in changed], pa.list_(pa.uint64())),
                }
            ),
        )

    def _keep(
        self,
        model: str,
        name: str,
        start: datetime,
        arrivals: int,
        last_at: datetime,
        bins: list[int],
        counts: list[int],
    ) -> bool:
        """Take over a count; whether it says more than what was known."""
        history = self.histories.setdefault((model, name), History())
        bucket = bucket_of(start.astimezone(UTC))
        if arrivals <= history.arrivals.get(bucket, 0):
            return False
        history.arrivals[bucket] = int(arrivals)
        history.last_at[bucket] = last_at
        history.delays[bucket] = dict(zip(bins, counts, strict=True))
        return True
