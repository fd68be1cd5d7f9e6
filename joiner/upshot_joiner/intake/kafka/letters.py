"""Dead letters: what was refused, with the reason and the origin, in ``upshot.dead``.

A letter holds the whole message when nothing of it could be read, else the one item as JSON. Its key is the ID of the quarantine
entry, the same at every delivery: a letter that is there twice is one letter.
"""

from __future__ import annotations

import base64

from upshot.wire import JSON_CONTENT_TYPE
from upshot_joiner.intake.decoded import Refused
from upshot_joiner.intake.kafka.contract import DEAD, Message, Outgoing
from upshot_joiner.intake.kafka.opening import Kind
from upshot_joiner.intake.origin import Origin
from upshot_joiner.intake.quarantine import payload_text

MAX_LETTER_BYTES = 900 * 1024
"""Of a value; with its headers a letter fits into what a topic takes unless configured otherwise (1 MiB)."""
_FORWARDED = ("content-type", "content-encoding")


def letter_of_message(message: Message, kind: Kind, reason: Refused, origin: Origin, attempt: int) -> Outgoing:
    """A message of which nothing could be read, as it came."""
    headers = {name: message.headers[name] for name in _FORWARDED if name in message.headers}
    if message.value is None:
        headers["upshot-tombstone"] = "1"
    return _letter(message.value or b"", kind, reason, origin, attempt, headers)


def letter_of_item(kind: Kind, reason: Refused, origin: Origin, attempt: int) -> Outgoing:
    """One item of a message. What could not be parsed is text, as it came."""
    if isinstance(reason.payload, str):
        return _letter(payload_text(reason.payload), kind, reason, origin, attempt, {"content-type": "text/plain"})
    return _letter(payload_text(reason.payload), kind, reason, origin, attempt, {"content-type": JSON_CONTENT_TYPE})


def entry_key(entry_id: int) -> bytes:
    """The key of the letters of an entry."""
    return base64.b16encode(entry_id.to_bytes(16, "big")).lower()


def _letter(
    value: bytes, kind: Kind, reason: Refused, origin: Origin, attempt: int, headers: dict[str, str]
) -> Outgoing:
    headers |= {
        "upshot-kind": kind,
        "upshot-reason": reason.code,
        "upshot-loc": reason.loc,
        "upshot-origin-topic": origin.topic,
        "upshot-origin-partition": str(origin.partition),
        "upshot-origin-offset": str(origin.offset),
        "upshot-origin-index": str(origin.index),
        "upshot-attempt": str(attempt),
    }
    if len(value) > MAX_LETTER_BYTES:
        headers["upshot-cut"] = str(len(value))
    return Outgoing(DEAD, value[:MAX_LETTER_BYTES], headers, entry_key(origin.entry_id))
