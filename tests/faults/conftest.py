"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.logger.collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A server that answers by script."""
    with Collector() as server:
        yield server
