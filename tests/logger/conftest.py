"""What the tests of the logger share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import upshot
from tests.logger.collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.close()


@pytest.fixture
def logger(collector: Collector) -> Iterator[upshot.Logger]:
    """A logger for model ``m``, version ``1``, that sends to the collector."""
    with upshot.Logger(url=collector.url, model="m", model_version="1", flush_interval_s=0.02) as made:
        yield made


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off of milliseconds instead of a quarter of a second."""
    monkeypatch.setattr("upshot.delivery.sender._FIRST_BACKOFF_S", 0.005)
