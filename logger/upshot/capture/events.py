"""The long way from the arguments of a call to bytes: it takes everything, by the conversion table.

The short one, for what most calls are, is ``upshot.capture.plain``. Both lead to the same event in the store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from upshot.capture.bounded_text import bounded_text
from upshot.capture.convert import Converter, as_text, named_values
from upshot.capture.flags import REPR, SANITIZED, Flag, Flags
from upshot.capture.moments import moment
from upshot.capture.plain import encode
from upshot.capture.redaction import MASK, Redaction
from upshot.counters import Ledger
from upshot.wire import LabelEvent, Prediction

__all__ = ["SCALAR_TYPES", "EventEncoder", "is_json"]

SCALAR_TYPES = frozenset({float, int, bool, str})


def is_json(event: bytes) -> bool:
    """Whether an encoded event is JSON. A MessagePack map never starts with this byte."""
    return event[0] == 0x7B


class EventEncoder:
    """Encodes events of one writer: converts and redacts what needs it, flags and counts what is not as it was given."""

    def __init__(self, ledger: Ledger, redaction: Redaction | None = None) -> None:
        self._ledger = ledger
        self._convert = Converter(ledger.converted_repr.next, redaction, ledger.redacted.next)
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
        keep_probability: float = 1.0,
    ) -> bytes:
        """Encode one prediction. Raises only when an argument is not even a mapping where one is needed.

        What the schema forbids is encoded as it is (hence ``Any``): the server refuses it by the name of the field, and keeps it.
        """
        c = self._convert
        flags = Flags()
        probabilities = None
        if isinstance(prediction, Mapping):
            prediction, probabilities = self._most_probable(prediction, flags)
        return self._encoded(
            Prediction(
                request_id=request_id,
                item_id=c.name(item_id),
                model=model,
                model_version=model_version,
                predicted_at=c.screened(moment(predicted_at, c)),
                prediction=self._scalar("", "prediction", prediction, flags),
                probabilities=probabilities,
                features=c.mapping(features, "features", flags),
                feature_times=None if feature_times is None else self._times(feature_times, flags),
                inputs=None if inputs is None else c.mapping(inputs, "inputs", flags),
                attributions=None if attributions is None else c.mapping(attributions, "attributions", flags),
                entities=None if entities is None else c.texts(entities, "entities", flags),
                tags=None if tags is None else c.texts(tags, "tags", flags),
                action=self._scalar("", "action", action, flags),
                propensity=c.screened(propensity),
                shown=c.screened(shown),
                keep_probability=keep_probability,
                writer_id=writer_id,
                seq=seq,
            ),
            flags,
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
        entity: object = None,
    ) -> bytes:
        """Encode one label event. Raises ValueError for an entity of which redaction leaves nothing to find it by.

        A missing ``observed_at`` stays missing: stamped here, the same label logged twice would be two labels.
        """
        c = self._convert
        flags = Flags()  # a label event has no such field, but its odd places are counted
        label_name = c.name(name)
        plain = self._scalar("label", label_name, value, flags)
        return self._encoded(
            LabelEvent(
                request_id="" if request_id is None else c.name(request_id),
                entity=None if entity is None else self._entity(entity, flags),
                name=label_name,
                op=op,
                value=MASK if plain is None and value is not None else plain,
                item_id=c.name(item_id),
                model="" if model is None else c.name(model),
                observed_at=c.screened(moment(observed_at, c)),
                source=as_text(self._scalar("", "source", c.name(source), flags) or ""),
                label_id="" if label_id is None else c.name(label_id),
                tags=None if tags is None else c.texts(tags, "tags", flags),
                writer_id=writer_id,
                seq=seq,
            ),
            flags,
        )

    def _entity(self, entity: object, flags: Flags) -> dict[str, str]:
        """Type and ID as predictions have them: under the same rules of redaction, so that a hashed ID is found."""
        kept = self._convert.texts(entity, "entities", flags)
        if (entity and not kept) or any(MASK in text for text in kept.values()):
            raise ValueError("entity is redacted")
        return kept

    def _scalar(self, section: str, name: str, value: object, flags: Flags) -> Any:
        """One number, bool or text. A list or array of exactly one is that one: ``model.predict`` of one row."""
        kept = self._convert.at(section, name, value, flags)
        plain = None if kept is None else kept[1]
        return plain[0] if type(plain) is list and len(plain) == 1 else plain

    def _times(self, feature_times: Mapping[str, object], flags: Flags) -> dict[str, Any]:
        c = self._convert
        times = {c.name(name): moment(at, c) for name, at in named_values(feature_times).items() if at is not None}
        return c.mapping(times, "feature_times", flags)

    def _most_probable(self, by_class: Mapping[object, object], flags: Flags) -> tuple[Any, dict[str, Any]]:
        """Split class -> probability into the most probable class (the first on ties) and the probabilities by name."""
        c = self._convert
        plain: dict[object, object] = {}
        for key, p in named_values(by_class).items():
            name = c.value(key)
            plain[name if type(name) in SCALAR_TYPES else c.name(key)] = c.value(p)
        best: object = None
        best_p = -math.inf
        for key, p in plain.items():
            if isinstance(p, (int, float)) and (p > best_p or best is None):
                best, best_p = key, -math.inf if math.isnan(p) else p
        return best, c.mapping(plain, "probabilities", flags)

    def _encoded(self, event: Prediction | LabelEvent, flags: Flags) -> bytes:
        if isinstance(event, Prediction):
            event.flags = flags.noted
        try:
            return encode(event)
        except (UnicodeEncodeError, OverflowError):
            fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
        if _mend(fields, _with_valid_text, flags, SANITIZED):  # a lone surrogate has no UTF-8
            self._ledger.sanitized.next()
        try:
            return encode(fields)
        except OverflowError:  # an int beyond 64 bits, which MessagePack cannot hold but JSON can
            pass
        try:
            return _as_json(fields)
        except ValueError:  # an int of more than 4,300 digits, which Python refuses to write in decimal
            _mend(fields, self._without_unwritable_ints, flags, REPR)
            return _as_json(fields)

    def _without_unwritable_ints(self, value: object) -> object:
        numbers = value if type(value) is list else [value]
        try:
            for number in numbers:
                str(number)
        except ValueError:
            self._ledger.converted_repr.next()
            return hex(value) if type(value) is int else bounded_text(value, self._convert.plain)
        return value


def _as_json(fields: dict[str, Any]) -> bytes:
    """JSON as Python writes and the server reads it: ints of any size, and ``NaN`` and ``Infinity`` as words."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _mend(fields: dict[str, Any], mended: Callable[[object], Any], flags: Flags, flag: Flag) -> bool:
    """Replace what must be replaced in the fields of an event, and flag its places. Returns whether anything was."""
    is_changed = False
    for field, value in fields.items():
        if type(value) is dict:
            kept = {}
            for name, item in value.items():
                kept[mended(name)] = new = mended(item)
                if new is not item or mended(name) is not name:
                    is_changed = True
                    if field != "flags":
                        flags.note(f"{field}.{mended(name)}", flag)
            fields[field] = kept
        elif (new := mended(value)) is not value:
            is_changed = True
            flags.note(field, flag)
            fields[field] = new
    if is_changed and "features" in fields:
        fields["flags"] = {mended(place): noted for place, noted in (flags.noted or {}).items()}
    return is_changed


def _with_valid_text(value: object) -> object:
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
