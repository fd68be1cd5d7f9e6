"""What is compared: `upshot.log_prediction` in its variants, and what people log predictions with today.

Every tool gets the same event as three arguments, delivers it for real, and is set up as its documentation says for many
events: batches, no waiting for the answer, no compression but ours. A tool is a function that opens it and returns the call, what
waits until everything is delivered, and what says how many events were stored, where only the tool itself knows.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import logging.handlers
import os
import queue
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

import upshot
from upshot.settings import Settings

__all__ = ["CONTENDERS", "TOOLS", "Addresses", "Opened", "has_kafka", "has_spool"]

Call = Callable[[str, dict[str, object], float], object]
MODEL, VERSION = "fraud", "12"
KAFKA_LINGER_MS = 50
FLUSH_TIMEOUT_S = 60


@dataclass(frozen=True)
class Addresses:
    """Where the tools send to."""

    http: str
    away: str
    """A port where nobody listens."""
    kafka: str
    """``host:port``; empty when there is no broker."""
    folder: str
    """For files: of the spool, of the standard library's handler."""


@dataclass(frozen=True)
class Opened:
    """A tool that is ready."""

    call: Call
    """Logs one event: request ID, features, score."""
    finish: Callable[[], object]
    """Returns when everything logged before is delivered, or given up."""
    counters: Callable[[], dict[str, int]] = dict
    """The tool's own books, if it keeps any."""


def has_spool() -> bool:
    """Whether this version of the logger has a spool."""
    return "spool_dir" in {field.name for field in dataclasses.fields(Settings)}


def has_kafka() -> bool:
    """Whether this version of the logger sends to Kafka."""
    try:
        Settings.read({"url": "kafka://127.0.0.1:9092"}, {})
    except upshot.ConfigurationError:
        return False
    return True


# ---- ours -----------------------------------------------------------------------------------------------------------


def no_op(
    features: object,
    prediction: object,
    *,
    request_id: str | None = None,
    item_id: str = "",
    model: str | None = None,
    model_version: str | None = None,
    predicted_at: object = None,
    feature_times: object = None,
    entities: object = None,
    tags: object = None,
    inputs: object = None,
    attributions: object = None,
    action: object = None,
    propensity: object = None,
    shown: object = None,
) -> str | None:
    """Do nothing, with the signature of ``log_prediction``."""
    return request_id


def floor(addresses: Addresses) -> Opened:
    """The empty function: what the harness itself costs."""
    return Opened(lambda request_id, features, score: no_op(features, score, request_id=request_id), lambda: None)


def open_logger(addresses: Addresses, url: str, **options: Any) -> upshot.Logger:
    """Our logger with its default settings, but for those given; its spool lies in a folder of its own."""
    logging.getLogger("upshot").addHandler(logging.NullHandler())  # its warnings are not for the table
    if has_spool():
        options["spool_dir"] = tempfile.mkdtemp(dir=addresses.folder)
    return upshot.Logger(url=url, model=MODEL, model_version=VERSION, **options)


def open_upshot(addresses: Addresses, url: str, *, makes_id: bool = False, **options: Any) -> Opened:
    """Our logger, given a request ID or making one."""
    logger = open_logger(addresses, url, **options)
    log = logger.log_prediction
    given: Call = lambda request_id, features, score: log(features, score, request_id=request_id)  # noqa: E731
    made: Call = lambda request_id, features, score: log(features, score)  # noqa: E731
    return Opened(made if makes_id else given, lambda: logger.flush(FLUSH_TIMEOUT_S), logger.stats)


def upshot_http(addresses: Addresses) -> Opened:
    """Over HTTP."""
    return open_upshot(addresses, addresses.http)


def upshot_http_memory(addresses: Addresses) -> Opened:
    """Over HTTP, without a spool."""
    return open_upshot(addresses, addresses.http, spool=False)


def upshot_http_uuid(addresses: Addresses) -> Opened:
    """Over HTTP, making the request ID."""
    return open_upshot(addresses, addresses.http, makes_id=True)


def upshot_http_tags(addresses: Addresses) -> Opened:
    """Over HTTP, with a tag and an entity."""
    logger = open_logger(addresses, addresses.http)
    log = logger.log_prediction
    return Opened(
        lambda request_id, features, score: log(
            features, score, request_id=request_id, tags={"channel": "web"}, entities={"user": "u-17"}
        ),
        lambda: logger.flush(FLUSH_TIMEOUT_S),
        logger.stats,
    )


