"""The benchmark measures what it says it does: every tool's events arrive where they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.logger import Bench
from tests.bench.logger_sink import sink_process

CALLS = 200


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with sink_process() as sink, sink_process() as hanging:
        yield Bench(sink, hanging, None, str(tmp_path_factory.mktemp("bench")))


@pytest.mark.parametrize("tool", ["upshot-http", "stdlib-queue", "otel-log", "otel-span", "posthog"])
def test_every_event_of_a_measured_tool_arrives(bench: Bench, tool: str) -> None:
    figures = bench.run(tool, "busy", CALLS)
    assert figures is not None, bench.failures
    assert figures["share"] == 1.0
    assert 0 < figures["p50"] <= figures["p99"] <= figures["slowest"]


def test_a_server_that_hangs_takes_nothing_and_goes_on_after_the_run(bench: Bench) -> None:
    figures = bench.run("upshot-http-memory-hangs", "busy", CALLS)
    assert figures is not None, bench.failures
    assert figures["stored"] == 0
    assert bench.run("upshot-http-memory-hangs", "busy", CALLS) is not None, bench.failures


def test_a_run_that_fails_is_named(bench: Bench, tmp_path: Path) -> None:
    failing = Bench(bench.sink, bench.hanging, None, str(tmp_path / "not there"))
    assert failing.run("stdlib-queue", "busy", CALLS) is None
    assert failing.failures[0].startswith("busy, stdlib-queue: FileNotFoundError")
