"""What the intake relies on, of the in-memory broker and of a real one: one suite for both."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

import pytest
from kafka import KafkaAdminClient

from tests.joiner.kafka.conftest import Cluster, RealCluster
from tests.waiting import eventually
from upshot.kafka_address import KafkaAddress
from upshot_joiner.intake.kafka.client import KafkaGroupMember
from upshot_joiner.intake.kafka.contract import Change, Consumer, Message, Outgoing, Partition

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


class Reader:
    """Polls, and keeps what it was told."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.messages: list[Message] = []
        self.changes: list[Change] = []

    @property
    def owned(self) -> set[Partition]:
        """What it was told it owns."""
        owned: set[Partition] = set()
        for change in self.changes:
            owned = owned | change.partitions if change.what == "assigned" else owned - change.partitions
        return owned

    @property
    def seen(self) -> set[tuple[Partition, int]]:
        """The messages, each once: what was seen before an assignment that the group took back comes again after it."""
        return {(message.partition, message.offset) for message in self.messages}

    def poll(self, timeout_s: float = 0.1) -> None:
        """Poll once."""
        found = self.consumer.poll(timeout_s)
        self.changes += found.changes
        self.messages += found.messages

    def until(self, check: Callable[[], object], timeout_s: float = 150) -> None:
        """Poll until the check is true."""
        eventually(lambda: self.poll() or check(), timeout_s, every_s=0.0)

    def values(self) -> list[bytes | None]:
        """The values, in order of arrival."""
        return [message.value for message in self.messages]


def together(readers: Iterable[Reader], check: Callable[[], object], timeout_s: float = 150) -> None:
    """Members poll at the same time, as processes do, until the check is true."""
    done = threading.Event()

    def read(reader: Reader) -> None:
        while not done.is_set():
            reader.poll(0.05)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        eventually(check, timeout_s)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_messages_come_once_and_in_order_as_they_are(cluster: Cluster) -> None:
    """Value, headers, a tombstone; a time that is the same for whoever reads it."""
    topic = cluster.topic(1)
    for value in (b"one", None, b""):
        cluster.produce(topic, value, 0, **{"content-type": "x"})
    readers = [Reader(cluster.member(f"{topic}-{n}", topic)) for n in range(2)]
    for reader in readers:
        reader.until(lambda reader=reader: len(reader.messages) >= 3)
        assert reader.values() == [b"one", None, b""]
        assert [message.offset for message in reader.messages] == [0, 1, 2]
        assert {message.headers["content-type"] for message in reader.messages} == {"x"}
    first, second = ([message.timestamp_us for message in reader.messages] for reader in readers)
    assert first == second
    assert all(first)


def test_what_was_not_committed_comes_again(cluster: Cluster) -> None:
    """The next owner begins at the committed offset, the first one at the beginning."""
    topic = cluster.topic(1)
    for n in range(10):
        cluster.produce(topic, b"%d" % n, 0)
    first = Reader(cluster.member(topic, topic))
    first.until(lambda: len(first.messages) == 10)
    assert first.consumer.committed([Partition(topic, 0)], 5) == {}
    assert first.consumer.commit({Partition(topic, 0): 4}, 5)
    assert first.consumer.committed([Partition(topic, 0)], 5) == {Partition(topic, 0): 4}
    first.consumer.close(5)
    second = Reader(cluster.member(topic, topic))
    second.until(lambda: len(second.messages) == 6)
    assert second.values() == [b"%d" % n for n in range(4, 10)]


def test_a_paused_partition_gives_nothing_and_loses_nothing(cluster: Cluster) -> None:
    """The others go on; after resuming, its messages come from where they were."""
    topic = cluster.topic(2)
    reader = Reader(cluster.member(topic, topic))
    cluster.produce(topic, b"a", 0)
    reader.until(lambda: reader.values() == [b"a"])
    reader.consumer.pause([Partition(topic, 0), Partition("not ours", 1)])
    for n in range(5):
        cluster.produce(topic, b"%d" % n, 0)
        cluster.produce(topic, b"other", 1)
    reader.until(lambda: len(reader.messages) == 6)
    assert set(reader.values()[1:]) == {b"other"}
    reader.poll(0.5)
    assert len(reader.messages) == 6
    reader.consumer.resume([Partition(topic, 0)])
    reader.until(lambda: len(reader.messages) == 11)
    assert reader.values()[6:] == [b"%d" % n for n in range(5)]


