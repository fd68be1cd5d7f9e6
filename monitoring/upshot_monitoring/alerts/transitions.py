"""How a rule goes from ``ok`` to ``firing`` and back: a pure function of what was found at each look.

- It fires once it held at *every* look for as long as ``for`` says, and resolves once it did not hold at every look for as long as
  ``keep_for`` says.
- What is not known ends both waits and changes nothing else: a firing rule goes on firing, a quiet one stays quiet.
- So do looks that are too far apart (nobody looked meanwhile) and a clock that jumped back: the wait begins anew.
- Each incident is told once when it fires, again every ``repeat``, and once when it has ended, if it was told at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

Phase = Literal["ok", "pending", "firing"]
Told = Literal["firing", "repeat", "resolved", "unknown", "known"]

NEVER = timedelta(0)


@dataclass(frozen=True)
class Policy:
    """How patient a rule is."""

    for_: timedelta = NEVER
    keep_for: timedelta = NEVER
    repeat: timedelta = NEVER
    """Tell a firing incident again after so long; 0: never."""
    unknown_after: timedelta = NEVER
    """Tell that nothing can be said for so long; 0: never."""


@dataclass(frozen=True)
class State:
    """Where a rule stands. ``since`` is when its phase began, ``spell`` what every look since ``spell_since`` found."""

    phase: Phase
    since: datetime
    spell: bool | None
    spell_since: datetime
    looked_at: datetime
    incidents: int = 0
    """How many began so far."""
    told: int = 0
    """How many messages were sent so far: what tells one from the next."""
    told_at: datetime | None = None
    """When the present incident was told last; None: nobody knows of it."""
    unknown_told: bool = False

    @property
    def word(self) -> str:
        """``ok``, ``pending``, ``firing`` or ``unknown``: what a person is told. What fires and is not known any more fires."""
        return "unknown" if self.spell is None and self.phase != "firing" else self.phase


def begin(now: datetime) -> State:
    """The state of a rule that nobody looked at yet."""
    return State("ok", now, None, now, now)


def step(
    state: State, holds: bool | None, now: datetime, policy: Policy, *, gap: bool = False, muted: bool = False
) -> tuple[State, list[Told]]:
    """The state after one more look, and what is to be told. ``gap``: nobody looked for too long before this look."""
    if holds is not state.spell or gap or now < state.spell_since:
        state = replace(state, spell=holds, spell_since=now)
    state = replace(state, looked_at=now, since=min(state.since, now))
    lasted = now - state.spell_since
    if holds and state.phase != "firing":
        if lasted >= policy.for_:
            state = replace(state, phase="firing", since=now, incidents=state.incidents + 1, told_at=None)
        else:
            state = replace(state, phase="pending", since=state.spell_since)
    elif holds is False and state.phase == "firing":
        if lasted >= policy.keep_for:
            return _tell(state, holds, now, policy, muted, ended=True)
    elif not holds and state.phase == "pending":
        state = replace(state, phase="ok", since=now)
    return _tell(state, holds, now, policy, muted)


def end(state: State, now: datetime) -> tuple[State, list[Told]]:
    """The rule is gone or another one now: what fires has ended."""
    if state.phase != "firing":
        return state, []
    return _tell(state, False, now, Policy(), muted=False, ended=True)


def _tell(
    state: State, holds: bool | None, now: datetime, policy: Policy, muted: bool, *, ended: bool = False
) -> tuple[State, list[Told]]:
    told: list[Told] = []
    if ended:
        if state.told_at is not None:
            told.append("resolved")
        state = replace(state, phase="ok", since=now, told_at=None)
    elif state.phase == "firing" and not muted:
        if state.told_at is None:
            told.append("firing")
            state = replace(state, told_at=now)
        elif policy.repeat and abs(now - state.told_at) >= policy.repeat:  # either way: a clock may jump
            told.append("repeat")
            state = replace(state, told_at=now)
    if holds is not None:
        if state.unknown_told:
            told.append("known")
            state = replace(state, unknown_told=False)
    elif policy.unknown_after and now - state.spell_since >= policy.unknown_after and not (muted or state.unknown_told):
        told.append("unknown")
        state = replace(state, unknown_told=True)
    return replace(state, told=state.told + len(told)), told
