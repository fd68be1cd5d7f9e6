"""The dead man's switch: a URL that is called as long as rules are evaluated and what fires gets out.

Its silence is the alarm, raised by whoever waits for it (healthchecks.io and the like): the one alarm that a dead server, a store
that is away or a lost network can still give. It is not sent when the last turn went wrong or is late, when a rule's evaluation
failed, or while an alert waits to be delivered for longer than :data:`STUCK_AFTER`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from upshot_joiner.clock import Clock
from upshot_monitoring.alerts.channels.contract import NotNow, Refused
from upshot_monitoring.alerts.channels.webhook import post
from upshot_monitoring.alerts.settings import HeartbeatConfig, SecretMissing

_log = logging.getLogger("upshot.alerts")

STUCK_AFTER = timedelta(minutes=15)
LOOK_EVERY_S = 0.5


class Heartbeat:
    """Calls the URL. ``why_not`` says what is wrong, empty when all is well."""

    def __init__(
        self,
        config: HeartbeatConfig,
        environment: Mapping[str, str],
        clock: Clock,
        is_first: Callable[[], bool],
        why_not: Callable[[], str],
    ) -> None:
        self._config = config
        self._environment = environment
        self._clock = clock
        self._is_first = is_first
        self._why_not = why_not
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.sent_at: datetime | None = None
        self.trouble = ""

    def start(self) -> None:
        """Begin to beat."""
        self._thread = threading.Thread(target=self._work, name="upshot-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and let the silence be noticed."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=15)

    def beat(self) -> bool:
        """One beat, if all is well; whether it was taken."""
        self.trouble = self._why_not()
        if self.trouble:
            return False
        try:
            post(self._config.url.read(self._environment), b"", {})
        except SecretMissing:
            self.trouble = "its URL is not there"
        except (Refused, NotNow) as failed:
            self.trouble = f"it was not taken: {failed.code}"
        if self.trouble:
            _log.error("the heartbeat was not sent: %s", self.trouble)
            return False
        self.sent_at = self._clock.now()
        return True

    def describe(self) -> dict[str, Any]:
        """As the API shows it, without its URL."""
        return {"every_s": self._config.every.total_seconds(), "sent_at": self.sent_at, "trouble": self.trouble or None}

    def _work(self) -> None:
        due = time.monotonic()
        while not self._closing.wait(LOOK_EVERY_S):
            if time.monotonic() < due or not self._is_first():
                continue
            try:
                taken = self.beat()
            except Exception:  # noqa: BLE001  # a heart that stopped for a fault of its own would be a false alarm
                _log.exception("the heartbeat failed")
                taken = False
            # What was not taken is tried again soon: whoever waits for it counts the seconds.
            pause = self._config.every.total_seconds()
            due = time.monotonic() + (pause if taken else min(pause, 10.0))
