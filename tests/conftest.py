"""What every test may use. The embedded engine allows one folder per process, so the tests of a process share one store and
keep apart by model names and request IDs of their own."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.running import RunningServer

if TYPE_CHECKING:
    from tests.running_clickhouse import RunningClickHouse
    from tests.running_kafka import RunningKafka
    from upshot_joiner.store.client import Store

# How long an example takes says how busy the machine is, and nothing about what it shows.
hypothesis.settings.register_profile("upshot", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("upshot")

_numbers = itertools.count(1)


_LONG_FIRST = ("faults", "server", "joiner", "demo")
"""Folders with files that take long, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come before the others: else one process is left alone with them at the end."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return _LONG_FIRST.index(folder) if folder in _LONG_FIRST else len(_LONG_FIRST)

    items.sort(key=place)  # within a folder the order stays the shuffled one


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In CI a failure is told when it happens: a run that is cut off never comes to its summary."""
    if report.failed and os.environ.get("UPSHOT_TEST_REQUIRE") == "all" and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stderr.write(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext[-3000:]}\n")


def require(part: str, present: bool, how: str) -> None:
    """Skip where a real part is missing; fail instead where all parts are required, as in CI."""
    if not present:
        if os.environ.get("UPSHOT_TEST_REQUIRE") == "all":
            pytest.fail(f"{part} is required and missing: {how}")
        pytest.skip(f"{part} is missing: {how}")


@pytest.fixture(autouse=True)
def spool_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool of the test's own, for its loggers and for those of the processes it starts."""
    path = tmp_path_factory.mktemp("spool", numbered=True)
    monkeypatch.setenv("UPSHOT_SPOOL_DIR", str(path))
    return path


@pytest.fixture
def fresh() -> str:
    """A name that no other test of this process uses."""
    return f"t{next(_numbers)}-{os.getpid()}"


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A migrated embedded store."""
    from upshot_joiner.store.client import Store

    opened = Store.open_embedded(tmp_path_factory.mktemp("store"))
    _migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real ClickHouse server that all tests share: they keep apart by databases or names of their own."""
    from tests.running_clickhouse import RunningClickHouse, require_clickhouse, server_given

    if (given := server_given()) is not None:
        yield given
        return
    require_clickhouse()
    running = RunningClickHouse(tmp_path_factory.mktemp("clickhouse"))
    running.start()
    yield running.url
    running.stop()


@pytest.fixture(scope="session")
def server_store(clickhouse: str) -> Iterator[Store]:
    """A migrated store on the real server, in a database of its own."""
    from upshot_joiner.store.client import Store

    opened = Store.open_server(clickhouse, f"upshot_tests_{os.getpid()}")
    _migrate(opened)
    yield opened
    opened.command(f"DROP DATABASE upshot_tests_{os.getpid()} SYNC")
    opened.close()


@pytest.fixture(scope="session")
def store(embedded_store: Store) -> Store:
    """A migrated store."""
    return embedded_store


@pytest.fixture(params=["embedded", "server"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """A migrated store of every kind."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


def _migrate(store: Store) -> None:
    store.migrate("upshot_joiner.store.schema")
    if importlib.util.find_spec("upshot_monitoring.schema"):
        store.migrate("upshot_monitoring.schema")


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[RunningClickHouse]:
    """A ClickHouse server for one test, which starts it, and may kill it."""
    from tests.running_clickhouse import RunningClickHouse, require_clickhouse

    require_clickhouse()
    running = RunningClickHouse(tmp_path / "clickhouse")
    yield running
    running.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """The real server in a process of its own, on a folder of its own."""
    running = RunningServer(tmp_path / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Debian's Chromium."""
    path = Path("/usr/bin/chromium")
    require("Chromium", path.exists(), "apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real broker that all tests share: they keep apart by model names of their own."""
    from tests.running_kafka import RunningKafka, broker_given, require_kafka

    if (given := broker_given()) is not None:
        yield given
        return
    require_kafka()
    running = RunningKafka(tmp_path_factory.mktemp("kafka"))
    running.start()
    yield running.address
    running.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[RunningKafka]:
    """A broker for one test, which starts it, and may kill it."""
    from tests.running_kafka import RunningKafka, require_kafka

    require_kafka()
    running = RunningKafka(tmp_path / "kafka")
    yield running
    running.stop()
