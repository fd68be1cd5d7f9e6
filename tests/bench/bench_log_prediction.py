"""What log_prediction costs the thread that calls it, against a call that does nothing and against two usual ways to log.

Every contender gets the same event: 20 random doubles and 10 short strings, made anew for each call as in a service, a given
request ID, model, version and score. Contenders alternate within each round; a figure is the median over the rounds.
*tight*: calls back to back. *busy*: about 150 µs of other Python work between two calls, as in a service that is never idle.
The events really are sent, to a server in a process of its own that answers and forgets.
"""

from __future__ import annotations

import argparse
import json
import logging
import logging.handlers
import multiprocessing
import queue
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import numpy as np
import zstandard

import upshot

try:
    import orjson
except ImportError:
    orjson = None

Features = dict[str, object]
Call = Callable[[Features], object]


def answer_and_forget(ready: Connection) -> None:
    """The server: answers that everything was stored."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            packed = zstandard.ZstdDecompressor().decompress(self.rfile.read(int(self.headers["Content-Length"])))
            n_events = int.from_bytes(packed[1:5], "big")  # of a MessagePack array's head
            body = json.dumps({"accepted": n_events, "duplicates": 0, "rejected": 0}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send(server.server_port)
    server.serve_forever()


@contextmanager
def server() -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=answer_and_forget, args=(there,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{here.recv()}"
    process.kill()
    process.join()


def made_events(n: int, *, with_numpy: bool = False) -> list[Features]:
    """Fresh dicts; their numbers are NumPy scalars if asked, as model code often has them."""
    rng = random.Random(17)
    number = np.float64 if with_numpy else float
    return [
        {f"num_feature_{i:02d}": number(rng.random() * 100) for i in range(20)}
        | {f"cat_feature_{i}": f"value_{rng.randrange(50)}" for i in range(10)}
        for _ in range(n)
    ]


def no_op(
    features, prediction, *, request_id=None, item_id="", model=None, model_version=None, predicted_at=None,
    feature_times=None, entities=None, tags=None, inputs=None, attributions=None, action=None, propensity=None, shown=None,
):  # fmt: skip
    return request_id


class JsonFormatter(logging.Formatter):
    """One line of JSON a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, a dict, as JSON."""
        return json.dumps(record.msg)


def contenders(logger: upshot.Logger) -> tuple[dict[str, Call], list[Callable[[], object]]]:
    """Name -> call, and what to do after each round, outside the measured time."""
    log = logger.log_prediction
    records: queue.Queue[logging.LogRecord] = queue.Queue(-1)
    handler = logging.handlers.QueueHandler(records)
    handler.setFormatter(JsonFormatter())
    listener = logging.handlers.QueueListener(records, logging.NullHandler())
    listener.start()
    stdlib = logging.getLogger("predictions")
    stdlib.setLevel(logging.INFO)
    stdlib.propagate = False
    stdlib.addHandler(handler)
    kept: list[bytes] = []

    def event(features: Features) -> dict[str, object]:
        return {
            "ts": time.time(), "request_id": "01a20a6f-592b-7085", "model": "m", "version": "12", "prediction": 0.93,
            "features": features,
        }  # fmt: skip

    calls: dict[str, Call] = {
        "no-op, same signature": lambda f: no_op(f, 0.93, request_id="01a20a6f-592b-7085"),
        "upshot.log_prediction": lambda f: log(f, 0.93, request_id="01a20a6f-592b-7085"),
        "... making the request ID": lambda f: log(f, 0.93),
        "... 20 NumPy scalars": lambda f: log(f, 0.93, request_id="01a20a6f-592b-7085"),
        "... with tags and entities": lambda f: log(
            f, 0.93, request_id="01a20a6f-592b-7085", tags={"channel": "web"}, entities={"user": "u-17"}
        ),
        "logging + QueueHandler + json": lambda f: stdlib.info(event(f)),
    }
    if orjson is not None:
        calls["orjson.dumps, kept in a list"] = lambda f: kept.append(orjson.dumps(event(f)))
    return calls, [logger.flush, kept.clear]


def other_work() -> float:
    """About 150 µs of Python that walks memory."""
    total = 0.0
    for i in range(0, len(_TABLE), 37):
        total += _TABLE[i] * 0.5
    return total


_TABLE = [float(i) for i in range(100_000)]


def measure(call: Call, events: list[Features], *, is_busy: bool) -> tuple[list[int], int]:
    """Wall time of each call, sorted, and the CPU time of all calls together (back to back only), in ns."""
    now = time.perf_counter_ns
    took = []
    cpu_before = time.thread_time_ns()
    for features in events:
        if is_busy:
            other_work()
        started = now()
        call(features)
        took.append(now() - started)
    cpu = 0 if is_busy else time.thread_time_ns() - cpu_before
    return sorted(took), cpu


def print_table(mode: str, figures: dict[str, list[tuple[float, ...]]]) -> None:
    """One row per contender: medians over the rounds, the best round, and ratios."""
    print(f"\n{mode}: µs on the calling thread, median of the rounds; CPU is the mean of a call, timer included")
    print(f"{'':32}{'p50':>8}{'p99':>8}{'p99.9':>8}{'CPU':>8}{'best p50':>10}{'x no-op':>9}{'x ours':>8}")
    medians = {
        name: [statistics.median(column) / 1000 for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    floor, ours = medians["no-op, same signature"][0], medians["upshot.log_prediction"][0]
    for name, (p50, p99, p999, cpu) in medians.items():
        best = min(row[0] for row in figures[name]) / 1000
        print(
            f"{name:32}{p50:8.2f}{p99:8.2f}{p999:8.2f}{cpu or float('nan'):8.2f}{best:10.2f}{p50 / floor:9.1f}{p50 / ours:8.2f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    n = options.calls
    with server() as url, upshot.Logger(url=url, model="m", model_version="12") as logger:
        calls, after_round = contenders(logger)
        for mode in ("tight", "busy"):
            figures: dict[str, list[tuple[float, ...]]] = {name: [] for name in calls}
            for round_number in range(options.rounds + 1):
                for name, call in calls.items():
                    took, cpu = measure(call, made_events(n, with_numpy="NumPy" in name), is_busy=mode == "busy")
                    for clean in after_round:
                        clean()
                    if round_number:  # the first warms up
                        figures[name].append((took[n // 2], took[n * 99 // 100], took[n * 999 // 1000], cpu / n))
            print_table(mode, figures)
        stats = logger.stats()
        print(f"\n{stats['accepted']:,} events logged, {stats['dropped']:,} dropped")


if __name__ == "__main__":
    main()
