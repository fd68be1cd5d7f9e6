"""Kafka for the joiner's tests: the in-memory broker and the real one, behind one face."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.joiner.conftest import Line
from tests.running_kafka import messages as real_messages
from tests.waiting import eventually
from upshot.kafka_address import KafkaAddress
from upshot_joiner.intake.kafka.client import KafkaGroupMember, KafkaWriter
from upshot_joiner.intake.kafka.consume import KafkaIntake, Patience
from upshot_joiner.intake.kafka.contract import (
    DEAD,
    LABELS,
    PREDICTIONS,
    Consumer,
    Message,
    Outgoing,
    Partition,
    Producer,
)
from upshot_joiner.intake.kafka.in_memory import InMemoryBroker, InMemoryMember
from upshot_joiner.intake.receive import Receiver

_names = itertools.count(1)


class Cluster(Protocol):
    """What a test does to a cluster besides consuming."""

    def topic(self, partitions: int = 4) -> str:
        """Make a topic; returns its name."""
        ...

    def member(self, group: str, topic: str) -> Consumer:
        """A new member of a group."""
        ...

    def produce(self, topic: str, value: bytes | None, partition: int, **headers: str) -> None:
        """Append one message to a partition."""
        ...

    def producer(self) -> Producer:
        """A producer."""
        ...

    def messages(self, topic: str) -> list[Message]:
        """All a topic holds."""
        ...


class InMemoryCluster:
    """The double."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker()

    def topic(self, partitions: int = 4) -> str:
        """Make a topic; returns its name."""
        self.broker = InMemoryBroker(partitions)
        return f"t{next(_names)}"

    def member(self, group: str, topic: str) -> Consumer:
        """A new member of a group."""
        return self.broker.member(group, [topic])

    def produce(self, topic: str, value: bytes | None, partition: int, **headers: str) -> None:
        """Append one message to a partition."""
        self.broker.append(Partition(topic, partition), value, headers)

    def producer(self) -> Producer:
        """A producer."""
        return self.broker.producer()

    def messages(self, topic: str) -> list[Message]:
        """All a topic holds."""
        return self.broker.messages(topic)


class RealCluster:
    """A broker."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._parsed = KafkaAddress.parse("kafka", f"kafka://{address}")
        self._stack = contextlib.ExitStack()
        self._producer: Any = None

    def topic(self, partitions: int = 4) -> str:
        """Make a topic; returns its name."""
        name = f"t{next(_names)}-{id(self)}"
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self._address)) as admin:
            admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])
        return name

    def member(self, group: str, topic: str) -> Consumer:
        """A new member of a group."""
        made = KafkaGroupMember(self._parsed, "", group, [topic], session_timeout_s=6)
        self._stack.callback(made.close, 1)
        return made

    def produce(self, topic: str, value: bytes | None, partition: int, **headers: str) -> None:
        """Append one message to a partition."""
        from kafka import KafkaProducer

        if self._producer is None:
            self._producer = KafkaProducer(bootstrap_servers=self._address, acks="all")
            self._stack.callback(self._producer.close, 1)
        listed = [(name, text.encode()) for name, text in headers.items()]
        self._producer.send(topic, value, key=b"k", headers=listed, partition=partition).get(10)

    def producer(self) -> Producer:
        """A producer."""
        made = KafkaWriter(self._parsed, "")
        self._stack.callback(made.close, 1)
        return made

    def messages(self, topic: str) -> list[Message]:
        """All a topic holds."""
        return [
            Message(
                Partition(found.topic, found.partition),
                found.offset,
                found.value,
                {name: value.decode() for name, value in found.headers},
                found.key,
            )
            for found in real_messages(self._address, topic)
        ]

    def close(self) -> None:
        """End what was opened."""
        self._stack.close()


@pytest.fixture(params=["in memory", "real"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Each of the two in turn."""
    if request.param == "in memory":
        yield InMemoryCluster()
        return
    real = RealCluster(request.getfixturevalue("kafka"))
    yield real
    real.close()


