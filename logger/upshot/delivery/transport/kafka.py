"""Kafka: a batch is one message, and counts as stored when all in-sync replicas have it. kafka-python is met here only.

Topics are ``upshot.predictions`` (writers' books too) and ``upshot.labels``. A message's value is the batch's payload as it
is; its headers are ``content-type`` and ``content-encoding`` (as in HTTP), ``upshot-kind`` and ``upshot-events``. It has no
key: a batch holds events of many requests, and readers know an event they have seen before.

What kafka-python (3.0.12) leaves to its users:

- Its memory has no bound. So one message is in flight at a time; when that is not settled in time, the producer is thrown away
  with what it holds, and the next attempt makes a new one.
- It retries by itself with the same sequence number, so a broker that was killed stores a message once. That holds within one
  producer: an attempt leaves room for two requests.
- Its constructor waits for ever in a TLS handshake that nobody answers, and tells a wrong password from a broker that is away
  in its log only, if at all: see `_Connections`.
- Its finaliser and its hook at exit wait a second for the broker, and for ever in a forked child: see `_Producer.close`.
- While a broker is away its thread spins: see `_Client`.
- At level DEBUG it writes every value, and every password, to its log: see `_keep_quiet`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
import time
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    SecurityDisabledError,
    UnsupportedForMessageFormatError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from upshot.delivery.batch import Batch, Kind
from upshot.delivery.transport.contract import Receipt
from upshot.errors import (
    PayloadTooLargeError,
    PermanentError,
    TransientError,
    TransportError,
)
from upshot.kafka_address import KafkaAddress

__all__ = ["TOPICS", "KafkaTransport"]

TOPICS: dict[Kind, str] = {
    "predictions": "upshot.predictions",
    "writers": "upshot.predictions",
    "labels": "upshot.labels",
}

_BOOTSTRAP_TRIES = 4
"""How often each address is tried in one attempt, where connections fail at once: within half a second."""
_BOOTSTRAP_S = 5.0
"""How long a first broker is looked for in one attempt: enough for TLS, SASL and a second address."""
_LOOK_AGAIN_MS = 50.0
"""Between two looks at a broker that is not ready; a connection that comes about is noticed at once."""
_GOODBYE_S = 0.5
"""How long a producer with nothing in flight may take to close its connections."""

_TO_BE_MENDED = (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidRecordError,  # a compacted topic wants keys; of what is in a message, a broker judges nothing else
    InvalidTimestampError,  # this machine's clock
    InvalidTopicError,
    PolicyViolationError,
    SaslAuthenticationFailedError,
    SecurityDisabledError,
    UnsupportedForMessageFormatError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaTransport:
    """Sends batches to one Kafka cluster.

    ``url``: see `KafkaAddress`. ``api_key`` is the SASL password. ``request_timeout_s``: how long a message may take; `send` may
    ask for less. Raises ConfigurationError when address and password do not go together, or when a file that the address
    names cannot be used. Opens no connection yet.
    """

    def __init__(self, url: str, api_key: str, request_timeout_s: float) -> None:
        self._config = KafkaAddress.parse("url", url).options(api_key) | {
            # A request that nobody answers is asked again of whoever leads by then, by the same producer, so that it is
            # stored once. The library's own bound on delivery is out of the way: ours comes first.
            "request_timeout_ms": max(500, int(500 * request_timeout_s)),
            "delivery_timeout_ms": max(2000, int(2000 * request_timeout_s)),
        }
        self._producer: _Producer | None = None
        self._pid = os.getpid()

    def send(self, batch: Batch, *, timeout_s: float) -> Receipt:
        """Produce the batch as one message; see ``Transport.send``. ``stored``: all in-sync replicas have it."""
        deadline = time.monotonic() + timeout_s
        if self._pid != os.getpid():  # forked: its thread is not here, and its connections are the parent's
            self._producer, self._pid = None, os.getpid()
        headers = [
            ("content-type", batch.content_type.encode()),
            ("content-encoding", batch.content_encoding.encode()),
            ("upshot-kind", batch.kind.encode()),
            ("upshot-events", b"%d" % batch.n_events),
        ]
        try:
            if self._producer is None:
                self._producer = _Producer(self._config, timeout_s)
            self._producer.produce(TOPICS[batch.kind], batch.payload, headers, deadline)
        except Exception as error:
            ours = self._translated(error, timeout_s)
            if not isinstance(ours, PayloadTooLargeError):  # that one says that the producer is well
                self._abandon()
            raise ours from error
        return Receipt(stored=batch.n_events)

    def close(self) -> None:
        """Close the connections."""
        producer, self._producer = self._producer, None
        if producer is not None and self._pid == os.getpid():
            producer.end(_GOODBYE_S)

    def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.end(0)

    def _translated(self, error: Exception, timeout_s: float) -> TransportError:
        """A failure in our terms. None of the texts comes from a message."""
        if not isinstance(error, KafkaTimeoutError):
            return _verdict(error)
        producer = self._producer
        failure = error.__cause__ if producer is None else producer.connections.failure
        if isinstance(failure, Exception):
            return _verdict(failure)
        if producer is None:
            return _verdict(error)
        if isinstance(error, _NoTopicError):
            return TransientError(f"Kafka has no topic {error.args[0]}, or nobody leads it")
        return TransientError(f"Kafka did not acknowledge within {timeout_s:.1f} s")


class _NoTopicError(KafkaTimeoutError):  # type: ignore[misc]  # kafka-python has no types
    """Brokers answer, but do not know the topic."""


class _Producer(KafkaProducer):  # type: ignore[misc]
    """One session with the cluster: one connection per broker, one thread, one message at a time."""

    def __init__(self, config: dict[str, Any], timeout_s: float) -> None:
        """Finds a broker and logs in, in about ``timeout_s`` at most; raises KafkaTimeoutError, whose cause says why not."""
        _keep_quiet()
        clients: list[_Client] = []

        def client(**settings: Any) -> _Client:
            clients.append(_Client(**settings))
            self.connections = clients[0].connections
            return clients[0]

        try:
            super().__init__(
                **config,
                kafka_client=client,
                client_id="upshot",
                metrics_enabled=False,
                enable_idempotence=True,
                acks="all",
                linger_ms=0,
                bootstrap_timeout_ms=int(1000 * min(timeout_s, _BOOTSTRAP_S)),
                reconnect_backoff_max_ms=3000,
            )
        except BaseException:
            for opened in clients:
                opened.close()
            raise

    def produce(self, topic: str, value: bytes, headers: list[tuple[str, bytes]], deadline: float) -> None:
        """Send one message and wait until it is acknowledged, at most until ``deadline`` (monotonic seconds)."""
        self.config["max_block_ms"] = max(1, int(1000 * (deadline - time.monotonic())))
        try:
            self.partitions_for(topic)
        except KafkaTimeoutError:
            raise _NoTopicError(topic) from None
        self.send(topic, value, headers=headers).get(timeout=max(0.0, deadline - time.monotonic()))

    def end(self, timeout_s: float) -> None:
        """Close the connections, and give up a message that is in flight. The thread ends on its own."""
        with contextlib.suppress(KafkaTimeoutError):
            super().close(timeout=timeout_s)
        self._sender.force_close()

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """Nothing: the library calls it at exit and from its finaliser, also in a forked child. `end` is ours."""


class _Client(KafkaNetClient):  # type: ignore[misc]
    """The library's client, which waits between two looks at a broker that is away."""

    def __init__(self, **config: Any) -> None:
        net = NetworkSelector(**config)
        self.connections = _Connections(net, **config)
        super().__init__(net=net, manager=self.connections, **config)

    def connection_delay(self, node_id: int | str) -> float:
        """Milliseconds until a broker that is not ready may be: the library gives seconds, and 0 while it connects.

        With that its thread looks 45,000 times a second, and takes the interpreter from everybody else.
        """
        return max(_LOOK_AGAIN_MS, 1000.0 * float(super().connection_delay(node_id)))


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """The library's connections, whose bootstrap keeps to its time, ends when it is hopeless, and says why."""

    def __init__(self, net: NetworkSelector, **config: Any) -> None:
        super().__init__(net, **config)
        self.failure: BaseException | None = None
        """Why the last connection did not come about; None after one that did."""
        self._bootstrapped = Future()
        self._tries_left = _BOOTSTRAP_TRIES * len(self.cluster.bootstrap_brokers())

    def get_connection(self, *args: Any, **options: Any) -> KafkaConnection:
        connection = super().get_connection(*args, **options)
        if not connection.init_future.is_done:
            connection.init_future.add_callback(self._succeeded)
            connection.init_future.add_errback(self._failed)
        return connection

    def bootstrap(self, timeout_ms: float | None = None, refresh: bool = True) -> None:
        bootstrap = self.bootstrap_async(timeout_ms, refresh)
        bootstrap.add_both(lambda _: self._settle(bootstrap.exception))
        self._net.poll(timeout_ms=timeout_ms, future=self._bootstrapped)
        refusal = self._bootstrapped.exception
        if refusal is not None and not isinstance(refusal, KafkaTimeoutError):
            raise refusal
        if refusal is not None or not self._bootstrapped.is_done:
            raise KafkaTimeoutError("no broker") from self.failure

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        """A broker says why it refuses a login and hangs up: what came before the end is an answer, and not lost with it."""
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        receive = transport._sock_recv  # noqa: SLF001  # there is no other way in

        def answer_first() -> tuple[bytes, Exception | None]:
            data, error = receive()
            return data, None if data else error  # the end is met again

        transport._sock_recv = answer_first  # noqa: SLF001
        return transport

    def _succeeded(self, _: object) -> None:
        self.failure = None

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        # Its frames hold the socket, which the library leaves to the garbage collector.
        error.__traceback__ = None
        if error.__context__ is not None:
            error.__context__.__traceback__ = None
        self._tries_left -= 1
        if isinstance(error, _TO_BE_MENDED) or _is_untrusted(error) or self._tries_left <= 0:
            self._settle(error)

    def _settle(self, error: BaseException | None) -> None:
        if not self._bootstrapped.is_done:
            if error is None:
                self._bootstrapped.success(None)
            else:
                self._bootstrapped.failure(error)


