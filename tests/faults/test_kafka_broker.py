"""A real Kafka broker that is away, killed, restarted and stopped, while a service logs."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from kafka.consumer.fetcher import ConsumerRecord

import upshot
from tests.faults.books import assert_books_balance
from tests.logger.collector import balance, decode
from tests.running import RunningServer
from tests.running_kafka import RunningKafka, messages
from tests.waiting import eventually

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <(socket|ssl):ResourceWarning"  # kafka-python leaves a connection that was refused to its last reference
)

KILLS = 3


def headers_of(message: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers}


def of_kind(kind: str, address: str) -> list[ConsumerRecord]:
    topic = "upshot.labels" if kind == "labels" else "upshot.predictions"
    return [message for message in messages(address, topic) if headers_of(message)["upshot-kind"] == kind]


def times_each_arrived(kind: str, address: str) -> Counter[str]:
    """Request ID -> how often it is in the topic."""
    return Counter(
        event.request_id
        for message in of_kind(kind, address)
        for event in decode(f"/v1/{kind}", headers_of(message), message.value)
    )


def bridge(address: str, server: RunningServer) -> Counter[str]:
    """Hand every message to a server, as a bridge does that knows nothing of what is in it. What the server answered."""
    answered: Counter[str] = Counter()
    for kind in ("predictions", "labels", "writers"):
        for message in of_kind(kind, address):
            headers = {name: value for name, value in headers_of(message).items() if name.startswith("content-")}
            answer = server.http.post(f"/v1/{kind}", content=message.value, headers=headers)
            assert answer.status_code == 200, answer.text
            if kind != "writers":
                answered.update({name: answer.json()[name] for name in ("accepted", "duplicates", "rejected")})
    return answered


def test_what_is_logged_while_no_broker_is_there_arrives_when_one_is(own_kafka, caplog):
    """Started in the wrong order: the service first."""
    url = f"kafka://{own_kafka.address}"
    with upshot.Logger(url=url, model="m", flush_interval_s=0.02, request_timeout_s=3) as logger:
        for i in range(3000):
            logger.log_prediction({"i": i}, 0, request_id=f"r{i}")
        eventually(lambda: logger.stats()["retries"], 20)
        own_kafka.start()
        assert logger.flush(60)
        assert logger.stats()["stored"] == 3000
    assert set(times_each_arrived("predictions", own_kafka.address)) == {f"r{i}" for i in range(3000)}
    said = [record.getMessage() for record in caplog.records if record.name.startswith("upshot")]
    assert said == ["no Kafka broker can be reached: 111 ECONNREFUSED; events wait and are sent again"]


@pytest.mark.timeout(300)
def test_a_broker_killed_under_load_loses_nothing_and_nothing_is_seen_twice(own_kafka, server):
    """kill -9 and restart, again and again; then the topics are read into a server, twice, as a consumer that crashed would."""
    own_kafka.start()
    rng = random.Random(13)
    stop = threading.Event()
    logged: list[str] = []
    logger = upshot.Logger(url=f"kafka://{own_kafka.address}", model="m", flush_interval_s=0.02, request_timeout_s=5)

    def serve() -> None:
        while not stop.is_set():
            for _ in range(20):
                request_id = f"r{len(logged)}"
                logger.log_prediction({"n": len(logged)}, 0.5, request_id=request_id)
                logger.log_label(request_id, len(logged) % 2, observed_at=1.7e9)
                logged.append(request_id)
            time.sleep(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(KILLS):
        before = logger.stats()["stored"]
        eventually(lambda before=before: logger.stats()["stored"] > before + 200, 60)
        time.sleep(rng.uniform(0, 0.3))
        own_kafka.kill()
        time.sleep(rng.uniform(0, 1.5))
        own_kafka.start()
    stop.set()
    thread.join()
    assert logger.flush(90)
    stats = logger.stats()
    logger.close()
    assert (stats["stored"], stats["dropped"], balance(stats)) == (2 * len(logged), 0, 0)
    for kind in ("predictions", "labels"):
        assert set(times_each_arrived(kind, own_kafka.address)) == set(logged)

    first = bridge(own_kafka.address, server)
    assert (first["accepted"], first["rejected"]) == (2 * len(logged), 0)
    again = bridge(own_kafka.address, server)
    assert (again["accepted"], again["rejected"]) == (0, 0)
    server.until_joined()
    (model,) = server.http.get("/v1/models").json()["models"]
    assert model["predictions"] == len(logged)
    (label,) = server.http.get("/v1/models/m/labels").json()["labels"]
    assert (label["predictions"], label["labelled"]) == (len(logged), len(logged))
    assert_books_balance(server)
    for n in rng.sample(range(len(logged)), 20):
        story = server.story(f"r{n}")
        assert [found["features"] for found in story["predictions"]] == [{"n": n}]
        assert [found["value"] for found in story["label_events"]] == [n % 2]


@pytest.mark.parametrize("needed", [1, 2], ids=["one replica is enough", "both replicas are needed"])
def test_stored_means_that_all_replicas_in_sync_have_it(own_kafka, tmp_path, needed):
    """One of two brokers is killed. The other leads, and events go on; or, where both must have them, they wait for it."""
    second = own_kafka.joined_by(tmp_path / "second")
    own_kafka.start()
    try:
        second.start()
        for topic in ("upshot.predictions", "upshot.labels"):
            own_kafka.create_topic(topic, partitions=4, replicas=2, **{"min.insync.replicas": str(needed)})
        url = f"kafka://{own_kafka.address},{second.address}"
        logger = upshot.Logger(url=url, model="m", flush_interval_s=0.02, request_timeout_s=20)
        for i in range(400):
            if i == 200:
                assert logger.flush(30)
                second.kill()
            logger.log_prediction({}, 0, request_id=f"r{i}")
            time.sleep(0.005)
        if needed == 1:
            assert logger.flush(60)
        else:
            time.sleep(4)  # the cluster has noticed, and moved the leaders
            assert logger.stats()["stored"] == 200
            second.start()
            assert logger.flush(60)
        assert logger.stats()["stored"] == 400
        logger.close()
        assert set(times_each_arrived("predictions", own_kafka.address)) == {f"r{i}" for i in range(400)}
    finally:
        second.stop()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_stopped_broker_holds_up_no_caller_and_fills_no_memory(own_kafka):
    """Its sockets take what is sent and never answer. Without a spool, what does not fit the queue is dropped and counted."""
    own_kafka.start()
    url = f"kafka://{own_kafka.address}"
    logger = upshot.Logger(url=url, model="m", flush_interval_s=0.02, request_timeout_s=1, spool=False)
    features = {f"feature_{i}": i / 7 for i in range(40)}
    logger.log_prediction(features, 0)
    assert logger.flush(20)
    own_kafka.pause()
    before, slowest_s = resident_bytes(), []
    for _ in range(20):
        for _ in range(3000):
            started = time.perf_counter()
            logger.log_prediction(features, 0)
            slowest_s.append(time.perf_counter() - started)
        time.sleep(0.1)
    grown = resident_bytes() - before
    slowest_s.sort()
    assert slowest_s[-1] < 1, "no call waits for the broker"
    assert slowest_s[len(slowest_s) * 99 // 100] < 0.01
    assert grown < 120_000_000
    stats = logger.stats()
    assert stats["dropped_full"] > 30_000
    assert balance(stats) == 0
    own_kafka.resume()
    assert logger.flush(60)
    stats = logger.stats()
    assert stats["stored"] + stats["dropped_full"] == stats["accepted"] == 60_001
    logger.close()


def test_regression_waiting_for_a_broker_takes_no_processor(own_kafka):
    """kafka-python's thread looked 45,000 times a second at a broker that does not answer, and slowed down all the others."""
    own_kafka.start()
    url = f"kafka://{own_kafka.address}"
    with upshot.Logger(url=url, model="m", flush_interval_s=0.02, request_timeout_s=4) as logger:
        logger.log_prediction({}, 0)
        assert logger.flush(20)
        own_kafka.pause()
        logger.log_prediction({}, 0)
        worked = time.process_time()
        eventually(lambda: logger.stats()["retries"], 20, 0.1)
        assert time.process_time() - worked < 0.6
        own_kafka.kill()
        worked = time.process_time()
        time.sleep(4)
        assert time.process_time() - worked < 0.6
        own_kafka.start()
        assert logger.flush(60)


