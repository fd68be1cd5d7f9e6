"""From bytes to events: JSON (an object, a list, one object per line), the packed form, and Arrow.

The fast way decodes a whole body into typed events at once. Only when that fails is every item looked at by itself, so that
the good ones are kept and each bad one gets its place and its reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Generic, cast

import msgspec

from upshot.wire import ARROW_CONTENT_TYPE, JSON_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, Prediction
from upshot_joiner.errors import Problem
from upshot_joiner.intake import arrow
from upshot_joiner.intake.body import Frame, whole
from upshot_joiner.intake.decoded import Decoded, EventT, Refused, check_count, explain, payload_of
from upshot_joiner.intake.packed import PackedDecoder
from upshot_joiner.intake.shaped import Decode, ShapedDecoder

__all__ = ["Decoded", "Decoder", "Refused", "form_of"]


class Decoder(Generic[EventT]):
    """Decodes bodies of one kind of event. Every method may be called from any thread."""

    def __init__(self, event: type[EventT]) -> None:
        self._event: type[EventT] = event
        self._packed: PackedDecoder[EventT] = PackedDecoder(event)
        self._list = msgspec.json.Decoder(list[event])  # type: ignore[valid-type]  # a type made at run time
        self._one: msgspec.json.Decoder[EventT] = msgspec.json.Decoder(event)
        self._shaped_list = ShapedDecoder(_json_list) if event is Prediction else None
        self._shaped_lines = ShapedDecoder(_json_lines) if event is Prediction else None

    def decode(self, frames: list[Frame], content_type: str) -> Decoded[EventT]:
        """Decode a decompressed body, given as its frames.

        Raises a 400 :class:`Problem` when it is not at all what its content type says, 413 when it has too many items, 415 when
        its content type is not one of ours, 422 when it is Arrow with columns that a prediction does not have.
        """
        form = form_of(content_type)
        if form == PACKED_CONTENT_TYPE:
            return self._packed.decode(frames)
        if form == ARROW_CONTENT_TYPE and self._event is Prediction:
            predictions: Any = arrow.decode(frames)
            return cast(Decoded[EventT], predictions)
        if form in (NDJSON_CONTENT_TYPE, "application/ndjson", "application/jsonl"):
            return self._decode_lines(whole(frames))
        if form == JSON_CONTENT_TYPE or (form.startswith("application/") and form.endswith("+json")):
            return self._decode_json(whole(frames))
        forms = [JSON_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE]
        forms += [ARROW_CONTENT_TYPE] if self._event is Prediction else []
        raise Problem(
            415,
            "unsupported_media_type",
            f"Content-Type must be {', '.join(forms[:-1])} or {forms[-1]}.",
            [{"loc": "header.content-type", "code": "unsupported"}],
        )

    def _decode_json(self, body: bytes) -> Decoded[EventT]:
        text = body.lstrip()
        try:
            if text.startswith(b"["):
                return _whole(_decoded(self._shaped_list, self._list.decode, text))
            return _whole([self._one.decode(text)])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass  # a ValidationError is a DecodeError too: look at every item by itself
        try:
            parsed = json.loads(text, parse_int=_int)  # takes NaN and lone surrogates, which msgspec does not
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
        return self._each(enumerate(parsed if isinstance(parsed, list) else [parsed]))

    def _decode_lines(self, body: bytes) -> Decoded[EventT]:
        try:
            return _whole(_decoded(self._shaped_lines, self._one.decode_lines, body))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass
        lines = [line for line in body.split(b"\n") if line.strip()]
        check_count(len(lines))
        events: list[tuple[int, EventT]] = []
        refused: list[Refused] = []
        for index, line in enumerate(lines):
            try:
                events.append((index, self._one.decode(line)))
                continue
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                pass
            try:
                item = json.loads(line, parse_int=_int)
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
        check_count(len(items))
        events: list[tuple[int, EventT]] = []
        refused: list[Refused] = []
        for index, item in items:
            if not isinstance(item, dict):
                refused.append(Refused(index, "wrong_type", "", payload_of(item)))
                continue
            try:
                json.dumps(item, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                refused.append(Refused(index, "invalid_unicode", "", repr(item)))
                continue
            except (TypeError, ValueError, RecursionError):
                refused.append(Refused(index, "unsupported_value", "", payload_of(item)))
                continue
            try:
                events.append((index, msgspec.convert(item, self._event)))
            except msgspec.ValidationError as error:
                code, loc = explain(str(error))
                refused.append(Refused(index, code, loc, item))
        return Decoded(events, refused)


def _json_list(event: type[Prediction]) -> Decode:
    return msgspec.json.Decoder(list[event]).decode  # type: ignore[valid-type]  # a type made at run time


def _json_lines(event: type[Prediction]) -> Decode:
    return msgspec.json.Decoder(event).decode_lines


def _decoded(shaped: ShapedDecoder | None, decode: Callable[[bytes], list[EventT]], body: bytes) -> list[EventT]:
    if shaped is None:
        return decode(body)
    plain: Any = decode
    events: Any = shaped.decode(body, plain)
    return cast(list[EventT], events)


def _whole(events: list[EventT]) -> Decoded[EventT]:
    check_count(len(events))
    return Decoded(list(enumerate(events)), [])


def _too_deep() -> Problem:
    return Problem(400, "too_deep", "The body is nested too deeply.", [{"loc": "body", "code": "too_deep"}])


class _TooLong:
    """An integer of more digits than Python reads: its event is refused, and no other."""

    def __repr__(self) -> str:
        return "an integer that is too long"


def _int(digits: str) -> int | _TooLong:
    try:
        return int(digits)
    except ValueError:
        return _TooLong()


def form_of(content_type: str) -> str:
    """The media type of a ``Content-Type`` header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()