def upshot_http_away(addresses: Addresses) -> Opened:
    """Over HTTP to a port where nobody listens."""
    return open_upshot(addresses, addresses.away)


def upshot_kafka(addresses: Addresses) -> Opened:
    """Over Kafka."""
    return open_upshot(addresses, f"kafka://{addresses.kafka}")


def upshot_kafka_memory(addresses: Addresses) -> Opened:
    """Over Kafka, without a spool."""
    return open_upshot(addresses, f"kafka://{addresses.kafka}", spool=False)


def upshot_kafka_away(addresses: Addresses) -> Opened:
    """Over Kafka to a port where nobody listens."""
    return open_upshot(addresses, addresses.away.replace("http://", "kafka://"))


# ---- the others -----------------------------------------------------------------------------------------------------


def as_event(request_id: str, features: dict[str, object], score: float) -> dict[str, object]:
    """What the others are given to log: the same fields as ours."""
    return {
        "predicted_at": time.time(),
        "request_id": request_id,
        "model": MODEL,
        "model_version": VERSION,
        "prediction": score,
        "features": features,
    }


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(record.event)  # type: ignore[attr-defined]  # given as ``extra``


def stdlib_queue(addresses: Addresses) -> Opened:
    """The standard library: QueueHandler in the caller, QueueListener with a file of JSON lines behind it."""
    path = Path(addresses.folder) / f"stdlib-{os.getpid()}.log"
    records: queue.Queue[Any] = queue.Queue()
    to_file = logging.FileHandler(path)
    to_file.setFormatter(_JsonLine())
    listener = logging.handlers.QueueListener(records, to_file)
    listener.start()
    logger = logging.getLogger("predictions")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.handlers.QueueHandler(records))

    def finish() -> None:
        listener.stop()  # returns when the queue is empty
        to_file.flush()
        listener.start()

    def counters() -> dict[str, int]:
        with path.open("rb") as lines:
            return {"stored": sum(1 for _ in lines)}

    return Opened(
        lambda request_id, features, score: logger.info(
            "prediction", extra={"event": as_event(request_id, features, score)}
        ),
        finish,
        counters,
    )


def _attributes(request_id: str, features: dict[str, object], score: float) -> dict[str, object]:
    return {"request_id": request_id, "model": MODEL, "model_version": VERSION, "prediction": score, **features}


def otel_log(addresses: Addresses) -> Opened:
    """OpenTelemetry: a log record with the features as attributes, BatchLogRecordProcessor, OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{addresses.http}/v1/logs")))
    emit = provider.get_logger("bench").emit
    return Opened(
        lambda request_id, features, score: emit(
            timestamp=time.time_ns(),
            body="prediction",
            attributes=_attributes(request_id, features, score),  # type: ignore[arg-type]
        ),
        provider.force_flush,
    )


def otel_span(addresses: Addresses) -> Opened:
    """OpenTelemetry: a span with the features as attributes, BatchSpanProcessor, OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{addresses.http}/v1/traces")))
    start = provider.get_tracer("bench").start_span
    return Opened(
        lambda request_id, features, score: start(
            "prediction",
            attributes=_attributes(request_id, features, score),  # type: ignore[arg-type]
        ).end(),
        provider.force_flush,
    )


def posthog(addresses: Addresses) -> Opened:
    """PostHog: ``capture`` with the features as properties."""
    from posthog import Posthog

    client = Posthog("key", host=addresses.http)
    return Opened(
        lambda request_id, features, score: client.capture(
            "prediction", distinct_id=request_id, properties=_attributes(request_id, features, score)
        ),
        client.flush,
    )


def kafka_python(addresses: Addresses) -> Opened:
    """kafka-python: ``send`` of one JSON message an event, made by orjson, checksums by crc32c."""
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=addresses.kafka,
        linger_ms=KAFKA_LINGER_MS,
        batch_size=512 * 1024,
        value_serializer=orjson.dumps,
    )
    return Opened(
        lambda request_id, features, score: producer.send("bench.kafka-python", as_event(request_id, features, score)),
        producer.flush,
    )


def confluent(addresses: Addresses) -> Opened:
    """confluent-kafka: ``produce`` of one JSON message an event, made by orjson. Nobody asks whether it was delivered."""
    producer = confluent_producer(addresses)
    produce = producer.produce
    return Opened(
        lambda request_id, features, score: produce(
            "bench.confluent", orjson.dumps(as_event(request_id, features, score))
        ),
        lambda: producer.flush(FLUSH_TIMEOUT_S),
    )