def test_within_an_attempt_an_event_is_stored_once_however_often_it_is_asked_for(own_kafka):
    """The broker finds the first request in its socket when it wakes, and the second, of the same number, behind it."""
    own_kafka.start()
    url = f"kafka://{own_kafka.address}"
    # A message is asked for again after half of the time.
    with upshot.Logger(url=url, model="m", flush_interval_s=0.02, request_timeout_s=6) as logger:
        logger.log_prediction({}, 0, request_id="before")
        assert logger.flush(20)
        own_kafka.pause()
        logger.log_prediction({}, 0, request_id="meanwhile")
        time.sleep(4)
        own_kafka.resume()
        assert logger.flush(30)
        assert logger.stats()["retries"] == 0
        own_kafka.restart()
        logger.log_prediction({}, 0, request_id="after")
        assert logger.flush(30)
    arrived = times_each_arrived("predictions", own_kafka.address)
    assert arrived == Counter(["before", "meanwhile", "after"])


def test_at_exit_the_librarys_own_hooks_neither_wait_nor_complain(own_kafka):
    """With a message on its way to a broker that is stopped: in the process itself, and in a child it forked."""
    own_kafka.start()
    script = """
import os, sys, time, upshot
upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.02)
upshot.log_prediction({}, 0)
assert upshot.flush(20)
print("sent", flush=True)
sys.stdin.readline()
upshot.log_prediction({}, 0)
while not upshot.stats()["in_flight"]:
    time.sleep(0.01)
time.sleep(0.3)
child = os.fork()
if child == 0:
    sys.exit(0)
forked = time.monotonic()
assert os.waitpid(child, 0)[1] == 0
assert time.monotonic() - forked < 0.9, "the child waited"
print("end", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, f"kafka://{own_kafka.address}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sent\n"
    own_kafka.pause()
    out, errors = process.communicate("\n", timeout=30)
    assert (process.returncode, out) == (0, "end\n"), errors
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 1, errors


def test_running_brokers_end_with_their_test(own_kafka: RunningKafka):
    """A stopped process cannot be asked to end; the rig wakes it first."""
    own_kafka.start()
    own_kafka.pause()
    own_kafka.stop()
    assert own_kafka.has_ended
