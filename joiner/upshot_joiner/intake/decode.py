"""From bytes to events: JSON (an object, a list, one object per line) and the packed form.

The fast way decodes a whole body into typed events at once. Only when that fails is every item looked at by itself, so that
the good ones are kept and each bad one gets its place and its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from upshot.wire import JSON_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, LabelEvent, Prediction, WriterReport
from upshot_joiner.errors import Problem

MAX_ITEMS = 50_000
"""Events in one request: bounds how long one request can hold up a group of others."""

EventT = TypeVar("EventT", Prediction, LabelEvent, WriterReport)


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that cannot be accepted. ``payload`` goes to quarantine, never into an answer."""

    index: int
    code: str
    loc: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Decoded(Generic[EventT]):
    """The events of one body, each with its index in it, and what was refused."""

    events: list[tuple[int, EventT]]
    refused: list[Refused]


class Decoder(Generic[EventT]):
    """Decodes bodies of one kind of event."""

    def __init__(self, event: type[EventT]) -> None:
        self._event: type[EventT] = event
        self._packed = msgspec.msgpack.Decoder(list[event])  # type: ignore[valid-type]  # a type made at run time
        self._list = msgspec.json.Decoder(list[event])  # type: ignore[valid-type]
        self._one: msgspec.json.Decoder[EventT] = msgspec.json.Decoder(event)

    def decode(self, body: bytes, content_type: str) -> Decoded[EventT]:
        """Decode a decompressed body.

        Raises a 400 :class:`Problem` when it is no JSON (or no MessagePack) at all, 413 when it has too many items, 415 when its
        content type is not one of ours.
        """
        form = content_type.partition(";")[0].strip().lower()
        if form == PACKED_CONTENT_TYPE:
            return self._decode_packed(body)
        if form in (NDJSON_CONTENT_TYPE, "application/ndjson", "application/jsonl"):
            return self._decode_lines(body)
        if form == JSON_CONTENT_TYPE or (form.startswith("application/") and form.endswith("+json")):
            return self._decode_json(body)
        raise Problem(
            415,
            "unsupported_media_type",
            f"Content-Type must be {JSON_CONTENT_TYPE}, {NDJSON_CONTENT_TYPE} or {PACKED_CONTENT_TYPE}.",
            [{"loc": "header.content-type", "code": "unsupported"}],
        )

    def _decode_packed(self, body: bytes) -> Decoded[EventT]:
        try:
            return _whole(self._packed.decode(body))
        except msgspec.ValidationError:
            pass
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Problem(
                400,
                "invalid_packed",
                "The body is not a MessagePack array.",
                [{"loc": "body", "code": "invalid_packed"}],
            ) from error
        try:
            items = msgspec.msgpack.decode(body)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Problem(
                400, "invalid_packed", "The body is not valid MessagePack.", [{"loc": "body", "code": "invalid_packed"}]
            ) from error
        return self._each(enumerate(items if isinstance(items, list) else [items]))

    def _decode_json(self, body: bytes) -> Decoded[EventT]:
        text = body.lstrip()
        try:
            if text.startswith(b"["):
                return _whole(self._list.decode(text))
            return _whole([self._one.decode(text)])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass  # a ValidationError is a DecodeError too: look at every item by itself
        try:
            parsed = json.loads(text)  # takes NaN, Infinity and lone surrogates, which msgspec does not
        except RecursionError as error:
            raise _too_deep() from error
        except UnicodeDecodeError as error:
            raise Problem(
                400, "invalid_json", "The body is not UTF-8.", [{"loc": "body", "code": "invalid_unicode"}]
            ) from error
        except json.JSONDecodeError as error:
            if text.startswith(b"{") and b"\n" in text.strip() and error.msg == "Extra data":
                return self._decode_lines(body)
            raise Problem(
                400,
                "invalid_json",
                f"The body is not JSON: line {error.lineno}, column {error.colno}.",
                [{"loc": f"body:{error.lineno}:{error.colno}", "code": "invalid_json"}],
            ) from error
        except ValueError as error:  # an integer of more than 4,300 digits
            raise Problem(
                400,
                "invalid_json",
                "The body holds a number that is too long.",
                [{"loc": "body", "code": "invalid_json"}],
            ) from error
        return self._each(enumerate(parsed if isinstance(parsed, list) else [parsed]))

    def _decode_lines(self, body: bytes) -> Decoded[EventT]:
        lines = [line for line in body.split(b"\n") if line.strip()]
        _check_count(len(lines))
        events: list[tuple[int, EventT]] = []
        refused: list[Refused] = []
        for index, line in enumerate(lines):
            try:
                events.append((index, self._one.decode(line)))
                continue
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                pass
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                code = "invalid_unicode" if isinstance(error, UnicodeDecodeError) else "invalid_json"
                refused.append(Refused(index, code, "", line.decode("utf-8", "replace")))
                continue
            one = self._each([(index, item)])
            events += one.events
            refused += one.refused
        return Decoded(events, refused)

    def _each(self, items: Iterator[tuple[int, Any]] | list[tuple[int, Any]]) -> Decoded[EventT]:
        items = list(items)
        _check_count(len(items))
        events: list[tuple[int, EventT]] = []
        refused: list[Refused] = []
        for index, item in items:
            if not isinstance(item, dict):
                refused.append(Refused(index, "wrong_type", "", item))
                continue
            try:
                json.dumps(item, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                refused.append(Refused(index, "invalid_unicode", "", repr(item)))
                continue
            except (TypeError, ValueError, RecursionError):
                refused.append(Refused(index, "unsupported_value", "", repr(item)[:10_000]))
                continue
            try:
                events.append((index, msgspec.convert(item, self._event)))
            except msgspec.ValidationError as error:
                code, loc = explain(str(error))
                refused.append(Refused(index, code, loc, item))
        return Decoded(events, refused)


def _whole(events: list[EventT]) -> Decoded[EventT]:
    _check_count(len(events))
    return Decoded(list(enumerate(events)), [])


def _check_count(items: int) -> None:
    if items > MAX_ITEMS:
        raise Problem(
            413,
            "too_many_items",
            f"A request holds at most {MAX_ITEMS:,} events; send it in smaller batches.",
            [{"loc": "body", "code": "too_many_items"}],
        )


def _too_deep() -> Problem:
    return Problem(400, "too_deep", "The body is nested too deeply.", [{"loc": "body", "code": "too_deep"}])


_PLACE = re.compile(r" - at `\$?\.?(?P<loc>.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def explain(message: str) -> tuple[str, str]:
    """Code and place of a msgspec error message; the message itself may hold what was sent and goes nowhere."""
    place = _PLACE.search(message)
    loc = place["loc"] if place else ""
    missing = _MISSING.search(message)
    if missing:
        return "missing", f"{loc}.{missing['field']}".lstrip(".")
    if message.startswith(("Expected", "Invalid enum", "Invalid value")):
        return ("wrong_type" if message.startswith("Expected") else "not_allowed"), loc
    if "out of range" in message:
        return "out_of_range", loc
    return "invalid", loc
