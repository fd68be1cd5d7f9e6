"""Why an outcome is what it is: which event decided, and what became of the others. Says nothing that rule.py does not do.

Every label event of the outcome is in exactly one place: it decided (or counted, where the rule adds up), or it was overridden,
with the reason:

- ``late``: observed after the window, which the label's rules leave out;
- ``outranked``: a more trusted source has spoken;
- ``retracted``: a retraction of its own rank stands after it;
- ``no_number``: a text, which a rule of numbers passes over;
- ``superseded``: the rule chose another one; of a retraction: a value stands after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from upshot_joiner.config import LabelConfig
from upshot_joiner.join.rule import Event, Outcome, number_of, rank_of, vote_of

Reason = Literal["late", "outranked", "retracted", "no_number", "superseded"]

_CHOSEN = {"first": "first", "last": "last", "min": "smallest", "max": "largest", "majority": "most frequent"}
_ADDED = {"sum": "sum", "mean": "mean", "count": "count"}


@dataclass(frozen=True)
class Because:
    """What decided an outcome."""

    rule: str
    """How the label's events are combined."""
    events: int
    """How many there are, those that were overridden included."""
    decided_by: list[str]
    """The ``label_id`` of the event that decided, or of all that were added up; empty where none did."""
    overridden: list[tuple[str, Reason]]
    """The ``label_id`` of every other event, and why it does not count; in the order of ``observed_at``, ``label_id``."""
    text: str


def because(
    events: Iterable[Event], predicted_at: datetime, rules: LabelConfig, outcome: Outcome, *, counts: bool = True
) -> Because:
    """Why the events of one label of one prediction gave the outcome; ``counts``: whether the prediction was shown."""
    ordered = sorted(
        {event.label_id: event for event in events}.values(), key=lambda event: (event.observed_at, event.label_id)
    )
    closes = predicted_at + rules.window
    why: dict[str, Reason] = {}
    ranks: dict[int, list[Event]] = {}
    for event in ordered:
        if rules.late == "reject" and event.observed_at > closes:
            why[event.label_id] = "late"
        else:
            ranks.setdefault(rank_of(event.source, rules), []).append(event)
    decided: list[Event] = []
    for rank in sorted(ranks):
        of_rank = ranks[rank]
        if decided:
            why |= {event.label_id: "outranked" for event in of_rank}
            continue
        retractions = [position for position, event in enumerate(of_rank) if event.op == "retract"]
        after = retractions[-1] + 1 if retractions else 0
        why |= {event.label_id: "retracted" for event in of_rank[:after] if event.op == "set"}
        why |= {of_rank[position].label_id: "superseded" for position in retractions}
        live = of_rank[after:]
        if rules.combine in ("sum", "mean", "min", "max"):
            why |= {event.label_id: "no_number" for event in live if isinstance(event.value, str)}
            live = [event for event in live if not isinstance(event.value, str)]
        if live:
            decided = _decided(live, rules.combine)
            why |= {event.label_id: "superseded" for event in live if event not in decided}
    if not decided and outcome.state == "retracted":
        # The most trusted source that retracted anything has the last word.
        speaks = next(rank for rank in sorted(ranks) if any(event.op == "retract" for event in ranks[rank]))
        decided = [[event for event in ranks[speaks] if event.op == "retract"][-1]]
        why.pop(decided[0].label_id)
    overridden = [(event.label_id, why[event.label_id]) for event in ordered if event.label_id in why]
    text = _text(outcome, ordered, decided, dict(overridden), rules, closes, counts=counts)
    return Because(rules.combine, len(ordered), [event.label_id for event in decided], overridden, text)


def _decided(live: list[Event], combine: str) -> list[Event]:
    if combine in _ADDED:
        return live
    if combine == "first":
        return live[:1]
    if combine in ("min", "max"):
        best = (min if combine == "min" else max)(number_of(event.value or 0) for event in live)
        return [next(event for event in live if number_of(event.value or 0) == best)]
    if combine == "majority":
        votes = [vote_of(event.value) for event in live]
        most = max(votes.count(vote) for vote in votes)
        return [event for event, vote in zip(live, votes, strict=True) if votes.count(vote) == most][-1:]
    return live[-1:]


def _text(
    outcome: Outcome,
    events: list[Event],
    decided: list[Event],
    why: dict[str, Reason],
    rules: LabelConfig,
    closes: datetime,
    *,
    counts: bool,
) -> str:
    said = []
    if outcome.state == "labelled":
        said.append(_rule(events, decided, rules))
        said += _outranked(events, decided, why)
    elif outcome.state == "retracted":
        by = decided[0].source
        said.append(f"retracted by {by}" if by else "retracted")
    elif outcome.state == "defaulted":
        said.append("the window closed without a label, so the default counts")
    elif outcome.state == "censored":
        said.append("the window closed while the label's feed was silent, so nothing follows from having no label")
    elif not counts:
        said.append("never shown, so no label is due")
    else:
        said.append("no event counts" if events else "no label has come")
    for reason, words in (("late", "after the window"), ("retracted", "taken back"), ("no_number", "not a number")):
        number = sum(one == reason for one in why.values())
        if number:
            said.append(f"{number} {words}" if reason != "late" else f"{number} observed {words}, left out")
    said.append(f"matures {closes:%Y-%m-%d %H:%M} UTC")
    return "; ".join(said)


def _rule(events: list[Event], decided: list[Event], rules: LabelConfig) -> str:
    if len(events) == 1:
        return "the only event"
    of = f"of {len(events)} events"
    if rules.combine in _ADDED:
        return f"{_ADDED[rules.combine]} of {len(decided)}" + (f" {of}" if len(decided) < len(events) else " events")
    return f"{_CHOSEN[rules.combine]} {of}"


def _outranked(events: list[Event], decided: list[Event], why: dict[str, Reason]) -> list[str]:
    lesser = dict.fromkeys(event.source or "others" for event in events if why.get(event.label_id) == "outranked")
    return [f"{decided[0].source or 'others'} outranks {', '.join(lesser)}"] if lesser else []
