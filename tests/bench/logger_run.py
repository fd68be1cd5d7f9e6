"""One run of one tool in one mode, in a process of its own: reads a `Spec` as JSON from its argument, prints a result as JSON.

When it is warm it says so in one line, and waits for one: meanwhile the other side may be stopped.

Every call gets an event of its own, parsed from JSON just before, so that its objects are as new as in a service: 20 random
doubles and 10 short strings, about 1 kB. Only the call is timed; what reading the clock costs is subtracted.

CPU per event is that of the whole process: the mean of the timed calls without the slowest hundredth (those are waits, not
work), and what all other threads used, compression and sending included, until everything was delivered.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from tests.bench.logger_tools import TOOLS, Addresses, Call, Opened

__all__ = ["WARM_UP_CALLS", "Spec"]

_now = time.perf_counter_ns
_N_EVENTS = 4096
WARM_UP_CALLS = 500
_SLOWEST_CUT = 0.01
_SCORE = 0.93
_BUSY_US = (150.0, 250.0)
_PAUSE_S = 0.001
_N_THREADS = 4
_N_TASKS = 32
_TICK_NS = 1_000_000
_EVENTS_A_TICK = 10
_MEMORY_CALLS = 100_000

Figures = dict[str, float]


@dataclass(frozen=True)
class Spec:
    """What to run."""

    tool: str
    mode: str
    calls: int
    addresses: Addresses

    def as_argument(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls, argument: str) -> Spec:
        """The reverse."""
        fields = json.loads(argument)
        return cls(**{**fields, "addresses": Addresses(**fields["addresses"])})


class Events:
    """Makes events without end: 4,096 different ones in turn, parsed anew each time."""

    def __init__(self, seed: int, *, has_numpy: bool) -> None:
        rng = random.Random(seed)
        self._encoded = [
            orjson.dumps(
                {
                    "request_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                    "features": {f"num_feature_{i:02d}": rng.random() * 100 for i in range(20)}
                    | {f"cat_feature_{i}": f"value_{rng.randrange(50)}" for i in range(10)},
                }
            )
            for _ in range(_N_EVENTS)
        ]
        self._next = 0
        self._float32: Callable[[float], object] | None = None
        if has_numpy:
            from numpy import float32

            self._float32 = float32

    def __iter__(self) -> Iterator[tuple[str, dict[str, object]]]:
        return self

    def __next__(self) -> tuple[str, dict[str, object]]:
        self._next = (self._next + 1) % _N_EVENTS
        event = orjson.loads(self._encoded[self._next])
        features = event["features"]
        if self._float32 is not None:
            for name, value in features.items():
                if type(value) is float:
                    features[name] = self._float32(value)
        return event["request_id"], features


class OtherWork:
    """150 to 250 µs of Python that walks memory, as a service does between two calls."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._table = [float(i) for i in range(100_000)]

    def __call__(self) -> None:
        until = _now() + int(self._rng.uniform(*_BUSY_US) * 1000)
        table, i, total = self._table, self._rng.randrange(50_000), 0.0
        while _now() < until:
            for value in table[i : i + 2_000 : 37]:
                total += value * 0.5
            i = (i + 2_011) % 90_000


