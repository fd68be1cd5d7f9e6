"""The HTTP collector in front of Kafka: what it puts into the topics, and what a worker makes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard

from tests.joiner.kafka.conftest import Running, events_of
from upshot.wire import NDJSON_CONTENT_TYPE
from upshot_joiner.errors import Problem
from upshot_joiner.intake.committer import Answer
from upshot_joiner.intake.kafka import forward
from upshot_joiner.intake.kafka.contract import LABELS, PREDICTIONS, Outgoing
from upshot_joiner.intake.kafka.forward import Forwarder


@pytest.fixture
def forwarder(running: Running) -> Iterator[Forwarder]:
    made = Forwarder(running.line.committer, running.broker.producer())
    yield made
    made.close()


def post(forwarder: Forwarder, events: Any, form: str = "application/json", encoding: str = "") -> Answer:
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    return forwarder.submit_predictions(forwarder.decode_predictions(body, form, encoding)).result(30)


def test_a_valid_body_goes_on_as_it_came(running: Running, forwarder: Forwarder, fresh: str) -> None:
    """Byte for byte, with what it is in its headers; a worker stores it."""
    lines = b"\n".join(json.dumps(event).encode() for event in events_of(fresh, 0, 1))
    body = zstandard.compress(lines)
    answer = post(forwarder, body, f"{NDJSON_CONTENT_TYPE}; charset=utf-8", "zstd")
    assert (answer.accepted, answer.rejected) == (2, 0)
    [message] = running.broker.messages(PREDICTIONS)
    assert message.value == body
    assert message.headers == {
        "content-type": NDJSON_CONTENT_TYPE,
        "content-encoding": "zstd",
        "upshot-kind": "predictions",
        "upshot-events": "2",
    }
    running.work()
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-0", f"{fresh}-1"]


def test_what_is_refused_is_said_and_is_a_dead_letter_and_the_rest_goes_on(
    running: Running, forwarder: Forwarder, fresh: str
) -> None:
    """The answer names it by its index in the request; the valid ones keep type and value."""
    good = [
        {**event, "features": {"i": 1, "f": 1.0, "nan": float("nan"), "none": None}} for event in events_of(fresh, 0, 2)
    ]
    answer = post(forwarder, [good[0], {"request_id": "", "model": fresh}, good[1]])
    assert (answer.accepted, answer.errors) == (2, [{"index": 1, "loc": "request_id", "code": "empty"}])
    [letter] = running.letters()
    assert (letter.headers["upshot-reason"], letter.headers["upshot-origin-topic"]) == ("empty", "http")
    running.work()
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-0", f"{fresh}-2"]
    told = running.line.story(f"{fresh}-2")["predictions"][0]
    assert [(name, type(value)) for name, value in told["features"].items()] == [
        ("f", float), ("i", int), ("nan", float if isinstance(told["features"]["nan"], float) else str), ("none", type(None))
    ]  # fmt: skip


def test_a_body_larger_than_a_message_may_be_becomes_several(
    running: Running, forwarder: Forwarder, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost between them; integers beyond 64 bits too."""
    monkeypatch.setattr(forward, "MAX_MESSAGE_BYTES", 500)
    events = [
        {**event, "features": {"n": 2**70 + event["features"]["n"], "x": "y" * 50}}
        for event in events_of(fresh, *range(300))
    ]
    assert post(forwarder, events).accepted == 300
    messages = running.broker.messages(PREDICTIONS)
    assert len(messages) > 1
    assert all(message.size <= 500 for message in messages)
    running.work()
    running.until_committed()
    assert len(running.stored(fresh)) == 300
    assert running.line.story(f"{fresh}-7")["predictions"][0]["features"]["n"] == 2**70 + 7


def test_labels_and_reports_go_to_their_topics(running: Running, forwarder: Forwarder, fresh: str) -> None:
    """A label with its topic, a report among the predictions."""
    label = json.dumps({"request_id": fresh, "value": 0}).encode()
    report = json.dumps({"writer_id": fresh, "next_seq": 1, "reported_at": 1.7e9, "started_at": 1.7e9}).encode()
    forwarder.submit_labels(forwarder.decode_labels(label, "application/json", "")).result(30)
    forwarder.submit_reports(forwarder.decode_reports(report, "application/json", "")).result(30)
    assert [message.value for message in running.broker.messages(LABELS)] == [label]
    assert [message.headers["upshot-kind"] for message in running.broker.messages(PREDICTIONS)] == ["writers"]


def test_nothing_is_answered_before_kafka_has_it(
    running: Running, forwarder: Forwarder, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away is a 503, and the sender still has its events."""
    running.broker.is_away = True
    with pytest.raises(Problem) as refused:
        post(forwarder, events_of(fresh, 0))
    assert (refused.value.status, refused.value.code) == (503, "kafka_unavailable")
    running.broker.is_away = False
    let_go = threading.Event()
    real = running.broker.produce

    def slow(message: Outgoing, *rest: Any) -> Any:
        let_go.wait(20)
        return real(message, *rest)

    monkeypatch.setattr(running.broker, "produce", slow)
    received = forwarder.decode_predictions(json.dumps(events_of(fresh, 1)).encode(), "application/json", "")
    answer = forwarder.submit_predictions(received)
    assert not answer.done()
    monkeypatch.setattr(forward, "MAX_WAITING_BYTES", 100)
    with pytest.raises(Problem) as overloaded:
        forwarder.submit_predictions(received)
    assert overloaded.value.code == "overloaded"
    let_go.set()
    assert answer.result(30).accepted == 1
