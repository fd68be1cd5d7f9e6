"""What an outcome is, in plain Python: the oracle that the SQL must equal.

The events of one label of one prediction, in the order (``observed_at``, ``label_id``):

1. with ``late: reject``, events observed after the window are left out;
2. with ``source_priority``, each rank of sources is folded by itself and the best rank that has a value decides;
3. a retraction withdraws every value that stands before it in the order (of its own rank);
4. what is left is combined by the label's rule. Numeric rules (sum, mean, min, max) pass over values that are no numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from upshot.wire import Scalar
from upshot_joiner.config import LabelConfig
from upshot_joiner.join.silence import NEVER, Silence

State = Literal["pending", "labelled", "defaulted", "retracted", "censored"]


@dataclass(frozen=True)
class Event:
    """A label event as the fold sees it."""

    label_id: str
    op: Literal["set", "retract"]
    value: Scalar | None
    observed_at: datetime
    source: str = ""


@dataclass(frozen=True)
class Outcome:
    """What is known of one label of one prediction."""

    state: State
    value: Scalar | None = None
    observed_at: datetime | None = None


def fold(events: Iterable[Event], predicted_at: datetime, rules: LabelConfig) -> Outcome:
    """The outcome of label events, whatever the time is now: ``pending``, ``labelled`` or ``retracted``."""
    closes = predicted_at + rules.window
    ranks: dict[int, list[Event]] = {}
    for event in {event.label_id: event for event in events}.values():
        if rules.late == "reject" and event.observed_at > closes:
            continue
        ranks.setdefault(rank_of(event.source, rules), []).append(event)
    retracted = False
    for rank in sorted(ranks):
        ordered = sorted(ranks[rank], key=lambda event: (event.observed_at, event.label_id))
        retractions = [position for position, event in enumerate(ordered) if event.op == "retract"]
        retracted = retracted or bool(retractions)
        live = [event for event in ordered[retractions[-1] + 1 if retractions else 0 :] if event.op == "set"]
        if rules.combine in ("sum", "mean", "min", "max"):
            live = [event for event in live if not isinstance(event.value, str)]
        if live:
            value, observed_at = _combine(live, rules.combine)
            return Outcome("labelled", value, observed_at)
    return Outcome("retracted" if retracted else "pending")


def at(
    outcome: Outcome, predicted_at: datetime, rules: LabelConfig, now: datetime, silence: Silence = NEVER
) -> Outcome:
    """The outcome at a moment: a window that closed without a label gives the default, where there is one; but a window that
    closed while the label's feed was silent (as known at that moment) says nothing, and the row is censored."""
    closes = predicted_at + rules.window
    if outcome.state == "pending" and rules.default is not None and closes <= now:
        return Outcome("censored") if silence.covers(closes) else Outcome("defaulted", rules.default)
    return outcome


def rank_of(source: str, rules: LabelConfig) -> int:
    """How trusted a source is; 0 is the most trusted."""
    priority = rules.source_priority
    return priority.index(source) if source in priority else len(priority)


def _combine(live: list[Event], combine: str) -> tuple[Scalar, datetime]:
    values = [event.value for event in live if event.value is not None]
    last = live[-1]
    if combine == "count":
        return len(live), last.observed_at
    if combine in ("sum", "mean"):
        total = 0.0
        for value in values:
            total += number_of(value)
        if combine == "mean":
            return total / len(values), last.observed_at
        whole = all(isinstance(value, int) for value in values)
        return (int(total) if whole and abs(total) <= 2**53 else total), last.observed_at
    if combine == "first":
        chosen = live[0]
    elif combine in ("min", "max"):
        best = (min if combine == "min" else max)(number_of(value) for value in values)
        chosen = next(event for event in live if event.value is not None and number_of(event.value) == best)
    elif combine == "majority":
        keys = [vote_of(event.value) for event in live]
        most = max(keys.count(key) for key in keys)
        chosen = [event for event, key in zip(live, keys, strict=True) if keys.count(key) == most][-1]
    else:
        chosen = last
    assert chosen.value is not None  # noqa: S101  # a set event has a value
    return chosen.value, chosen.observed_at


def vote_of(value: Scalar | None) -> tuple[str, object]:
    """1, 1.0 and true are the same vote; "1" is another."""
    return ("text", value) if isinstance(value, str) else ("number", number_of(value or 0))


def number_of(value: Scalar) -> float:
    """As a float; an integer that no float holds is infinite, as it is in the store."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if isinstance(value, int) and value > 0 else -math.inf
