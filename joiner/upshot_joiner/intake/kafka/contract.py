"""What the intake asks of Kafka, and what it may rely on. `client` keeps this with a real cluster, `in_memory` without one; one
suite of tests holds both to it (``tests/joiner/kafka/test_contract.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from upshot.errors import UpshotError

PREDICTIONS = "upshot.predictions"
"""Predictions, and the reports of writers; the header ``upshot-kind`` tells them apart."""
LABELS = "upshot.labels"
DEAD = "upshot.dead"


class KafkaUnavailable(UpshotError):
    """Kafka did not do what was asked; it may later. Nothing was acknowledged."""


class KafkaRefused(UpshotError):
    """Kafka will not do this until somebody mends something: a password, a right, a certificate, a size."""


class MessageTooLarge(KafkaRefused):
    """The topic takes no message of this size."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


@dataclass(frozen=True, slots=True)
class Message:
    """One record as it lies in its partition."""

    partition: Partition
    offset: int
    value: bytes | None
    """None: a tombstone."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of a name that is there twice, the last."""
    key: bytes | None = None
    timestamp_us: int | None = None
    """When it was produced (or appended, as the topic says), microseconds since 1970: the same at every delivery."""

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value or b"")

    def __repr__(self) -> str:  # never what is in it
        return f"Message({self.partition}@{self.offset}, {self.size} bytes)"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what this consumer owns.

    ``assigned``: from now on its messages come here, from the committed offset. ``revoked``: they go to somebody else as soon as
    `Consumer.poll` is called again; until then offsets of it may still be committed. ``lost``: they went already, because this
    consumer was taken for dead; its commits are refused.
    """

    what: Literal["assigned", "revoked", "lost"]
    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class Polled:
    """What one `Consumer.poll` brought: first the changes, in order; then messages of what is owned after them."""

    changes: Sequence[Change] = ()
    messages: Sequence[Message] = ()


class Consumer(Protocol):
    """One member of a consumer group. One thread calls it.

    The messages of a partition come in the order of their offsets, each once as long as the partition stays here. Offsets may have
    gaps. No offset is ever committed by itself.
    """

    def poll(self, timeout_s: float) -> Polled:
        """Wait for messages or a change, about ``timeout_s`` at most; with nothing to tell it returns empty.

        Must be called again within minutes, whatever happens: who does not is taken for dead. Paused partitions are not polled,
        and stay owned. Raises KafkaUnavailable when no broker answers and KafkaRefused when one refuses; call it again later.
        """
        ...

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give no messages of these until they are resumed. Those that are not owned are passed over."""
        ...

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Go on with these where they were paused. Those that are not owned are passed over."""
        ...

    def commit(self, offsets: Mapping[Partition, int], timeout_s: float) -> bool:
        """Note that everything before these offsets is done with; whether the group took note.

        False (a rebalance, a broker that is away, a partition that went) harms nothing: the messages will come again.
        """
        ...

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """What the group has committed of these, as far as it has and it can be found out in time."""
        ...

    def ends(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """The offset after the newest message of each, as far as it can be found out in time."""
        ...

    def close(self, timeout_s: float) -> None:
        """Leave the group at once, so that others take over. Commits nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be produced."""

    topic: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    key: bytes | None = None


class Producer(Protocol):
    """Writes messages. Every method may be called from any thread."""

    def send(self, message: Outgoing) -> Future[None]:
        """Begin to write it. Done when all in-sync replicas have it; else it fails with KafkaUnavailable or KafkaRefused.

        May block for a moment while the cluster is looked for. A message that failed may have been written all the same.
        """
        ...

    def close(self, timeout_s: float) -> None:
        """Give what is on its way so long, then give it up."""
        ...
