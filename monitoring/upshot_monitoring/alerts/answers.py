"""What is told of alerts: where rules stand, what fires, whether evaluation and delivery work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ConfigStore
from upshot_monitoring.alerts.deliveries import Deliveries
from upshot_monitoring.alerts.heartbeat import Heartbeat
from upshot_monitoring.alerts.kept import Kept, KeptStates, Mute
from upshot_monitoring.alerts.rules import Rule, rules_of
from upshot_monitoring.alerts.settings import Alerting
from upshot_monitoring.alerts.stepping import is_same
from upshot_monitoring.alerts.watch import TURN, Watch

SEVERITIES = ("critical", "warning", "info")


class AlertAnswers:
    """Reads alone. Every method may be called from any thread, on any server."""

    def __init__(
        self,
        kept: KeptStates,
        deliveries: Deliveries,
        configs: ConfigStore,
        clock: Clock,
        settings: Alerting,
        watch: Watch,
        heartbeat: Heartbeat | None,
    ) -> None:
        self._kept = kept
        self._deliveries = deliveries
        self._configs = configs
        self._clock = clock
        self._settings = settings
        self._watch = watch
        self._heartbeat = heartbeat
        self._seen: tuple[dict[tuple[str, str], Kept], dict[str, dict[str, Any]]] = ({}, {})

    def of_model(self, model: str) -> dict[str, Any]:
        """The rules of a model: where each stands, since when, on what that rests, and what went out."""
        kept = self._kept.read(model)
        mutes = self._kept.mutes(self._clock.now())
        sent: dict[str, list[dict[str, Any]]] = {}
        for one in self._deliveries.of_model(model):
            sent.setdefault(one.rule, []).append(one.describe())
        turn = self._kept.read("").get(TURN)
        return {
            "model": model,
            "evaluated_at": turn.looked_at if turn else None,
            "rules": [
                {
                    **_described(model, rule, kept.get((model, rule.key)), mutes.get((model, rule.key))),
                    "deliveries": sent.get(rule.key, []),
                }
                for rule in rules_of(self._configs.get(model))
            ],
        }

    def all(self) -> dict[str, Any]:
        """What fires and what cannot be told, of every model; the channels; whether evaluation works."""
        kept = self._kept.read()
        mutes = self._kept.mutes(self._clock.now())
        told = [
            _described(model, rule, kept.get((model, rule.key)), mutes.get((model, rule.key)))
            for model in self._configs.models()
            for rule in rules_of(self._configs.get(model))
        ]
        told.sort(key=lambda one: one["since"] or EPOCH, reverse=True)
        by_channel = self._deliveries.by_channel()
        return {
            **self._summary(kept, told, by_channel),
            "alerts": [one for one in told if one["state"] == "firing"],
            "unknown_rules": [one for one in told if one["state"] == "unknown"],
            "channels": [
                {"name": name, "kind": config.kind, **_of_channel(by_channel.get(name))}
                for name, config in self._settings.channels.items()
            ],
        }

    def observe(self) -> None:
        """Remember how things stand, for :meth:`status` and :meth:`firing`, which must not wait for the store."""
        self._seen = (self._kept.read(), self._deliveries.by_channel())

    def status(self) -> dict[str, Any]:
        """For ``GET /v1/status``: whether rules are evaluated, and what fires, as of the last turn. Never asks the store."""
        kept, by_channel = self._seen
        told = [
            _described(model, rule, kept.get((model, rule.key)), None)
            for model in self._configs.models()
            for rule in rules_of(self._configs.get(model))
        ]
        return self._summary(kept, told, by_channel)

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """What fires, by model, the worst first, as of the last turn. Never asks the store."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in self._seen[0].values():
            if one.state.phase == "firing" and not one.is_gone:
                severity = one.shown.get("severity", "warning")
                told = {"rule": one.rule, "severity": severity, "since": one.state.since}
                found.setdefault(one.model, []).append(told)
        for of_model in found.values():
            of_model.sort(key=lambda told: (SEVERITIES.index(told["severity"]), told["since"]))
        return found

    def _summary(
        self, kept: Mapping[tuple[str, str], Kept], told: Sequence[Mapping[str, Any]], by_channel: Mapping[str, Any]
    ) -> dict[str, Any]:
        turn = kept.get(TURN)
        looked_at: datetime | None = turn.looked_at if turn else None
        now = self._clock.now()
        # Another server may be the one that looks: its turns are in the store, and it may have died.
        patience = max(timedelta(minutes=1), 6 * self._settings.every)
        elsewhere_late = not self._watch.is_ours and looked_at is not None and now - looked_at > patience
        return {
            "evaluated_at": looked_at,
            "late": self._watch.is_late or elsewhere_late,
            "trouble": self._watch.turned.trouble or None,
            "rules": len(told),
            "firing": sum(one["state"] == "firing" for one in told),
            "unknown": sum(one["state"] == "unknown" for one in told),
            "deliveries": {
                word: sum(one[word] for one in by_channel.values())
                for word in ("waiting", "sent", "refused", "given_up", "dropped")
            },
            "heartbeat": self._heartbeat.describe() if self._heartbeat is not None else None,
        }


def _described(model: str, rule: Rule, kept: Kept | None, mute: Mute | None) -> dict[str, Any]:
    """One rule as the API shows it."""
    config = rule.config
    kept = kept if is_same(kept, rule) else None  # else not looked at yet, as it is now
    state, shown = (kept.state, kept.shown) if kept is not None else (None, {})
    return {
        "model": model,
        "rule": rule.key,
        "when": config.when,
        "severity": config.severity,
        "to": config.to,
        "state": state.word if state is not None else "unknown",
        "since": None if state is None else state.spell_since if state.word == "unknown" else state.since,
        "evaluated_at": kept.looked_at if kept is not None else None,
        "value": shown.get("value"),
        "threshold": shown.get("threshold"),
        "rows": shown.get("rows"),
        "window": shown.get("window"),
        "columns": shown.get("columns", []),
        "reason": shown.get("reason") if state is not None else rule.trouble or "not looked at yet",
        "unknown_since": state.spell_since if state is not None and state.spell is None else None,
        "incidents": state.incidents if state is not None else 0,
        "comparisons": shown.get("comparisons", []),
        "muted_until": mute.until if mute is not None else None,
        "muted_because": (mute.reason or None) if mute is not None else None,
    }


def _of_channel(counts: Mapping[str, Any] | None) -> dict[str, Any]:
    names = ("waiting", "oldest_waiting", "sent", "refused", "given_up", "dropped", "last_sent", "last_error")
    known = counts or {}
    told = {
        name: known.get(name, 0 if name not in ("oldest_waiting", "last_sent", "last_error") else None)
        for name in names
    }
    return {**told, "last_error": told["last_error"] or None}
