"""What `upshot.log_prediction` costs, against an empty function and against other ways to log a prediction.

    python -m tests.bench.logger [--quick] [--tools a,b] [--modes a,b] [--rounds N] [--json FILE]

Every run is a process of its own; within a round the tools take turns, in an order that changes; a figure is the median over the
rounds, and a ratio is the median of the ratios within each round. What is timed is the call alone (`logger_run`), on fresh objects,
while the events really travel: to an HTTP server in another process (`logger_sink`), to a real Kafka broker, to a file. At the end
the figures stand beside the targets. Nothing decides anything, and nothing is left out: a run that failed is named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.logger_run import WARM_UP_CALLS, Spec
from tests.bench.logger_sink import SinkProcess, sink_process
from tests.bench.logger_targets import CUT_OFF, OURS, TARGETS, Results
from tests.bench.logger_tools import CONTENDERS, TOOLS, Addresses, has_kafka, has_spool

if TYPE_CHECKING:
    from tests.running_kafka import RunningKafka

ROUNDS = 5
RUN_TIMEOUT_S = 120
PACKAGES = (
    "msgspec", "zstandard", "orjson", "opentelemetry-sdk", "posthog", "kafka-python", "crc32c", "confluent-kafka", "numpy",
)  # fmt: skip
VARIANTS = ("upshot-uuid", "upshot-numpy", "upshot-tags")
CALL_COLUMNS = ("p50", "p99", "p999", "slowest")


@dataclass(frozen=True)
class Mode:
    """One table."""

    title: str
    calls: int
    quick_calls: int
    tools: tuple[str, ...]
    columns: tuple[str, ...]
    rounds: int = ROUNDS


MODES = {
    "tight": Mode(
        "tight: back to back. Per call, µs",
        10_000, 3_000, ("floor", *OURS, *VARIANTS, *CONTENDERS), (*CALL_COLUMNS, "cpu"),
    ),
    "busy": Mode(
        "busy: 150 to 250 µs of other Python work between two calls. Per call, µs",
        4_000, 1_500, ("floor", *OURS, *VARIANTS, *CUT_OFF, *CONTENDERS), (*CALL_COLUMNS, "cpu"),
    ),
    "paced": Mode(
        "paced: each call after idling 1 ms. Per call, µs",
        1_000, 300, ("floor", *OURS, *CONTENDERS), (*CALL_COLUMNS, "cpu"),
    ),
    "threads": Mode(
        "threads: 4 threads, each with other work between its calls. Per call, µs",
        8_000, 4_000, ("floor", *OURS, "stdlib-queue", "confluent"), CALL_COLUMNS,
    ),
    "asyncio": Mode(
        "asyncio: 32 tasks of one loop, with other work and waits. Per call, µs",
        5_000, 1_600, ("floor", *OURS, "stdlib-queue", "confluent"), CALL_COLUMNS,
    ),
    "saturated": Mode(
        "saturated: as fast as the events can be delivered. Per call, µs",
        60_000, 30_000, OURS, (*CALL_COLUMNS, "cpu"),
    ),
    "flood": Mode(
        "flood: back to back until the queue is long full, nobody answers. Per call, µs",
        100_000, 40_000, ("floor", *CUT_OFF), (*CALL_COLUMNS, "calls_over_1ms", "grown_mb"),
    ),
    "ticks": Mode(
        "ticks: ten events every ms; how late the thread is woken for its tick, µs",
        2_500, 1_000, ("floor", *OURS, "otel-log", "confluent"), CALL_COLUMNS,
    ),
    "memory": Mode(
        "memory: the queue full, nobody answers",
        0, 0, ("upshot-http-memory-hangs",), ("queued", "bytes_per_event"), rounds=3,
    ),
}  # fmt: skip
HEADINGS = {
    "p999": "p99.9",
    "cpu": "CPU/event",
    "calls_over_1ms": "> 1 ms",
    "grown_mb": "grown, MB",
    "bytes_per_event": "bytes/event",
}


class Bench:
    """The other side, and one run after the other against it."""

    def __init__(self, sink: SinkProcess, hanging: SinkProcess, kafka: Kafka | None, folder: str) -> None:
        self.sink, self.hanging, self._kafka, self._folder = sink, hanging, kafka, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._away = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.failures: list[str] = []

    def missing(self, tool: str) -> str:
        """What a tool needs and is not there; empty when it can run."""
        there = {
            "spool": has_spool(),
            "kafka": has_kafka(),
            "broker": self._kafka is not None,
            "own broker": self._kafka is not None and self._kafka.broker is not None,
        }
        return ", ".join(sorted(need for need in TOOLS[tool].needs if not there[need]))

    def run(self, name: str, mode: str, calls: int) -> dict[str, float] | None:
        """One process; None when it failed."""
        tool = TOOLS[name]
        addresses = Addresses(
            http=(self.hanging if tool.server == "hangs" else self.sink).url,
            away=self._away,
            kafka=self._kafka.address if self._kafka else "",
            folder=self._folder,
        )
        self._counted(tool.counted_at)  # what earlier runs left
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.logger_run", Spec(name, mode, calls, addresses).as_argument()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        late = threading.Timer(RUN_TIMEOUT_S, process.kill)
        late.start()
        is_warm = process.stdout.readline() == "warm\n"
        server = "broker" if "own broker" in tool.needs else "sink"
        with self._hangs(server, is_warm and tool.server == "hangs"):
            out, err = process.communicate("go\n" if is_warm else None)
        late.cancel()
        if process.returncode:
            self.failures.append(
                f"{mode}, {name}: {(err.strip().splitlines() or [f'ended with {process.returncode}'])[-1]}"
            )
            return None
        figures: dict[str, float] = json.loads(out)
        if tool.counted_at:
            figures["share"] = self._counted(tool.counted_at) / (figures["events"] + WARM_UP_CALLS)
        elif "stored" in figures and tool.server == "up":
            figures["share"] = figures["stored"] / figures["events"]
        return figures

    def _counted(self, at: str) -> int:
        if at.startswith("kafka:"):
            assert self._kafka is not None
            return self._kafka.counted(at.removeprefix("kafka:"))
        return self.sink.counts().get(at, 0) if at else 0

    @contextlib.contextmanager
    def _hangs(self, which: str, asked: bool) -> Iterator[None]:
        broker = self._kafka.broker if self._kafka else None
        pause, go_on = (broker.pause, broker.resume) if which == "broker" and broker else (
            self.hanging.stop, self.hanging.go_on,
        )  # fmt: skip
        if asked:
            pause()
        try:
            yield
        finally:
            if asked:
                go_on()


class Kafka:
    """A broker: an own one, or the one that ``UPSHOT_TEST_KAFKA`` names, which is never stopped."""

    def __init__(self, address: str, broker: RunningKafka | None) -> None:
        from kafka import KafkaConsumer

        self.address, self.broker = address, broker
        self._reader = KafkaConsumer(bootstrap_servers=address)
        self._ends: dict[str, int] = {}

    def counted(self, topic: str) -> int:
        """Messages that a topic got since the last call."""
        from kafka import TopicPartition

        partitions = [TopicPartition(topic, number) for number in self._reader.partitions_for_topic(topic) or ()]
        end = sum(self._reader.end_offsets(partitions).values()) if partitions else 0
        before, self._ends[topic] = self._ends.get(topic, 0), end
        return end - before

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()


@contextlib.contextmanager
def kafka_if_any(folder: Path, tools: list[str]) -> Iterator[Kafka | None]:
    """A broker for the length of the block, if a tool needs one; None, and a line that says why, where there can be none."""
    if not any("broker" in need for tool in tools for need in TOOLS[tool].needs):
        yield None
        return
    given = os.environ.get("UPSHOT_TEST_KAFKA")
    if not given and not (shutil.which("java") and shutil.which("mvn")):
        print("without Kafka: no Java or no Maven here, and UPSHOT_TEST_KAFKA names no broker")
        yield None
        return
    from tests.running_kafka import RunningKafka

    broker = None if given else RunningKafka(folder / "kafka")
    if broker:
        broker.start()
    try:
        kafka = Kafka(given or broker.address, broker)  # type: ignore[union-attr]  # one of the two is there
        yield kafka
        kafka.close()
    finally:
        if broker:
            broker.stop()


def print_table(mode: Mode, name: str, results: Results, seconds: float) -> None:
    """Medians of one mode."""
    is_call = mode.columns[0] == "p50" and name != "ticks"
    ratios = ("x empty", "x upshot") if is_call and "floor" in mode.tools else ()
    measured = results.rounds.get(name, {})
    print(f"\n{mode.title}; medians of {max(map(len, measured.values()))} rounds, {seconds:.0f} s")
    headings = [HEADINGS.get(column, column) for column in mode.columns] + [*ratios, "arrived"]
    print(f"{'':36}" + "".join(f"{heading:>12}" for heading in headings))
    for tool in measured:
        cells = [number(results.median(name, tool, column)) for column in mode.columns]
        if ratios:
            cells += [
                number(results.paired(name, tool, base, "p50", lambda a, b: a / max(b, 1e-3)))
                for base in ("floor", "upshot-http")
            ]
        share = results.median(name, tool, "share")
        cells.append("" if share is None else f"{share:.0%}")
        print(f"{TOOLS[tool].label:36}" + "".join(f"{cell:>12}" for cell in cells))


def number(value: float | None) -> str:
    """Three digits that count, as people write them."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def print_targets(results: Results) -> list[dict[str, Any]]:
    """The targets beside what was found; ``!`` marks what is above its limit."""
    print(f"\n{'target':50}{'limit':>7}{'':10}found")
    rows = []
    for target in TARGETS:
        verdict = target.judge(results)
        said = {None: "-", True: "ok", False: "missed"}[verdict.is_met]
        found = ", ".join(
            f"{name} {number(value)}{'!' if value > verdict.limit else ''}" for name, value in verdict.found.items()
        )
        print(f"{verdict.text:50}{verdict.limit:>7g}  {said:<8}{found or 'not measured'}")
        rows.append({"target": verdict.text, "limit": verdict.limit, "found": verdict.found, "is_met": verdict.is_met})
    return rows


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    about_cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.partition(":")[2].strip() for line in about_cpus if line.startswith("model name")), "")
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "cpu": cpu or platform.machine(),
        "load": os.getloadavg(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.logger")
    parser.add_argument(
        "--quick", action="store_true", help="one round of few calls, about a minute: to see that it works"
    )
    parser.add_argument("--rounds", type=int, help=f"instead of {ROUNDS}")
    parser.add_argument("--tools", type=names(TOOLS), default=list(TOOLS), help=", ".join(TOOLS))
    parser.add_argument("--modes", type=names(MODES), default=list(MODES), help=", ".join(MODES))
    parser.add_argument("--json", type=Path, help="write every run's figures to this file")
    return parser.parse_args()


def names(known: dict[str, Any]) -> Callable[[str], list[str]]:
    """Reads a list of known names."""

    def read(text: str) -> list[str]:
        for name in (chosen := text.split(",")):
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen

    return read


def main() -> None:
    """Measure and print."""
    options = parsed()
    started, here, results = time.monotonic(), machine(), Results()
    print(
        f"Python {here['python']}, {here['cpus']} x {here['cpu']}, load {here['load'][0]:.1f}; 20 floats, 10 texts an event"
    )
    print(", ".join(f"{name} {number}" for name, number in here["packages"].items()))
    with (
        tempfile.TemporaryDirectory() as folder,
        sink_process() as sink,
        sink_process() as hanging,
        kafka_if_any(Path(folder), options.tools) as kafka,
    ):
        bench = Bench(sink, hanging, kafka, folder)
        for tool in options.tools:
            if missing := bench.missing(tool):
                print(f"left out: {TOOLS[tool].label} (needs {missing})")
        for name in options.modes:
            mode, began = MODES[name], time.monotonic()
            tools = [tool for tool in mode.tools if tool in options.tools and not bench.missing(tool)]
            for round_number in range(options.rounds or (1 if options.quick else mode.rounds)):
                for tool in random.Random(round_number).sample(tools, len(tools)):
                    calls = mode.quick_calls if options.quick else mode.calls
                    results.add(name, tool, bench.run(tool, name, calls))
            if tools:
                results.rounds[name] = {tool: results.rounds[name][tool] for tool in tools}
                print_table(mode, name, results, time.monotonic() - began)
    targets = print_targets(results)
    here["load_after"] = os.getloadavg()
    print(f"\n{time.monotonic() - started:.0f} s, load now {here['load_after'][0]:.1f}")
    for failure in bench.failures:
        print(f"failed: {failure}")
    if options.json:
        options.json.write_text(
            json.dumps(
                {"machine": here, "runs": results.rounds, "targets": targets, "failures": bench.failures}, indent=1
            )
        )


if __name__ == "__main__":
    main()
