"""`upshot serve --kafka`: what it acknowledged is in Kafka, whatever happens to it (fault row F15); workers store it."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from kafka import KafkaProducer

from tests.running import RunningServer
from tests.running_clickhouse import RunningClickHouse
from tests.running_kafka import RunningKafka, messages
from tests.running_worker import RunningWorker
from tests.waiting import eventually
from upshot_joiner.processes import Processes, StoreClock
from upshot_joiner.store.client import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl):ResourceWarning"),
    pytest.mark.timeout(600),
]

KILLS = 3
PATIENCE_S = 120


class Collector(RunningServer):
    """A server that hands events to Kafka."""

    def __init__(self, data: Path, clickhouse: str, kafka: str) -> None:
        super().__init__(data)
        self._where = ["--clickhouse", clickhouse, "--kafka", kafka]

    def command(self) -> list[str]:
        """What is run."""
        serve = [sys.executable, "-m", "upshot_server", "serve", "--data", str(self.data), "--port", str(self.port)]
        return serve + self._where


@pytest.fixture
def collector(tmp_path: Path, clickhouse: str, own_kafka: RunningKafka) -> Iterator[Collector]:
    own_kafka.start()
    for topic in ("upshot.predictions", "upshot.labels", "upshot.dead"):
        own_kafka.create_topic(topic, partitions=4)
    running = Collector(tmp_path / "data", clickhouse, own_kafka.address)
    running.start()
    yield running
    running.end()


def test_what_a_killed_collector_acknowledged_is_stored_once(
    collector: Collector, own_kafka: RunningKafka, clickhouse: str, tmp_path: Path, fresh: str
) -> None:
    """kill -9 at random moments; its client sends again what was not answered. Loss 0, visible duplicates 0 (F15)."""
    rng = random.Random(3)
    acknowledged: set[str] = set()
    stop = threading.Event()

    def write() -> None:
        number = 0
        with httpx.Client(base_url=collector.url, timeout=10) as http:
            while not stop.is_set():
                ids = [f"{fresh}-{number + i}" for i in range(20)]
                events = [{"request_id": id_, "model": fresh, "features": {"id": id_}} for id_ in ids]
                try:
                    answer = http.post("/v1/predictions", json=events)
                except httpx.TransportError:
                    time.sleep(0.05)
                    continue  # the same again
                if answer.status_code == 200:
                    assert answer.json()["accepted"] == 20
                    acknowledged.update(ids)
                    number += 20

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(KILLS):
        before = len(acknowledged)
        eventually(lambda before=before: len(acknowledged) > before, PATIENCE_S)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.3))
        collector.kill()
        collector.start()
    stop.set()
    thread.join()
    worker = RunningWorker(tmp_path / "worker", clickhouse, own_kafka.address)
    worker.start()
    store = Store.open_server(clickhouse)
    try:
        sql = "SELECT request_id FROM predictions FINAL WHERE model = {m:String}"
        eventually(
            lambda: acknowledged <= {request_id for (request_id,) in store.query(sql, {"m": fresh})},
            PATIENCE_S,
            every_s=0.5,
        )
        seen = [request_id for (request_id,) in store.query(sql, {"m": fresh})]
        assert len(seen) == len(set(seen))
    finally:
        store.close()
        worker.end()
    told = eventually(lambda: collector.http.get(f"/v1/predictions/{fresh}-0").json().get("predictions"), PATIENCE_S)
    assert told[0]["features"] == {"id": f"{fresh}-0"}


def test_without_a_broker_nothing_is_acknowledged(collector: Collector, own_kafka: RunningKafka, fresh: str) -> None:
    """503 with Retry-After, and it goes on by itself when the broker is back."""
    event = {"request_id": fresh, "model": fresh}
    assert collector.post("/v1/predictions", event).status_code == 200
    own_kafka.kill()
    answer = collector.http.post("/v1/predictions", json=event, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
    assert "retry-after" in answer.headers
    own_kafka.start()
    eventually(lambda: collector.http.post("/v1/predictions", json=event, timeout=60).status_code == 200, PATIENCE_S)


def test_a_server_knows_what_a_worker_has_left_in_kafka(
    collector: Collector, own_kafka: RunningKafka, clickhouse: str, tmp_path: Path, fresh: str
) -> None:
    """Two real processes: the worker stands before a flood of bad labels, and the server shows its lag and calls no feed silent."""
    with closing(KafkaProducer(bootstrap_servers=own_kafka.address, acks="all")) as producer:
        for n in range(30):
            producer.send("upshot.labels", f"no label {n}".encode(), partition=0).get(30)
    worker = RunningWorker(tmp_path / "worker", clickhouse, own_kafka.address, "--max-refused", "5")
    store = Store.open_server(clickhouse)
    try:
        worker.launch()

        def of_the_worker() -> list[tuple[int, float | None]]:
            told = collector.http.get("/v1/status").json()["lag"]["processes"]
            return [(one["in_kafka"], one["behind_s"]) for one in told if one["role"] == "work" and one["in_kafka"]]

        eventually(lambda: of_the_worker() == [(25, None)], PATIENCE_S, every_s=0.5)
        processes = Processes(store, StoreClock(store))
        assert processes.is_held_up(datetime(2023, 1, 1, tzinfo=UTC))
        worker.end()
        worker = RunningWorker(tmp_path / "next", clickhouse, own_kafka.address)
        worker.start()

        def has_caught_up() -> bool:
            behind = [lane["behind_s"] for lane in worker.status()["partitions"]]
            return len(behind) == 8 and all(seconds is not None and seconds < 60 for seconds in behind)

        eventually(has_caught_up, PATIENCE_S, every_s=0.5)
        eventually(lambda: of_the_worker() == [], PATIENCE_S, every_s=0.5)
    finally:
        store.close()
        worker.end()


def test_webhooks_and_inferences_go_through_kafka_also_while_the_store_is_away(
    own_clickhouse: RunningClickHouse, own_kafka: RunningKafka, tmp_path: Path, fresh: str
) -> None:
    """All real: a webhook is answered while ClickHouse is down; a worker joins it with the prediction of two CloudEvents."""
    own_clickhouse.start()
    own_kafka.start()
    for topic in ("upshot.predictions", "upshot.labels", "upshot.dead"):
        own_kafka.create_topic(topic)
    server = Collector(tmp_path / "data", own_clickhouse.url, own_kafka.address)
    worker = RunningWorker(tmp_path / "worker", own_clickhouse.url, own_kafka.address)
    server.start()
    try:
        mapping = {"fields": {"request_id": "ref", "value": "ok"}}
        config = {"signature": {"scheme": "none"}, "mapping": mapping}
        assert server.http.put("/v1/hooks/reviews", json=config).status_code == 200
        kind, common = "org.kubeflow.serving.inference.", {"specversion": "1.0", "source": "s", "id": f"{fresh}-0"}
        common |= {"inferenceservicename": fresh, "namespace": "shop"}
        bodies = {"request": {"instances": [{"x": 1.5}]}, "response": {"predictions": [0.25]}}
        halves = [{**common, "type": kind + side, "data": data} for side, data in bodies.items()]
        batch = server.http.post(
            "/v1/cloudevents",
            content=json.dumps(halves),
            headers={"content-type": "application/cloudevents-batch+json"},
            timeout=60,
        )
        assert batch.json()["accepted"] == 2
        assert [message.value is not None for message in messages(own_kafka.address, "upshot.predictions")] == [True]

        own_clickhouse.kill()
        answer = server.http.post("/v1/hooks/reviews", json={"ref": f"{fresh}-0", "ok": 0}, timeout=60)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
        answer = server.http.post("/v1/hooks/reviews", json={"no": "mapping"}, timeout=60)
        assert answer.status_code == 503  # it would have to be kept
        own_clickhouse.start()
        worker.start()

        def outcome() -> list[tuple[str, int, str]]:
            answer = server.http.get(f"/v1/predictions/{fresh}-0")
            if answer.status_code != 200:
                return []
            story = answer.json()
            [prediction] = story["predictions"]
            return [(one["state"], one["value"], prediction["model"]) for one in story["outcomes"]]

        eventually(lambda: outcome() == [("labelled", 0, f"shop/{fresh}")], PATIENCE_S, every_s=0.5)
        assert server.http.post("/v1/hooks/reviews", json={"ref": "other", "ok": 1}).status_code == 200
        counts = server.http.get("/v1/hooks/reviews").json()["counts"]
        assert (counts["received"], counts["mapped"]) == (2, 2)
    finally:
        server.end()
        worker.end()
