"""The packed form: one MessagePack array per frame.

The fast way decodes a whole frame into typed events at once, and its types are those that a value of an event may have: nothing
is looked at twice. Only when that fails is the frame taken apart, so that the good events are kept, values that an event cannot
hold become some that it can (the reader rule of :mod:`upshot.wire`), and what is wrong gets its place and its reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic

import msgspec

from upshot.capture.flags import Flags
from upshot.wire import Prediction
from upshot_joiner.errors import Problem
from upshot_joiner.intake.body import Frame
from upshot_joiner.intake.decoded import (
    Decoded,
    EventT,
    Refused,
    check_count,
    explain,
    payload_of,
    quoted,
    unreadable_frame,
)
from upshot_joiner.intake.packed_items import split
from upshot_joiner.intake.reader_rule import Extension, ReaderRule, flags_of
from upshot_joiner.intake.shaped import Decode, ShapedDecoder

Value = float | int | bool | str | None | list[float | int | bool]
"""What an event can hold: anything else makes msgspec refuse it, which costs nothing."""

_FIELDS = ("features", "inputs")


class _PlainPrediction(Prediction, omit_defaults=True, kw_only=True):
    """A prediction whose values are all such as an event can hold."""

    features: dict[str, Value] = {}  # noqa: RUF012  # msgspec copies it
    inputs: dict[str, Value] | None = None


class PackedDecoder(Generic[EventT]):
    """Decodes packed bodies of one kind of event. Every method may be called from any thread."""

    def __init__(self, event: type[EventT]) -> None:
        self._event: type[EventT] = event
        plain: Any = _PlainPrediction if event is Prediction else event
        self._frame: msgspec.msgpack.Decoder[list[EventT]] = msgspec.msgpack.Decoder(list[plain])
        self._shaped = ShapedDecoder(_frame, Value) if event is Prediction else None
        self._plain: msgspec.msgpack.Decoder[EventT] = msgspec.msgpack.Decoder(plain)
        self._any: msgspec.msgpack.Decoder[EventT] = msgspec.msgpack.Decoder(event, ext_hook=Extension)
        self._items = msgspec.msgpack.Decoder(list[msgspec.Raw])
        self._untyped = msgspec.msgpack.Decoder(ext_hook=Extension)

    def decode(self, frames: list[Frame]) -> Decoded[EventT]:
        """Decode the frames of a body; indices count through all of them, and an unreadable frame counts as one item.

        Raises a 400 :class:`Problem` when no frame is a MessagePack array, 413 when there are too many items.
        """
        body: _Body[EventT] = _Body()
        readable = False
        for number, frame in enumerate(frames):
            if isinstance(frame, bytes) and self._decode_frame(frame, body):
                readable = True
            else:
                sent = frame if isinstance(frame, bytes) else frame.sent
                body.refused.append(unreadable_frame(body.n_items, number, sent))
                body.n_items += 1
            check_count(body.n_items)
        if not readable:
            raise Problem(
                400,
                "invalid_packed",
                "The body is not a MessagePack array.",
                [{"loc": "body", "code": "invalid_packed"}],
            )
        return Decoded(body.events, body.refused, body.converted)

    def _decode_frame(self, frame: bytes, body: _Body[EventT]) -> bool:
        """Add what a frame holds to the body; False when it is no MessagePack."""
        start = body.n_items
        decode: Any = self._frame.decode
        try:
            events: Any = self._shaped.decode(frame, decode) if self._shaped else decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            body.n_items += len(events)
            body.events += enumerate(events, start)
            return True
        items = self._split(frame)
        if items is None:
            return False
        check_count(start + len(items))
        body.n_items += len(items)
        rule = ReaderRule()
        for index, item in enumerate(items, start):
            try:
                event, reprs = self._one(item, rule)
            except _RefusedError as reason:
                body.refused.append(Refused(index, reason.code, reason.loc, reason.payload))
                continue
            body.events.append((index, event))
            if reprs:
                body.converted[index] = reprs
        return True

    def _split(self, frame: bytes) -> list[msgspec.Raw] | None:
        try:
            return self._items.decode(frame)
        except msgspec.ValidationError:  # something else than an array: one item
            try:
                self._untyped.decode(frame)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
            return [msgspec.Raw(frame)]
        except msgspec.DecodeError:
            return None
        except RecursionError:
            items = split(frame)
            return None if items is None else [msgspec.Raw(item) for item in items]

    def _one(self, item: msgspec.Raw, rule: ReaderRule) -> tuple[EventT, int]:
        """One event, and how many of its values were kept as ``repr``."""
        try:
            return self._plain.decode(item), 0
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        if self._event is Prediction:
            try:
                return self._by_rule(self._any.decode(item), rule)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        try:
            untyped = self._untyped.decode(item)
        except UnicodeDecodeError:
            raise _RefusedError("invalid_unicode", "", quoted(bytes(item))) from None
        except RecursionError:
            raise _RefusedError("too_deep", "", quoted(bytes(item))) from None
        except msgspec.ValidationError as error:  # a timestamp of the year 10,000
            raise _RefusedError(*explain(str(error)), quoted(bytes(item))) from None
        except msgspec.DecodeError:  # a map as a name
            raise _RefusedError("invalid", "", quoted(bytes(item))) from None
        if not isinstance(untyped, dict):
            raise _RefusedError("wrong_type", "", payload_of(untyped))
        try:
            if self._event is Prediction:
                return self._by_rule_untyped(untyped, rule)
            return msgspec.convert(untyped, self._event), 0
        except msgspec.ValidationError as error:
            raise _RefusedError(*explain(str(error)), payload_of(untyped)) from None

    def _by_rule(self, event: Any, rule: ReaderRule) -> tuple[Any, int]:
        """Apply the rule to the values of an event."""
        before = rule.reprs
        flags = flags_of(event.flags)
        for field_ in _FIELDS:
            given = getattr(event, field_)
            if given:
                setattr(event, field_, rule.mapping(field_, given, flags))
        event.flags = flags.noted
        return event, rule.reprs - before

    def _by_rule_untyped(self, fields: dict[str, Any], rule: ReaderRule) -> tuple[Any, int]:
        """The same for an item that is no event before its names are text."""
        before = rule.reprs
        flags = Flags()
        converted = {
            name: rule.mapping(name, value, flags) if name in _FIELDS and isinstance(value, dict) else value
            for name, value in fields.items()
        }
        event: Any = msgspec.convert(converted, self._event)
        event.flags = {**(flags.noted or {}), **(event.flags or {})} or None
        return event, rule.reprs - before


def _frame(event: type[Prediction]) -> Decode:
    plain: Any = msgspec.defstruct(
        "PlainShaped", [("inputs", dict[str, Value] | None, None)], bases=(event,), kw_only=True, omit_defaults=True
    )
    return msgspec.msgpack.Decoder(list[plain]).decode


@dataclass(slots=True)
class _Body(Generic[EventT]):
    """What of a body is decoded so far."""

    events: list[tuple[int, EventT]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    converted: dict[int, int] = field(default_factory=dict)
    n_items: int = 0


class _RefusedError(Exception):
    """Why one item cannot be accepted."""

    def __init__(self, code: str, loc: str, payload: Any) -> None:
        super().__init__(code, loc)
        self.code = code
        self.loc = loc
        self.payload = payload
