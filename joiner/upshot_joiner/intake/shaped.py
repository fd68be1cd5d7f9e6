"""Decoding for rows whose feature names are known already: straight into a tuple of values, with no dictionary in between.

A service serves the same names in every event. Once a spelling has been seen in two bodies, a type is made for it, with one
attribute for each name; msgspec decodes into it in less than half the time of a dictionary, and the values come out in the order
that the store wants. What is not served with exactly these names makes the attempt fail at its first such event, and the body is
decoded as any other.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from upshot.wire import Prediction
from upshot_joiner.store.shapes import Shape, shape_of

MAX_KNOWN = 8
"""Spellings that are tried; the one that matched last is tried first."""
MAX_NAMES = 2_048
"""Of a spelling that gets a type."""
_LONGEST_PAUSE = 256
_UNFIT = re.compile(r'[\\"\x00-\x1f]')
"""In a name: msgspec gives no attribute such a name."""

Decode = Callable[[bytes], list[Prediction]]
"""Decodes a body in which every event was served with the same names; raises what msgspec raises when one was not."""
MakeDecode = Callable[[type[Prediction]], Decode]


class Features(msgspec.Struct, gc=False):
    """The features of one event, an attribute each; what is made for a spelling inherits from it."""


@dataclass(slots=True, eq=False)
class _Known:
    decode: Decode
    pause: int = 0
    """After a body that began with these names and went on with others: so many bodies are not tried."""
    waits: int = 0


class ShapedDecoder:
    """Tries bodies with the names that were seen lately. Every method may be called from any thread."""

    def __init__(self, make: MakeDecode, value: Any = Any) -> None:
        """``value``: the type that a value of a feature must have."""
        self._make = make
        self._value = value
        self._lock = threading.Lock()
        self._known: list[tuple[frozenset[str], _Known]] = []
        self._candidate: frozenset[str] = frozenset()

    def decode(self, body: bytes, plain: Decode) -> list[Prediction]:
        """The events of a body, by ``plain`` where not all are served with names that are known. Raises what ``plain`` raises."""
        failed = []
        for place, (_, known) in enumerate(self._known):
            if known.waits:
                known.waits -= 1
                continue
            try:
                events = known.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                failed.append(known)
                continue
            known.pause = 0
            if place:
                self._first(known)
            return events
        events = plain(body)
        if events:
            self._learn(events, failed)
        return events

    def _learn(self, events: Sequence[Prediction], failed: Sequence[_Known]) -> None:
        names = frozenset(events[0].features)
        if not names or len(names) > MAX_NAMES:
            return
        is_mixed = any(event.features.keys() != names for event in (events[len(events) // 2], events[-1]))
        with self._lock:
            for spelling, known in self._known:
                if spelling == names:
                    if known in failed:  # at some later event
                        known.pause = min(2 * known.pause + 1, _LONGEST_PAUSE)
                        known.waits = known.pause
                    return
            if is_mixed:
                return
            if self._candidate != names:
                self._candidate = names
                return
            if any(map(_UNFIT.search, names)):
                return
            self._known = [(names, _Known(self._make(_event_type(names, self._value)))), *self._known][:MAX_KNOWN]

    def _first(self, known: _Known) -> None:
        with self._lock:
            self._known = sorted(self._known, key=lambda one: one[1] is not known)


def shape_and_values(event: Prediction) -> tuple[Shape, tuple[Any, ...]]:
    """The shape of an event, however it was decoded, and the values of its features in the order of the shape's names."""
    features: Any = event.features
    if isinstance(features, Features):
        return type(features).shape, msgspec.structs.astuple(features)  # type: ignore[attr-defined]  # made below
    shape = shape_of(features)
    return shape, shape.values(features)


def content_of(event: msgspec.Struct) -> dict[str, Any]:
    """The fields of an event by name, its features as a dictionary, however it was decoded."""
    content = {name: getattr(event, name) for name in event.__struct_fields__}
    features = content.get("features")
    if isinstance(features, Features):
        shape, values = shape_and_values(event)  # type: ignore[arg-type]  # only a prediction has features
        content["features"] = dict(zip(shape.names, values, strict=True))
    return content


def _event_type(names: frozenset[str], value: Any) -> type[Prediction]:
    shape = shape_of(dict.fromkeys(names))
    features = msgspec.defstruct(
        "ShapedFeatures",
        [(f"f{number}", value, msgspec.field(name=name)) for number, name in enumerate(shape.names)],
        bases=(Features,),
        namespace={"shape": shape},
        forbid_unknown_fields=True,
        gc=False,
    )
    event: Any = msgspec.defstruct(
        "ShapedPrediction", [("features", features)], bases=(Prediction,), kw_only=True, omit_defaults=True
    )
    return event  # type: ignore[no-any-return]
