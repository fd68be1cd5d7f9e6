"""Which of two folds of the same request knew more: the version of an outcome.

Several processes may fold one request, each from what it sees, in any order and by clocks of their own. The version says what a
fold knew, not when it was made: first by how new the rules were, then by how many label events it saw. Label events only ever come,
so of two folds under the same rules the one with more events saw all that the other did; ReplacingMergeTree keeps that one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.clock import EPOCH

_EVENTS_BITS = 32
_MOST_EVENTS = (1 << _EVENTS_BITS) - 1
_NEVER_S = 2**20
"""The moment of rules that nobody ever configured. With it every version is above those of earlier releases, which were times in
microseconds (and stay below 2^52 until 2112)."""


def versions(models: pa.ChunkedArray, events: pa.ChunkedArray, changed_at: Callable[[str], datetime]) -> pa.Array:
    """The version of each outcome, by its model and the number of label events that its fold saw."""
    encoded = models.combine_chunks().cast(pa.string()).dictionary_encode()
    moments = [version(changed_at(model), 0) for model in encoded.dictionary.to_pylist()]
    of_rules = pa.array(moments, pa.uint64()).take(encoded.indices)
    capped = pc.min_element_wise(events.combine_chunks().cast(pa.uint64()), pa.scalar(_MOST_EVENTS, pa.uint64()))
    return pc.add(of_rules, capped)


def version(rules_changed_at: datetime, events: int) -> int:
    """The version of one outcome."""
    seconds = max(_NEVER_S, (rules_changed_at - EPOCH) // timedelta(seconds=1))
    return seconds << _EVENTS_BITS | min(events, _MOST_EVENTS)
