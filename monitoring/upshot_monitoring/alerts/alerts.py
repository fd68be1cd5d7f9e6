"""Alerts as one object: the tasks that look, deliver and beat, and everything that can be asked of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from upshot_joiner.clock import Clock
from upshot_joiner.config import AlertConfig, ConfigStore, ModelConfig
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.store.client import Store
from upshot_joiner.writers.arrivals import Sharing
from upshot_monitoring.alerts import rules
from upshot_monitoring.alerts.answers import AlertAnswers
from upshot_monitoring.alerts.channels.contract import NotNow, Refused
from upshot_monitoring.alerts.channels.opened import open_channels
from upshot_monitoring.alerts.deliveries import Deliveries
from upshot_monitoring.alerts.heartbeat import STUCK_AFTER, Heartbeat
from upshot_monitoring.alerts.kept import KeptStates, Mute
from upshot_monitoring.alerts.message import trial_message
from upshot_monitoring.alerts.readings import Answers
from upshot_monitoring.alerts.rules import Rule, check_one, rules_of
from upshot_monitoring.alerts.sender import Sender
from upshot_monitoring.alerts.settings import Alerting
from upshot_monitoring.alerts.watch import Watch

_log = logging.getLogger("upshot.alerts")

MAX_ASKED = 50
"""Rules of one question."""


class Alerts:
    """Everything about alerts. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        configs: ConfigStore,
        answers: Answers,
        clock: Clock,
        settings: Alerting,
        environment: Mapping[str, str],
        sharing: Sharing | None = None,
    ) -> None:
        self._configs = configs
        self._clock = clock
        self._settings = settings
        self._kept = KeptStates(store)
        self._deliveries = Deliveries(store)
        self._channels = open_channels(settings, environment)
        is_first = sharing.is_first if sharing is not None else lambda: True
        self._sender = Sender(self._deliveries, self._channels, settings, clock, is_first)
        self._watch = Watch(
            self._kept, self._deliveries, configs, answers, clock, settings, is_first, self._sender.wake, self._observe
        )
        beat = settings.heartbeat
        self._heartbeat = Heartbeat(beat, environment, clock, is_first, self.why_no_heartbeat) if beat else None
        self.answers = AlertAnswers(
            self._kept, self._deliveries, configs, clock, settings, self._watch, self._heartbeat
        )

    def start(self) -> None:
        """Begin to look, to deliver and to beat."""
        self._sender.start()
        self._watch.start()
        if self._heartbeat is not None:
            self._heartbeat.start()

    def stop(self) -> None:
        """Stop; states and what waits stay in the store."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self._watch.stop()
        self._sender.stop()

    def check(self, config: ModelConfig) -> None:
        """Raise a 422 :class:`Problem` that names every wrong place of a configuration's rules."""
        rules.check(config, self._channels)

    def configured(self) -> None:
        """A configuration changed: its rules are looked at soon."""
        self._watch.wake()

    def look(self) -> int:
        """Look at every rule now; returns how many messages were queued."""
        return self._watch.look()

    def _observe(self) -> None:
        self.answers.observe()

    def deliver(self, channel: str) -> None:
        """Send what is due to a channel now."""
        self._sender.deliver(channel)

    def ask(self, model: str, asked: Sequence[str], min_rows: int | None = None) -> dict[str, Any]:
        """Whether rules hold now: those asked for, or the configured ones. Steps no state and tells nobody.

        Raises a 422 :class:`Problem` for a rule that cannot be understood.
        """
        config = self._configs.get(model)
        if len(asked) > MAX_ASKED:
            raise Problem(
                422, "invalid_alert_rule", f"At most {MAX_ASKED} rules at once.", [{"loc": "rules", "code": "too_many"}]
            )
        if asked:
            chosen = [
                Rule(text, AlertConfig(when=text, min_rows=min_rows), check_one(text, config, f"rules.{i}"), None)
                for i, text in enumerate(asked)
            ]
        else:
            chosen = rules_of(config)
        evaluation = self._watch.evaluation(model)
        found = []
        for rule in chosen:
            outcome = evaluation.of_rule(rule, is_firing=False)
            verdict = {True: "fires", False: "ok", None: "unknown"}[outcome.holds]
            told = {"rule": rule.key, "when": rule.config.when, "severity": rule.config.severity, "verdict": verdict}
            found.append({**told, **outcome.describe()})
        words = [one["verdict"] for one in found]
        whole = "fires" if "fires" in words else "unknown" if "unknown" in words or not words else "ok"
        return {"model": model, "verdict": whole, "rules": found}

    def test(self, channel: str) -> dict[str, Any]:
        """Send a message that asks for nothing, now. Raises a 404 :class:`Problem` for an unknown channel."""
        if channel not in self._channels:
            raise Problem(
                404, "unknown_channel", "No channel of this name is set up.", [{"loc": "channel", "code": "unknown"}]
            )
        try:
            self._channels[channel].send(trial_message(channel, self._clock.now(), self._settings.link))
        except Refused as refused:
            return {"channel": channel, "delivered": False, "error": refused.code, "passing": False}
        except NotNow as reason:
            return {"channel": channel, "delivered": False, "error": reason.code, "passing": True}
        return {"channel": channel, "delivered": True, "error": None, "passing": None}

    def mute(self, model: str, rule: str, length: timedelta, reason: str) -> dict[str, Any]:
        """Tell nobody of a rule for a while; 0 ends that. Raises a 404 :class:`Problem` for a rule that there is not."""
        if rule not in {one.key for one in rules_of(self._configs.get(model))}:
            raise Problem(404, "unknown_rule", "This model has no such rule.", [{"loc": "rule", "code": "unknown"}])
        now = self._clock.now()
        self._kept.mute(model, rule, Mute(now + length, reason, now))
        self._watch.wake()
        return {"model": model, "rule": rule, "muted_until": now + length if length else None, "reason": reason or None}

    def why_no_heartbeat(self) -> str:
        """Why others should be alarmed; empty when rules are evaluated and what fires gets out."""
        turned = self._watch.turned
        if turned.at is None:
            return "no rule was looked at yet"
        if self._watch.is_late:
            return "evaluation is late"
        if turned.trouble:
            return turned.trouble
        try:
            by_channel = self._deliveries.by_channel()
        except StoreError:
            return "the store does not answer"
        now = self._clock.now()
        for name in self._channels:
            oldest = by_channel.get(name, {}).get("oldest_waiting")
            if oldest is not None and now - oldest > STUCK_AFTER:
                return "an alert cannot be delivered"
        return ""