def confluent_counted(addresses: Addresses) -> Opened:
    """The same with a delivery callback that counts, and ``poll(0)`` after each event, as its README shows."""
    producer = confluent_producer(addresses)
    books = {"stored": 0, "dropped": 0}

    def delivered(error: object, message: object) -> None:
        books["stored" if error is None else "dropped"] += 1

    def call(request_id: str, features: dict[str, object], score: float) -> None:
        producer.produce("bench.confluent", orjson.dumps(as_event(request_id, features, score)), on_delivery=delivered)
        producer.poll(0)

    return Opened(call, lambda: producer.flush(FLUSH_TIMEOUT_S), lambda: dict(books))


def confluent_producer(addresses: Addresses) -> Any:
    """A ``Producer`` set up for many small messages."""
    from confluent_kafka import Producer

    return Producer({"bootstrap.servers": addresses.kafka, "linger.ms": KAFKA_LINGER_MS, "batch.size": 1024 * 1024})


@dataclass(frozen=True)
class Tool:
    """A row of the tables."""

    label: str
    open: Callable[[Addresses], Opened]
    counted_at: str = ""
    """Where the other side counts its events: a path of the sink, or ``kafka:`` and a topic; empty: the tool's books."""
    needs: frozenset[str] = frozenset()
    """``broker``, ``own broker`` (that may be stopped), ``kafka`` (our transport), ``spool``: without them the row is left out."""
    server: Literal["up", "away", "hangs"] = "up"
    """During the measured calls. *Away*: nobody ever listened. *Hangs*: stopped after the warm-up."""
    has_numpy: bool = False


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


_OURS_AT = "/v1/predictions"
TOOLS: dict[str, Tool] = {
    "floor": Tool("empty function, same signature", floor),
    "upshot-http": Tool("upshot, HTTP", upshot_http, _OURS_AT),
    "upshot-kafka": Tool("upshot, Kafka", upshot_kafka, needs=_needs("broker", "kafka")),
    "upshot-http-memory": Tool("upshot, HTTP, no spool", upshot_http_memory, _OURS_AT, _needs("spool")),
    "upshot-kafka-memory": Tool(
        "upshot, Kafka, no spool", upshot_kafka_memory, needs=_needs("broker", "kafka", "spool")
    ),
    "upshot-uuid": Tool("upshot, HTTP, makes the UUIDv7", upshot_http_uuid, _OURS_AT),
    "upshot-tags": Tool("upshot, HTTP, with tag and entity", upshot_http_tags, _OURS_AT),
    "upshot-numpy": Tool("upshot, HTTP, 20 numpy float32", upshot_http, _OURS_AT, has_numpy=True),
    "upshot-http-away": Tool("upshot, HTTP, server away", upshot_http_away, server="away"),
    "upshot-http-hangs": Tool("upshot, HTTP, server hangs", upshot_http, server="hangs"),
    "upshot-http-memory-hangs": Tool(
        "upshot, HTTP, no spool, server hangs", upshot_http_memory, needs=_needs("spool"), server="hangs"
    ),
    "upshot-kafka-away": Tool("upshot, Kafka, broker away", upshot_kafka_away, needs=_needs("kafka"), server="away"),
    "upshot-kafka-hangs": Tool(
        "upshot, Kafka, broker hangs", upshot_kafka, needs=_needs("own broker", "kafka"), server="hangs"
    ),
    "stdlib-queue": Tool("logging, QueueHandler, JSON file", stdlib_queue),
    "otel-log": Tool("OpenTelemetry log, OTLP/HTTP", otel_log, "/v1/logs"),
    "otel-span": Tool("OpenTelemetry span, OTLP/HTTP", otel_span, "/v1/traces"),
    "posthog": Tool("PostHog capture", posthog, "/batch"),
    "kafka-python": Tool("kafka-python send, orjson", kafka_python, "kafka:bench.kafka-python", _needs("broker")),
    "confluent": Tool("confluent-kafka produce, orjson", confluent, "kafka:bench.confluent", _needs("broker")),
    "confluent-counted": Tool(
        "... with delivery callback, poll(0)", confluent_counted, "kafka:bench.confluent", _needs("broker")
    ),
}
"""All rows, in the order of the tables."""

CONTENDERS = ("stdlib-queue", "otel-log", "otel-span", "posthog", "kafka-python", "confluent", "confluent-counted")
