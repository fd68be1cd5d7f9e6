"""From a message to checked events, or the reason why nothing in it can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from upshot.wire import JSON_CONTENT_TYPE
from upshot_joiner.errors import Problem
from upshot_joiner.intake.check import EARLIEST_US, LATEST_US, CheckedLabel, CheckedPrediction
from upshot_joiner.intake.decoded import Refused, quoted
from upshot_joiner.intake.kafka.contract import LABELS, PREDICTIONS, Message
from upshot_joiner.intake.receive import Received, Receiver

Kind = Literal["predictions", "labels", "writers"]

TOPICS: Mapping[Kind, str] = {"predictions": PREDICTIONS, "labels": LABELS, "writers": PREDICTIONS}
_KIND_OF_TOPIC: Mapping[str, Kind] = {PREDICTIONS: "predictions", LABELS: "labels"}
_KINDS: Mapping[str, Kind] = {"predictions": "predictions", "labels": "labels", "writers": "writers"}
_COMPRESSED = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
"""The first bytes of what is compressed, where no header says so."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a message holds. A message of which nothing can be read is one refused item, and ``is_unreadable``."""

    message: Message
    kind: Kind
    received: Received[Any]
    is_unreadable: bool = False

    @property
    def n_good(self) -> int:
        """Events that can be stored."""
        return len(self.received.events)

    @property
    def n_bad(self) -> int:
        """Items that cannot."""
        return len(self.received.refused)

    @property
    def n_items(self) -> int:
        """How many numbers of items it takes; an index is never beyond."""
        indices = [self.received.events[-1][0]] if self.received.events else []
        indices += [refused.index for refused in self.received.refused]
        return max(indices, default=-1) + 1


class Opener:
    """Opens messages. Every method may be called from any thread."""

    def __init__(self, receiver: Receiver) -> None:
        self._decode: Mapping[Kind, Callable[[bytes, str, str], Received[Any]]] = {
            "predictions": receiver.decode_predictions,
            "labels": receiver.decode_labels,
            "writers": receiver.decode_reports,
        }

    def open(self, message: Message) -> Opened:
        """Decode and check a message. An event without a time of its own gets that of the message: the same at every delivery.

        Headers say what it is, as over HTTP; without them it is taken for JSON or NDJSON, compressed or not. Never raises.
        """
        topic_kind = _KIND_OF_TOPIC.get(message.partition.topic, "predictions")
        kind = _KINDS.get(message.headers.get("upshot-kind", topic_kind))
        if kind is None:
            return _unreadable(message, topic_kind, "unknown_kind", "header.upshot-kind")
        if message.value is None:
            return _unreadable(message, kind, "tombstone", "")
        if not message.value.strip():
            return _unreadable(message, kind, "empty", "")
        encoding = message.headers.get("content-encoding")
        if encoding is None:
            encoding = next((name for magic, name in _COMPRESSED.items() if message.value.startswith(magic)), "")
        form = message.headers.get("content-type", JSON_CONTENT_TYPE)
        try:
            received = self._decode[kind](message.value, form, encoding)
        except Problem as problem:
            place = problem.errors[0].get("loc", "") if problem.errors else ""
            return _unreadable(message, kind, problem.code, place)
        except (
            RecursionError,
            ValueError,
            TypeError,
        ):  # a decoder's own limit: this message's fault, not the next one's
            return _unreadable(message, kind, "unreadable", "")
        _date(received, message.timestamp_us)
        return Opened(message, kind, received)


def _unreadable(message: Message, kind: Kind, code: str, loc: str) -> Opened:
    refused = Refused(0, code, loc, quoted(message.value or b""))
    return Opened(message, kind, Received([], [refused]), is_unreadable=True)


def _date(received: Received[Any], timestamp_us: int | None) -> None:
    """After the check, so that the moment is no part of the content: the event sent once more is a duplicate, and no conflict."""
    if timestamp_us is None or not EARLIEST_US <= timestamp_us < LATEST_US:
        return
    for _, event in received.events:
        if isinstance(event, CheckedPrediction) and event.predicted_us is None:
            event.predicted_us = timestamp_us
        elif isinstance(event, CheckedLabel) and event.observed_us is None:
            event.observed_us = timestamp_us
