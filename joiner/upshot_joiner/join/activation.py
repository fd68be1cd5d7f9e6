"""Deferred activation: a prediction that was logged with ``shown=False`` counts only once it has been shown.

What a service prepares ahead (a page of recommendations, a cached answer) may never reach anybody, so its silence is no outcome.
A label event with the reserved name ``shown`` activates such a prediction: its value says whether it was shown, and the fold
is that of any label with the default rules (the last statement by ``observed_at`` counts, a retraction takes it back). A
prediction that was logged without ``shown``, or with ``shown=True``, needs none.

The SQL here is made of conditions over the rows of a model's typed table; the parameter ``model`` names the model.
"""

from __future__ import annotations

from upshot_joiner.config import RESERVED_LABEL

SHOWN = RESERVED_LABEL
"""The reserved name of the label event. It is no label: no list of labels, no metric and no training set has it."""

IDENTITY = "(request_key, request_id, model_version, item_id)"

_ACTIVATED = """
SELECT request_key, request_id, model_version, item_id FROM outcomes FINAL
WHERE model = {{model:String}} AND name = 'shown' AND {hours} AND state = 'labelled' AND value_number != 0
"""
_ACTIVATED_AS_OF = """
SELECT request_key, request_id, item_id FROM label_events FINAL
WHERE name = 'shown' AND (model = '' OR model = {{model:String}})
  AND received_at <= fromUnixTimestamp64Micro({{as_of:Int64}}, 'UTC')
  AND request_key IN (SELECT request_key FROM {table} WHERE shown = false AND {rows})
GROUP BY request_key, request_id, item_id
HAVING argMax(op = 'set' AND ifNull(value_number, 0) != 0, (observed_at, label_id))
"""


def counts(hours: str = "true") -> str:
    """Whether a row counts as things stand; ``hours`` is a condition on ``predicted_at`` that all the rows asked about fulfil."""
    return f"(ifNull(shown, true) OR {IDENTITY} IN ({_ACTIVATED.format(hours=hours)}))"


def counts_as_of(table: str, rows: str) -> str:
    """Whether a row counted by the moment of the parameter ``as_of``: from the ledger, whatever was received since.

    ``rows`` is a condition that all the rows asked about fulfil.
    """
    activated = _ACTIVATED_AS_OF.format(table=table, rows=rows)
    return f"(ifNull(shown, true) OR (request_key, request_id, item_id) IN ({activated}))"


def not_shown(table: str) -> str:
    """The predictions that wait for their activation, one row each: their identity and ``predicted_at``.

    Reads nothing but the rows that were logged with ``shown=False``, which FINAL could not.
    """
    return f"""
SELECT request_key, request_id, model_version, item_id, argMin(predicted_at, received_at) AS predicted_at
FROM {table} WHERE shown = false AND {IDENTITY} NOT IN ({_ACTIVATED.format(hours="true")})
GROUP BY request_key, request_id, model_version, item_id
"""


def deferred(table: str) -> str:
    """Whether there is any prediction that was logged with ``shown=False``; no row where there is none."""
    return f"SELECT 1 FROM {table} WHERE shown = false LIMIT 1"
