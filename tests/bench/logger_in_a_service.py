"""What logging does to the latency of a real model service: FastAPI under uvicorn, scikit-learn, 500 requests a second.

    python -m tests.bench.logger_in_a_service [--blocks 24] [--seconds 4] [--rate 500] [--json FILE]

One service process all the way through (`scoring_service`); one process that sends the requests (`open_loop`: latency counts from
the moment a request was due, so a stall is felt by all who came during it); one that takes the events (`logger_sink`). A block is
three windows with the same arrivals: one with logging, two without, the place of the first changing from block to block. In every
second block the collector is stopped (SIGSTOP) all the while. Before a window counts, the load runs for longer than a flush
interval, so that no window pays for the events of another.

The interval of a ratio comes from drawing blocks anew (bootstrap, 95 %). The ratio of the two windows *without* logging, which
differ in nothing, says what this machine can tell apart at all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.bench.logger_sink import SinkProcess, sink_process
from tests.bench.logger_tools import has_spool
from tests.ports import free_port
from tests.waiting import eventually

LIMIT = 1.02
WARM_UP_S = 1.5
"""Longer than the flush interval of 1 s."""
RESAMPLES = 500
TARGET = "p99 with / without, block by block"
NOISE = "p99 without / without, block by block"
TOO_NOISY = 0.2
"""Width of the noise's interval above which nothing is concluded."""
START_TIMEOUT_S = 60
Sample = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Block:
    """Latencies, µs, of the three windows, and the CPU of the service per request, µs."""

    is_collector_up: bool
    logged: Sample
    first: Sample
    """Without logging."""
    second: Sample
    """The same again."""
    cpu_logged: float
    cpu_plain: float
    lateness_p99: float
    """Of the generator: how late it sent, µs."""

    @property
    def plain(self) -> Sample:
        """Both windows without logging."""
        return np.concatenate((self.first, self.second))


class Rig:
    """The running service with its load."""

    def __init__(self, url: str, sink: SinkProcess, generator: subprocess.Popen[str]) -> None:
        self._http = httpx.Client(base_url=url, timeout=90)
        self._sink = sink
        self._generator = generator

    def window(self, *, logs: bool, **window: float) -> tuple[Sample, float, float]:
        """Latencies, CPU per request (µs) and the generator's p99 lateness (µs) of one window."""
        before = self._http.post("/switch", params={"on": logs}).json()["cpu_s"]
        assert self._generator.stdin is not None
        assert self._generator.stdout is not None
        self._generator.stdin.write(json.dumps(window) + "\n")
        self._generator.stdin.flush()
        answer = json.loads(self._generator.stdout.readline())
        after = self._http.post("/switch", params={"on": False}).json()["cpu_s"]
        n_requests = window["rate"] * (window["seconds"] + window["warm_up_s"])
        return np.array(answer["latencies"]), (after - before) / n_requests * 1e6, np.percentile(answer["lateness"], 99)

    def block(self, number: int, *, rate: float, seconds: float) -> Block:
        """Three windows."""
        is_up = number % 2 == 0
        logged_at = number // 2 % 3
        if not is_up:
            self._sink.stop()
        try:
            ran = [
                self.window(logs=i == logged_at, rate=rate, warm_up_s=WARM_UP_S, seconds=seconds, seed=number)
                for i in range(3)
            ]
        finally:
            self._sink.go_on()
        self._http.post("/flush").raise_for_status()
        logged = ran.pop(logged_at)
        first, second = ran
        return Block(
            is_up,
            logged[0],
            first[0],
            second[0],
            logged[1],
            (first[1] + second[1]) / 2,
            max(w[2] for w in (logged, *ran)),
        )

    def stats(self) -> dict[str, int]:
        """The logger's counters, once everything is sent."""
        stats: dict[str, int] = self._http.post("/flush").json()["stats"]
        return stats

    def close(self) -> None:
        """Give up the connection."""
        self._http.close()


