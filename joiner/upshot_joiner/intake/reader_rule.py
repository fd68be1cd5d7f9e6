"""The reader rule of :mod:`upshot.wire`: what a value of ``features`` or ``inputs`` becomes that an event cannot hold.

The rule is the SDK's own conversion table, applied to what MessagePack or Arrow made of the value. So it does not matter
which side looks at a value: what is stored is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from upshot.capture.convert import NATIVE_TYPES, Converter
from upshot.capture.flags import REPR, Flags


class Extension:
    """A MessagePack extension that is not a timestamp. Its ``repr`` is the same wherever it is made."""

    __slots__ = ("_code", "_data")

    def __init__(self, code: int, data: memoryview) -> None:
        self._code = code
        self._data = bytes(data)

    def __repr__(self) -> str:
        return f"Extension({self._code}, {self._data!r})"


class ReaderRule:
    """Applies the rule, and counts in ``reprs`` the values kept as bounded text. One object belongs to one thread."""

    def __init__(self) -> None:
        self.reprs = 0
        self._converter = Converter(self._count)

    def mapping(self, field: str, given: Mapping[Any, object], flags: Flags) -> dict[str, Any]:
        """A field of an event with its names as text and values as it can hold them; notes the odd places in ``flags``."""
        return self._converter.mapping(given, field, flags)

    def values(self, given: Iterable[object]) -> tuple[list[Any], list[int]]:
        """Values as an event can hold them, and the positions of those that were kept as bounded text."""
        values: list[Any] = []
        reprs: list[int] = []
        for position, value in enumerate(given):
            before = self.reprs
            values.append(value if type(value) in NATIVE_TYPES else self._converter.value(value))
            if self.reprs != before:
                reprs.append(position)
        return values, reprs

    def _count(self) -> None:
        self.reprs += 1


def flags_of(given: Mapping[str, str] | None) -> Flags:
    """What a writer noted already: it stays, and more can be noted."""
    flags = Flags()
    flags.noted = dict(given) if given else None
    return flags


def note_reprs(given: Mapping[str, str] | None, places: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    """The flags of an event with more values that were kept as bounded text, given by field and name."""
    flags = flags_of(given)
    for field, name in places:
        flags.note(f"{field}.{name}", REPR)
    return flags.noted
