"""What sends and what waits: intake over HTTP and through Kafka, the raw ClickHouse insert of the same bytes, a worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from kafka import KafkaProducer

from tests.bench import join_events
from tests.bench.join_events import BATCH, MODEL, Bodies
from tests.running import RunningServer
from tests.running_clickhouse import RunningClickHouse
from tests.running_kafka import RunningKafka
from upshot_joiner.store.client import Store

CONNECTIONS = 4
PATIENCE_S = 600
PARTITIONS = 4


def in_parallel(batches: list[bytes], send: Callable[[httpx.Client, bytes], None], url: str) -> float:
    """Seconds for ``CONNECTIONS`` clients to send all batches."""
    waiting = list(batches)

    def work() -> None:
        with httpx.Client(base_url=url, timeout=120) as http:
            while True:
                try:
                    body = waiting.pop()
                except IndexError:
                    return
                send(http, body)

    begin = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def raw_insert(clickhouse: RunningClickHouse, bodies: Bodies) -> float:
    """Seconds for ClickHouse to take the bytes of NDJSON as they are, in the same batches, synced to disk."""
    with httpx.Client(base_url=clickhouse.url, timeout=120) as http:
        http.post("/", content=join_events.raw_table("raw_predictions")).raise_for_status()
    params = {"query": "INSERT INTO raw_predictions FORMAT JSONEachRow", "async_insert": "0"}

    def send(http: httpx.Client, body: bytes) -> None:
        http.post("/", params=params, content=body).raise_for_status()

    taken = in_parallel(bodies.batches, send, clickhouse.url)
    with httpx.Client(base_url=clickhouse.url, timeout=120) as http:
        stored = int(http.post("/", content="SELECT count() FROM raw_predictions").text)
    if stored != len(bodies.batches) * BATCH:
        raise SystemExit(f"ClickHouse has {stored} rows")
    return taken


def over_http(server: RunningServer, path: str, bodies: Bodies) -> float:
    """Seconds until everything is acknowledged, which is when it is stored."""

    def send(http: httpx.Client, body: bytes) -> None:
        answer = http.post(path, content=body, headers=bodies.headers).json()
        if answer.get("accepted") != BATCH:
            raise SystemExit(f"not accepted: {answer}")

    return in_parallel(bodies.batches, send, server.url)


def produce(kafka: RunningKafka, topic: str, bodies: Bodies) -> None:
    """Put the batches into a topic, one message each."""
    headers = [(name, value.encode()) for name, value in bodies.headers.items()]
    kind = b"labels" if topic.endswith("labels") else b"predictions"
    headers += [("upshot-kind", kind), ("upshot-events", str(BATCH).encode())]
    producer = KafkaProducer(bootstrap_servers=kafka.address, acks="all", max_request_size=8_000_000)
    with contextlib.closing(producer):
        sent = [
            producer.send(topic, body, headers=headers, partition=number % PARTITIONS)
            for number, body in enumerate(bodies.batches)
        ]
        for one in sent:
            one.get(timeout=120)


@contextlib.contextmanager
def worker(clickhouse: RunningClickHouse, kafka: RunningKafka, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`upshot work`, as a process."""
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "upshot_server", "work", "--clickhouse", clickhouse.url, "--kafka", kafka.address],
            stdout=log,
            stderr=log,
            env=dict(os.environ),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(store: Store, sql: str, wanted: int, process: subprocess.Popen[bytes]) -> float:
    """The moment (``perf_counter``) at which a count was reached."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        [(found,)] = store.query(sql)
        if found >= wanted:
            return time.perf_counter()
        if process.poll() is not None:
            raise SystemExit(f"the worker ended with status {process.returncode}")
        time.sleep(0.2)
    raise SystemExit(f"not within {PATIENCE_S} s: {sql}")


STORED = "SELECT count() FROM predictions"
LABELS_STORED = "SELECT count() FROM label_events"
JOINED = f"SELECT count() FROM outcomes WHERE model = '{MODEL}' AND state = 'labelled'"


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, its children not included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


SENDERS = 8


def labels_at_a_rate(
    url: str,
    labels: list[dict[str, object]],
    rate: int,
    batch: int,
    told: Callable[[str, float], None],
) -> tuple[list[float], list[float], float]:
    """Send labels at a steady rate (labels a second) over ``SENDERS`` connections, each request at its own moment.

    ``told`` is called with a request ID of each batch and the moment it was answered. Gives the seconds that each request
    took, counted from the moment it was due, the moments (``perf_counter``, in order) at which each label was answered, and
    the seconds for all.
    """
    starts = iter(range(0, len(labels), batch))
    lock = threading.Lock()
    waits: list[float] = []
    answered: list[float] = []
    begin = time.perf_counter()

    def send() -> None:
        with httpx.Client(base_url=url, timeout=30) as http:
            while True:
                with lock:
                    start = next(starts, None)
                if start is None:
                    return
                due = begin + start / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                some = labels[start : start + batch]
                http.post("/v1/labels", json=some).raise_for_status()
                now = time.perf_counter()
                with lock:
                    waits.append(now - due)
                    answered.extend([now] * len(some))
                told(str(some[0]["request_id"]), now)

    threads = [threading.Thread(target=send) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits, sorted(answered), time.perf_counter() - begin
