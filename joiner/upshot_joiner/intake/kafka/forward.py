"""The HTTP collector in front of Kafka: a request is answered when all in-sync replicas have its events; a worker stores them.

The body goes on as it came where all of it is valid, in one message. Else the valid events are packed anew, and so are those of a
body larger than a message may be. What is refused is said in the answer, and is in the topic of dead letters before that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import zstandard

from upshot.wire import JSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, pack
from upshot_joiner.errors import Problem
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction, CheckedReport, exact_json
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.decode import form_of
from upshot_joiner.intake.kafka.contract import KafkaRefused, KafkaUnavailable, MessageTooLarge, Outgoing, Producer
from upshot_joiner.intake.kafka.letters import letter_of_item
from upshot_joiner.intake.kafka.opening import TOPICS, Kind
from upshot_joiner.intake.origin import Origin, Origins
from upshot_joiner.intake.receive import Received, Receiver

_log = logging.getLogger("upshot.kafka")

MAX_MESSAGE_BYTES = 900 * 1024
"""Of a value; with its headers it fits into what a topic takes unless configured otherwise (1 MiB)."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of bodies that Kafka has not acknowledged. Above it requests are turned away: kafka-python's own memory has no bound."""

SENDERS = 4
"""Threads that compress and send."""

CheckedT = TypeVar("CheckedT", CheckedPrediction, CheckedLabel, CheckedReport)


@dataclass(frozen=True)
class _AsSent(Received[CheckedT]):
    """What a request brought, with its bytes."""

    body: bytes = b""
    form: str = ""
    encoding: str = ""


class Forwarder(Receiver):
    """A `Receiver` that hands on to Kafka. What it refuses it also notes in the store's quarantine, when that is there."""

    takes_without_store = True

    def __init__(self, committer: Committer, producer: Producer) -> None:
        super().__init__(committer)
        self._quarantine = committer
        self._producer = producer
        self._pool = ThreadPoolExecutor(SENDERS, "upshot-forward")
        self._waiting = 0
        self._lock = threading.Lock()

    def decode_predictions(self, body: bytes, content_type: str, encoding: str) -> Received[CheckedPrediction]:
        """Predictions of a body as sent; raises a :class:`Problem` when it is no list of events at all."""
        return _as_sent(super().decode_predictions(body, content_type, encoding), body, content_type, encoding)

    def decode_labels(self, body: bytes, content_type: str, encoding: str) -> Received[CheckedLabel]:
        """Label events of a body as sent; raises a :class:`Problem` when it is no list of events at all."""
        return _as_sent(super().decode_labels(body, content_type, encoding), body, content_type, encoding)

    def decode_reports(self, body: bytes, content_type: str, encoding: str) -> Received[CheckedReport]:
        """Reports of writers of a body as sent; raises a :class:`Problem` when it is no list of reports at all."""
        return _as_sent(super().decode_reports(body, content_type, encoding), body, content_type, encoding)

    def submit_predictions(
        self, received: Received[CheckedPrediction], origins: Origins | None = None
    ) -> Future[Answer]:
        """Hand them to Kafka; the future is done when all in-sync replicas have them."""
        return self._forward("predictions", received)

    def submit_labels(self, received: Received[CheckedLabel], origins: Origins | None = None) -> Future[Answer]:
        """Hand them to Kafka; the future is done when all in-sync replicas have them."""
        return self._forward("labels", received)

    def submit_reports(self, received: Received[CheckedReport], origins: Origins | None = None) -> Future[Answer]:
        """Hand them to Kafka; the future is done when all in-sync replicas have them."""
        return self._forward("writers", received)

    def _forward(self, kind: Kind, received: Received[Any]) -> Future[Answer]:
        n_bytes = len(received.body) if isinstance(received, _AsSent) else 0
        with self._lock:
            if self._waiting and self._waiting + n_bytes > MAX_WAITING_BYTES:
                raise Problem(503, "overloaded", "Kafka is slower than what comes in; try again soon.", retry_after_s=1)
            self._waiting += n_bytes
        answer = Answer(
            accepted=len(received.events),
            rejected=len(received.refused),
            errors=[{"index": one.index, "loc": one.loc, "code": one.code} for one in received.refused],
            refused=list(received.refused),
        )
        answer.errors.sort(key=lambda place: place["index"])
        done: Future[Answer] = Future()
        done.add_done_callback(lambda _: self._finished(n_bytes))
        self._pool.submit(self._send, kind, received, answer, done)  # to send may block, and the caller serves others
        if received.refused:
            self._note(kind, received)
        return done

    def _send(self, kind: Kind, received: Received[Any], answer: Answer, done: Future[Answer]) -> None:
        try:
            messages = _messages(kind, received)
            for one in received.refused:
                origin = Origin("http", index=one.index, entry_id=Origin.once().entry_id)
                messages.append(letter_of_item(kind, one, origin, 1))
            _settle([self._producer.send(message) for message in messages], answer, done)
        except Exception as error:  # noqa: BLE001  # a bug must not leave a request without an answer
            _log.exception("events could not be handed to Kafka")
            done.set_exception(_problem(error))

    def close(self) -> None:
        """Send what was handed over, then stop."""
        self._pool.shutdown()
        self._producer.close(timeout_s=5)

    def _finished(self, n_bytes: int) -> None:
        with self._lock:
            self._waiting -= n_bytes

    def _note(self, kind: Kind, received: Received[Any]) -> None:
        """Into the store's quarantine too; the request does not wait for a store that may be away."""
        refused = list(received.refused)
        try:
            if kind == "predictions":
                self._quarantine.submit_predictions([], refused)
            elif kind == "labels":
                self._quarantine.submit_labels([], refused)
            else:
                self._quarantine.submit_reports([], refused)
        except Problem as error:
            _log.warning("%d refused events are dead letters only (%s)", len(received.refused), error.code)


