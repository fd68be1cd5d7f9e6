"""Attributed label events as the fold reads them: beside those of ``label_events``, from the same scope of request keys.

One that is attributed no more is still there, with the op ``withdrawn``: it counts for nothing, but it makes the row that takes an
earlier outcome back. Only a store that has seen labels of entities needs any of this.
"""

from __future__ import annotations

NEVER = "2299-01-01 00:00:00"
"""``withdrawn_at`` of what is attributed still."""

COLUMNS = """
request_key, request_id, item_id, toString(model) AS model, toString(name) AS name, label_id, toString(op) AS op,
toString(value_kind) AS value_kind, value_number, value_text, observed_at, received_at, toString(source) AS source
"""
# Two processes that attribute the same label at the same moment may both write it: the first of them counts.
_ATTRIBUTED = """
SELECT * REPLACE (if(%(active)s AND row_number() OVER (
    PARTITION BY request_key, request_id, label_id, model ORDER BY %(active)s DESC, attributed_at) = 1, op, 'withdrawn') AS op)
FROM attributed_events FINAL
WHERE %(scope)s
"""
_NOW = f"(withdrawn_at = toDateTime64('{NEVER}', 6, 'UTC'))"
_AS_OF = "(withdrawn_at > fromUnixTimestamp64Micro({as_of:Int64}, 'UTC'))"


def attributed(scope: str) -> str:
    """Attributed events as things stand; ``scope`` is a condition on ``request_key`` and ``request_id``."""
    return _ATTRIBUTED % {"active": _NOW, "scope": scope}


def attributed_as_of(scope: str) -> str:
    """What was attributed at the moment of the parameter ``as_of``, whatever was received since."""
    known = "attributed_at <= fromUnixTimestamp64Micro({as_of:Int64}, 'UTC')"
    return _ATTRIBUTED % {"active": _AS_OF, "scope": f"{known} AND {scope}"}


def both(events: str, of_entities: str) -> str:
    """Label events of requests together with attributed ones."""
    return f"SELECT {COLUMNS} FROM ({events}) UNION ALL SELECT {COLUMNS} FROM ({of_entities})"
