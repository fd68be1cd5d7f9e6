"""How much each model has served: exact counts by version and hour, kept in memory, counted anew at start."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from upshot_joiner.store.client import Store

_COUNT = """
SELECT model, model_version, toStartOfHour(predicted_at) AS hour, count(), min(received_at), max(received_at)
FROM predictions FINAL
GROUP BY model, model_version, hour
"""


@dataclass
class Served:
    """Predictions of one model version; first and last by when they were received."""

    first_seen: datetime
    last_seen: datetime
    by_hour: Counter[datetime] = field(default_factory=Counter)
    """Predictions by the start of the hour of ``predicted_at``, in UTC."""

    @property
    def predictions(self) -> int:
        """How many there are."""
        return self.by_hour.total()


class Activity:
    """Counts by model and version. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._lock = threading.Lock()
        self._served: dict[str, dict[str, Served]] = {}
        self._rows = -1
        """Rows of the store when they were counted; -1: they have to be counted anew."""
        self.recount(store)

    def refresh(self, store: Store) -> None:
        """Count the store anew if there are other rows in it than at the last time: others write it too."""
        if store.query("SELECT count() FROM predictions") != [(self._rows,)]:
            self.recount(store)

    def recount(self, store: Store) -> None:
        """Count the store anew."""
        [(self._rows,)] = store.query("SELECT count() FROM predictions")
        counted: dict[str, dict[str, Served]] = {}
        for model, version, hour, predictions, first, last in store.query(_COUNT):
            one = counted.setdefault(model, {}).setdefault(version, Served(first, last))
            one.first_seen = min(one.first_seen, first)
            one.last_seen = max(one.last_seen, last)
            one.by_hour[hour] += predictions
        with self._lock:
            self._served = counted

    def served(self, model: str, predictions: Mapping[tuple[str, datetime], int], received: datetime) -> None:
        """Note newly stored predictions: how many of each version and hour."""
        with self._lock:
            # Who counted after these rows were stored and before they are noted here has counted them, too.
            self._rows = -1
            by_version = self._served.setdefault(model, {})
            for (version, hour), count in predictions.items():
                one = by_version.get(version)
                if one is None:
                    one = by_version[version] = Served(received, received)
                one.last_seen = received
                one.by_hour[hour] += count

    def models(self) -> list[str]:
        """Models that have served."""
        with self._lock:
            return sorted(self._served)

    def versions(self, model: str) -> dict[str, Served]:
        """What each version of a model has served, by version."""
        with self._lock:
            return {
                version: Served(one.first_seen, one.last_seen, Counter(one.by_hour))
                for version, one in sorted(self._served.get(model, {}).items())
            }

    def predictions(self, model: str) -> int:
        """Predictions of all versions."""
        with self._lock:
            return sum(one.predictions for one in self._served.get(model, {}).values())

    def by_hour(self, model: str) -> dict[datetime, int]:
        """Predictions of all versions by hour."""
        total: defaultdict[datetime, int] = defaultdict(int)
        for one in self.versions(model).values():
            for hour, predictions in one.by_hour.items():
                total[hour] += predictions
        return dict(total)