def _as_sent(received: Received[CheckedT], body: bytes, form: str, encoding: str) -> Received[CheckedT]:
    return _AsSent(received.events, received.refused, received.converted, body, form_of(form), encoding.strip().lower())


def _messages(kind: Kind, received: Received[Any]) -> list[Outgoing]:
    if not received.events:
        return []
    if isinstance(received, _AsSent) and not received.refused and len(received.body) <= MAX_MESSAGE_BYTES:
        return [_message(kind, received.body, received.form, received.encoding, len(received.events))]
    return list(_packed(kind, [one.event for _, one in received.events]))


def _packed(kind: Kind, events: Sequence[msgspec.Struct]) -> Iterable[Outgoing]:
    """The events in messages that are small enough; a single one that is too large is tried as it is."""
    form = PACKED_CONTENT_TYPE
    try:
        content = pack(msgspec.msgpack.encode(event) for event in events)
    except OverflowError:  # an integer that MessagePack cannot hold
        form = JSON_CONTENT_TYPE
        content = exact_json([_fields(event) for event in events]).encode()
    value = zstandard.ZstdCompressor(level=1).compress(content)
    if len(value) <= MAX_MESSAGE_BYTES or len(events) == 1:
        yield _message(kind, value, form, "zstd", len(events))
        return
    middle = len(events) // 2
    yield from _packed(kind, events[:middle])
    yield from _packed(kind, events[middle:])


def _fields(event: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}


def _message(kind: Kind, value: bytes, form: str, encoding: str, n_events: int) -> Outgoing:
    headers = {"content-type": form, "upshot-kind": kind, "upshot-events": str(n_events)}
    if encoding:
        headers["content-encoding"] = encoding
    return Outgoing(TOPICS[kind], value, headers)


def _settle(sent: list[Future[None]], answer: Answer, done: Future[Answer]) -> None:
    """``done`` when all are; it fails as an answer to a request does when one of them did."""
    left = [len(sent)]
    lock = threading.Lock()

    def one_is_done(_: Future[None]) -> None:
        with lock:
            left[0] -= 1
            if left[0]:
                return
        failures = [error for one in sent if (error := one.exception()) is not None]
        if failures:
            done.set_exception(_problem(failures[0]))
        else:
            done.set_result(answer)

    for one in sent:
        one.add_done_callback(one_is_done)
    if not sent:
        done.set_result(answer)


def _problem(error: BaseException) -> Problem:
    if isinstance(error, MessageTooLarge):
        return Problem(
            413, "event_too_large", "An event is larger than a Kafka message may be; nothing was acknowledged."
        )
    if isinstance(error, (KafkaUnavailable, KafkaRefused)):
        _log.warning("events are not taken: %s", error)
    return Problem(
        503, "kafka_unavailable", "Kafka does not take events now; nothing was acknowledged.", retry_after_s=2
    )
