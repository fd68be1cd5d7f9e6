"""What became of a body: the events in it, and the items that cannot be accepted."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from upshot.wire import LabelEvent, Prediction, WriterReport
from upshot_joiner.errors import Problem

MAX_ITEMS = 50_000
"""Events in one request: bounds how long one request can hold up a group of others."""

_MAX_SHOWN = 10_000

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
    converted: Mapping[int, int] = field(default_factory=dict)
    """By the index of an event, how many of its values were kept as ``repr``; events without any are left out."""


def unreadable_frame(index: int, number: int, sent: bytes) -> Refused:
    """A frame of which nothing can be read. It counts as one item, because nobody knows how many events it held."""
    return Refused(index, "unreadable_frame", f"frame[{number}]", quoted(sent))


def quoted(sent: bytes) -> str:
    """Bytes as quarantine can keep them."""
    return base64.b64encode(sent).decode()


def check_count(items: int) -> None:
    """Raise a 413 :class:`Problem` for more items than one request may hold."""
    if items > MAX_ITEMS:
        raise Problem(
            413,
            "too_many_items",
            f"A request holds at most {MAX_ITEMS:,} events; send it in smaller batches.",
            [{"loc": "body", "code": "too_many_items"}],
        )


def payload_of(item: object) -> object:
    """A refused item as quarantine can keep it: as it is where JSON holds it, else the beginning of its ``repr``."""
    try:
        json.dumps(item, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return repr(item)[:_MAX_SHOWN]
    return item


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
