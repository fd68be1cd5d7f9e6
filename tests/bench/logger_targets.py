"""What the call is meant to cost, and whether a run of `tests.bench.logger` found it so. Nothing here is measured or assumed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

__all__ = ["TARGETS", "Results", "Target", "Verdict"]

OURS = ("upshot-http", "upshot-kafka", "upshot-http-memory", "upshot-kafka-memory")
CUT_OFF = (
    "upshot-http-away",
    "upshot-http-hangs",
    "upshot-http-memory-hangs",
    "upshot-kafka-away",
    "upshot-kafka-hangs",
)


@dataclass
class Results:
    """Figures of every run: mode -> tool -> one entry a round, None where the run failed."""

    rounds: dict[str, dict[str, list[dict[str, float] | None]]] = field(default_factory=dict)

    def add(self, mode: str, tool: str, figures: dict[str, float] | None) -> None:
        """The next round's figures."""
        self.rounds.setdefault(mode, {}).setdefault(tool, []).append(figures)

    def values(self, mode: str, tool: str, name: str) -> list[float]:
        """One figure, round by round, where there is one."""
        return [run[name] for run in self.rounds.get(mode, {}).get(tool, []) if run is not None and name in run]

    def median(self, mode: str, tool: str, name: str) -> float | None:
        """Median over the rounds; None when it was not measured."""
        values = self.values(mode, tool, name)
        return statistics.median(values) if values else None

    def paired(self, mode: str, tool: str, other: str, name: str, of: Callable[[float, float], float]) -> float | None:
        """Median over the rounds of what ``of`` makes of both tools' figures of the same round."""
        mine, theirs = (self.rounds.get(mode, {}).get(one, []) for one in (tool, other))
        values = [
            of(a[name], b[name]) for a, b in zip(mine, theirs, strict=False) if a and b and name in a and name in b
        ]
        return statistics.median(values) if values else None


Found = Iterator[tuple[str, float | None]]


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured."""

    text: str
    limit: float
    found: dict[str, float]
    """What was measured, by variant; empty when nothing was."""

    @property
    def is_met(self) -> bool | None:
        """Whether every variant is within the limit; None when nothing was measured."""
        return all(value <= self.limit for value in self.found.values()) if self.found else None


@dataclass(frozen=True)
class Target:
    """One line of the table."""

    text: str
    limit: float
    measure: Callable[[Results], Found]

    def judge(self, results: Results) -> Verdict:
        """Look at the figures."""
        found = {name: value for name, value in self.measure(results) if value is not None}
        return Verdict(self.text, self.limit, found)


def _short(tool: str) -> str:
    return tool.removeprefix("upshot-")


def _medians(mode: str, name: str, tools: tuple[str, ...] = OURS, scale: float = 1.0) -> Callable[[Results], Found]:
    def measure(results: Results) -> Found:
        for tool in tools:
            value = results.median(mode, tool, name)
            yield _short(tool), None if value is None else value * scale

    return measure


def _above(mode: str, name: str, tools: tuple[str, ...], base: str, scale: float = 1.0) -> Callable[[Results], Found]:
    def measure(results: Results) -> Found:
        for tool in tools:
            value = results.paired(mode, tool, base, name, lambda a, b: (a - b) * scale)
            yield _short(tool), value

    return measure


def _ratio(other: str) -> Callable[[Results], Found]:
    def measure(results: Results) -> Found:
        for mode in ("tight", "busy", "paced"):
            yield mode, results.paired(mode, "upshot-http", other, "p50", lambda a, b: a / b)

    return measure


def _uuid(results: Results) -> Found:
    for mode in ("tight", "busy"):
        yield mode, results.paired(mode, "upshot-uuid", "upshot-http", "p50", lambda a, b: a - b)


TARGETS = (
    Target("call, back to back, p50, µs", 1.5, _medians("tight", "p50")),
    Target("call, between other work, p50, µs", 2.0, _medians("busy", "p50")),
    Target("call, between other work, p99, µs", 5.0, _medians("busy", "p99")),
    Target("call, between other work, p99.9, µs", 20.0, _medians("busy", "p999")),
    Target("call, after idling 1 ms, p50, µs", 5.0, _medians("paced", "p50")),
    Target("call, 4 threads, p99.9, µs", 60.0, _medians("threads", "p999")),
    Target("call, asyncio, p99, µs", 20.0, _medians("asyncio", "p99")),
    Target("server away or hanging, p50, µs", 2.0, _medians("busy", "p50", CUT_OFF)),
    Target("server away or hanging, p99, µs", 5.0, _medians("busy", "p99", CUT_OFF)),
    Target("server away or hanging, p99.9, µs", 20.0, _medians("busy", "p999", CUT_OFF)),
    Target("server away or hanging, slowest call, ms", 1.0, _medians("flood", "slowest", CUT_OFF, 1e-3)),
    Target("making the UUIDv7, p50 more, µs", 1.0, _uuid),
    Target("20 numpy scalars, between other work, p50, µs", 4.0, _medians("busy", "p50", ("upshot-numpy",))),
    Target("CPU of the process per event, saturated, µs", 4.0, _medians("saturated", "cpu")),
    Target("CPU of the process per event, other work, µs", 6.0, _medians("busy", "cpu")),
    Target("others' p99 delay at 10,000 events/s, ms more", 0.1, _above("ticks", "p99", OURS, "floor", 1e-3)),
    Target(
        "memory per queued event, bytes", 900.0, _medians("memory", "bytes_per_event", ("upshot-http-memory-hangs",))
    ),
    Target("call, p50, x confluent-kafka produce", 0.6, _ratio("confluent")),
    Target("... whose deliveries are counted, as ours are", 0.6, _ratio("confluent-counted")),
    Target("call, p50, x kafka-python send", 0.1, _ratio("kafka-python")),
    Target("call, p50, x OpenTelemetry log", 0.1, _ratio("otel-log")),
    Target("call, p50, x OpenTelemetry span", 0.1, _ratio("otel-span")),
    Target("call, p50, x PostHog capture", 0.1, _ratio("posthog")),
)
