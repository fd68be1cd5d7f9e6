"""Whether a rule holds now, and on what that rests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upshot_monitoring.alerts.expression import Comparison, Expression, Value, comparisons, judge
from upshot_monitoring.alerts.rules import Rule

DEFAULT_MIN_ROWS = 100
"""Below so many rows a metric, a coverage or a base rate is not known; what drifts has its own ``drift.min_rows``."""


@dataclass(frozen=True)
class Reading:
    """What a value is now; None where it is not known, and then ``reason`` says why."""

    value: float | str | None
    reason: str = ""
    rows: int | None = None
    window: tuple[datetime, datetime] | None = None
    columns: tuple[str, ...] = ()
    """The columns that drifted most, by name."""
    is_of_rows: bool = False
    """Whether it is worth nothing below ``min_rows``."""


Read = Callable[[Value], Reading]


@dataclass(frozen=True)
class Found:
    """One comparison as it came out."""

    comparison: Comparison
    reading: Reading
    holds: bool | None

    def describe(self) -> dict[str, Any]:
        """As the API, messages and ``upshot check`` show it."""
        window = self.reading.window
        return {
            "name": str(self.comparison.of),
            "value": self.reading.value,
            "operator": self.comparison.operator,
            "threshold": self.comparison.against,
            "holds": self.holds,
            "reason": self.reading.reason or None,
            "rows": self.reading.rows,
            "window": {"start": window[0], "end": window[1]} if window else None,
            "columns": list(self.reading.columns),
        }


@dataclass(frozen=True)
class Outcome:
    """Whether a rule holds: yes, no, or None where that cannot be said."""

    holds: bool | None
    found: tuple[Found, ...] = ()
    reason: str = ""

    @property
    def leading(self) -> Found | None:
        """The comparison that says most about the outcome: the first one that came out as the whole did."""
        return next((one for one in self.found if one.holds is self.holds), self.found[0] if self.found else None)

    @property
    def why_unknown(self) -> str:
        """The reasons of what is not known, in one line; empty where the outcome is known."""
        if self.holds is not None:
            return ""
        return "; ".join(dict.fromkeys(one.reading.reason for one in self.found if one.holds is None)) or self.reason

    def describe(self) -> dict[str, Any]:
        """The leading comparison, and all of them where there are several."""
        leading = self.leading
        told = leading.describe() if leading else {}
        return {
            "value": told.get("value"),
            "threshold": told.get("threshold"),
            "rows": told.get("rows"),
            "window": told.get("window"),
            "columns": sorted({name: None for one in self.found for name in one.reading.columns}) if len(self.found) > 1
            else told.get("columns", []),
            "reason": self.why_unknown or None,
            "comparisons": [one.describe() for one in self.found],
        }  # fmt: skip


@dataclass
class Evaluation:
    """Reads each value once, for all rules of one model at one moment."""

    read: Read
    _known: dict[Value, Reading] = field(default_factory=dict)

    def outcome(self, of: Expression, min_rows: int | None) -> Outcome:
        """Whether an expression holds."""
        found: dict[int, Found] = {}

        def known(one: Comparison) -> bool | None:
            reading = self._reading(one.of, min_rows)
            holds = None if reading.value is None else one.holds(reading.value)
            found[id(one)] = Found(one, reading, holds)
            return holds

        holds = judge(of, known)
        return Outcome(holds, tuple(found[id(one)] for one in comparisons(of)))

    def of_rule(self, rule: Rule, *, is_firing: bool) -> Outcome:
        """Whether a rule holds. One that fires and has ``until`` holds until that does, or cannot be said to."""
        if rule.when is None:
            return Outcome(None, (), rule.trouble)
        if is_firing and rule.until is not None:
            ended = self.outcome(rule.until, rule.config.min_rows)
            return Outcome(None if ended.holds is None else not ended.holds, ended.found)
        return self.outcome(rule.when, rule.config.min_rows)

    def _reading(self, of: Value, min_rows: int | None) -> Reading:
        reading = self._known.get(of)
        if reading is None:
            reading = self._known[of] = self.read(of)
        needed = (DEFAULT_MIN_ROWS if reading.is_of_rows else 0) if min_rows is None else min_rows
        if reading.value is not None and reading.rows is not None and reading.rows < needed:
            why = f"too few rows: {reading.rows}, {needed} needed"
            return Reading(None, why, reading.rows, reading.window, reading.columns)
        return reading
