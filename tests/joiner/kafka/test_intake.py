"""The loop of a worker over the real store and the in-memory broker: what is stored, refused, kept, and committed when."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import zstandard

from tests.joiner.kafka.conftest import GROUP, T0, Running, events_of
from tests.waiting import eventually
from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE
from upshot_joiner.errors import StoreUnavailable
from upshot_joiner.intake.kafka import consume
from upshot_joiner.intake.kafka.consume import Patience
from upshot_joiner.intake.kafka.contract import (
    DEAD,
    LABELS,
    PREDICTIONS,
    KafkaUnavailable,
    Message,
    Outgoing,
    Partition,
)
from upshot_joiner.intake.kafka.lane import Bounds
from upshot_joiner.intake.kafka.poison import PoisonLimit

FORMS: dict[str, Callable[[list[dict[str, Any]]], tuple[bytes, dict[str, str]]]] = {
    "packed": lambda events: (
        zstandard.compress(msgspec.msgpack.encode(events)),
        {"content_type": PACKED_CONTENT_TYPE, "content_encoding": "zstd", "upshot_kind": "predictions"},
    ),
    "JSON list, gzip": lambda events: (
        gzip.compress(json.dumps(events).encode()),
        {"content_type": "application/json", "content_encoding": "gzip"},
    ),
    "NDJSON": lambda events: (
        b"\n".join(json.dumps(event).encode() for event in events),
        {"content_type": NDJSON_CONTENT_TYPE},
    ),
    "Arrow": lambda events: (_arrow(events), {"content_type": ARROW_CONTENT_TYPE}),
    "JSON without headers": lambda events: (json.dumps(events).encode(), {}),
    "NDJSON without headers": lambda events: (b"\n".join(json.dumps(event).encode() for event in events) + b"\n", {}),
    "compressed without headers": lambda events: (zstandard.compress(json.dumps(events).encode()), {}),
}


def _arrow(events: list[dict[str, Any]]) -> bytes:
    table = pa.table(
        {
            "request_id": [event["request_id"] for event in events],
            "model": [event["model"] for event in events],
            "feature__n": [event["features"]["n"] for event in events],
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(running: Running, fresh: str, form: str) -> None:
    """By its headers as over HTTP, and without them as JSON."""
    value, headers = FORMS[form](events_of(fresh, 0, 1, 2))
    running.send(PREDICTIONS, value, **headers)
    running.send(LABELS, json.dumps({"request_id": f"{fresh}-1", "value": 1}).encode())
    running.work()
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-{n}" for n in range(3)]
    assert [told["features"] for told in running.line.story(f"{fresh}-2")["predictions"]] == [{"n": 2}]
    assert running.line.outcomes(f"{fresh}-1") == [("", "", "label", "labelled", "1")]
    assert running.letters() == []


def test_reports_of_writers_come_in_the_topic_of_predictions(running: Running, fresh: str) -> None:
    """Told apart by their header."""
    report = {"writer_id": fresh, "next_seq": 3, "reported_at": 1.7e9, "started_at": 1.7e9}
    running.send(PREDICTIONS, json.dumps(report).encode(), upshot_kind="writers")
    running.work()
    running.until_committed()
    assert running.line.writer(fresh)["next_seq"] == 3


def test_an_event_without_a_time_has_that_of_its_message_at_every_delivery(running: Running, fresh: str) -> None:
    """So what is delivered again lies at the same place; and sent again in another message, it is no other content."""
    running.predict(*events_of(fresh, 0))
    running.send(LABELS, json.dumps({"request_id": f"{fresh}-0", "value": 1}).encode())
    running.work()
    running.until_committed()
    running.broker.produce(Outgoing(PREDICTIONS, json.dumps(events_of(fresh, 0)).encode()), T0 + 5_000_000, 1)
    running.until_committed()
    running.stop()
    running.broker.reset(GROUP)
    intake, _ = running.work()
    running.until_committed()
    told = running.line.story(f"{fresh}-0")
    assert [one["predicted_at"].timestamp() * 1e6 for one in told["predictions"]] == [T0]
    assert [one["observed_at"].timestamp() * 1e6 for one in told["label_events"]] == [T0]
    assert (intake.status.counters.accepted, intake.status.counters.duplicates) == (0, 3)
    assert running.quarantined() == []


def test_an_offset_is_committed_only_after_everything_before_it_is_stored(
    running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is stored behind it: commits are contiguous."""
    let_go = threading.Event()
    real = running.line.store.insert

    def slow(into: str, rows: pa.Table) -> None:
        if into == "label_events":
            let_go.wait(20)
        real(into, rows)

    monkeypatch.setattr(running.line.store, "insert", slow)
    running.work()
    running.send(LABELS, json.dumps({"request_id": f"{fresh}-0", "value": 1}).encode())
    eventually(lambda: running.workers[0][0].status.counters.messages == 1)
    for n in range(5):
        running.predict(*events_of(fresh, n))
    threading.Event().wait(0.7)  # longer than offsets take to be committed
    assert running.broker.committed(GROUP) == {}
    let_go.set()
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-{n}" for n in range(5)]