@contextlib.contextmanager
def running() -> Iterator[Rig]:
    """Collector, service and generator for the length of the block."""
    port = str(free_port())
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sink = stack.enter_context(sink_process())
        environ = {**os.environ, "UPSHOT_URL": sink.url, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if has_spool():
            environ["UPSHOT_SPOOL_DIR"] = folder
        service = subprocess.Popen([sys.executable, "-m", "tests.bench.scoring_service", port], env=environ)
        stack.callback(ended, service)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            eventually(lambda: is_listening(http), START_TIMEOUT_S)
        generator = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.open_loop", port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(ended, generator)
        rig = Rig(f"http://127.0.0.1:{port}", sink, generator)
        stack.callback(rig.close)
        yield rig
        sink.go_on()


def is_listening(http: httpx.Client) -> bool:
    """Whether the service is up."""
    try:
        return http.post("/switch", params={"on": False}).is_success
    except httpx.TransportError:
        return False


def ended(process: subprocess.Popen[Any]) -> None:
    """End a process, kindly or not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


Pairs = list[tuple[Sample, Sample]]


def p99_over_p99(above: Sample, below: Sample) -> float:
    """Ratio of the 99th percentiles."""
    return float(np.percentile(above, 99) / np.percentile(below, 99))


def by_block(pairs: Pairs) -> float:
    """The median of the blocks' ratios: what a stall of the whole machine in one window cannot move."""
    return float(np.median([p99_over_p99(*pair) for pair in pairs]))


def of_all(pairs: Pairs) -> float:
    """The ratio over all requests of all blocks."""
    above, below = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return p99_over_p99(above, below)


def with_interval(ratio: Callable[[Pairs], float], pairs: Pairs) -> tuple[float, float, float]:
    """A ratio with its 95 % interval over blocks drawn anew."""
    rng = np.random.default_rng(5)
    drawn = [ratio([pairs[i] for i in rng.integers(0, len(pairs), len(pairs))]) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return ratio(pairs), float(low), float(high)


def print_state(title: str, blocks: list[Block]) -> dict[str, Any]:
    """One collector state: percentiles with and without, the ratio, and what the noise is."""
    print(f"\n{title}: {len(blocks)} blocks; latency from the moment a request was due, ms")
    print(f"{'':26}{'requests':>10}{'p50':>9}{'p99':>9}{'p99.9':>9}{'CPU/request, µs':>18}")
    sides = {
        "without logging": (np.concatenate([block.plain for block in blocks]), [block.cpu_plain for block in blocks]),
        "with log_prediction": (
            np.concatenate([block.logged for block in blocks]),
            [block.cpu_logged for block in blocks],
        ),
    }
    found: dict[str, Any] = {}
    for name, (latencies, cpu) in sides.items():
        p50, p99, p999 = np.percentile(latencies, (50, 99, 99.9)) / 1000
        print(f"{name:26}{len(latencies):>10,}{p50:>9.3f}{p99:>9.3f}{p999:>9.3f}{np.median(cpu):>18.1f}")
        found[name] = {"p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "cpu_us": float(np.median(cpu))}
    with_without = [(block.logged, block.plain) for block in blocks]
    without_without = [(block.first, block.second) for block in blocks]
    for name, pairs, ratio in (
        (NOISE, without_without, by_block),
        ("p99 without / without, all requests", without_without, of_all),
        (TARGET, with_without, by_block),
        ("p99 with / without, all requests", with_without, of_all),
    ):
        found[name] = value, low, high = with_interval(ratio, pairs)
        print(f"{name:40}{value:.3f}  [{low:.3f}, {high:.3f}]")
    noise_width = found[NOISE][2] - found[NOISE][1]
    print(f"target {TARGET} <= {LIMIT}: {judged(*found[TARGET], noise_width)}")
    print(f"the generator sent late by {max(block.lateness_p99 for block in blocks):.0f} µs at p99 in the worst window")
    return found


def judged(ratio: float, low: float, high: float, noise_width: float) -> str:
    """The verdict, with how sure it is."""
    if noise_width > TOO_NOISY:
        return "cannot be told here and now: two windows that differ in nothing differ too much"
    if high <= LIMIT:
        return "ok"
    if low > LIMIT:
        return "missed"
    return f"{'ok' if ratio <= LIMIT else 'missed'}, but the interval holds both; more blocks would tell"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.logger_in_a_service")
    parser.add_argument("--blocks", type=int, default=24, help="half of them with the collector stopped")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each counted window")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    started = time.monotonic()
    print(f"{options.rate:g} requests/s, load {os.getloadavg()[0]:.1f}")
    with running() as rig:
        rig.window(logs=True, rate=options.rate, warm_up_s=0, seconds=2, seed=0)
        blocks = [rig.block(number, rate=options.rate, seconds=options.seconds) for number in range(options.blocks)]
        stats = rig.stats()
    found = {
        name: print_state(name, chosen)
        for name, is_up in (("collector up", True), ("collector stopped", False))
        if (chosen := [block for block in blocks if block.is_collector_up is is_up])
    }
    print(f"\nlogged {stats['accepted']:,}, stored {stats['stored']:,}, dropped {stats['dropped']:,}")
    print(f"{time.monotonic() - started:.0f} s, load now {os.getloadavg()[0]:.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
