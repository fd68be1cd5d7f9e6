"""The HTTP collector in front of Kafka: what it puts into the topics, and what a worker makes of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard

from tests.joiner.kafka.conftest import T0, Running, events_of
from tests.waiting import eventually
from upshot.wire import NDJSON_CONTENT_TYPE
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.kafka import forward
from upshot_joiner.intake.kafka.contract import LABELS, PREDICTIONS, Outgoing
from upshot_joiner.intake.kafka.forward import Forwarder
from upshot_joiner.intake.kserve.cloudevent import CloudEvent, Decoded
from upshot_joiner.intake.kserve.pairing import Pairing
from upshot_joiner.intake.webhooks.hooks import Hooks, Taken
from upshot_joiner.intake.webhooks.sources import Sources


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


MAPPING = {"events": "list", "fields": {"request_id": "r", "value": "v", "observed_at": "at"}}


@pytest.fixture
def hooks(running: Running, forwarder: Forwarder) -> Iterator[Hooks]:
    line = running.line
    sources = Sources(line.store, line.stamper, {})
    made = Hooks(line.store, line.stamper, line.clock, forwarder, line.committer, sources, exposed=False)
    made.start()
    yield made
    made.close()


def deliver(hooks: Hooks, source: str, *items: dict[str, Any]) -> Taken:
    """A delivery, taken as the route takes it."""
    found = hooks.open_to(source)
    mapped, kept = hooks.map(found, {}, json.dumps({"list": items}).encode())
    return asyncio.run(hooks.store(found, mapped, kept))


def label_events(running: Running, prefix: str) -> list[tuple[str, str]]:
    """What the store has, with where its time is from."""
    sql = (
        "SELECT request_id, if(observed_at = fromUnixTimestamp64Micro({t0:Int64}, 'UTC'), 'message', 'own') "
        "FROM label_events FINAL WHERE startsWith(request_id, {p:String}) ORDER BY ALL"
    )
    return running.line.store.query(sql, {"p": prefix, "t0": T0})


def test_labels_of_a_webhook_go_to_kafka_and_what_cannot_be_mapped_waits_in_the_store(
    running: Running, hooks: Hooks, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is answered when Kafka has them; a worker stores them, with the time of the message where they have none."""
    produce = running.broker.produce
    monkeypatch.setattr(running.broker, "produce", lambda message, *_: produce(message, T0, 0))
    hooks.configure(fresh, {"signature": {"scheme": "none"}, "mapping": MAPPING})
    good = [{"r": f"{fresh}-0", "v": 0}, {"r": f"{fresh}-1", "v": False, "at": "2026-01-01T00:00:00Z"}]
    taken = deliver(hooks, fresh, *good)
    assert (taken.answer.accepted, taken.answer.duplicates, len(taken.unmapped)) == (2, 0, 0)
    assert len(running.broker.messages(LABELS)) == 1
    assert label_events(running, fresh) == []
    assert deliver(hooks, fresh, *good).answer.accepted == 2  # that it is known, only the worker finds out
    taken = deliver(hooks, fresh, {"r": f"{fresh}-2", "v": 1, "at": "?"})
    assert (taken.answer.accepted, len(taken.unmapped)) == (0, 1)
    running.work()
    running.until_committed()
    assert label_events(running, fresh) == [(f"{fresh}-0", "message"), (f"{fresh}-1", "own")]

    without_time = {"request_id": "r", "value": "v"}
    hooks.configure(fresh, {"signature": {"scheme": "none"}, "mapping": MAPPING | {"fields": without_time}})
    told = hooks.replay(fresh)
    assert (told["replayed"], told["accepted"], told["waiting"]) == (1, 1, 0)
    assert label_events(running, fresh)[2:] == [(f"{fresh}-2", "own")]  # by the store's own writer, at once
    counts = hooks.state(fresh)["counts"]
    assert (counts["received"], counts["mapped"], counts["unmapped"]) == (3, 2, 1)


def test_while_the_store_is_away_deliveries_are_taken_and_counted_when_it_is_back(
    running: Running, hooks: Hooks, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one of which something has to wait in the store is not: its sender still has it."""
    hooks.configure(fresh, {"signature": {"scheme": "none"}, "mapping": MAPPING})

    def away(*_: object) -> None:
        raise StoreUnavailable("not now")

    real = running.line.store.insert
    monkeypatch.setattr(running.line.store, "insert", away)
    assert deliver(hooks, fresh, {"r": f"{fresh}-0", "v": 1}).answer.accepted == 1
    with pytest.raises(StoreUnavailable):
        deliver(hooks, fresh, {"r": f"{fresh}-1"})
    monkeypatch.setattr(running.line.store, "insert", real)
    assert deliver(hooks, fresh, {"r": f"{fresh}-2", "v": 1}).answer.accepted == 1
    state = hooks.state(fresh)
    assert (state["counts"]["received"], state["counts"]["mapped"], state["events"]["accepted"]) == (2, 2, 2)
    running.work()
    running.until_committed()
    assert [request_id for request_id, _ in label_events(running, fresh)] == [f"{fresh}-0", f"{fresh}-2"]


def test_predictions_of_paired_inferences_go_to_kafka_once_the_pair_is_complete(
    running: Running, forwarder: Forwarder, fresh: str
) -> None:
    """The halves are in the store. A broker that is away fails the completing half, and the pair is made when it is back."""
    line = running.line
    pairing = Pairing(line.store, forwarder, line.committer, line.clock)
    pairing.start()

    def half(side: str, id_: str, body: Any) -> Answer:
        known = {"namespace": "shop", "inferenceservicename": fresh}
        kind = f"org.kubeflow.serving.inference.{side}"
        event = CloudEvent(id_, "http://pod/", kind, "2026-01-02T03:04:05Z", known, json.dumps(body).encode())
        return pairing.submit(Decoded("", events=[(0, event)])).result(30)

    try:
        assert half("request", f"{fresh}-0", {"instances": [[1]]}).accepted == 1
        assert running.broker.messages(PREDICTIONS) == []
        assert half("response", f"{fresh}-0", {"predictions": [0.5]}).accepted == 1
        assert len(running.broker.messages(PREDICTIONS)) == 1
        assert running.stored(fresh) == []
        running.broker.is_away = True
        half("request", f"{fresh}-1", {"instances": [[2]]})
        with pytest.raises(Problem) as refused:
            half("response", f"{fresh}-1", {"predictions": [0.7]})
        assert refused.value.code == "kafka_unavailable"
        running.broker.is_away = False
        eventually(lambda: len(running.broker.messages(PREDICTIONS)) == 2)  # the sweep finds it complete
        running.work()
        running.until_committed()
        assert running.stored(fresh) == [f"{fresh}-0", f"{fresh}-1"]
        # What cannot be read is in quarantine, as it was: nothing of it goes to Kafka.
        half("request", f"{fresh}-2", {"instances": [[1], [2]]})
        answer = half("response", f"{fresh}-2", {"predictions": [1]})
        assert (answer.accepted, answer.rejected) == (0, 1)
        assert len(running.broker.messages(PREDICTIONS)) == 2
    finally:
        pairing.close()
