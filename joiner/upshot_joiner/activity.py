"""How much each model has served: exact counts, kept in memory by the one writer and counted anew at start."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from upshot_joiner.store.client import Store

_COUNT = """
SELECT model, model_version, count(), min(received_at), max(received_at)
FROM predictions FINAL
GROUP BY model, model_version
"""


@dataclass
class Served:
    """Predictions of one model version; first and last by when they were received."""

    predictions: int
    first_seen: datetime
    last_seen: datetime


class Activity:
    """Counts by model and version. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._lock = threading.Lock()
        self._served: dict[str, dict[str, Served]] = {}
        self.recount(store)

    def recount(self, store: Store) -> None:
        """Count the store anew."""
        counted: dict[str, dict[str, Served]] = {}
        for model, version, predictions, first, last in store.query(_COUNT):
            counted.setdefault(model, {})[version] = Served(predictions, first, last)
        with self._lock:
            self._served = counted

    def served(self, model: str, versions: Iterable[str], received: datetime) -> None:
        """Note newly stored predictions, one version each."""
        with self._lock:
            by_version = self._served.setdefault(model, {})
            for version in versions:
                known = by_version.get(version)
                if known is None:
                    by_version[version] = Served(1, received, received)
                else:
                    known.predictions += 1
                    known.last_seen = received

    def models(self) -> list[str]:
        """Models that have served."""
        with self._lock:
            return sorted(self._served)

    def versions(self, model: str) -> dict[str, Served]:
        """What each version of a model has served, by version."""
        with self._lock:
            return {
                version: Served(one.predictions, one.first_seen, one.last_seen)
                for version, one in sorted(self._served.get(model, {}).items())
            }
