"""A real cluster, through kafka-python: the one place on this side where it is met (the SDK has its own).

What kafka-python (3.0.12) has, and what it leaves to its users:

- Cooperative rebalancing (KIP-429) is there and is used. Under it the listener is told of a revocation when the new assignment is
  already in force, but the partitions go to their next owner only after this member has joined once more, which happens in its next
  ``poll``. So the listener, which runs in the library's thread and must not wait, only notes what it is told; the caller of `poll`
  has the time until its next call to finish and commit.
- A leader that joins again because a topic has got more partitions forgets that join when no ``poll`` waits for its end: it then
  owns what it owned, sends no heartbeats, and polls without rest. See `_Assignor`.
- After a member was taken for dead, its assignor still claims what it owned then, so two members claim the same partitions. See
  `_Assignor`.
- Its heartbeats run in a thread of their own, so a slow caller stays a member for ``max_poll_interval_ms``; paused partitions keep
  what was fetched of them.
- While a broker is away, its producer's thread spins: see `_Client`. Its memory has no bound: whoever sends waits for the futures.
- At level DEBUG it writes every value and every password to its log: see `_keep_quiet`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
from kafka.net.compat import KafkaNetClient
from kafka.structs import OffsetAndMetadata

from upshot.kafka_address import KafkaAddress
from upshot_joiner.intake.kafka.contract import (
    Change,
    KafkaRefused,
    KafkaUnavailable,
    Message,
    MessageTooLarge,
    Outgoing,
    Partition,
    Polled,
)

MAX_POLL_MESSAGES = 2000
FETCH_MAX_BYTES = 16 * 1024 * 1024
"""What may lie undecoded in this process, about; one message may be larger."""
HEARTBEATS_PER_SESSION = 4
PRODUCER_GIVES_UP_S = 30.0
LOOK_AGAIN_MS = 50.0
"""Between two looks at a broker that is not ready; a connection that comes about is noticed at once."""
SAY_AGAIN_S = 60.0

_TO_BE_MENDED = (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidTopicError,
    PolicyViolationError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaGroupMember:
    """A `contract.Consumer` of a real cluster.

    Raises KafkaUnavailable when no broker is found within ``bootstrap_s``. A partition without a committed offset begins at its
    oldest message: what was produced before the first worker ran is not passed over. A topic that is made later, or gets more
    partitions, is seen within ``metadata_max_age_s``.
    """

    def __init__(
        self,
        address: KafkaAddress,
        password: str,
        group: str,
        topics: Iterable[str],
        *,
        session_timeout_s: float = 45.0,
        bootstrap_s: float = 10.0,
        metadata_max_age_s: float = 30.0,
    ) -> None:
        _keep_quiet()
        self._changes: list[Change] = []
        self._lock = threading.Lock()
        with _translated():
            self._consumer = KafkaConsumer(
                **address.options(password),
                client_id="upshot-worker",
                group_id=group,
                partition_assignment_strategy=[_Assignor(self._owned, self._join_on)],
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                bootstrap_timeout_ms=int(1000 * bootstrap_s),
                session_timeout_ms=int(1000 * session_timeout_s),
                heartbeat_interval_ms=int(1000 * session_timeout_s / HEARTBEATS_PER_SESSION),
                max_poll_records=MAX_POLL_MESSAGES,
                fetch_max_bytes=FETCH_MAX_BYTES,
                fetch_max_wait_ms=200,
                reconnect_backoff_max_ms=3000,
                metadata_max_age_ms=int(1000 * metadata_max_age_s),
                metrics_enabled=False,
            )
            self._consumer.subscribe(list(topics), listener=_Listener(self._note))

    def poll(self, timeout_s: float) -> Polled:
        """See the contract."""
        with _translated():
            found = self._consumer.poll(timeout_ms=int(1000 * timeout_s))
        with self._lock:
            changes, self._changes = self._changes, []
        return Polled(changes, [_message(record) for records in found.values() for record in records])

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See the contract."""
        self._consumer.pause(*self._of_ours(partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See the contract."""
        self._consumer.resume(*self._of_ours(partitions))

    def commit(self, offsets: Mapping[Partition, int], timeout_s: float) -> bool:
        """See the contract."""
        if not offsets:
            return True
        noted = {TopicPartition(*partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        try:
            self._consumer.commit(noted, timeout_ms=int(1000 * timeout_s))
        except (KafkaError, RuntimeError):  # RuntimeError: closed meanwhile
            return False
        return True

    def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """See the contract."""
        found: dict[Partition, int] = {}
        with contextlib.suppress(KafkaError, RuntimeError):
            for partition in partitions:
                offset = self._consumer.committed(TopicPartition(*partition), timeout_ms=int(1000 * timeout_s))
                if offset is not None:
                    found[partition] = offset
        return found

    def ends(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """See the contract."""
        asked = [TopicPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        try:
            found = self._consumer.end_offsets(asked, timeout_ms=int(1000 * timeout_s))
        except (KafkaError, RuntimeError):
            return {}
        return {Partition(*partition): offset for partition, offset in found.items()}

    def close(self, timeout_s: float) -> None:
        """See the contract."""
        with contextlib.suppress(KafkaError, RuntimeError):
            self._consumer.close(autocommit=False, timeout_ms=int(1000 * timeout_s))

    def _of_ours(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        ours = self._consumer.assignment()
        return [of for of in (TopicPartition(*partition) for partition in partitions) if of in ours]

    def _owned(self) -> list[TopicPartition]:
        return sorted(self._consumer.assignment())

    def _join_on(self) -> None:
        self._consumer._coordinator.request_rejoin()  # noqa: SLF001  # nothing public says it

    def _note(self, change: Change) -> None:
        with self._lock:
            self._changes.append(change)


def messages_until_now(
    address: KafkaAddress, password: str, topic: str, *, timeout_s: float = 60.0
) -> Iterator[Message]:
    """What a topic holds at the first step, partition by partition, in their order; none when there is no such topic.

    Raises KafkaUnavailable when no broker answers, or nothing comes for ``timeout_s`` although there is more. No group is made.
    """
    _keep_quiet()
    with _translated():
        consumer = KafkaConsumer(
            **address.options(password),
            client_id="upshot-reader",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            bootstrap_timeout_ms=int(1000 * min(timeout_s, 10.0)),
            max_poll_records=MAX_POLL_MESSAGES,
            fetch_max_bytes=FETCH_MAX_BYTES,
            reconnect_backoff_max_ms=3000,
            metrics_enabled=False,
        )
    with contextlib.closing(consumer), _translated():
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        if not partitions:
            return
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        # Read to where the position is, not to what was seen: of what was compacted away nothing comes.
        ahead = consumer.end_offsets(partitions, timeout_ms=int(1000 * timeout_s))
        gives_up = time.monotonic() + timeout_s
        while ahead := {
            of: end for of, end in ahead.items() if consumer.position(of, timeout_ms=int(1000 * timeout_s)) < end
        }:
            found = consumer.poll(timeout_ms=200)
            if found:
                gives_up = time.monotonic() + timeout_s
            elif time.monotonic() > gives_up:
                raise KafkaUnavailable(f"Kafka gives no more of the topic {topic}, and there is more")
            for of, records in found.items():
                end = ahead.get(of, 0)
                yield from (_message(record) for record in records if record.offset < end)


class KafkaWriter:
    """A `contract.Producer` of a real cluster. Finds it at the first message."""

    def __init__(self, address: KafkaAddress, password: str, *, gives_up_s: float = PRODUCER_GIVES_UP_S) -> None:
        self._options = address.options(password)
        self._gives_up_s = gives_up_s
        self._lock = threading.Lock()
        self._producer: Any = None
        self._closed = False

    def send(self, message: Outgoing) -> Future[None]:
        """See the contract."""
        sent: Future[None] = Future()
        headers = [(name, value.encode("utf-8", "backslashreplace")) for name, value in message.headers.items()]
        try:
            with _translated():
                written = self._opened().send(message.topic, message.value, key=message.key, headers=headers)
        except (KafkaUnavailable, KafkaRefused) as error:
            sent.set_exception(error)
            return sent
        written.add_callback(lambda _: sent.set_result(None))
        written.add_errback(lambda error: sent.set_exception(_verdict(error)))
        return sent

    def close(self, timeout_s: float) -> None:
        """See the contract."""
        with self._lock:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, RuntimeError):
                producer.close(timeout=timeout_s)

    def _opened(self) -> Any:
        with self._lock:
            if self._closed:
                raise KafkaUnavailable("the connection to Kafka is closed")
            if self._producer is None:
                _keep_quiet()
                self._producer = KafkaProducer(
                    **self._options,
                    kafka_client=_Client,
                    client_id="upshot-worker",
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=5,
                    max_block_ms=int(1000 * self._gives_up_s),
                    request_timeout_ms=int(500 * self._gives_up_s),
                    delivery_timeout_ms=int(1000 * self._gives_up_s),
                    bootstrap_timeout_ms=int(1000 * min(self._gives_up_s, 10.0)),
                    reconnect_backoff_max_ms=3000,
                    metrics_enabled=False,
                )
            return self._producer


class _Assignor(CooperativeStickyAssignor):  # type: ignore[misc]  # kafka-python has no types
    """The library's, which claims what is owned now, not what was given out last.

    ``join_on`` is called whenever it gives out partitions: the join that this is a part of is to be waited for by the next poll.
    The library takes it for done as soon as the partitions it was about are those that are known, which is before its end.
    """

    def __init__(self, owned: Callable[[], list[TopicPartition]], join_on: Callable[[], None]) -> None:
        super().__init__()
        self._owned = owned
        self._join_on = join_on

    def metadata(self, topics: Iterable[str]) -> Any:
        self.member_assignment = self._owned()
        return super().metadata(topics)

    def assign(self, cluster: Any, members: Any) -> Any:
        self._join_on()
        return super().assign(cluster, members)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes, in the library's thread, what the next `KafkaGroupMember.poll` tells."""

    def __init__(self, note: Callable[[Change], None]) -> None:
        self._note = note

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._tell("assigned", assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._tell("revoked", revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self._tell("lost", lost)

    def _tell(self, what: Any, partitions: Iterable[Any]) -> None:
        found = frozenset(Partition(*partition) for partition in partitions)
        if found:
            self._note(Change(what, found))


class _Client(KafkaNetClient):  # type: ignore[misc]
    """The library's client for producers, which waits between two looks at a broker that is away.

    Not for consumers: they do not spin, and take a coordinator for dead whose connection has a delay while it comes about.
    """

    def connection_delay(self, node_id: int | str) -> float:
        """Milliseconds until a broker that is not ready may be: the library gives seconds, and 0 while it connects."""
        return max(LOOK_AGAIN_MS, 1000.0 * float(super().connection_delay(node_id)))


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except (KafkaError, RuntimeError) as error:  # RuntimeError: the library's loop has ended
        raise _verdict(error) from error


def _verdict(error: BaseException) -> KafkaUnavailable | KafkaRefused:
    """A failure in our terms. None of the texts comes from a message."""
    name = type(error).__name__.removesuffix("Error")
    if isinstance(error, _TOO_LARGE):
        return MessageTooLarge("a message is larger than its topic takes")
    if isinstance(error, _TO_BE_MENDED):
        return KafkaRefused(f"Kafka answers {name}")
    return KafkaUnavailable(f"Kafka is away or does not answer ({name})")


def _message(record: ConsumerRecord) -> Message:
    return Message(
        Partition(record.topic, record.partition),
        record.offset,
        record.value,
        {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None},
        record.key,
        None if record.timestamp is None or record.timestamp < 0 else 1000 * record.timestamp,
    )


def _keep_quiet() -> None:
    """Nothing at level DEBUG, whose lines hold values and passwords; INFO only for whoever asks for it by name.

    While a broker is away the library says so some ten times a second; of each of its lines one a minute is enough.
    """
    for name in list(logging.root.manager.loggerDict):
        if name == "kafka" or name.startswith("kafka."):
            logging.getLogger(name).addFilter(_SELDOM)


class _Seldom(logging.Filter):
    """Warnings and errors, each at most once in `SAY_AGAIN_S`; all from INFO on where the level of ``kafka`` was set."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if logging.getLogger("kafka").level != logging.NOTSET:
            return record.levelno >= logging.INFO
        said = (record.name, record.msg)  # the text before its arguments: the library has few
        if record.levelno < logging.WARNING or record.created - self._said.get(said, 0.0) < SAY_AGAIN_S:
            return False
        self._said[said] = record.created
        return True


_SELDOM = _Seldom()
