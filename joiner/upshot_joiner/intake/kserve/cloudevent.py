"""CloudEvents 1.0 over HTTP: one in the headers (binary mode), one as JSON (structured mode), or a list of them (batched mode)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from upshot_joiner.errors import Problem
from upshot_joiner.intake.check import MAX_ID_LENGTH, NotAccepted
from upshot_joiner.intake.decode import Refused

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_EVENTS = 10_000
"""In one batch."""

_PREFIX = "ce-"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OWN = frozenset({"specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "subject"})


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. ``time`` is RFC 3339 text, empty where the sender gave none; ``extensions`` are its other attributes."""

    id: str
    source: str
    type: str
    time: str
    extensions: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """The events of a request, each with its index in it, and what is none."""

    place: str
    """Where an attribute stood: what goes before its name."""
    is_batch: bool = False
    events: list[tuple[int, CloudEvent]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def take(self, index: int, attributes: Mapping[str, Any], data: bytes | NotAccepted) -> None:
        """Add an event of these attributes, or the reason why it is none."""
        try:
            if isinstance(data, NotAccepted):
                raise data
            self.events.append((index, _event(attributes, data, self.place)))
        except NotAccepted as reason:
            kept = data.decode("utf-8", "replace") if isinstance(data, bytes) else None
            self.refused.append(Refused(index, reason.code, reason.loc, {"attributes": dict(attributes), "data": kept}))


def decode(body: bytes, headers: Mapping[str, str]) -> Decoded:
    """The events of a decompressed body; ``headers`` have lower-case names.

    Raises a :class:`Problem`: 400 when the body of structured or batched mode is no JSON, 413 for too many events, 415 for
    what is no CloudEvent in one of the three modes.
    """
    form = headers.get("content-type", "").partition(";")[0].strip().lower()
    if form == STRUCTURED:
        decoded = Decoded("")
        _structured(decoded, 0, _json(body))
    elif form == BATCH:
        items = _json(body)
        if not isinstance(items, list):
            raise Problem(
                400, "invalid_json", "A batch is a JSON list of events.", [{"loc": "body", "code": "wrong_type"}]
            )
        if len(items) > MAX_EVENTS:
            raise Problem(
                413,
                "too_many_items",
                f"A batch holds at most {MAX_EVENTS:,} events.",
                [{"loc": "body", "code": "too_many_items"}],
            )
        decoded = Decoded("", is_batch=True)
        for index, item in enumerate(items):
            _structured(decoded, index, item)
    elif not form.startswith("application/cloudevents") and any(name.startswith(_PREFIX) for name in headers):
        attributes = {
            name[len(_PREFIX) :]: unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)
        }
        decoded = Decoded(f"header.{_PREFIX}")
        decoded.take(0, attributes, body)
    else:
        raise Problem(
            415,
            "unsupported_media_type",
            f"This is no CloudEvent: neither ce- headers nor {STRUCTURED} nor {BATCH}.",
            [{"loc": "header.content-type", "code": "unsupported"}],
        )
    return decoded


def _structured(decoded: Decoded, index: int, item: Any) -> None:
    if not isinstance(item, dict):
        decoded.refused.append(Refused(index, "wrong_type", "", item))
        return
    attributes = {name: value for name, value in item.items() if name not in ("data", "data_base64")}
    data: bytes | NotAccepted
    try:
        data = _data(item)
    except NotAccepted as reason:
        data = reason
    decoded.take(index, attributes, data)


def _data(item: Mapping[str, Any]) -> bytes:
    if item.get("data_base64") is not None:
        try:
            return base64.b64decode(item["data_base64"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise NotAccepted("invalid_base64", "data_base64") from None
    data = item.get("data")
    if data is None:
        return b""
    # A body that was logged under another content type (curl's default, say) travels as a text.
    try:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    except RecursionError:
        raise NotAccepted("too_deep", "data") from None
    return text.encode("utf-8", "surrogatepass")


def _event(attributes: Mapping[str, Any], data: bytes, place: str) -> CloudEvent:
    for name in ("specversion", "id", "source", "type"):
        value = attributes.get(name)
        if value is None or value == "":
            raise NotAccepted("missing" if value is None else "empty", place + name)
        _check_text(value, place + name)
    if not attributes["specversion"].startswith("1."):
        raise NotAccepted("not_allowed", f"{place}specversion")
    time = attributes.get("time") or ""
    _check_text(time, f"{place}time")
    extensions = {}
    for name, value in attributes.items():
        if name in _OWN or value is None:
            continue
        if not isinstance(value, str | bool | int):
            raise NotAccepted("wrong_type", place + name)
        extensions[name] = value if isinstance(value, str) else json.dumps(value)
    return CloudEvent(attributes["id"], attributes["source"], attributes["type"], time, extensions, data)


def _check_text(value: Any, loc: str) -> None:
    if not isinstance(value, str):
        raise NotAccepted("wrong_type", loc)
    if len(value) > MAX_ID_LENGTH:
        raise NotAccepted("too_long", loc)
    if _CONTROL.search(value):
        raise NotAccepted("control_character", loc)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotAccepted("invalid_unicode", loc) from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(
            400, "invalid_json", "The body is not JSON.", [{"loc": "body", "code": "invalid_json"}]
        ) from error
