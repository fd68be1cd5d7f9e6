"""One column of events on its way: what of its values is not as it was given is noted here, row by row."""

from __future__ import annotations

from upshot.capture.convert import Converter
from upshot.capture.flags import REPR, Flag, Flags

__all__ = ["Place"]


class Place:
    """Where the values of a column stand in an event: ``features`` and ``amount``; an empty section for a field like ``action``."""

    def __init__(self, section: str, name: str, converter: Converter, flags: dict[int, Flags]) -> None:
        self._section = section
        self._name = name
        self._converter = converter
        self._flags = flags
        self.n_kept_as_text = 0
        self.is_by_value = False
        """Its values were converted one by one, and redacted with that."""

    def value(self, row: int, value: object) -> object:
        """One value as an event can hold it, redacted; null when a rule drops it."""
        self.is_by_value = True
        flags = Flags()
        kept = self._converter.at(self._section, self._name, value, flags)
        for flag in (flags.noted or {}).values():
            self._note(row, flag)
        return None if kept is None else kept[1]

    def kept_as_text(self, row: int) -> None:
        """The value of this row could only be kept as text."""
        self._note(row, REPR)

    def redacted(self, row: int) -> None:
        """The value of this row was changed or removed by a rule."""
        self._note(row, "redacted")

    def _note(self, row: int, flag: str) -> None:
        self.n_kept_as_text += flag == REPR
        place = f"{self._section}.{self._name}" if self._section else self._name
        known: Flag = "repr" if flag == REPR else "redacted"
        self._flags.setdefault(row, Flags()).note(place, known)
