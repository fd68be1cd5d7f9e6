"""Workers over a real broker and a real ClickHouse server that are killed, stopped and set back (fault row F28), and a broker
that is killed under a running worker. Loss 0, visible duplicates 0."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

import upshot
from tests.running_kafka import RunningKafka, consumer, messages
from tests.running_worker import RunningWorker
from tests.waiting import eventually
from upshot_joiner.store.client import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl):ResourceWarning"),
    pytest.mark.timeout(400),
]

TOPICS = ("upshot.predictions", "upshot.labels")
PATIENCE_S = 120


class Load:
    """A service that logs predictions and labels to Kafka until it is told to stop."""

    def __init__(self, address: str, model: str) -> None:
        self.model = model
        self.logged: list[str] = []
        self._stop = threading.Event()
        url = f"kafka://{address}"
        self._logger = upshot.Logger(
            url=url, model=model, flush_interval_s=0.02, request_timeout_s=5, batch_max_events=50
        )
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def finish(self) -> None:
        """Stop; everything logged is in Kafka then."""
        self._stop.set()
        self._thread.join()
        assert self._logger.flush(90)
        self._logger.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            for _ in range(20):
                request_id = f"{self.model}-{len(self.logged)}"
                self._logger.log_prediction({"n": len(self.logged)}, 0.5, request_id=request_id)
                self._logger.log_label(request_id, len(self.logged) % 2, observed_at=1.7e9)
                self.logged.append(request_id)
            time.sleep(0.05)


@pytest.fixture
def store(clickhouse: str) -> Iterator[Store]:
    """What the workers write, as a reader sees it."""
    opened = Store.open_server(clickhouse)
    opened.migrate("upshot_joiner.store.schema")
    yield opened
    opened.close()


@pytest.fixture
def broker(own_kafka: RunningKafka) -> RunningKafka:
    """With the topics there."""
    own_kafka.start()
    for topic in (*TOPICS, "upshot.dead"):
        own_kafka.create_topic(topic, partitions=4)
    return own_kafka


@pytest.fixture
def worker(tmp_path: Path, clickhouse: str, broker: RunningKafka) -> Iterator[Callable[..., RunningWorker]]:
    """Makes workers, and ends them."""
    made: list[RunningWorker] = []

    def make(*options: str) -> RunningWorker:
        one = RunningWorker(tmp_path / f"worker-{len(made)}", clickhouse, broker.address, *options)
        made.append(one)
        return one

    yield make
    for one in made:
        with contextlib.suppress(AssertionError):
            one.end()


def lag(address: str) -> int:
    """Messages that the group has not committed."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=address)) as admin:
        committed = admin.list_group_offsets("upshot")
    committed = committed.get("upshot", committed)
    with consumer(address) as reader:
        partitions = [
            TopicPartition(topic, number) for topic in TOPICS for number in reader.partitions_for_topic(topic) or ()
        ]
        ends = reader.end_offsets(partitions)
    return sum(ends[p] - max(0, committed[p].offset if p in committed else 0) for p in partitions)


def judge(store: Store, model: str, logged: list[str]) -> None:
    """Every event is seen, and seen once: predictions, typed rows, label events and outcomes."""
    for sql in (
        "SELECT request_id FROM predictions FINAL WHERE model = {m:String}",
        "SELECT request_id FROM label_events FINAL WHERE startsWith(request_id, {m:String})",
    ):
        seen = [request_id for (request_id,) in store.query(sql, {"m": model})]
        assert len(seen) == len(set(seen)), "seen twice"
        assert set(seen) == set(logged)
    joined = "SELECT request_id, toString(state), value_text FROM outcomes FINAL WHERE model = {m:String}"

    def all_are_joined() -> bool:
        found = store.query(joined, {"m": model})
        assert len(found) <= len(logged)
        return sorted(found) == sorted((r, "labelled", str(n % 2)) for n, r in enumerate(logged))

    eventually(all_are_joined, PATIENCE_S, every_s=0.5)


