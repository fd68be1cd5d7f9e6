"""``upshot work``: a worker as a process. It waits for what is not there yet, and ends as it is asked to."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from upshot import __version__
from upshot.kafka_address import KafkaAddress
from upshot_joiner.clock import SystemClock
from upshot_joiner.errors import StoreUnavailable
from upshot_joiner.health import HealthEndpoint
from upshot_joiner.intake.kafka.client import KafkaGroupMember, KafkaWriter
from upshot_joiner.intake.kafka.contract import LABELS, PREDICTIONS, KafkaUnavailable
from upshot_joiner.store.sharded import open_scaled_out
from upshot_joiner.worker import Worker, WorkerSettings
from upshot_server.interpreter import tune_interpreter

_log = logging.getLogger("upshot.worker")

GROUP = "upshot"
LOOK_AGAIN_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What a worker process is told."""

    clickhouse: str
    kafka: KafkaAddress
    password: str = ""
    group: str = GROUP
    session_timeout_s: float = 45.0
    health_port: int | None = None
    settings: WorkerSettings = field(default_factory=WorkerSettings)
    cluster: str = ""

    @property
    def urls(self) -> list[str]:
        """One per shard."""
        return [url.strip() for url in self.clickhouse.split(",") if url.strip()]


def kafka_address(text: str) -> KafkaAddress:
    """HOST:PORT[,HOST:PORT], or the SDK's ``kafka://`` form with its options for SASL and TLS. Raises ConfigurationError."""
    return KafkaAddress.parse("--kafka", text if text.startswith("kafka://") else f"kafka://{text}")


def run(options: WorkOptions) -> None:
    """Work until SIGINT or SIGTERM; a second one ends the process at once."""
    stopping = threading.Event()
    stop: list[Callable[[], None]] = [stopping.set]
    state: dict[str, Any] = {"reasons": ["starting"]}
    with ExitStack() as opened:
        opened.enter_context(_signals(lambda: [call() for call in stop]))
        if options.health_port is not None:
            endpoint = HealthEndpoint(options.health_port, lambda: {"version": __version__, **_status(state)})
            opened.callback(endpoint.close)
            _log.info("health on http://127.0.0.1:%d/readyz", endpoint.port)
        store = _patiently("the store", lambda: open_scaled_out(options.urls, options.cluster), state, stopping)
        if store is None:
            return
        opened.callback(store.close)
        store.migrate("upshot_joiner.store.schema")
        consumer = _patiently("Kafka", lambda: _join(options), state, stopping)
        if consumer is None:
            return
        producer = KafkaWriter(options.kafka, options.password)
        worker = Worker.open(store, consumer, producer, SystemClock(), options.settings)
        opened.callback(worker.close)
        state["worker"] = worker
        stop.append(worker.stop)
        tune_interpreter()
        if not stopping.is_set():
            _log.info("working in the group %s (process %d)", options.group, os.getpid())
        else:
            worker.stop()
        worker.run()
        state.pop("worker")


def _join(options: WorkOptions) -> KafkaGroupMember:
    return KafkaGroupMember(
        options.kafka,
        options.password,
        options.group,
        [PREDICTIONS, LABELS],
        session_timeout_s=options.session_timeout_s,
    )


def _status(state: dict[str, Any]) -> dict[str, Any]:
    worker: Worker | None = state.get("worker")
    return {"reasons": state["reasons"]} if worker is None else worker.status()


def _patiently(what: str, find: Callable[[], T], state: dict[str, Any], stopping: threading.Event) -> T | None:
    """What ``find`` gives, as soon as it is there: processes are started in any order. None when asked to end meanwhile."""
    said = ""
    while not stopping.is_set():
        try:
            return find()
        except (StoreUnavailable, KafkaUnavailable) as error:
            if str(error) != said:
                said = str(error)
                _log.warning("%s is not there yet (%s); waiting", what, said)
            state["reasons"] = [f"waiting for {what}"]
            stopping.wait(LOOK_AGAIN_S * random.uniform(0.5, 1.0))  # noqa: S311  # so that workers do not come all at once
    return None


@contextmanager
def _signals(stop: Callable[[], object]) -> Iterator[None]:
    asked = 0

    def handle(number: int, _: object) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            os._exit(128 + number)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
