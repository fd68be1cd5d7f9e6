"""What the join costs and how soon a label counts, against other ways to join the same data.

    python -m tests.bench.join [--parts a,b,c,d,e] [--sizes 1000000,10000000,100000000] [--events N] [--seconds N]

a  100,000 new labels of the last day into 1, 10 and 100 million predictions, against a plain ClickHouse join of the same tables
b  the same by DuckDB and Polars (with the sizes up to --contenders-up-to)
c  from the answer to a label until its request's story shows it joined, and until the API counts it, at 2,000 labels a second
d  predictions and labels together through Kafka, a ClickHouse server and `upshot work`: joined events a minute
e  intake by HTTP and through Kafka as a ratio of the raw ClickHouse insert of the same bytes

Everything is real: servers and broker are processes of their own on this machine, and share its cores with what sends.
Figures are printed, nothing is decided.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import join_events, join_intake
from tests.bench.join_events import BATCH
from tests.bench.join_visible import in_counts, in_stories
from tests.running import RunningServer
from tests.running_clickhouse import RunningClickHouse
from tests.running_kafka import RunningKafka
from upshot_joiner.store.client import Store

LABELS = 100_000
RATE = 2_000
LIVE_BATCH = 20
MILLION = 1_000_000


def incremental(sizes: list[int], contenders_up_to: int) -> None:
    """Parts a and b."""
    print(f"\na, b: {LABELS:,} new labels of the last day into a history; medians of five, seconds")
    print(
        f"{'predictions':>13}{'upshot':>9}{'plain join':>12}{'DuckDB':>9}{'.. table':>9}{'Polars':>9}   x plain   labels  µs each"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            asked = [sys.executable, "-m", "tests.bench.join_incremental", str(size), str(LABELS), folder]
            asked += ["--contenders"] if size <= contenders_up_to else []
            ran = subprocess.run(asked, capture_output=True, text=True, check=False)
        if ran.returncode:
            print(f"{size:>13,}  failed: {ran.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(ran.stdout.strip().splitlines()[-1])
        ours, plain = found["ours_s"], found["plain_s"]
        others = "".join(
            f"{found[name]:>9.2f}" if name in found else f"{'':>9}"
            for name in ("duckdb_s", "duckdb_table_s", "polars_s")
        )
        print(
            f"{size:>13,}{ours:>9.2f}{plain:>12.2f}{others}{ours / plain:>10.2f}"
            f"{found['labels']:>9,}{ours / found['labels'] * 1e6:>9.1f}",
            flush=True,
        )


def live(seconds: int, history: int) -> None:
    """Part c: labels at a steady rate; how soon a request's story shows its label, and how soon the API counts each of all.

    The count is a question about the whole model, asked ten times a second; it costs about as much as taking the labels does. So
    the two are measured one after the other.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = RunningServer(Path(folder) / "data")
        server.start()
        wanted = max(2 * RATE * seconds, history)
        events = join_events.predictions(wanted - wanted % BATCH)
        join_intake.over_http(server, "/v1/predictions", join_events.packed(events))
        server.until_joined(120)
        ids = [event.request_id for event in events[: 2 * RATE * seconds]]
        print(f"\nc: {LIVE_BATCH} labels a request, {join_intake.SENDERS} connections, history {len(events):,}")
        for name, of, looked_at in (
            ("its request's story, looked at every 20 ms", ids[: RATE * seconds], in_stories),
            ("the API's count, looked at ten times a second", ids[RATE * seconds :], in_counts),
        ):
            labels = [{"request_id": request_id, "value": index % 2} for index, request_id in enumerate(of)]
            with looked_at(server.url, len(labels)) as look:
                waits, answered, took = join_intake.labels_at_a_rate(
                    server.url, labels, RATE, LIVE_BATCH, look.answered
                )
            delays = sorted(look.delays(answered))
            print(
                f"{len(labels):,} labels, {len(labels) / took:,.0f}/s of {RATE:,}/s wanted; a request, due -> answered (stored): "
                f"p50 {statistics.median(waits) * 1e3:.0f} ms, p99 {sorted(waits)[len(waits) * 99 // 100] * 1e3:.0f} ms\n"
                f"answered -> joined in {name}: p50 {delays[len(delays) // 2]:.2f} s, "
                f"p99 {delays[len(delays) * 99 // 100]:.2f} s ({len(delays):,} of them)"
            )
        server.end()