def _verdict(error: Exception) -> TransportError:
    """What an error of kafka-python means for the batch."""
    if isinstance(error, _TOO_LARGE):
        return PayloadTooLargeError("the batch is larger than a Kafka message may be")
    if _is_untrusted(error):
        return PermanentError("the certificate of the Kafka broker is not trusted", reason="kafka_tls_certificate")
    if isinstance(error, _TO_BE_MENDED):
        name = str(error.message)
        return PermanentError(f"Kafka answers {name}", reason=f"kafka_{name.lower()}")
    if isinstance(error, KafkaConnectionError):
        return TransientError(f"no Kafka broker can be reached: {error.args[0] if error.args else 'connection lost'}")
    if isinstance(error, (KafkaTimeoutError, RequestTimedOutError)):
        return TransientError("no Kafka broker answers")
    return TransientError(f"Kafka does not take events: {type(error).__name__}")


def _is_untrusted(error: BaseException) -> bool:
    """Whether a certificate was refused; the library keeps that only as the context of its own error."""
    return isinstance(error.__context__, ssl.SSLCertVerificationError)


def _keep_quiet() -> None:
    """What kafka-python may say: nothing at level DEBUG, and of our threads nothing at all unless its level was set.

    Its DEBUG lines hold values and passwords, and an application may log everything. Its other lines, some ten for each
    attempt while a broker is away, are for whoever asks: ``logging.getLogger("kafka").setLevel(logging.INFO)``. What
    matters is said on the logger ``upshot``, once.
    """
    for name in list(logging.root.manager.loggerDict):
        if name == "kafka" or name.startswith("kafka."):
            logging.getLogger(name).addFilter(_may_be_said)


def _may_be_said(record: logging.LogRecord) -> bool:
    if record.levelno < logging.INFO:
        return False
    is_ours = threading.current_thread().name.startswith("upshot-")
    return not is_ours or logging.getLogger("kafka").level != logging.NOTSET
