"""What one look makes of a rule's row: its next state, what is shown, and the messages that the step asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeGuard

import msgspec

from upshot_joiner.config import AlertConfig
from upshot_monitoring.alerts.evaluate import Outcome
from upshot_monitoring.alerts.kept import Kept, Outbox
from upshot_monitoring.alerts.message import about_rule, message_id
from upshot_monitoring.alerts.rules import Rule
from upshot_monitoring.alerts.settings import Alerting
from upshot_monitoring.alerts.transitions import Policy, State, Told, begin, end, step


def is_same(known: Kept | None, rule: Rule) -> TypeGuard[Kept]:
    """Whether a row is of the rule as it is now."""
    return known is not None and not known.is_gone and known.fingerprint == rule.fingerprint


class Stepper:
    """Steps rows."""

    def __init__(self, settings: Alerting) -> None:
        self._settings = settings

    def step(
        self, model: str, rule: Rule, known: Kept | None, outcome: Outcome, now: datetime, *, gap: bool, muted: bool
    ) -> Kept:
        """The row after one more look."""
        outbox: Outbox = []
        state = begin(now) if known is None else known.state
        told_to: list[str] = [] if known is None else known.shown.get("told_to", [])
        if known is not None and not is_same(known, rule):
            ended, told = end(state, now)
            note = "The rule was changed; it is looked at anew."
            outbox += self._outbox(model, rule.key, rule.config, ended, told, {}, now, state.since, told_to, note)
            state, told_to = replace(begin(now), incidents=ended.incidents, told=ended.told), []
        since, config = state.since, rule.config
        repeat = self._settings.repeat if config.repeat is None else config.repeat
        policy = Policy(config.for_, config.keep_for, repeat, config.unknown_after)
        state, told = step(state, outcome.holds, now, policy, gap=gap, muted=muted)
        shown = outcome.describe()
        began = since if "resolved" in told else state.since
        outbox += self._outbox(model, rule.key, config, state, told, shown, now, began, told_to)
        if outcome.holds is None and state.phase == "firing" and known is not None:
            shown = {**known.shown, "reason": shown["reason"]}  # what made it fire is still the last that is known
        # Who was told that it fires is told that it is over, whatever is configured by then.
        told_to = sorted({*told_to, *config.to} if told else told_to) if state.told_at is not None else []
        shown |= {"when": config.when, "to": config.to, "severity": config.severity, "told_to": told_to}
        plain = msgspec.json.decode(msgspec.json.encode(shown))
        version = known.version if known else 0
        return Kept(
            model, rule.key, rule.fingerprint, state, plain, outbox, is_gone=False, looked_at=now, version=version
        )

    def end(self, known: Kept, now: datetime) -> Kept:
        """The row of a rule that is not in the configuration any more."""
        state, told = end(known.state, now)
        shown = known.shown
        config = AlertConfig(when=shown.get("when", known.rule), severity=shown.get("severity", "warning"))
        outbox = self._outbox(
            *(known.model, known.rule, config, state, told, {}, now, known.state.since, shown.get("told_to", [])),
            note="The rule was removed.",
        )
        return replace(known, state=state, outbox=outbox, is_gone=True, looked_at=now)

    def _outbox(
        self,
        model: str,
        key: str,
        config: AlertConfig,
        state: State,
        told: Sequence[Told],
        shown: Mapping[str, Any],
        now: datetime,
        since: datetime,
        told_to: Sequence[str],
        note: str = "",
    ) -> Outbox:
        made: Outbox = []
        for i, kind in enumerate(told):
            # Numbered by the state, so that the same step made twice makes the same messages.
            number = state.told - len(told) + i
            about = "unknown" if kind in ("unknown", "known") else state.incidents
            message = about_rule(
                kind,
                id_=message_id(model, key, number, kind),
                incident=message_id(model, key, "incident", about),
                model=model,
                rule=key,
                when=config.when,
                severity=config.severity,
                outcome=shown,
                since=state.spell_since if kind in ("unknown", "firing") else since,
                at=now,
                link=self._settings.link,
                note=note or _note(kind, shown),
            )
            channels = dict.fromkeys([*config.to, *(told_to if kind == "resolved" else [])])
            made.append((message.stored(), list(channels)))
        return made


def _note(kind: Told, shown: Mapping[str, Any]) -> str:
    if kind == "unknown":
        return f"Whether the rule holds cannot be said: {shown.get('reason') or 'not known why'}."
    if kind == "repeat" and shown.get("reason"):
        return f"It fired, and whether it still holds cannot be said now: {shown['reason']}."
    return ""