@pytest.fixture
def outgoing() -> Callable[[str, bytes], Outgoing]:
    return lambda topic, value: Outgoing(topic, value, {"a": "b"}, b"key")


GROUP = "upshot"
T0 = 1_760_000_000_000_000
"""A time of messages, in microseconds."""


@dataclass
class Running:
    """A broker, and the workers on it."""

    line: Line
    broker: InMemoryBroker
    workers: list[tuple[KafkaIntake, InMemoryMember, threading.Thread]] = field(default_factory=list)

    def work(self, **settings: Any) -> tuple[KafkaIntake, InMemoryMember]:
        """Start a worker."""
        member = self.broker.member(GROUP, [PREDICTIONS, LABELS])
        settings = {"patience": Patience(first_pause_s=0.01, longest_pause_s=0.1, revoke_s=1, stop_s=5)} | settings
        intake = KafkaIntake(member, self.broker.producer(), Receiver(self.line.committer), **settings)
        thread = threading.Thread(target=intake.run)
        thread.start()
        self.workers.append((intake, member, thread))
        return intake, member

    def stop(self) -> None:
        """End all workers, as a SIGTERM does."""
        for intake, _, thread in self.workers:
            intake.stop()
            thread.join(30)
        self.workers.clear()

    def send(self, topic: str, value: bytes, partition: int = 0, **headers: str) -> Message:
        """Produce a message."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.broker.produce(Outgoing(topic, value, named), T0, partition)

    def predict(self, *events: dict[str, Any], partition: int = 0) -> Message:
        """Produce predictions as one message of JSON."""
        return self.send(PREDICTIONS, json.dumps(list(events)).encode(), partition)

    def committed(self, topic: str = PREDICTIONS, partition: int = 0) -> int:
        """What the group has committed."""
        return self.broker.committed(GROUP).get(Partition(topic, partition), 0)

    def until_committed(self, timeout_s: float = 20) -> None:
        """Wait until everything produced is done with."""

        def all_is_done() -> bool:
            ends = {m.partition: m.offset + 1 for topic in (PREDICTIONS, LABELS) for m in self.broker.messages(topic)}
            return ends.items() <= self.broker.committed(GROUP).items()

        eventually(all_is_done, timeout_s)

    def stored(self, prefix: str) -> list[str]:
        """IDs of the requests that a reader sees, each as often as it is seen."""
        sql = "SELECT request_id FROM predictions FINAL WHERE startsWith(request_id, {p:String}) ORDER BY request_id"
        return [request_id for (request_id,) in self.line.store.query(sql, {"p": prefix})]

    def quarantined(self, kind: str = "prediction") -> list[tuple[Any, ...]]:
        """What this broker's messages left in quarantine: reason and origin."""
        return self.line.store.query(
            "SELECT toString(code), loc, toString(topic), partition, offset, place FROM quarantine "
            "WHERE topic != '' AND kind = {k:String} AND received_at > {since:DateTime64(6, 'UTC')} "
            "ORDER BY topic, partition, offset, place",
            {"k": kind, "since": self.since},
        )

    def __post_init__(self) -> None:
        self.since = self.line.stamper.next()

    def letters(self) -> list[Message]:
        """The dead letters."""
        return self.broker.messages(DEAD)


@pytest.fixture
def running(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    # Origins are those of topics of the same name in every test; a broker of its own is a topic of its own.
    made = Running(line, InMemoryBroker())
    line.store.command("ALTER TABLE quarantine DELETE WHERE topic != '' SETTINGS mutations_sync = 2")
    yield made
    made.stop()


def events_of(fresh: str, *numbers: int) -> list[dict[str, Any]]:
    return [{"request_id": f"{fresh}-{n}", "model": fresh, "features": {"n": n}} for n in numbers]
