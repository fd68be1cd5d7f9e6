"""Kafka for the joiner's tests: the in-memory broker and the real one, behind one face."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.running_kafka import messages as real_messages
from upshot.kafka_address import KafkaAddress
from upshot_joiner.intake.kafka.client import KafkaGroupMember, KafkaWriter
from upshot_joiner.intake.kafka.contract import Consumer, Message, Outgoing, Partition, Producer
from upshot_joiner.intake.kafka.in_memory import InMemoryBroker

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
