"""How fast the embedded server takes predictions and labels, and how long one waits under light load.

    python -m tests.bench.bench_intake [events]

A real server in its own process. Batches of 1,000 predictions with 30 features (20 floats, 10 texts), packed and compressed as
the SDK sends them, from four connections; contender: the raw insert of the same rows, made as Arrow beforehand, into the same
table in this process. Then single requests, one after the other.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import httpx
import msgspec
import zstandard

from tests.running import RunningServer
from upshot.wire import PACKED_CONTENT_TYPE, Prediction, pack
from upshot_joiner.config import ModelConfig
from upshot_joiner.intake.check import check_prediction
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
BATCH = 1000
CONNECTIONS = 4
SINGLE = 100


def prediction(number: int) -> Prediction:
    """An event like a service's."""
    rng = random.Random(number)
    features = {f"numeric_{i:02d}": rng.gauss(0, 1) for i in range(20)} | {
        f"text_{i}": f"v{rng.randrange(50)}" for i in range(10)
    }
    return Prediction(
        request_id=str(uuid.UUID(int=(time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | rng.getrandbits(62))),
        model="bench",
        model_version="1",
        writer_id="bench",
        seq=number,
        prediction=rng.random(),
        features=features,
        predicted_at=time.time(),
    )


def raw_insert(events: list[Prediction]) -> float:
    """Events per second of inserting ready-made Arrow blocks into a table of the same kind."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open_embedded(Path(folder))
        store.migrate("upshot_joiner.store.schema")
        served = ServedTables(store)
        checked = [check_prediction(event) for event in events]
        cells = rows.feature_cells(checked)
        served.grow("bench", cells.kinds, cells.shapes)
        columns = served.columns("bench")
        blocks = [
            rows.served_block(
                checked[i : i + BATCH], rows.feature_cells(checked[i : i + BATCH]), columns, ModelConfig(), i + 10**15
            )
            for i in range(0, len(checked), BATCH)
        ]
        start = time.perf_counter()
        for block in blocks:
            store.insert(served.table("bench") or "", block)
        seconds = time.perf_counter() - start
        store.close()
    return len(events) / seconds


def main() -> None:
    """Measure and print."""
    encode = msgspec.msgpack.Encoder().encode
    events = [prediction(number) for number in range(EVENTS)]
    bodies = [zstandard.compress(pack(map(encode, events[i : i + BATCH])), 1) for i in range(0, EVENTS, BATCH)]
    labels = [
        msgspec.json.encode([{"request_id": event.request_id, "value": i % 2} for event in events[i : i + BATCH]])
        for i in range(0, EVENTS, BATCH)
    ]
    headers = {"content-type": PACKED_CONTENT_TYPE, "content-encoding": "zstd"}
    with tempfile.TemporaryDirectory() as folder:
        server = RunningServer(Path(folder) / "data")
        server.start()

        def send(path: str, waiting: list[bytes], form: dict[str, str]) -> float:
            def work() -> None:
                with httpx.Client(base_url=server.url, timeout=60) as http:
                    while True:
                        try:
                            body = waiting.pop()
                        except IndexError:
                            return
                        assert http.post(path, content=body, headers=form).json()["accepted"] == BATCH

            start = time.perf_counter()
            threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return EVENTS / (time.perf_counter() - start)

        predictions_s = send("/v1/predictions", list(bodies), headers)
        labels_s = send("/v1/labels", list(labels), {"content-type": "application/json"})
        start = time.perf_counter()
        server.until_joined(120)
        behind_s = time.perf_counter() - start
        waits = []
        for number in range(SINGLE):
            event = {
                "request_id": f"single-{number}",
                "model": "bench",
                "prediction": 0.5,
                "features": {"numeric_00": 0.5},
            }
            begin = time.perf_counter()
            assert server.post("/v1/predictions", event).json()["accepted"] == 1
            waits.append(time.perf_counter() - begin)
        visible = []
        for number in range(SINGLE):
            assert server.post("/v1/labels", {"request_id": f"single-{number}", "value": 1}).json()["accepted"] == 1
            begin = time.perf_counter()
            while server.http.get("/v1/status").json()["requests_to_join"]:
                pass
            visible.append(time.perf_counter() - begin)
        server.end()
    raw_s = raw_insert(events)
    waits.sort()
    visible.sort()
    print(
        f"predictions stored                      {predictions_s:>10,.0f}/s   {predictions_s / raw_s:.2f} x the raw insert"
    )
    print(f"raw insert of the same Arrow blocks     {raw_s:>10,.0f}/s")
    print(f"labels stored                           {labels_s:>10,.0f}/s   joined {behind_s:.2f} s after the last")
    print(
        f"one prediction answered, alone          {statistics.median(waits) * 1e3:>10.1f} ms p50   {waits[-2] * 1e3:.1f} ms p99"
    )
    print(
        f"one label, from answered to joined      {statistics.median(visible) * 1e3:>10.1f} ms p50   {visible[-2] * 1e3:.1f} ms p99"
    )


if __name__ == "__main__":
    main()
