"""The task that looks at every rule again and again: reads, judges, steps, and queues what is to be told.

What a turn finds is written as one block (states with their messages), then the messages are queued. A turn that is cut off between
the two is finished by the next one, here or on another server. Only the first of several servers looks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from upshot_joiner.clock import Clock
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import StoreError, StoreUnavailable
from upshot_monitoring.alerts.deliveries import Deliveries
from upshot_monitoring.alerts.evaluate import Evaluation, Outcome
from upshot_monitoring.alerts.kept import Kept, KeptStates
from upshot_monitoring.alerts.readings import Answers, Readings
from upshot_monitoring.alerts.rules import rules_of
from upshot_monitoring.alerts.settings import Alerting
from upshot_monitoring.alerts.stepping import Stepper, is_same
from upshot_monitoring.alerts.transitions import begin

_log = logging.getLogger("upshot.alerts")

TURN = ("", "")
"""The row that says when a turn ended last."""
DUTY = 0.2
"""The share of the time that looking may take, where there are very many rules."""
LATE_AFTER = 3
"""So many intervals without a turn are too many: evaluation is late."""


@dataclass
class Turned:
    """What this server knows of its own turns."""

    at: datetime | None = None
    uptime: float = 0.0
    """When the last turn ended that went well."""
    rules: int = 0
    failed: int = 0
    """Rules whose evaluation failed in it by a fault of ours."""
    trouble: str = ""
    """Why the last turn did not go well; empty when it did."""


class Watch:
    """Looks at all rules. Every method may be called from any thread."""

    def __init__(
        self,
        kept: KeptStates,
        deliveries: Deliveries,
        configs: ConfigStore,
        answers: Answers,
        clock: Clock,
        settings: Alerting,
        is_first: Callable[[], bool],
        queued: Callable[[], None],
        after: Callable[[], None],
    ) -> None:
        self._kept = kept
        self._deliveries = deliveries
        self._configs = configs
        self._answers = answers
        self._clock = clock
        self._settings = settings
        self._stepper = Stepper(settings)
        self._is_first = is_first
        self._queued = queued
        self._after = after
        """Called after each turn, on every server."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._rest = 0.0
        self.turned = Turned()

    def start(self) -> None:
        """Begin to look."""
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="upshot-alerts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; the next start goes on from the states that are stored."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def wake(self) -> None:
        """Look soon: a configuration has changed."""
        self._wake.set()

    def look(self) -> int:
        """Look at every rule now; returns how many messages were queued. Raises StoreError when the store is away."""
        with self._lock:
            return self._look()

    def evaluation(self, model: str) -> Evaluation:
        """Reads the values of one model at one moment, each once."""
        return Evaluation(Readings(model, self._configs.get(model), self._answers, self._clock).read)

    @property
    def is_ours(self) -> bool:
        """Whether this server is the one that looks."""
        return self._is_first()

    @property
    def is_late(self) -> bool:
        """Whether this server should have looked, and has not for too long."""
        return self._is_first() and time.monotonic() - max(self.turned.uptime, self._began) > self._patience_s

    @property
    def _patience_s(self) -> float:
        return LATE_AFTER * max(self._settings.every.total_seconds(), self._rest, 10.0)

    def _look(self) -> int:
        now = self._clock.now()
        before = self._kept.read()
        mutes = self._kept.mutes(now)
        last = before.get(TURN)
        gap = self._is_gap(last, now)
        # What a turn that was cut off had to tell; what it did queue is not queued again.
        queued = self._queue(list(before.values()), now)
        rows: list[Kept] = []
        failed = 0
        rules = {model: rules_of(self._configs.get(model)) for model in self._configs.models()}
        for model, of_model in rules.items():
            evaluation = self.evaluation(model)
            for rule in of_model:
                known = before.get((model, rule.key))
                try:
                    outcome = evaluation.of_rule(rule, is_firing=is_same(known, rule) and known.state.phase == "firing")
                except StoreUnavailable:
                    raise
                except Exception:  # noqa: BLE001  # one rule's fault, or a query of it, must not silence the others
                    _log.exception("a rule could not be evaluated")
                    outcome = Outcome(None, (), "evaluating it failed; it is in the server's log")
                    failed += 1
                is_muted = (model, rule.key) in mutes
                rows.append(self._stepper.step(model, rule, known, outcome, now, gap=gap, muted=is_muted))
        wanted = {(model, rule.key) for model, of_model in rules.items() for rule in of_model}
        rows += [
            self._stepper.end(one, now)
            for key, one in before.items()
            if key not in wanted and key != TURN and not one.is_gone
        ]
        version = last.version if last else 0
        told = {"rules": len(wanted), "failed": failed}
        rows.append(Kept(*TURN, "", begin(now), told, [], is_gone=False, looked_at=now, version=version))
        self._kept.write(rows)
        queued += self._queue(rows, now)
        self.turned = Turned(now, time.monotonic(), len(wanted), failed, "some rules failed" if failed else "")
        return queued

    def _queue(self, rows: list[Kept], now: datetime) -> int:
        """Queue what the last transitions have to tell."""
        oldest = now - self._settings.give_up_after
        messages = [pair for one in rows if one.outbox and one.looked_at >= oldest for pair in one.messages()]
        queued = self._deliveries.put(messages, now, self._settings.channels)
        if queued:
            self._queued()
        return queued

    def _is_gap(self, last: Kept | None, now: datetime) -> bool:
        """Whether nobody looked for too long. By our own uptime where we looked last, else by the clock."""
        if last is None:
            return False
        if self.turned.at is not None and last.looked_at == self.turned.at:
            return time.monotonic() - self.turned.uptime > self._patience_s
        return not timedelta(0) <= now - last.looked_at <= timedelta(seconds=self._patience_s)

    def _work(self) -> None:
        rest = min(5.0, self._settings.every.total_seconds())
        while not self._closing.is_set():
            self._wake.wait(rest)
            self._wake.clear()
            if self._closing.is_set():
                return
            began = time.monotonic()
            rest = self._settings.every.total_seconds()
            try:
                if self._is_first():
                    self.look()
                self._after()
            except StoreError as error:
                self.turned = replace(self.turned, trouble="the store does not answer")
                _log.error("alert rules could not be evaluated (code %d); trying again", error.code)
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died, and no alert would come
                self.turned = replace(self.turned, trouble="evaluation failed; it is in the server's log")
                _log.exception("alert rules could not be evaluated; trying again")
            rest = self._rest = max(rest, (time.monotonic() - began) * (1 / DUTY - 1))
