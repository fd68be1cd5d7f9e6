"""One server for the tests of a module, and a folder and a state folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer
from tests.server.labels.commands import Commands


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("labels") / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server for one test, which may kill it or end it to look into its folder."""
    running = RunningServer(tmp_path / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture
def labels(server: RunningServer, tmp_path: Path) -> Commands:
    """The commands, against the server of the module."""
    return Commands(server.url, tmp_path)
