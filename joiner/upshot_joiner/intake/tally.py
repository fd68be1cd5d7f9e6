"""How many events came in and what became of them, since the start of this process: each is in exactly one count."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any

COUNTS = ("received", "accepted", "duplicates", "rejected", "not_stored", "waiting")


class Tally:
    """Counts by kind of event (``prediction``, ``label``, ``writer``). Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def given(self, kind: str, n_events: int, answered: Future[Any]) -> None:
        """Events were taken in; ``answered`` will be done with the counts of their answer, or an error: nothing was stored."""
        with self._lock:
            self._counts[kind, "received"] += n_events
            self._counts[kind, "waiting"] += n_events
        answered.add_done_callback(lambda done: self._answered(kind, n_events, done))

    def told(self) -> dict[str, dict[str, int]]:
        """By kind: ``received`` = ``accepted`` + ``duplicates`` + ``rejected`` + ``not_stored`` + ``waiting``, at every moment.

        ``not_stored``: their sender was told 503, and sends them again, which counts anew.
        """
        with self._lock:
            return {
                kind: {name: self._counts[kind, name] for name in COUNTS} for kind in ("prediction", "label", "writer")
            }

    def _answered(self, kind: str, n_events: int, done: Future[Any]) -> None:
        failed = done.cancelled() or done.exception() is not None
        with self._lock:
            self._counts[kind, "waiting"] -= n_events
            if failed:
                self._counts[kind, "not_stored"] += n_events
                return
            answer = done.result()
            for name in ("accepted", "duplicates", "rejected"):
                self._counts[kind, name] += getattr(answer, name)
