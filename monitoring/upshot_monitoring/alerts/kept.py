"""The states of the rules and what is muted, in the store: what one server knows, its successor knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from upshot_joiner.clock import to_micros
from upshot_joiner.store.client import Store
from upshot_monitoring.alerts.message import Message
from upshot_monitoring.alerts.transitions import State

TIME = pa.timestamp("us", "UTC")

Outbox = list[tuple[str, list[str]]]
"""(stored message, channels) of the last transition."""

_STATES = """
SELECT model, rule, fingerprint, state, shown, outbox, gone, looked_at, version FROM alert_states FINAL
WHERE ({all:Bool} OR model = {model:String})
"""
_MUTES = """
SELECT model, rule, until, reason, muted_at FROM alert_mutes FINAL WHERE until > fromUnixTimestamp64Micro({now:Int64}, 'UTC')
"""


@dataclass(frozen=True)
class Kept:
    """One rule's row. The row of model and rule "" is that of the turn."""

    model: str
    rule: str
    fingerprint: str
    state: State
    shown: dict[str, Any]
    """Of the last look, as JSON reads it back."""
    outbox: Outbox
    is_gone: bool
    looked_at: datetime
    version: int = 0

    def messages(self) -> list[tuple[Message, list[str]]]:
        """What the last transition has to tell, and whom."""
        return [(Message.read(stored), channels) for stored, channels in self.outbox]


@dataclass(frozen=True)
class Mute:
    """A rule that is not told of until a moment."""

    until: datetime
    reason: str
    muted_at: datetime


class KeptStates:
    """Reads and writes. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, model: str | None = None) -> dict[tuple[str, str], Kept]:
        """The rows of a model, or of all."""
        rows = self._store.query(_STATES, {"model": model or "", "all": model is None})
        return {(row[0], row[1]): _kept(*row) for row in rows}

    def write(self, rows: Sequence[Kept]) -> None:
        """All of them in one block: all are on disk when this returns, or none are."""
        rows = [replace(one, version=max(one.version + 1, to_micros(one.looked_at))) for one in rows]
        columns: dict[str, Any] = {
            "model": [one.model for one in rows],
            "rule": [one.rule for one in rows],
            "fingerprint": [one.fingerprint for one in rows],
            "state": [msgspec.json.encode(one.state).decode() for one in rows],
            "shown": [msgspec.json.encode(one.shown).decode() for one in rows],
            "outbox": [msgspec.json.encode(one.outbox).decode() for one in rows],
            "gone": pa.array([int(one.is_gone) for one in rows], pa.uint8()),
            "looked_at": pa.array([one.looked_at for one in rows], TIME),
            "version": pa.array([one.version for one in rows], pa.uint64()),
        }
        self._store.insert("alert_states", pa.table(columns))

    def mutes(self, now: datetime) -> dict[tuple[str, str], Mute]:
        """What is muted now, by model and rule."""
        return {(model, rule): Mute(*rest) for model, rule, *rest in self._store.query(_MUTES, {"now": to_micros(now)})}

    def mute(self, model: str, rule: str, mute: Mute) -> None:
        """Mute a rule until a moment; one that is over unmutes it. The last word counts."""
        columns: dict[str, Any] = {
            "model": [model],
            "rule": [rule],
            "until": pa.array([mute.until], TIME),
            "reason": [mute.reason],
            "muted_at": pa.array([mute.muted_at], TIME),
            "version": pa.array([to_micros(mute.muted_at)], pa.uint64()),
        }
        self._store.insert("alert_mutes", pa.table(columns))


def _kept(
    model: str,
    rule: str,
    fingerprint: str,
    state: str,
    shown: str,
    outbox: str,
    gone: int,
    looked_at: datetime,
    version: int,
) -> Kept:
    return Kept(
        model,
        rule,
        fingerprint,
        msgspec.json.decode(state, type=State),
        msgspec.json.decode(shown),
        msgspec.json.decode(outbox, type=Outbox),
        bool(gone),
        looked_at,
        version,
    )