def clock_cost_ns() -> int:
    """What two readings of the clock lie apart when nothing is between them."""
    apart = []
    for _ in range(5_000):
        before = _now()
        apart.append(_now() - before)
    return sorted(apart)[len(apart) // 2]


def timed_calls(call: Call, events: Events, n: int, between: Callable[[], object] | None) -> list[int]:
    """Wall time of each of ``n`` calls, in ns, clock included."""
    took = []
    for _ in range(n):
        if between is not None:
            between()
        request_id, features = next(events)
        started = _now()
        call(request_id, features, _SCORE)
        took.append(_now() - started)
    return took


def percentiles(took: list[int], clock_ns: int) -> Figures:
    """p50, p99, p99.9 and the slowest, in µs without the clock."""
    ordered = sorted(took)
    n = len(ordered)
    picks = {"p50": n // 2, "p99": n * 99 // 100, "p999": n * 999 // 1000, "slowest": n - 1}
    figures = {name: max(0, ordered[i] - clock_ns) / 1000 for name, i in picks.items()}
    return figures | {"calls_over_1ms": float(sum(ns > 1_000_000 for ns in ordered)), "events": float(n)}


def trimmed_mean_us(took: list[int], clock_ns: int) -> float:
    """The mean without the slowest hundredth."""
    kept = sorted(took)[: max(1, int(len(took) * (1 - _SLOWEST_CUT)))]
    return max(0.0, sum(kept) / len(kept) - clock_ns) / 1000


def rss_bytes() -> int:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # as little as possible between two readings
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Run:
    """The modes, as methods; each returns its figures."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tool = TOOLS[spec.tool]
        self.clock_ns = clock_cost_ns()

    def events(self, seed: int = 17) -> Events:
        """Events of the kind that the tool is for."""
        return Events(seed, has_numpy=self.tool.has_numpy)

    def __call__(self) -> Figures:
        """Open, warm up, measure."""
        self.opened: Opened = self.tool.open(self.spec.addresses)
        timed_calls(self.opened.call, self.events(1), WARM_UP_CALLS, None)
        if self.tool.server != "away":
            self.opened.finish()
        n_stored = self.opened.counters().get("stored", 0)
        print("warm", flush=True)
        sys.stdin.readline()
        modes: dict[str, Callable[[], Figures]] = {
            "tight": self.tight,
            "busy": self.busy,
            "paced": self.paced,
            "threads": self.threads,
            "asyncio": self.asyncio,
            "saturated": self.saturated,
            "flood": self.flood,
            "ticks": self.ticks,
            "memory": self.memory,
        }
        before = rss_bytes()
        figures = modes[self.spec.mode]()
        figures["grown_mb"] = (rss_bytes() - before) / 1e6
        counters = self.opened.counters()
        if "stored" in counters:
            figures["stored"] = counters["stored"] - n_stored
        if "dropped" in counters:
            figures["dropped"] = counters["dropped"]
        return figures

    # ---- one thread -------------------------------------------------------------------------------------------------

    def tight(self) -> Figures:
        """Back to back."""
        return self._with_cpu(None)

    def busy(self) -> Figures:
        """Between other work, without ever idling."""
        return self._with_cpu(OtherWork(2))

    def paced(self) -> Figures:
        """After idling 1 ms, when everything is cold."""
        return self._with_cpu(lambda: time.sleep(_PAUSE_S))

    def _with_cpu(self, between: Callable[[], object] | None) -> Figures:
        return self._cpu_of(lambda: timed_calls(self.opened.call, self.events(), self.spec.calls, between))

    def _cpu_of(self, calls: Callable[[], list[int]]) -> Figures:
        others_before = time.process_time_ns() - time.thread_time_ns()
        took = calls()
        here_before = time.thread_time_ns()
        if self.tool.server == "up":
            self.opened.finish()
        here = time.thread_time_ns() - here_before
        others = time.process_time_ns() - time.thread_time_ns() - others_before
        cpu_us = trimmed_mean_us(took, self.clock_ns) + (here + others) / len(took) / 1000
        return percentiles(took, self.clock_ns) | {"cpu": cpu_us}

    def saturated(self) -> Figures:
        """As fast as the events can be delivered: whenever half of the queue is full the calls wait a little."""
        events = self.events()

        def calls() -> list[int]:
            took: list[int] = []
            while len(took) < self.spec.calls:
                while self.opened.counters()["queued"] > 8_192:
                    time.sleep(0.001)
                took += timed_calls(self.opened.call, events, 500, None)
            return took

        return self._cpu_of(calls)

    def flood(self) -> Figures:
        """Back to back and many more than any queue holds; only the slowest call counts."""
        took = timed_calls(self.opened.call, self.events(), self.spec.calls, None)
        return percentiles(took, self.clock_ns)

    # ---- several at once --------------------------------------------------------------------------------------------

    def threads(self) -> Figures:
        """Four threads that all have other work."""
        took: list[list[int]] = [[] for _ in range(_N_THREADS)]
        start = threading.Barrier(_N_THREADS)

        def work(i: int) -> None:
            events, other_work = self.events(i), OtherWork(i)
            start.wait()
            took[i] = timed_calls(self.opened.call, events, self.spec.calls // _N_THREADS, other_work)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(_N_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.opened.finish()
        return percentiles([ns for part in took for ns in part], self.clock_ns)

    def asyncio(self) -> Figures:
        """Thirty-two tasks of one event loop, which wait up to 8 ms and have other work."""
        took: list[int] = []
        rng, other_work, events = random.Random(3), OtherWork(3), self.events()

        async def work() -> None:
            for _ in range(self.spec.calls // _N_TASKS):
                await asyncio.sleep(rng.random() * 0.008)
                took.extend(timed_calls(self.opened.call, events, 1, other_work))

        async def all_tasks() -> None:
            await asyncio.gather(*(work() for _ in range(_N_TASKS)))

        asyncio.run(all_tasks())
        self.opened.finish()
        return percentiles(took, self.clock_ns)

    # ---- beside the call --------------------------------------------------------------------------------------------

    def ticks(self) -> Figures:
        """10,000 events a second: ten at each tick of 1 ms. The figures are how late the thread was woken for a tick."""
        events, call = self.events(), self.opened.call
        late = []
        first = _now() + _TICK_NS
        for tick in range(self.spec.calls):
            due = first + tick * _TICK_NS
            if (left_ns := due - _now()) > 0:
                time.sleep(left_ns / 1e9)
            late.append(max(0, _now() - due))
            for _ in range(_EVENTS_A_TICK):
                request_id, features = next(events)
                call(request_id, features, _SCORE)
        self.opened.finish()
        return percentiles(late, 0) | {"events": float(len(late) * _EVENTS_A_TICK)}

    def memory(self) -> Figures:
        """What a queued event occupies: growth of the process while the queue fills and the sender hangs with its first batch."""
        events, counters = self.events(), self.opened.counters
        timed_calls(self.opened.call, events, 100, None)
        while not counters()["in_flight"]:
            time.sleep(0.01)
        n_before, before = counters()["queued"], rss_bytes()
        while not counters()["dropped"]:
            timed_calls(self.opened.call, events, 100, None)
            if counters()["accepted"] > _MEMORY_CALLS:
                raise RuntimeError("the queue does not fill")
        n_queued = counters()["queued"] - n_before
        return {"queued": float(n_queued), "bytes_per_event": (rss_bytes() - before) / n_queued}


def main() -> None:
    """Run, print, and end at once: a server that hangs must not hold up the next run."""
    figures: dict[str, Any] = Run(Spec.from_argument(sys.argv[1]))()
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