def test_a_second_member_takes_over_some_partitions_and_the_first_keeps_the_rest(cluster: Cluster) -> None:
    """Cooperative: what stays is not interrupted; what goes is told first, and has one owner at a time."""
    topic = cluster.topic(4)
    first = Reader(cluster.member(topic, topic))
    first.until(lambda: len(first.owned) == 4)
    second = Reader(cluster.member(topic, topic))
    together([first, second], lambda: len(first.owned) == 2 and len(second.owned) == 2)
    assert not first.owned & second.owned
    assert [change.what for change in first.changes] == ["assigned", "revoked"]
    assert {change.what for change in second.changes} == {"assigned"}
    for number in range(4):
        cluster.produce(topic, b"%d" % number, number)
    together([first, second], lambda: len(first.seen | second.seen) == 4)
    assert {message.partition for message in first.messages} == first.owned


def test_partitions_that_a_topic_gets_later_are_taken_also_by_who_polls_for_shorter_than_a_join_takes(
    kafka: str,
) -> None:
    """The library alone forgets a join that no poll waited for, and then neither joins again nor sleeps, for ever."""
    topic = RealCluster(kafka).topic(1)
    address = KafkaAddress.parse("kafka", f"kafka://{kafka}")
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin, contextlib.ExitStack() as stack:
        member = KafkaGroupMember(address, "", topic, [topic], session_timeout_s=6, metadata_max_age_s=0.5)
        stack.callback(member.close, 1)
        reader = Reader(member)
        reader.until(lambda: len(reader.owned) == 1)
        for n in (2, 3, 4):
            admin.create_partitions({topic: n})
            eventually(lambda n=n: reader.poll(0.001) or len(reader.owned) == n, every_s=0.0)


def test_before_a_revoked_partition_goes_its_offsets_can_be_committed(cluster: Cluster) -> None:
    """Between being told and the next poll, and the new owner begins there; where the group has gone on meanwhile, the commit says
    that it was refused, and all of it comes again."""
    topic = cluster.topic(2)
    for number in range(2):
        for n in range(6):
            cluster.produce(topic, b"%d" % n, number)
    first = Reader(cluster.member(topic, topic))
    first.until(lambda: len(first.seen) == 12)
    second = Reader(cluster.member(topic, topic))
    done = threading.Event()
    thread = threading.Thread(target=lambda: second.until(lambda: done.is_set()))
    thread.start()
    first.until(lambda: first.changes[-1].what == "revoked")
    [gone] = first.changes[-1].partitions
    expected = [b"5"] if first.consumer.commit({gone: 5}, 5) else [b"%d" % n for n in range(6)]
    try:
        first.until(lambda: len(second.messages) >= len(expected))
    finally:
        done.set()
        thread.join()
    assert [(message.partition, message.value) for message in second.messages] == [(gone, value) for value in expected]


def test_a_member_that_leaves_is_replaced(cluster: Cluster) -> None:
    """At once: it need not be taken for dead first."""
    topic = cluster.topic(2)
    first = Reader(cluster.member(topic, topic))
    second = Reader(cluster.member(topic, topic))
    together([first, second], lambda: len(first.owned) == len(second.owned) == 1)
    first.consumer.close(5)
    second.until(lambda: len(second.owned) == 2, 5)


def test_the_end_of_a_partition_is_known_also_while_it_is_paused(cluster: Cluster) -> None:
    """What lag is counted from."""
    topic = cluster.topic(1)
    reader = Reader(cluster.member(topic, topic))
    reader.until(lambda: reader.owned)
    reader.consumer.pause(reader.owned)
    for _ in range(3):
        cluster.produce(topic, b"x", 0)
    assert reader.consumer.ends(reader.owned, 5) == {Partition(topic, 0): 3}


def test_what_was_sent_is_there_when_its_future_is_done(
    cluster: Cluster, outgoing: Callable[[str, bytes], Outgoing]
) -> None:
    """With its key and headers."""
    topic = cluster.topic(2)
    producer = cluster.producer()
    for sent in [producer.send(outgoing(topic, b"%d" % n)) for n in range(20)]:
        sent.result(20)
    found = cluster.messages(topic)
    assert [message.value for message in found] == [b"%d" % n for n in range(20)]
    assert {(message.key, *message.headers.items()) for message in found} == {(b"key", ("a", "b"))}