def sustained(count: int) -> None:
    """Part d: everything waits in Kafka; how fast one worker joins it."""
    with tempfile.TemporaryDirectory() as folder:
        clickhouse, kafka, store = _started(Path(folder))
        events = join_events.predictions(count)
        join_intake.produce(kafka, "upshot.predictions", join_events.packed(events))
        join_intake.produce(kafka, "upshot.labels", join_events.packed(join_events.labels_of(events)))
        begin = time.perf_counter()
        with join_intake.worker(clickhouse, kafka, Path(folder)) as process:
            join_intake.until(store, join_intake.STORED, BATCH, process)
            working = time.perf_counter()
            before = os.times()
            joined = join_intake.until(store, join_intake.JOINED, count, process)
            used = join_intake.cpu_s(process.pid)
        after = os.times()
        clickhouse.stop()
        kafka.stop()
    print(
        f"\nd: {count:,} predictions and {count:,} labels waiting in Kafka, one worker, one ClickHouse "
        f"server, one broker, two cores"
    )
    print(
        f"start -> all joined {joined - begin:.1f} s, of which {working - begin:.1f} s until the first rows were stored"
    )
    print(
        f"joined events a minute (a prediction and its label are two): {2 * (count - BATCH) / (joined - working) * 60:,.0f}"
    )
    print(
        f"the worker used {used:.1f} s of CPU: {used / (joined - begin) * 100:.0f} % of one core; the "
        f"generator {after.user - before.user:.1f} s"
    )


def ratios(count: int) -> None:
    """Part e."""
    events = join_events.predictions(count)
    lines, sdk = join_events.ndjson(events), join_events.packed(events)
    with tempfile.TemporaryDirectory() as folder:
        clickhouse, kafka, store = _started(Path(folder))
        raw = join_intake.raw_insert(clickhouse, lines)
        found = {"raw insert of the NDJSON, typed, synced": raw}
        for name, bodies in (("NDJSON", lines), ("packed, as the SDK sends", sdk)):
            server = RunningServer(Path(folder) / f"data-{name[0]}")
            server.start()
            found[f"HTTP, {name}"] = join_intake.over_http(server, "/v1/predictions", bodies)
            server.end()
        for number, (name, bodies) in enumerate((("NDJSON", lines), ("packed, as the SDK sends", sdk)), 1):
            if number > 1:
                events = join_events.predictions(count, seed=number)
                bodies = join_events.packed(events)
            join_intake.produce(kafka, "upshot.predictions", bodies)
            with join_intake.worker(clickhouse, kafka, Path(folder)) as process:
                join_intake.until(store, join_intake.STORED, (number - 1) * count + BATCH, process)
                begin = time.perf_counter()
                found[f"Kafka, {name}"] = (
                    (join_intake.until(store, join_intake.STORED, number * count, process) - begin)
                    * count
                    / (count - BATCH)
                )
        raw_again = join_intake.raw_insert(clickhouse, lines)
        clickhouse.stop()
        kafka.stop()
    raw = (raw + raw_again) / 2
    print(f"\ne: {count:,} predictions of 30 features in batches of {BATCH:,}; {join_intake.CONNECTIONS} connections")
    for name, seconds in found.items():
        print(f"{name:<44}{count / seconds:>10,.0f}/s{raw / seconds:>8.2f} x raw")
    print(f"{'raw insert, again at the end':<44}{count / raw_again:>10,.0f}/s")


def _started(folder: Path) -> tuple[RunningClickHouse, RunningKafka, Store]:
    clickhouse, kafka = (
        RunningClickHouse(folder / "clickhouse"),
        RunningKafka(folder / "kafka", partitions=join_intake.PARTITIONS),
    )
    clickhouse.start()
    kafka.start()
    for topic in ("upshot.predictions", "upshot.labels", "upshot.dead"):
        kafka.create_topic(topic, partitions=join_intake.PARTITIONS)
    subprocess.run(
        [sys.executable, "-m", "upshot_server", "migrate", "--clickhouse", clickhouse.url],
        check=True,
        capture_output=True,
    )
    return clickhouse, kafka, Store.open_server(clickhouse.url)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default="a,b,c,d,e")
    parser.add_argument("--sizes", default=f"{MILLION},{10 * MILLION},{100 * MILLION}")
    parser.add_argument("--contenders-up-to", type=int, default=10 * MILLION)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=30)
    asked = parser.parse_args()
    parts = set(asked.parts.split(","))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    if parts & {"a", "b"}:
        incremental([int(size) for size in asked.sizes.split(",")], asked.contenders_up_to if "b" in parts else 0)
    if "c" in parts:
        live(asked.seconds, asked.events)
    if "d" in parts:
        sustained(asked.events)
    if "e" in parts:
        ratios(asked.events)


if __name__ == "__main__":
    main()
