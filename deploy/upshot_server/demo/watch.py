"""What Upshot says of the replay while it runs, asked through the API."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upshot_server.demo.processes import DemoError
from upshot_server.demo.upshot_api import UpshotApi

EVERY_S = 2.0
WINDOW = timedelta(days=7)
LOOK_BACK = 6 * WINDOW
METRIC = "roc_auc"


@dataclass(frozen=True)
class Window:
    """The metric of one window, as Upshot gives it."""

    start: datetime
    is_mature: bool
    """Whether the wait for its last row's label is over."""
    rows: int
    """All that were served."""
    measured: int
    """How many of them the value rests on."""
    value: float | None
    low: float | None
    high: float | None
    estimated: float | None
    """What Upshot estimates without labels, where it does."""


@dataclass(frozen=True)
class Snapshot:
    """Upshot's own figures at one moment of the replay."""

    at: datetime
    predictions: int
    labelled: int
    pending: int
    coverage: float | None
    orphans: int
    delay_p50_s: float | None
    matured: Window | None
    """The newest window whose labels are in."""
    tail: Window | None
    """The newest window of all, immature."""
    drifted: list[str]
    skewed: list[str]
    features: int

    @property
    def joined_share(self) -> float | None:
        """Predictions with a label, over all predictions."""
        return self.labelled / self.predictions if self.predictions else None


def look(api: UpshotApi, at: datetime, version: str) -> Snapshot:
    """Ask Upshot for everything the display shows of a version."""
    labels = api.labels()
    since = (at - LOOK_BACK).isoformat()
    performance = api.performance(window=f"{WINDOW.days}d", version=version, start=since, end=at.isoformat())
    matured_until = datetime.fromisoformat(performance["matured_until"])
    windows = [window_of(window, matured_until) for window in performance["windows"] if window["rows"]]
    drift, skew = api.drift(version=version), api.skew(version=version)
    mature = [window for window in windows if window.is_mature and window.value is not None]
    return Snapshot(
        at=at,
        predictions=labels.get("predictions", 0),
        labelled=labels.get("labelled", 0),
        pending=labels.get("pending", 0),
        coverage=labels.get("coverage"),
        orphans=labels.get("orphans", 0),
        delay_p50_s=(labels.get("delay_s") or {}).get("p50"),
        matured=mature[-1] if mature else None,
        tail=windows[-1] if windows and not windows[-1].is_mature else None,
        drifted=with_drift(drift),
        skewed=with_drift(skew),
        features=len(drift["features"]),
    )


def window_of(window: dict[str, Any], matured_until: datetime) -> Window:
    """A window of the answer of ``/performance``: on its matured rows when it is mature, else on whatever is labelled
    so far."""
    is_mature = datetime.fromisoformat(window["end"]) <= matured_until
    measured = window if is_mature else window.get("so_far") or window
    low, high = measured["intervals"].get(METRIC) or (None, None)
    return Window(
        start=datetime.fromisoformat(window["start"]),
        is_mature=is_mature,
        rows=window["rows"],
        measured=window["matured"] if is_mature else measured["rows"],
        value=measured["metrics"].get(METRIC),
        low=low,
        high=high,
        estimated=(window.get("estimated") or {}).get(METRIC),
    )


def with_drift(answer: dict[str, Any]) -> list[str]:
    """The names of the features whose verdict is drift, the farthest beyond its threshold first."""
    drifted = [feature for feature in answer["features"] if feature["verdict"] == "drift"]
    return [feature["feature"] for feature in sorted(drifted, key=excess, reverse=True)]


def excess(feature: dict[str, Any]) -> float:
    """How many times its threshold a statistic is; a finding without a statistic (a column is missing, say) comes
    last."""
    statistic, threshold = feature.get("statistic"), feature.get("threshold")
    return statistic / threshold if statistic is not None and threshold else 0.0


class Watch:
    """Upshot's figures of one version: now, or the latest of a thread that keeps looking."""

    def __init__(self, api: UpshotApi, now: Callable[[], datetime], version: str) -> None:
        self._api = api
        self._now = now
        self._version = version
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.latest: Snapshot | None = None
        self.trouble: list[str] = []
        """What went wrong when looking; the replay itself goes on."""

    def look(self) -> Snapshot | None:
        """The figures of this moment; those of the last look when Upshot does not answer."""
        try:
            self.latest = look(self._api, self._now(), self._version)
        except DemoError as error:
            self.trouble.append(str(error))
        return self.latest

    def start(self) -> None:
        """Begin to look every two seconds."""
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and return when the last look is over."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self.look()
