"""To which predictions of an entity a label goes that names the entity and no request: a pure function, and the oracle.

A *candidate* of a label is a prediction of its entity that was made in the window before the label was observed
(``observed_at - window <= predicted_at <= observed_at``), has the label's item ID, and is of its model where it names one. Every
model decides by itself, by its own rule for this label:

``last``, ``first``
    the request of the last, or the first, candidate by (``predicted_at``, request ID);
``all``
    the request of every candidate;
``shared``
    the same, and a number is divided among these requests in equal parts. A bool or a text cannot be divided: each gets it.

What is attributed to a request belongs to the predictions of all versions of the model that answered it, as a label with its
request ID would. A retraction has no window of its own: it goes wherever labels of this name and item went that stand before it in
the order (``observed_at``, ``label_id``), and withdraws them there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from upshot.wire import Scalar
from upshot_joiner.clock import MICROSECOND
from upshot_joiner.config import LabelConfig


@dataclass(frozen=True, slots=True)
class EntityPrediction:
    """A prediction of the entity. Times are microseconds since 1970."""

    model: str
    request_key: int
    request_id: str
    item_id: str
    predicted_us: int
    received_us: int = 0


@dataclass(frozen=True, slots=True)
class EntityEvent:
    """A label event that names the entity. Times are microseconds since 1970."""

    label_id: str
    name: str
    op: Literal["set", "retract"]
    value: Scalar | None
    observed_us: int
    model: str = ""
    item_id: str = ""
    received_us: int = 0


@dataclass(frozen=True, slots=True)
class Attributed:
    """A label event as one request of one model has it."""

    label_id: str
    model: str
    request_key: int
    request_id: str
    value: Scalar | None
    """The whole value, or the share of it; None for a retraction."""
    known_us: int = field(default=0, compare=False)
    """From when on both the label and the prediction were known."""


Rules = Callable[[str, str], LabelConfig]
"""Model and label name -> rules."""


def window_of(rules: LabelConfig) -> timedelta:
    """How long before it was observed a label looks for predictions."""
    return rules.attribution_window or rules.window


def attribute(
    predictions: Iterable[EntityPrediction], events: Iterable[EntityEvent], rules_of: Rules
) -> dict[str, set[Attributed]]:
    """Where the label events of one entity go, by label ID; an event that goes nowhere has an empty set.

    The order and the repetition of either argument do not matter.
    """
    by_item: defaultdict[str, defaultdict[str, list[EntityPrediction]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(set(predictions), key=lambda one: (one.predicted_us, one.request_id)):
        by_item[one.item_id][one.model].append(one)
    found: dict[str, set[Attributed]] = {}
    retractions = []
    sets: defaultdict[tuple[str, str], list[EntityEvent]] = defaultdict(list)
    for event in sorted(events, key=lambda event: (event.observed_us, event.label_id)):
        if event.label_id in found:
            continue
        found[event.label_id] = set()
        if event.op == "retract":
            retractions.append(event)
            continue
        sets[event.name, event.item_id].append(event)
        for model, of_model in by_item[event.item_id].items():
            if event.model in ("", model):
                found[event.label_id] |= _of_model(of_model, event, rules_of(model, event.name))
    for retraction in retractions:
        order = (retraction.observed_us, retraction.label_id)
        for event in sets[retraction.name, retraction.item_id]:
            if (event.observed_us, event.label_id) < order:
                found[retraction.label_id] |= {
                    Attributed(
                        retraction.label_id, one.model, one.request_key, one.request_id, None,
                        max(one.known_us, retraction.received_us),
                    )
                    for one in found[event.label_id]
                    if retraction.model in ("", one.model)
                }  # fmt: skip
    return found


def candidates(of_model: list[EntityPrediction], observed_us: int, window: timedelta) -> list[EntityPrediction]:
    """Those of a model's predictions, sorted by ``predicted_us``, that a label may go to."""
    start = bisect_left(of_model, observed_us - window // MICROSECOND, key=_moment)
    return of_model[start : bisect_right(of_model, observed_us, key=_moment)]


def _moment(one: EntityPrediction) -> int:
    return one.predicted_us


def _of_model(of_model: list[EntityPrediction], event: EntityEvent, rules: LabelConfig) -> set[Attributed]:
    found = candidates(of_model, event.observed_us, window_of(rules))
    if not found:
        return set()
    if rules.attribution in ("last", "first"):
        chosen = found[-1] if rules.attribution == "last" else found[0]
        found = [one for one in found if one.request_id == chosen.request_id]
    known: dict[tuple[int, str], int] = {}
    for one in found:
        request = (one.request_key, one.request_id)
        known[request] = min(one.received_us, known.get(request, one.received_us))
    value = _share(event.value, len(known)) if rules.attribution == "shared" else event.value
    return {
        Attributed(
            event.label_id, event.model or found[0].model, key, request_id, value, max(received, event.received_us)
        )
        for (key, request_id), received in known.items()
    }


def _share(value: Scalar | None, parts: int) -> Scalar | None:
    if value is None or isinstance(value, (bool, str)):
        return value
    try:
        return value / parts
    except OverflowError:  # an integer beyond what a float holds: there, less than one is lost
        return int(value) // parts
