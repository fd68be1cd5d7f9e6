"""When the feed of a label was silent, as a set of moments: a fold of stamped records, in plain Python.

A record says ``open`` (silent from ``since``, until ``until`` or until further notice), ``close`` (not silent any more from
``until`` on) or ``void`` (it was not silent between the two after all). Applied in the order of their stamps, they add to the
set or take from it. As of T, only records stamped by T are applied: so what was known at T never changes.

A row whose window closes at a moment of the set, without a label, is ``censored`` instead of ``defaulted`` (``rule.at``); the
condition in SQL is :func:`closes_in`. Stretches are half-open: the moment of ``since`` is in, that of ``until`` is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from upshot_joiner.clock import EPOCH, MICROSECOND, to_micros

Action = Literal["open", "close", "void"]
By = Literal["breaker", "operator"]

ENDLESS_US = 2**62
"""An end in the far future, in microseconds since 1970, for SQL."""


@dataclass(frozen=True)
class Change:
    """One record about the feed of a label."""

    action: Action
    since: datetime | None
    """From when; None where the action needs none (``close``)."""
    until: datetime | None
    """To when; None: until further notice."""
    by: By
    reason: str
    numbers: dict[str, object] = field(default_factory=dict)
    """What the breaker saw."""
    received_at: datetime = EPOCH
    """The stamp; ``EPOCH`` until it is stored."""


@dataclass(frozen=True)
class Stretch:
    """One stretch of silence."""

    since: datetime
    until: datetime | None = None
    """None: it goes on."""


@dataclass(frozen=True)
class Silence:
    """Disjoint stretches, the earliest first."""

    stretches: tuple[Stretch, ...] = ()

    def covers(self, moment: datetime) -> bool:
        """Whether the feed was silent at a moment."""
        return any(one.since <= moment and (one.until is None or moment < one.until) for one in self.stretches)

    @property
    def goes_on(self) -> Stretch | None:
        """The stretch that has no end yet."""
        return self.stretches[-1] if self.stretches and self.stretches[-1].until is None else None

    def micros(self, shift: timedelta = timedelta(0)) -> list[tuple[int, int]]:
        """(since, until) in microseconds since 1970, ``shift`` earlier: with the label's window as ``shift``, the moments of
        prediction whose windows close in the silence."""
        by = shift // MICROSECOND
        return [
            (to_micros(one.since) - by, ENDLESS_US if one.until is None else to_micros(one.until) - by)
            for one in self.stretches
        ]

    def without(self, start: datetime, end: datetime | None) -> Silence:
        """Less the moments from ``start`` to before ``end`` (None: for ever)."""
        left: list[Stretch] = []
        for one in self.stretches:
            if one.since < start:
                left.append(Stretch(one.since, start if one.until is None else min(one.until, start)))
            if end is not None and (one.until is None or one.until > end):
                left.append(Stretch(max(one.since, end), one.until))
        return Silence(tuple(sorted(left, key=lambda one: one.since)))

    def joined(self, more: Stretch) -> Silence:
        """With the moments of ``more``."""
        since, until = more.since, more.until
        apart = []
        for one in self.stretches:
            if (until is not None and one.since > until) or (one.until is not None and one.until < since):
                apart.append(one)
            else:
                since = min(since, one.since)
                until = None if until is None or one.until is None else max(until, one.until)
        return Silence(tuple(sorted([*apart, Stretch(since, until)], key=lambda one: one.since)))


NEVER = Silence()


def silence(changes: Iterable[Change]) -> Silence:
    """The fold of records, whatever order they come in; a repeated record changes nothing."""
    known = NEVER
    for one in sorted(changes, key=lambda one: (one.received_at, one.action, one.since or EPOCH, one.until or EPOCH)):
        if one.action == "open" and one.since is not None and (one.until is None or one.since < one.until):
            known = known.joined(Stretch(one.since, one.until))
        elif one.action == "close" and one.until is not None:
            known = known.without(one.until, None)
        elif one.action == "void" and one.since is not None and (one.until is None or one.since < one.until):
            known = known.without(one.since, one.until)
    return known


def opened_by(changes: Sequence[Change]) -> By | None:
    """Who keeps the feed open as silent: an operator's word stands before the breaker's. None: nobody, it is not silent now."""
    standing: list[Change] = []
    for one in sorted(changes, key=lambda one: one.received_at):
        if one.action == "open" and one.until is None:
            standing.append(one)
        elif one.action == "close" or (one.action == "void" and one.until is None):
            standing = []
    if silence(changes).goes_on is None:
        return None
    return "operator" if any(one.by == "operator" for one in standing) else "breaker"


def closes_in(moment_us: str, suffix: str = "") -> str:
    """The SQL condition that a moment (an expression in microseconds since 1970) lies in a silence.

    Wants the parameters of :func:`parameters` with the same suffix.
    """
    return (
        f"arrayExists((since, until) -> {moment_us} >= since AND {moment_us} < until, "
        f"{{silent_since{suffix}:Array(Int64)}}, {{silent_until{suffix}:Array(Int64)}})"
    )


def parameters(of: Silence, shift: timedelta = timedelta(0), suffix: str = "") -> dict[str, object]:
    """What fills the places of :func:`closes_in`."""
    stretches = of.micros(shift)
    return {
        f"silent_since{suffix}": [since for since, _ in stretches],
        f"silent_until{suffix}": [until for _, until in stretches],
    }
