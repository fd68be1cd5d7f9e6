"""Dead letters sent again to the topic they came from: a worker takes them like any message, and refuses them again or not.

The topic of dead letters is its own book: a letter opens an entry (its key), a marker of the same key closes it, and a letter that
comes after (the event was refused again) opens it anew. All of a key lie in one partition, so in order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from upshot.wire import JSON_CONTENT_TYPE
from upshot_joiner.clock import from_micros
from upshot_joiner.intake.kafka.contract import DEAD, PREDICTIONS, Message, Outgoing, Producer
from upshot_joiner.intake.kafka.opening import TOPICS

REPLAYED = "upshot-replayed"
"""The header of a marker."""
_TOPICS: Mapping[str, str] = {str(kind): topic for kind, topic in TOPICS.items()}
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class WantedLetters:
    """Which letters; empty means any."""

    code: str = ""
    model: str = ""
    kind: str = ""
    start: datetime | None = None
    end: datetime | None = None


@dataclass
class Resent:
    """What became of the open letters that were wanted: ``found`` = ``sent`` + all ``unfit`` (by reason)."""

    found: int = 0
    sent: int = 0
    """In a dry run: that would be."""
    unfit: Counter[str] = field(default_factory=Counter)
    """``cut`` (too long to be kept whole), ``empty`` (there is nothing to send)."""
    again: int = 0
    """Of those found, letters of events that were replayed before and refused again."""


def open_letters(messages: Iterable[Message]) -> list[Message]:
    """The newest letter of every entry that is open, oldest first. ``messages``: of that topic, each partition's in order."""
    letters: dict[bytes, Message] = {}
    for message in messages:
        key = message.key or b""
        if REPLAYED in message.headers:
            letters.pop(key, None)
        elif key:
            letters[key] = message
    return sorted(letters.values(), key=lambda letter: letter.timestamp_us or 0)


def resend(
    letters: Iterable[Message],
    wanted: WantedLetters,
    producer: Producer,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Resent:
    """Send the wanted ones again, each to its topic, and mark it. Raises KafkaUnavailable or KafkaRefused; call it again then."""
    result = Resent()
    chosen = []
    for letter in letters:
        if not _is_wanted(letter, wanted):
            continue
        result.found += 1
        result.again += letter.headers.get("upshot-attempt", "1") != "1"
        if "upshot-cut" in letter.headers:
            result.unfit["cut"] += 1
        elif not letter.value:
            result.unfit["empty"] += 1
        else:
            chosen.append(letter)
    for at in range(0, len(chosen), _AT_ONCE):
        some = chosen[at : at + _AT_ONCE]
        if not dry_run:
            _send_all(producer, [_event(letter) for letter in some])
            _send_all(producer, [_marker(letter) for letter in some])
        result.sent += len(some)
        progress(result.sent)
    return result


def _send_all(producer: Producer, messages: list[Outgoing]) -> None:
    for sent in [producer.send(message) for message in messages]:
        sent.result()


def _event(letter: Message) -> Outgoing:
    names = ("content-type", "content-encoding", "upshot-kind", "upshot-attempt")
    headers = {name: letter.headers[name] for name in names if name in letter.headers}
    if headers.get("content-type") == "text/plain":  # it was no JSON, and may be by the rules of today
        headers["content-type"] = JSON_CONTENT_TYPE
    headers["upshot-entry"] = (letter.key or b"").decode("ascii", "replace")
    return Outgoing(_TOPICS.get(letter.headers.get("upshot-kind", ""), PREDICTIONS), letter.value or b"", headers)


def _marker(letter: Message) -> Outgoing:
    return Outgoing(DEAD, b"", {REPLAYED: datetime.now(UTC).isoformat()}, letter.key)


def _is_wanted(letter: Message, wanted: WantedLetters) -> bool:
    headers = letter.headers
    if wanted.code and headers.get("upshot-reason") != wanted.code:
        return False
    if wanted.kind and headers.get("upshot-kind", "").removesuffix("s") != wanted.kind.removesuffix("s"):
        return False
    died = None if letter.timestamp_us is None else from_micros(letter.timestamp_us)
    if died is not None and ((wanted.start and died < wanted.start) or (wanted.end and died >= wanted.end)):
        return False
    return not wanted.model or _model_of(letter) == wanted.model


def _model_of(letter: Message) -> object:
    try:
        item = json.loads(letter.value or b"")
    except (ValueError, RecursionError):
        return None
    return item.get("model") if isinstance(item, dict) else None
