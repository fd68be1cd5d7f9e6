"""Moments: from what callers have to what an event carries."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from upshot.capture.convert import Converter

__all__ = ["moment"]

_EXACT_BELOW_S = 2.0**33
"""Up to the year 2242 a float of seconds holds every microsecond; beyond, text does."""


def moment(value: object, converter: Converter) -> Any:
    """A moment as the wire has it: float seconds since 1970-01-01T00:00:00Z, or RFC 3339 text. None stays None.

    Takes a ``datetime`` (without a zone it is UTC), Unix seconds (int, float, Decimal, NumPy) or RFC 3339 text. What
    is none of these is passed on as text: the server refuses the event by the name of the field.
    """
    if value is None or type(value) in (float, str):
        return value
    if type(value) is int:
        return float(value) if abs(value) < _EXACT_BELOW_S else value
    if isinstance(value, datetime):
        try:
            aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            seconds = aware.timestamp()
        except (ValueError, TypeError, OverflowError):  # pandas.NaT is a datetime, and is no moment
            return converter.value(value)
        if math.isfinite(seconds) and abs(seconds) < _EXACT_BELOW_S:
            return seconds
        return aware.astimezone(UTC).isoformat()
    if type(value).__name__ == "datetime64":
        text = str(converter.value(value))
        return None if text == "None" else f"{text}Z" if "T" in text else f"{text}T00:00:00Z"
    return converter.value(value)