def test_workers_killed_before_they_commit_lose_nothing(broker, worker, store, fresh):
    """kill -9 at random moments under load: what was stored and not committed comes again, and is seen once (F28)."""
    rng = random.Random(5)
    load = Load(broker.address, fresh)
    one = worker()
    for _ in range(3):
        one.start()
        eventually(lambda: one.status().get("counters", {}).get("messages"), PATIENCE_S)
        time.sleep(rng.uniform(0, 0.5))
        one.kill()
    load.finish()
    one.start()
    eventually(lambda: lag(broker.address) == 0, PATIENCE_S, every_s=0.5)
    judge(store, fresh, load.logged)
    assert one.end() == 0


def test_a_worker_stopped_beyond_its_session_and_its_successor_do_each_other_no_harm(broker, worker, store, fresh):
    """SIGSTOP for longer than the session: two owners of one partition. The stale one goes on later, and rejoins (F28)."""
    load = Load(broker.address, fresh)
    first, second = worker(), worker()
    first.start()
    eventually(lambda: first.status().get("counters", {}).get("messages"), PATIENCE_S)
    first.signal(signal.SIGSTOP)
    second.start()
    eventually(lambda: len(second.status().get("partitions", ())) == 8, PATIENCE_S)
    first.signal(signal.SIGCONT)
    eventually(lambda: 0 < len(first.status().get("partitions", ())) < 8, PATIENCE_S)
    load.finish()
    eventually(lambda: lag(broker.address) == 0, PATIENCE_S, every_s=0.5)
    judge(store, fresh, load.logged)
    owned = [lane["partition"] for one in (first, second) for lane in one.status()["partitions"]]
    assert len(owned) == len(set(owned)) == 8


def test_a_group_set_back_to_the_beginning_sees_everything_again_and_shows_it_once(broker, worker, store, fresh):
    """An operator resets the offsets to earliest; poison is noted once, too (F28)."""
    load = Load(broker.address, fresh)
    producer = KafkaProducer(bootstrap_servers=broker.address, acks="all")
    for n in range(5):
        producer.send("upshot.predictions", b"?", partition=n % 4).get(20)
    producer.close()
    time.sleep(1)
    load.finish()
    one = worker()
    one.start()
    eventually(lambda: lag(broker.address) == 0, PATIENCE_S, every_s=0.5)
    before = store.query("SELECT count(), uniqExact(entry_id) FROM quarantine WHERE topic != ''")
    assert one.end() == 0
    reset = {TopicPartition(topic, n): OffsetAndMetadata(0, "", -1) for topic in TOPICS for n in range(4)}
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:
        admin.alter_group_offsets("upshot", reset)
    assert lag(broker.address) > 0
    one.start()
    eventually(lambda: lag(broker.address) == 0, PATIENCE_S, every_s=0.5)
    counters = one.status()["counters"]
    assert counters["accepted"] == 0
    assert counters["duplicates"] >= 2 * len(load.logged)  # and the reports of the writer
    assert store.query("SELECT count(), uniqExact(entry_id) FROM quarantine WHERE topic != ''") == before
    assert len({message.key for message in messages(broker.address, "upshot.dead")}) == 5
    judge(store, fresh, load.logged)


def test_a_broker_killed_under_a_running_worker_loses_nothing(broker, worker, store, fresh):
    """kill -9 and restart of the broker, again and again, while events are logged and consumed."""
    rng = random.Random(7)
    load = Load(broker.address, fresh)
    one = worker()
    one.start()
    for _ in range(3):
        before = one.status()["counters"]["messages"]
        eventually(lambda before=before: one.status()["counters"]["messages"] > before, PATIENCE_S)
        time.sleep(rng.uniform(0, 0.3))
        broker.kill()
        time.sleep(rng.uniform(0.5, 2))
        broker.start()
    load.finish()
    eventually(lambda: lag(broker.address) == 0, PATIENCE_S, every_s=0.5)
    judge(store, fresh, load.logged)
    assert one.end() == 0
