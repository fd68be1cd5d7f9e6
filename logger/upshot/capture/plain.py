"""The short way from a call to bytes: one pass of C code over the caller's dict, without looking at its values.

It is for what most calls are: a dict of plain values, or of NumPy scalars among them, and a scalar prediction. What msgspec cannot
encode raises, and the long way (`upshot.capture.events`) takes over; what it can encode although an event cannot hold it (a
nested dict, bytes) is made plain by the reader, by the rule in `upshot.wire`. Looking here would cost more than encoding does.

No Python code runs while msgspec walks the caller's dict: another thread could change the dict then. A hook in Python
therefore gets a copy, and only when no list or dict is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from upshot.capture.convert import NATIVE_TYPES, only_texts

__all__ = ["MarkedPrediction", "PlainEncoder", "PlainPrediction", "are_texts", "encode", "with_context"]

encode = msgspec.msgpack.Encoder(decimal_format="number").encode

_MAX_KNOWN_TYPES = 100


class PlainPrediction(msgspec.Struct, gc=False):
    """The fields of ``wire.Prediction`` that every prediction has, by the same names."""

    request_id: str
    model: str
    model_version: str
    predicted_at: float
    prediction: float | int | bool | str
    features: dict[str, object]
    writer_id: str
    seq: int


class MarkedPrediction(PlainPrediction, gc=False, omit_defaults=True):
    """One with entities or tags, that was kept with a probability below 1, or in which something was redacted."""

    entities: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    keep_probability: float = 1.0
    flags: dict[str, str] | None = None


def with_context(
    plain: PlainPrediction, entities: dict[str, str] | None, tags: dict[str, str] | None
) -> MarkedPrediction:
    """The prediction with whom it is about, and its tags."""
    return MarkedPrediction(
        plain.request_id,
        plain.model,
        plain.model_version,
        plain.predicted_at,
        plain.prediction,
        plain.features,
        plain.writer_id,
        plain.seq,
        entities,
        tags,
    )


def are_texts(given: object) -> bool:
    """Whether this is a dict of texts to texts, none of them empty."""
    try:
        return type(given) is dict and not only_texts((*given, *given.values()))
    except TypeError:
        return False


class PlainEncoder:
    """Encodes `PlainPrediction`. Learns which NumPy scalars a service logs, so that the next call need not ask.

    ``encode``: raises when something is not plain; then try `retry`.
    """

    __slots__ = ("_by_kind", "_general", "_scalars", "encode")

    def __init__(self) -> None:
        self._scalars: dict[type, Callable[[Any], object]] = {}
        self._by_kind: dict[type, Callable[[object], bytes]] = {}
        scalars = self._scalars  # an unknown type raises KeyError, and `retry` looks at it
        self._general = msgspec.msgpack.Encoder(
            enc_hook=lambda value: scalars[type(value)](value), decimal_format="number"
        ).encode
        self.encode: Callable[[object], bytes] = encode

    def retry(self, event: PlainPrediction) -> bytes | None:
        """Encode a prediction with NumPy scalars among its features; None when there is more to it than that."""
        event.features = features = event.features.copy()
        foreign = set(map(type, features.values())) - NATIVE_TYPES
        if not foreign or not all(map(self._is_known, foreign)):
            return None
        encode = self._in_c(foreign.pop()) if len(foreign) == 1 else None
        if encode is None:
            encoded, self.encode = self._general(event), self._mixed
        else:
            encoded, self.encode = encode(event), encode
        return encoded

    def _mixed(self, event: Any) -> bytes:
        event.features = features = event.features.copy()
        if not _MUTABLE.isdisjoint(map(type, features.values())):
            raise TypeError
        return self._general(event)

    def _is_known(self, kind: type) -> bool:
        if kind in self._scalars:
            return True
        if kind.__module__ != "numpy" or kind.__name__ == "timedelta64" or len(self._scalars) >= _MAX_KNOWN_TYPES:
            return False
        for base in kind.__mro__:
            if (convert := _CONVERSIONS.get(base.__name__)) is not None:
                self._scalars[kind] = convert
                return True
        return False

    def _in_c(self, kind: type) -> Callable[[object], bytes] | None:
        """An encoder for scalars of this one type, which converts them without running any Python code."""
        if kind.__name__ not in {"float64", "float32", "float16"}:
            return None
        known = self._by_kind.get(kind)
        if known is None:
            to_float: Any = kind.__float__  # type: ignore[attr-defined]  # refuses every other type
            known = self._by_kind[kind] = msgspec.msgpack.Encoder(enc_hook=to_float, decimal_format="number").encode
        return known


_CONVERSIONS: dict[str, Callable[[Any], object]] = {"floating": float, "integer": int, "bool": bool, "bool_": bool}
_MUTABLE = frozenset({list, dict, set, tuple, bytearray})
