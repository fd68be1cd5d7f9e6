"""Typed rows against the spine: every prediction is in both, or a crash left half of it and nobody finished it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from upshot_joiner.clock import EPOCH, to_micros
from upshot_joiner.store.client import Store

ROWS_AT_ONCE = 50_000

_HOURS = """
SELECT toStartOfHour(predicted_at) AS hour, count() FROM %s
WHERE received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY hour ORDER BY hour
"""
_IDENTITY = "request_key, request_id, model_version, item_id"
_OF_HOURS = """
predicted_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND predicted_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
AND received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
"""
_WITHOUT_SPINE = f"""
FROM %(table)s FINAL
WHERE {_OF_HOURS} AND ({_IDENTITY}) NOT IN (
  SELECT {_IDENTITY} FROM predictions
  WHERE model = {{model:String}} AND request_key IN (SELECT request_key FROM %(table)s WHERE {_OF_HOURS}))
"""
_CHECKED = f"SELECT count() FROM %(table)s FINAL WHERE {_OF_HOURS}"
_MISSING = f"SELECT request_key {_WITHOUT_SPINE}"
_FINISH = f"""
INSERT INTO predictions
  (model, request_key, request_id, model_version, item_id, predicted_at, received_at, first_wins, content_hash)
SELECT {{model:String}}, {_IDENTITY}, predicted_at, received_at, first_wins, content_hash
{_WITHOUT_SPINE}
"""
_COUNTS = """
SELECT
  (SELECT count() FROM predictions FINAL
   WHERE model = {model:String} AND received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')),
  (SELECT count() FROM %s FINAL WHERE received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC'))
"""


@dataclass(frozen=True)
class Hours:
    """Some hours of a model's typed table, in which about `ROWS_AT_ONCE` rows are."""

    model: str
    table: str
    start: datetime
    end: datetime
    since_us: int
    until_us: int
    """Rows that were received later are on their way still."""

    @property
    def params(self) -> dict[str, object]:
        """Of the statements."""
        return {
            "model": self.model,
            "start": to_micros(self.start),
            "end": to_micros(self.end),
            "since": self.since_us,
            "until": self.until_us,
        }


def hours_of(store: Store, model: str, table: str, since_us: int, until_us: int) -> Iterator[Hours]:
    """All hours in which the model has typed rows received after ``since_us``, a few at a time."""
    start: datetime | None = None
    end = EPOCH
    rows = 0
    for hour, n in store.query(_HOURS % table, {"since": since_us}):
        start = start or hour
        end = hour + timedelta(hours=1)
        rows += n
        if rows >= ROWS_AT_ONCE:
            yield Hours(model, table, start, end, since_us, until_us)
            start, rows = None, 0
    if start is not None:
        yield Hours(model, table, start, end, since_us, until_us)


def compare(store: Store, hours: Hours) -> tuple[int, list[int]]:
    """How many typed rows there are, and the request keys of those that the spine has not."""
    [(checked,)] = store.query(_CHECKED % {"table": hours.table}, hours.params)
    missing = store.query(_MISSING % {"table": hours.table}, hours.params)
    return int(checked), [key for (key,) in missing]


def finish(store: Store, hours: Hours) -> None:
    """Bring the typed rows of these hours into the spine. Call it in the writer's thread."""
    store.command(_FINISH % {"table": hours.table}, hours.params)


def unmatched(store: Store, model: str, table: str, until_us: int) -> int:
    """How many more rows the spine has of a model than its typed table (or the reverse, as a positive number too)."""
    [(spine, typed)] = store.query(_COUNTS % table, {"model": model, "until": until_us})
    return abs(int(spine) - int(typed))