def test_a_store_that_takes_nothing_makes_lag_and_no_loss(
    running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages are kept, partitions are paused, nothing is committed; and it goes on by itself."""
    real = running.line.store.insert
    is_full = [True]

    def insert(into: str, rows: pa.Table) -> None:
        if is_full[0]:
            raise StoreUnavailable("no space left on device", 243)
        real(into, rows)

    monkeypatch.setattr(running.line.store, "insert", insert)
    intake, _ = running.work()
    running.predict(*events_of(fresh, 0))
    eventually(lambda: intake.status.store)
    for n in range(1, 20):
        running.predict(*events_of(fresh, n), partition=n % 4)
    eventually(lambda: all(lane.is_paused for lane in intake.status.partitions))
    assert intake.status.reasons
    assert running.broker.committed(GROUP) == {}
    is_full[0] = False
    running.until_committed()
    eventually(lambda: not intake.status.reasons and not any(lane.is_paused for lane in intake.status.partitions))
    assert sorted(running.stored(fresh)) == sorted(f"{fresh}-{n}" for n in range(20))
    assert running.letters() == []


UNREADABLE: dict[str, tuple[bytes | None, dict[str, str], str]] = {
    "not ours": (b"\x00\x01\x02 what is this", {}, "invalid_json"),
    "no UTF-8": (b'{"request_id": "\xff"}', {}, "invalid_json"),
    "wrong magic": (b"not zstd", {"content-encoding": "zstd"}, "corrupt_body"),
    "cut off": (zstandard.compress(b"[]" * 5000)[:-3], {"content-encoding": "zstd"}, "corrupt_body"),
    "empty": (b"", {}, "empty"),
    "blank": (b" \n ", {}, "empty"),
    "tombstone": (None, {}, "tombstone"),
    "unknown schema version": (
        b"\x90",
        {"content-type": "application/vnd.upshot.packed.v9"},
        "unsupported_media_type",
    ),
    "unknown kind": (b"[]", {"upshot-kind": "gossip"}, "unknown_kind"),
    "unknown encoding": (b"[]", {"content-encoding": "br"}, "unsupported_encoding"),
    "zstd bomb": (zstandard.compress(bytes(100_000_000)), {}, "body_too_large"),
    "gzip bomb": (gzip.compress(bytes(100_000_000)), {}, "body_too_large"),
    "packed garbage": (b"\xc1" * 9, {"content-type": PACKED_CONTENT_TYPE}, "invalid_packed"),
    "no Arrow": (b"ARROW1", {"content-type": ARROW_CONTENT_TYPE}, "invalid_arrow"),
    "almost 1 MiB": (b"x" * (1024 * 1024 - 1), {}, "invalid_json"),
    "nested too deeply": (b"[" * 100_000, {}, "too_deep"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_message_that_cannot_be_read_is_kept_and_holds_up_nothing(running: Running, fresh: str, kind: str) -> None:
    """In quarantine with its place, as a dead letter with its bytes; what came before and after is stored."""
    value, headers, code = UNREADABLE[kind]
    running.predict(*events_of(fresh, 0))
    bad = running.broker.append(Partition(PREDICTIONS, 0), value, headers)
    running.predict(*events_of(fresh, 1))
    running.work()
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-0", f"{fresh}-1"]
    [(found, _, *origin)] = running.quarantined()
    assert (found, *origin) == (code, PREDICTIONS, 0, bad.offset, 0)
    [letter] = running.letters()
    assert (letter.value or b"") == (value or b"")[: 900 * 1024]
    assert letter.headers["upshot-reason"] == code
    assert letter.headers["upshot-origin-offset"] == str(bad.offset)
    assert ("upshot-tombstone" in letter.headers) == (value is None)


def test_one_bad_event_of_a_message_goes_alone(running: Running, fresh: str) -> None:
    """The letter holds that item, with its place."""
    good = events_of(fresh, *range(5))
    bad = {"request_id": f"{fresh}-bad", "model": fresh, "predicted_at": "2026-01-01T00:00:00", "features": {"n": 7}}
    running.predict(*good[:3], bad, *good[3:])
    running.work()
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-{n}" for n in range(5)]
    assert running.quarantined() == [("time_without_offset", "predicted_at", PREDICTIONS, 0, 0, 3)]
    [letter] = running.letters()
    assert json.loads(letter.value or b"")["features"] == {"n": 7}
    headers = {name.removeprefix("upshot-"): text for name, text in letter.headers.items()}
    assert headers == {
        "content-type": "application/json",
        "kind": "predictions",
        "reason": "time_without_offset",
        "loc": "predicted_at",
        "origin-topic": PREDICTIONS,
        "origin-partition": "0",
        "origin-offset": "0",
        "origin-index": "3",
        "attempt": "1",
    }


def test_what_is_delivered_again_is_refused_again_and_noted_once(running: Running, fresh: str) -> None:
    """Unreadable messages, bad items and conflicts: one entry in quarantine each, and letters of one key."""
    running.predict(*events_of(fresh, 0), {"request_id": f"{fresh}-0", "model": fresh, "features": {"n": "other"}})
    running.predict({"request_id": "", "model": fresh}, *events_of(fresh, 1))
    running.send(PREDICTIONS, b"?")
    running.work()
    running.until_committed()
    before = running.quarantined()
    assert [code for code, *_ in before] == ["conflict", "empty", "invalid_json"]
    for _ in range(2):
        running.stop()
        running.broker.reset(GROUP)
        running.work()
        running.until_committed()
    assert running.quarantined() == before
    assert len({letter.key for letter in running.letters()}) == 3
    assert running.stored(fresh) == [f"{fresh}-0", f"{fresh}-1"]


def test_no_offset_is_committed_before_the_dead_letter_is_acknowledged(
    running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic of dead letters that takes nothing makes lag; nothing is dropped."""
    real = running.broker.produce
    takes = threading.Event()

    def produce(message: Outgoing, *rest: Any) -> Message:
        if message.topic == DEAD and not takes.is_set():
            raise KafkaUnavailable("away")
        return real(message, *rest)

    monkeypatch.setattr(running.broker, "produce", produce)
    intake, _ = running.work()
    running.send(PREDICTIONS, b"?")
    running.predict(*events_of(fresh, 0))
    eventually(lambda: intake.status.kafka and running.stored(fresh))
    assert running.committed() == 0
    takes.set()
    running.until_committed()
    assert len(running.letters()) == 1


@pytest.mark.parametrize("what", ["events", "messages", "conflicts"])
def test_where_everything_is_poison_the_partition_stops_and_keeps_its_lag(
    running: Running, fresh: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad deployment does not empty its topic into quarantine. The other partitions go on."""
    limit = PoisonLimit(max_consecutive=50, max_ratio=0.5, window=1000)
    running.predict(*events_of(fresh, *range(10)))
    for n in range(30):
        if what == "events":
            running.predict(*({"request_id": f"{fresh}-bad-{n}-{i}", "model": ""} for i in range(10)))
        elif what == "conflicts":
            running.predict(*({**event, "prediction": n} for event in events_of(fresh, *range(10))))
        else:
            running.send(PREDICTIONS, b"?")
            running.send(PREDICTIONS, b"?")
    running.predict(*events_of(fresh, 99))
    running.predict(*events_of(fresh, 100), partition=1)
    intake, _ = running.work(limit=limit, bounds=Bounds(parcel_events=10, lane_events=20))
    eventually(lambda: any(lane.stopped for lane in intake.status.partitions))
    eventually(lambda: running.committed(partition=1) == 1)
    eventually(lambda: all(not lane.in_flight for lane in intake.status.partitions))
    running.stop()
    n_quarantined = len(running.quarantined())
    assert 0 < n_quarantined <= (50 if what != "conflicts" else 50 + 20)  # conflicts are found out when they are stored
    assert f"{fresh}-99" not in running.stored(fresh)
    per_message = 1 if what == "messages" else 10
    assert running.committed() == 1 + n_quarantined // per_message
    assert [reason for reason in intake.status.reasons if "stopped" in reason]
    assert any("is stopped before offset" in record.getMessage() for record in caplog.records)


def test_when_the_cause_is_mended_a_new_start_goes_on_where_it_stopped(running: Running, fresh: str) -> None:
    """With a higher limit here; nothing was passed over."""
    for _ in range(30):
        running.send(PREDICTIONS, b"?")
    running.predict(*events_of(fresh, 0))
    intake, _ = running.work(limit=PoisonLimit(max_consecutive=10))
    eventually(lambda: any(lane.stopped for lane in intake.status.partitions))
    running.stop()
    assert running.committed() == 10
    running.work(limit=PoisonLimit(max_consecutive=100))
    running.until_committed()
    assert running.stored(fresh) == [f"{fresh}-0"]
    assert len(running.quarantined()) == 30


def test_what_is_on_its_way_is_bounded_and_polling_goes_on(
    running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow store pauses partitions; the consumer is polled all the same, so it stays a member."""
    let_go = threading.Event()
    real = running.line.store.insert

    def slow(into: str, rows: pa.Table) -> None:
        let_go.wait(20)
        real(into, rows)

    monkeypatch.setattr(running.line.store, "insert", slow)
    intake, member = running.work(bounds=Bounds(lane_events=100, parcel_events=20, events=150))
    polls = [0]
    poll = member.poll

    def counted(timeout_s: float) -> Any:
        polls[0] += 1
        return poll(timeout_s)

    monkeypatch.setattr(member, "poll", counted)
    for n in range(60):
        running.predict(*events_of(fresh, *range(10 * n, 10 * n + 10)), partition=n % 2)
    eventually(lambda: sum(lane.in_flight for lane in intake.status.partitions) >= 150)
    before = polls[0]
    eventually(lambda: polls[0] > before + 5)
    assert sum(lane.in_flight for lane in intake.status.partitions) < 150 + 20
    assert any(lane.is_paused for lane in intake.status.partitions)
    let_go.set()
    running.until_committed()
    assert len(running.stored(fresh)) == 600


def test_a_revoked_partition_is_finished_before_it_goes(running: Running, fresh: str) -> None:
    """The new owner begins where the first one was: nothing is delivered twice without need."""
    patience = Patience(first_pause_s=0.01, longest_pause_s=0.1, revoke_s=60, stop_s=5)
    first, _ = running.work(patience=patience)
    for n in range(40):
        running.predict(*events_of(fresh, n), partition=n % 4)
    eventually(lambda: first.status.counters.messages > 0)
    second, _ = running.work(patience=patience)
    eventually(lambda: len(second.status.partitions) == 4)
    for n in range(40, 80):
        running.predict(*events_of(fresh, n), partition=n % 4)
    running.until_committed()
    assert len(running.stored(fresh)) == 80
    assert second.status.counters.accepted
    assert first.status.counters.duplicates + second.status.counters.duplicates == 0


def test_a_worker_that_was_taken_for_dead_does_no_harm(
    running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two owners of one partition: what the stale one had on its way is stored once, and its commit is refused."""
    let_go = threading.Event()
    real = running.line.store.insert

    def slow(into: str, rows: pa.Table) -> None:
        let_go.wait(20)
        real(into, rows)

    monkeypatch.setattr(running.line.store, "insert", slow)
    stale, member = running.work()
    for n in range(20):
        running.predict(*events_of(fresh, n), partition=n % 4)
    eventually(lambda: stale.status.counters.messages == 20)
    running.broker.expel(member)
    running.work()
    let_go.set()
    running.until_committed()
    assert running.stored(fresh) == sorted(f"{fresh}-{n}" for n in range(20))


def test_a_stop_finishes_what_is_on_its_way_and_commits_it(running: Running, fresh: str) -> None:
    """A new start has nothing to do again."""
    running.work()
    for n in range(50):
        running.predict(*events_of(fresh, n), partition=n % 4)
    eventually(lambda: running.workers[0][0].status.counters.messages == 50)
    running.stop()
    running.until_committed(0.1)
    assert len(running.stored(fresh)) == 50


def test_a_broker_that_answers_nothing_is_said(
    running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A poll without a broker is only empty: the question for the ends shows it, and that it is back."""
    monkeypatch.setattr(consume, "LOOK_FOR_ENDS_EVERY_S", 0.05)
    intake, member = running.work()
    eventually(lambda: intake.status.partitions and not intake.status.reasons)
    monkeypatch.setattr(member, "ends", lambda *_, **__: {})
    eventually(lambda: intake.status.reasons == ["no Kafka broker answers"])
    monkeypatch.undo()
    eventually(lambda: not intake.status.reasons, 20)
    assert "a Kafka broker answers again" in caplog.text
