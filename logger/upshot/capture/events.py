"""The long way from the arguments of a call to bytes: it takes everything, by the conversion table.

The short one, for what most calls are, is ``upshot.capture.plain``. Both lead to the same event in the store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from upshot.capture.convert import Converter
from upshot.capture.moments import moment
from upshot.capture.plain import encode
from upshot.counters import Ledger
from upshot.wire import LabelEvent, Prediction

__all__ = ["SCALAR_TYPES", "EventEncoder", "is_json"]

SCALAR_TYPES = frozenset({float, int, bool, str})

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


def is_json(event: bytes) -> bool:
    """Whether an encoded event is JSON. A MessagePack map never starts with this byte."""
    return event[0] == 0x7B


class EventEncoder:
    """Encodes events of one writer, converting what needs it and counting what could not be converted."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._convert = Converter(ledger.converted_repr.next)
        self.mapping = self._convert.mapping

    def text(self, given: object) -> str:
        """An ID or a name as text: an int or a UUID is its usual text."""
        return self._convert.name(given)

    def prediction(
        self,
        *,
        request_id: str,
        item_id: object,
        model: str,
        model_version: str,
        predicted_at: object,
        prediction: Any,
        features: object,
        feature_times: Mapping[str, object] | None,
        inputs: object,
        attributions: object,
        entities: object,
        tags: object,
        action: object,
        propensity: object,
        shown: object,
        writer_id: str,
        seq: int,
    ) -> bytes:
        """Encode one prediction. Raises only when an argument is not even a mapping where one is needed.

        What the schema forbids is encoded as it is (hence ``Any``): the server refuses it by the name of the field, and keeps it.
        """
        c = self._convert
        probabilities = None
        if type(prediction) not in SCALAR_TYPES:
            if isinstance(prediction, Mapping):
                prediction, probabilities = self._most_probable(prediction)
            else:
                prediction = self._scalar(prediction)
        return self._encoded(
            Prediction(
                request_id=request_id,
                item_id=c.name(item_id),
                model=model,
                model_version=model_version,
                predicted_at=moment(predicted_at, c),
                prediction=prediction,
                probabilities=probabilities,
                features=c.mapping(features),
                feature_times=None
                if feature_times is None
                else {c.name(name): moment(at, c) for name, at in feature_times.items() if at is not None},
                inputs=None if inputs is None else c.mapping(inputs),
                attributions=None if attributions is None else c.mapping(attributions),
                entities=None if entities is None else c.texts(entities),
                tags=None if tags is None else c.texts(tags),
                action=c.value(action),
                propensity=c.value(propensity),
                shown=c.value(shown),
                writer_id=writer_id,
                seq=seq,
            )
        )

    def label(
        self,
        *,
        request_id: object,
        name: object,
        op: Literal["set", "retract"],
        value: object,
        item_id: object,
        model: object,
        observed_at: object,
        source: object,
        label_id: object,
        tags: object,
        writer_id: str,
        seq: int,
    ) -> bytes:
        """Encode one label event.

        A missing ``observed_at`` stays missing: stamped here, the same label logged twice would be two labels.
        """
        c = self._convert
        return self._encoded(
            LabelEvent(
                request_id=c.name(request_id),
                name=c.name(name),
                op=op,
                value=self._scalar(value),
                item_id=c.name(item_id),
                model="" if model is None else c.name(model),
                observed_at=moment(observed_at, c),
                source=c.name(source),
                label_id="" if label_id is None else c.name(label_id),
                tags=None if tags is None else c.texts(tags),
                writer_id=writer_id,
                seq=seq,
            )
        )

    def _scalar(self, value: object) -> Any:
        """One number, bool or text. A list or array of exactly one is that one: ``model.predict`` of one row."""
        plain = self._convert.value(value)
        return plain[0] if type(plain) is list and len(plain) == 1 else plain

    def _most_probable(self, by_class: Mapping[object, object]) -> tuple[Any, dict[str, Any]]:
        """Split class -> probability into the most probable class (the first on ties) and the probabilities by name."""
        c = self._convert
        plain: dict[object, object] = {}
        for key, p in by_class.items():
            name = c.value(key)
            plain[name if type(name) in SCALAR_TYPES else c.name(key)] = c.value(p)
        best: object = None
        best_p = -math.inf
        for key, p in plain.items():
            if isinstance(p, (int, float)) and (p > best_p or best is None):
                best, best_p = key, -math.inf if math.isnan(p) else p
        return best, c.mapping(plain)

    def _encoded(self, event: Prediction | LabelEvent) -> bytes:
        try:
            return encode(event)
        except (UnicodeEncodeError, OverflowError):
            fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
        try:
            encode(fields)
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8
            fields = {name: _with_valid_text(value) for name, value in fields.items()}
            self._ledger.sanitized.next()
        except OverflowError:
            pass
        try:
            return encode(fields)
        except OverflowError:  # an int beyond 64 bits, which MessagePack cannot hold but JSON can
            return self._encoded_as_json(fields)

    def _encoded_as_json(self, event: dict[str, object]) -> bytes:
        """JSON as Python writes and the server reads it: ints of any size, and ``NaN`` and ``Infinity`` as words."""
        try:
            return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        except ValueError:  # an int of more than 4,300 digits, which Python refuses to write in decimal
            self._ledger.converted_repr.next()
            return encode({name: _with_big_ints_as_hex(value) for name, value in event.items()})


def _with_valid_text(value: object) -> object:
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is dict:
        return {_with_valid_text(name): _with_valid_text(item) for name, item in value.items()}
    return value


def _with_big_ints_as_hex(value: object) -> object:
    if type(value) is int and not _INT64_MIN <= value <= _UINT64_MAX:
        return hex(value)
    if type(value) is dict:
        return {name: _with_big_ints_as_hex(item) for name, item in value.items()}
    if type(value) is list:
        return [_with_big_ints_as_hex(item) for item in value]
    return value
