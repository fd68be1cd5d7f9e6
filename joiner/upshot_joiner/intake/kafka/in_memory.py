"""Kafka without Kafka: one broker in this process, with groups, cooperative rebalancing and members that are taken for dead.

It keeps `contract` as a real cluster does (the same tests hold both to it), so that the intake can be tried at any speed, and
failed at any point: `InMemoryBroker.is_away`, `InMemoryBroker.expel`.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from upshot_joiner.intake.kafka.contract import Change, KafkaUnavailable, Message, Outgoing, Partition, Polled

_MAX_POLL_MESSAGES = 2000


@dataclass
class _Group:
    committed: dict[Partition, int] = field(default_factory=dict)
    members: list[InMemoryMember] = field(default_factory=list)


class InMemoryBroker:
    """Topics with a fixed number of partitions each. Every method may be called from any thread."""

    def __init__(self, partitions: int = 4) -> None:
        self._n_partitions = partitions
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._log: defaultdict[Partition, list[Message]] = defaultdict(list)
        self._groups: defaultdict[str, _Group] = defaultdict(_Group)
        self._turn = 0
        self.is_away = False
        """Whether nobody can reach it."""

    def member(self, group: str, topics: Iterable[str]) -> InMemoryMember:
        """A new member of a group."""
        with self._lock:
            made = InMemoryMember(self, group, frozenset(topics))
            self._groups[group].members.append(made)
            return made

    def producer(self) -> InMemoryProducer:
        """A producer."""
        return InMemoryProducer(self)

    def produce(self, message: Outgoing, timestamp_us: int | None = None, partition: int | None = None) -> Message:
        """Append a message; to the next partition in turn, or that of its key, where none is named."""
        with self._changed:
            self._check()
            if partition is None:
                partition = (self._turn if message.key is None else hash(message.key)) % self._n_partitions
                self._turn += message.key is None
            return self._append(Partition(message.topic, partition), message, timestamp_us)

    def append(self, partition: Partition, value: bytes | None, headers: Mapping[str, str] | None = None) -> Message:
        """Append a message as no producer of ours does: a tombstone, say."""
        with self._changed:
            message = Message(partition, len(self._log[partition]), value, dict(headers or {}), None, _now_us())
            self._log[partition].append(message)
            self._changed.notify_all()
            return message

    def messages(self, topic: str) -> list[Message]:
        """Everything a topic holds, partition by partition."""
        with self._lock:
            return [message for partition in self.partitions([topic]) for message in self._log[partition]]

    def committed(self, group: str) -> dict[Partition, int]:
        """What a group has committed."""
        with self._lock:
            return dict(self._groups[group].committed)

    def reset(self, group: str) -> None:
        """Forget what a group has committed, as an operator does who wants everything again. Its members must be gone."""
        with self._lock:
            self._groups[group].committed.clear()

    def expel(self, member: InMemoryMember) -> None:
        """Take a member for dead: it is told at its next poll, and commits in vain until then."""
        with self._lock:
            member.is_expelled = True

    def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """All partitions of these topics."""
        return [Partition(topic, number) for topic in sorted(topics) for number in range(self._n_partitions)]

    # -- called by members -----------------------------------------------------------------------------------------------

    def _append(self, partition: Partition, message: Outgoing, timestamp_us: int | None) -> Message:
        log = self._log[partition]
        at = _now_us() if timestamp_us is None else timestamp_us
        stored = Message(partition, len(log), message.value, dict(message.headers), message.key, at)
        log.append(stored)
        self._changed.notify_all()
        return stored

    def _check(self) -> None:
        if self.is_away:
            raise KafkaUnavailable("Kafka is away")

    def _wants(self, group: _Group, member: InMemoryMember) -> set[Partition]:
        """What a member should own: every partition goes to one live member that reads its topic, in turn."""
        wanted: set[Partition] = set()
        live = [other for other in group.members if not other.is_expelled]
        topics = {topic for other in live for topic in other.topics}
        for number, partition in enumerate(self.partitions(topics)):
            readers = [other for other in live if partition.topic in other.topics]
            if readers[number % len(readers)] is member:
                wanted.add(partition)
        return wanted

    def _rebalance(self, group: _Group, member: InMemoryMember) -> list[Change]:
        if member.is_expelled:
            lost = frozenset(member.positions)
            member.positions.clear()
            member.paused.clear()
            member.is_expelled = False
            member.is_leaving.clear()
            return [Change("lost", lost)] if lost else []
        member.is_leaving.clear()  # told last time: free now
        wanted = self._wants(group, member)
        held = {p for other in group.members if other is not member for p in {*other.positions, *other.is_leaving}}
        if any(other.is_expelled for other in group.members):
            held -= {p for other in group.members if other.is_expelled for p in other.positions}
        revoked = frozenset(member.positions) - wanted
        added = frozenset(wanted - set(member.positions) - held)
        changes = []
        if revoked:
            changes.append(Change("revoked", revoked))
            member.is_leaving |= revoked
            for partition in revoked:
                del member.positions[partition]
            member.paused -= revoked
        if added:
            changes.append(Change("assigned", added))
            for partition in added:
                member.positions[partition] = group.committed.get(partition, 0)
        return changes


class InMemoryMember:
    """A `contract.Consumer`."""

    def __init__(self, broker: InMemoryBroker, group: str, topics: frozenset[str]) -> None:
        self._broker = broker
        self._group = group
        self.topics = topics
        self.positions: dict[Partition, int] = {}
        """What is owned, and the offset of the next message."""
        self.paused: set[Partition] = set()
        self.is_leaving: set[Partition] = set()
        """Revoked, and not free for others before the next poll."""
        self.is_expelled = False

    def poll(self, timeout_s: float) -> Polled:
        """See the contract."""
        broker = self._broker
        deadline = time.monotonic() + timeout_s
        with broker._changed:  # noqa: SLF001  # the two are one thing
            while True:
                broker._check()  # noqa: SLF001
                changes = broker._rebalance(broker._groups[self._group], self)  # noqa: SLF001
                messages = self._fetch()
                left = deadline - time.monotonic()
                if changes or messages or left <= 0:
                    return Polled(changes, messages)
                broker._changed.wait(min(left, 0.02))  # noqa: SLF001

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See the contract."""
        self.paused |= set(partitions) & set(self.positions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See the contract."""
        self.paused -= set(partitions)

    def commit(self, offsets: Mapping[Partition, int], timeout_s: float) -> bool:
        """See the contract."""
        broker = self._broker
        with broker._lock:  # noqa: SLF001
            group = broker._groups[self._group]  # noqa: SLF001
            if broker.is_away or self.is_expelled or self not in group.members:
                return False
            group.committed.update(offsets)
            return True

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """See the contract."""
        known = self._broker.committed(self._group)
        return {} if self._broker.is_away else {p: known[p] for p in partitions if p in known}

    def ends(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """See the contract."""
        broker = self._broker
        with broker._lock:  # noqa: SLF001
            return {} if broker.is_away else {p: len(broker._log[p]) for p in partitions}  # noqa: SLF001

    def close(self, timeout_s: float) -> None:
        """See the contract."""
        broker = self._broker
        with broker._changed:  # noqa: SLF001
            group = broker._groups[self._group]  # noqa: SLF001
            if self in group.members:
                group.members.remove(self)
            broker._changed.notify_all()  # noqa: SLF001

    def _fetch(self) -> list[Message]:
        found: list[Message] = []
        for partition, position in self.positions.items():
            if partition not in self.paused:
                more = self._broker._log[partition][position : position + _MAX_POLL_MESSAGES - len(found)]  # noqa: SLF001
                self.positions[partition] = position + len(more)
                found += more
        return found


class InMemoryProducer:
    """A `contract.Producer`."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker

    def send(self, message: Outgoing) -> Future[None]:
        """See the contract."""
        sent: Future[None] = Future()
        try:
            self._broker.produce(message)
        except KafkaUnavailable as error:
            sent.set_exception(error)
        else:
            sent.set_result(None)
        return sent

    def close(self, timeout_s: float) -> None:
        """See the contract."""


def _now_us() -> int:
    return time.time_ns() // 1000
