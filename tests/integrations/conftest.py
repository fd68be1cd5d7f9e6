"""What the tests of the integrations share: the collector and the logger of the logger's own tests."""

from __future__ import annotations

from tests.logger.conftest import collector, logger

__all__ = ["collector", "logger"]
