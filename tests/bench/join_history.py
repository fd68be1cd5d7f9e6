"""A store with a long history, and new labels for its last day: what the joiner meets after a year.

Predictions are made by the engine itself, with UUIDv7 request IDs, half a million a day; labels are of a random sample of the last
day's, as a feed of outcomes brings them. A longer history is more days of the same.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from upshot.wire import LabelEvent
from upshot_joiner.clock import to_micros
from upshot_joiner.intake.check import CheckedLabel, check_label
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store

MODEL = "bench"
END = datetime(2026, 6, 30, tzinfo=UTC)
A_DAY = 500_000
CHUNK = 5_000_000

# A UUIDv7 is 48 bits of milliseconds, a version, and random bits.
_KEY = """
bitOr(bitOr(bitShiftLeft(toUInt128(toUInt64(predicted_us / 1000)), 80), bitShiftLeft(toUInt128(7), 76)),
  bitOr(bitShiftLeft(toUInt128(sipHash64(n, 1) % 4096), 64),
    toUInt128(bitOr(bitShiftRight(sipHash64(n, 2), 2), bitShiftLeft(toUInt64(2), 62)))))
"""
_FILL = f"""
INSERT INTO predictions
  (model, request_key, request_id, model_version, item_id, predicted_at, received_at, first_wins, content_hash)
SELECT '{MODEL}', key,
  concat(substring(digits, 1, 8), '-', substring(digits, 9, 4), '-', substring(digits, 13, 4), '-', substring(digits, 17, 4), '-',
    substring(digits, 21)),
  '1', '', at, at, toUInt64(18446744073709551615) - toUInt64(predicted_us), reinterpretAsUInt128(sipHash128(n))
FROM (
  SELECT n, predicted_us, fromUnixTimestamp64Micro(predicted_us, 'UTC') AS at, {_KEY} AS key,
    leftPad(lower(hex(key)), 32, '0') AS digits
  FROM (
    SELECT number AS n, {{first:Int64}} + toInt64(number * {{step:Float64}}) AS predicted_us
    FROM numbers({{from:UInt64}}, {{rows:UInt64}})
  )
)
"""
_SAMPLE = """
SELECT request_id FROM predictions
WHERE model = {model:String} AND predicted_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
ORDER BY sipHash64(request_id) LIMIT {rows:UInt64} OFFSET {from:UInt64}
"""


def fill(store: Store, predictions: int) -> None:
    """Make the spine of so many predictions, ``A_DAY`` up to ``END``; in order of time, as they would have come."""
    first = to_micros(END - timedelta(days=predictions / A_DAY))
    step = 86_400e6 / A_DAY
    for start in range(0, predictions, CHUNK):
        size = min(CHUNK, predictions - start)
        store.command(_FILL, {"first": first, "step": step, "from": start, "rows": size})


def labels_of_last_day(store: Store, count: int, turn: int) -> list[CheckedLabel]:
    """Label events for a random sample of the predictions of the last day; of each turn, others."""
    since = to_micros(END - timedelta(days=1))
    found = store.query(_SAMPLE, {"model": MODEL, "since": since, "from": turn * count, "rows": count})
    rng = random.Random(turn)
    return [
        check_label(LabelEvent(request_id=request_id, value=rng.randrange(2), observed_at=END.timestamp() + turn))
        for (request_id,) in found
    ]


def ledger_block(labels: list[CheckedLabel], received: datetime) -> pa.Table:
    """Rows of the ledger."""
    return rows.label_block(labels, to_micros(received))
