"""Which hours of which model have changed, from those who write them to those who roll them up."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Changed:
    """One hour of a model (by ``predicted_at``) in which something is new."""

    model: str
    hour: datetime
    """The start of the hour, in UTC."""
    served: bool = False
    """Predictions came."""
    outcomes: bool = False
    """Outcomes changed."""


class ChangedHours:
    """A set of changed hours that many fill and one drains. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: dict[tuple[str, datetime], tuple[bool, bool]] = {}
        self._arrived = threading.Event()
        self._twins: list[ChangedHours] = []

    def twin(self) -> ChangedHours:
        """A set of its own, for one more who drains it: it is told all that this one is told from now on."""
        twin = ChangedHours()
        self._twins.append(twin)
        return twin

    def served(self, model: str, hours: Iterable[datetime]) -> None:
        """Note that predictions of these hours were stored."""
        hours = list(hours)
        self._note(model, hours, served=True, outcomes=False)
        for twin in self._twins:
            twin.served(model, hours)

    def outcomes(self, model: str, hours: Iterable[datetime]) -> None:
        """Note that outcomes of these hours changed."""
        hours = list(hours)
        self._note(model, hours, served=False, outcomes=True)
        for twin in self._twins:
            twin.outcomes(model, hours)

    def take(self) -> list[Changed]:
        """Everything noted since the last call, oldest hour first."""
        with self._lock:
            taken, self._changed = self._changed, {}
            self._arrived.clear()
        return sorted(
            (Changed(model, hour, served, outcomes) for (model, hour), (served, outcomes) in taken.items()),
            key=lambda changed: (changed.hour, changed.model),
        )

    @property
    def waiting(self) -> int:
        """How many hours are noted."""
        return len(self._changed)

    def put_back(self, changed: Iterable[Changed]) -> None:
        """Note again what could not be dealt with."""
        for one in changed:
            self._note(one.model, [one.hour], served=one.served, outcomes=one.outcomes)

    def wait(self, timeout_s: float) -> bool:
        """Wait until something is noted; False after the timeout."""
        return self._arrived.wait(timeout_s)

    def _note(self, model: str, hours: Iterable[datetime], *, served: bool, outcomes: bool) -> None:
        with self._lock:
            for hour in hours:
                before = self._changed.get((model, hour), (False, False))
                self._changed[model, hour] = (before[0] or served, before[1] or outcomes)
            if self._changed:
                self._arrived.set()
