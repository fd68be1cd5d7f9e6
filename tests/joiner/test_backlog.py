"""What one process holds and has not joined is known to all that share its store: no other one calls it silence."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.joiner.conftest import Line
from tests.joiner.test_feed_watch import HOUR, T0, watching_over
from tests.waiting import eventually
from upshot_joiner.clock import EPOCH, SystemClock
from upshot_joiner.errors import StoreUnavailable
from upshot_joiner.intake.kafka.contract import LABELS, PREDICTIONS, Outgoing
from upshot_joiner.intake.kafka.in_memory import InMemoryBroker
from upshot_joiner.processes import Processes
from upshot_joiner.store.client import Store
from upshot_joiner.worker import Worker

PATIENCE_S = 60


class OfAWorker:
    """A worker as of another process: with a connection of its own to the store, which can be made to take no labels."""

    def __init__(self, url: str) -> None:
        self.broker = InMemoryBroker()
        self.store = Store.open_server(url, f"upshot_tests_{os.getpid()}")
        self.takes_labels = threading.Event()
        real = self.store.insert

        def insert(into: str, rows: pa.Table) -> None:
            if into == "label_events" and not self.takes_labels.is_set():
                raise StoreUnavailable("not now")
            real(into, rows)

        self.store.insert = insert  # type: ignore[method-assign]
        member = self.broker.member("upshot", [PREDICTIONS, LABELS])
        self.worker = Worker.open(self.store, member, self.broker.producer(), SystemClock())
        self._thread = threading.Thread(target=self.worker.run)

    def start(self) -> None:
        """Begin to consume."""
        self._thread.start()

    def label(self, *events: dict[str, Any]) -> None:
        """Produce labels as one message."""
        self.broker.produce(Outgoing(LABELS, json.dumps(list(events)).encode(), {}))

    def close(self) -> None:
        """End it in order."""
        self.takes_labels.set()
        self.worker.stop()
        self._thread.join(60)
        self.worker.close()
        self.store.close()


@pytest.fixture
def of_a_worker(server_store: Store, clickhouse: str) -> Iterator[OfAWorker]:
    server_store.command("TRUNCATE TABLE processes")  # what a worker of an earlier test left counts for five minutes
    made = OfAWorker(clickhouse)
    yield made
    made.close()


def told_of_workers(processes: Processes) -> list[dict[str, Any]]:
    return [one for one in processes.told() if one["role"] == "work"]


def test_what_a_worker_holds_is_no_silence_of_the_feed(server_store: Store, of_a_worker: OfAWorker, fresh: str) -> None:
    """The server's own joiner is idle, and the labels lie in Kafka: nothing is judged until they are stored."""
    of_a_worker.label({"request_id": f"{fresh}-3-0", "value": 1})
    of_a_worker.start()
    with watching_over(server_store, fresh) as watching:
        processes = watching.line.processes
        assert processes is not None
        watching.watch._is_held_up = processes.is_held_up
        eventually(lambda: [one["in_kafka"] for one in told_of_workers(processes)] == [1], PATIENCE_S)
        assert told_of_workers(processes)[0]["behind_s"] is None  # how old the message is, nobody knows yet
        watching.configure(quiet_after=HOUR, expect="none")
        watching.serve(20, 1)
        watching.step(T0)
        watching.label(0, 1)
        assert watching.step(T0 + 5 * HOUR) == []
        assert watching.told()["observed"]["held_up_since"] is not None

        of_a_worker.takes_labels.set()
        eventually(lambda: not processes.is_held_up(T0 + 5 * HOUR), PATIENCE_S)
        eventually(lambda: [one["in_kafka"] for one in told_of_workers(processes)] == [0], PATIENCE_S)
        assert told_of_workers(processes)[0]["behind_s"] < 60
        # What it held is stamped when it was stored, long after this clock; so here, nothing came.
        assert [one.action for one in watching.step(T0 + 6 * HOUR)] == ["open"]
        assert watching.told()["observed"]["held_up_since"] is None


def test_what_a_worker_left_in_kafka_counts_until_another_one_has_taken_it_over(
    server_store: Store, of_a_worker: OfAWorker, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of one and the assignment of its partitions to the next, nobody else knows of them."""
    line = Line.open(server_store)
    processes = line.processes
    assert processes is not None
    try:
        of_a_worker.label({"request_id": fresh, "value": 1})
        of_a_worker.start()
        moment = EPOCH + timedelta(days=1)
        eventually(lambda: processes.is_held_up(moment), PATIENCE_S)
        of_a_worker.worker.stop()
        of_a_worker._thread.join(60)
        of_a_worker.worker.close()
        eventually(lambda: told_of_workers(processes) == [], PATIENCE_S)
        assert processes.is_held_up(moment)
        monkeypatch.setattr("upshot_joiner.processes.HANDOVER_S", 0.0)
        assert not processes.is_held_up(moment)
    finally:
        line.close()
