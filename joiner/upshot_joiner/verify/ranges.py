"""The whole space of request keys in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

from upshot_joiner.store.client import Store

KEYS_AT_ONCE = 20_000
LAST_KEY = 2**128 - 1

_BORDER = """
SELECT max(request_key), count() FROM (
  SELECT DISTINCT request_key FROM label_events WHERE request_key >= {first:UInt128} ORDER BY request_key LIMIT {n:UInt32})
"""


def ranges(shard: Store) -> Iterator[tuple[int, int]]:
    """First and last key of each piece; in each, at most `KEYS_AT_ONCE` requests have label events."""
    first = 0
    while True:
        [(last, n)] = shard.query(_BORDER, {"first": first, "n": KEYS_AT_ONCE})
        if n < KEYS_AT_ONCE:
            yield first, LAST_KEY
            return
        yield first, last
        first = last + 1
