"""What of an event is not as its caller gave it: the field ``flags`` of `upshot.wire.Prediction`."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["REDACTED", "REPR", "SANITIZED", "Flag", "Flags"]

Flag = Literal["repr", "sanitized", "redacted"]
REPR: Final = "repr"
SANITIZED: Final = "sanitized"
REDACTED: Final = "redacted"

_MAX_FLAGS = 32
"""A call with more odd places than these has one cause; the counters in ``stats()`` count them all."""


class Flags:
    """Notes places (``features.amount``) of one event, at most 32; then ``...`` says that there are more."""

    __slots__ = ("noted",)

    def __init__(self) -> None:
        self.noted: dict[str, str] | None = None
        """Place -> flag; None when all is as it was given."""

    def note(self, place: str, flag: Flag) -> None:
        """Note a place. What was redacted stays ``redacted``; otherwise the first note stays."""
        noted = self.noted
        if noted is None:
            noted = self.noted = {}
        if place in noted:
            if flag is REDACTED:
                noted[place] = flag
        elif len(noted) < _MAX_FLAGS:
            noted[place] = flag
        else:
            noted["..."] = "more"
