"""A question about drift as it was written down with a job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from upshot_joiner.config import parse_duration
from upshot_monitoring.drift.baselines import Asked


def asked_of(request: Mapping[str, Any]) -> Asked:
    """The question in a stored request."""

    def moment(name: str) -> datetime | None:
        value = request.get(name)
        return datetime.fromisoformat(value) if isinstance(value, str) else value

    window = parse_duration(request.get("window"))
    return Asked(
        start=moment("start"),
        end=moment("end"),
        window=window if isinstance(window, timedelta) else None,
        version=request.get("version"),
        baseline=request.get("baseline"),
    )
