"""Bounded text: what is kept of a value that has no row of its own in the conversion table.

It is written as Python writes it and cut at 1,000 characters, in time that does not depend on how large the value is: containers
are walked only until the text is full. A mapping or an object with named fields is written as a dict, every sequence and set
as a list, everything in them as the table converts it. What is left has only its own ``repr``.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from itertools import islice
from typing import Any, Protocol

import msgspec

__all__ = ["MAX_LIST", "MAX_TEXT", "Screen", "bounded_text", "fields_of", "items_of"]

MAX_LIST = 262_144
"""A longer list cannot fit an event, whatever it holds; it is not even looked at."""
MAX_TEXT = 1_000
_MAX_DEPTH = 50


class Screen(Protocol):
    """What stands between a nested value and the text: it removes what must not leave the process."""

    def nested(self, path: str, name: str, value: object) -> object:
        """What to write for the value of this name in the mapping at this path; raises `LookupError` to leave it out."""

    def leaf(self, text: str) -> str:
        """What to write for a text."""


class _FullError(Exception):
    """The text has reached its length."""


def bounded_text(value: object, plain: Callable[[object], Any], path: str = "", screen: Screen | None = None) -> str:
    """A value as text of at most 1,000 characters. Raises nothing, whatever the value's own methods do.

    ``plain``: converts one value by the table, or raises. ``path``: where the value stands. With a ``screen``, objects of unknown
    types are named by their type only: nobody can look into a text that foreign code writes.
    """
    writer = _Writer(plain, screen)
    with suppress(_FullError):
        writer.write(value, path, 0)
    return "".join(writer.parts)[:MAX_TEXT]


class _Writer:
    def __init__(self, plain: Callable[[object], Any], screen: Screen | None) -> None:
        self.parts: list[str] = []
        self._room = MAX_TEXT
        self._plain = plain
        self._screen = screen

    def write(self, value: object, path: str, depth: int) -> None:
        try:
            if depth > _MAX_DEPTH:
                self._add("...")
            else:
                self._write(value, path, depth)
        except _FullError:
            raise
        except Exception:  # noqa: BLE001  # methods of foreign objects
            self._add(_type_name(value))

    def _write(self, value: Any, path: str, depth: int) -> None:
        kind = type(value)
        if kind is str:
            self._add_text(value)
        elif value is None or kind is bool or kind is float:
            self._add(repr(value))
        elif kind is int:
            self._add_int(value)
        elif isinstance(value, Enum):
            self.write(value.value, path, depth)
        elif isinstance(value, dict):  # in one C call each: another thread cannot change it amid
            self._add_dict(list(islice(dict.items(value), MAX_TEXT)), path, depth)
        elif (items := items_of(value, MAX_TEXT)) is not None:
            self._add_list(items, path, depth)
        elif (fields := fields_of(value)) is not None:
            self._add_dict(list(fields.items()), path, depth)
        else:
            self._add_other(value, path, depth)

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self._room -= len(text)
        if self._room <= 0:
            raise _FullError

    def _add_text(self, text: str) -> None:
        text = str.__str__(text)
        self._add(repr((text if self._screen is None else self._screen.leaf(text))[: MAX_TEXT + 1]))

    def _add_int(self, number: int) -> None:
        try:
            self._add(repr(number))
        except ValueError:  # more than 4,300 digits
            self._add(hex(number))

    def _add_list(self, items: Iterable[object], path: str, depth: int) -> None:
        self._add("[")
        for position, item in enumerate(items):
            if position:
                self._add(", ")
            self.write(item, path, depth + 1)
        self._add("]")

    def _add_dict(self, fields: list[tuple[Any, object]], path: str, depth: int) -> None:
        self._add("{")
        is_first = True
        for key, item in fields:
            below, shown = path, item
            if self._screen is not None:
                name = key if type(key) is str else str(key)
                below = f"{path}.{name}"
                try:
                    shown = self._screen.nested(path, name, item)
                except LookupError:
                    continue
            if not is_first:
                self._add(", ")
            is_first = False
            self.write(key, path, depth + 1)
            self._add(": ")
            self.write(shown, below, depth + 1)
        self._add("}")

    def _add_other(self, value: Any, path: str, depth: int) -> None:
        try:
            plain = self._plain(value)
        except Exception:  # noqa: BLE001
            kind = type(value)
            if isinstance(value, (bytes, bytearray, memoryview)):
                self._add_text_of_bytes(value)
            elif callable(to_list := getattr(kind, "tolist", None) or getattr(kind, "to_list", None)):
                self._add_array(value, to_list, path, depth)
            else:
                self._add_repr(value)
        else:
            self.write(plain, path, depth)

    def _add_array(self, value: Any, to_list: Callable[[Any], object], path: str, depth: int) -> None:
        size = getattr(value, "size", None)
        if not isinstance(size, int):
            size = getattr(value, "numel", value.__len__)()
        if size > MAX_LIST:
            self._add_repr(value)
        elif getattr(getattr(value, "dtype", None), "kind", "") in (
            "m",
            "M",
        ):  # NumPy lists moments of nanoseconds as integers
            self._add_list(list(value[:MAX_TEXT]) if value.ndim == 1 else [repr(value)], path, depth)
        else:
            plain = to_list(value)
            if type(plain) is type(value):
                self._add_repr(value)
            else:
                self.write(plain, path, depth)

    def _add_text_of_bytes(self, value: bytes | bytearray | memoryview) -> None:
        if self._screen is not None:
            self._add(_type_name(value))
            return
        with memoryview(value) as view:
            start = bytes(view.cast("B")[: MAX_TEXT + 1] if view.c_contiguous else view)
        self._add(repr(start))

    def _add_repr(self, value: object) -> None:
        if self._screen is not None:
            self._add(_type_name(value))
            return
        try:
            text = str.__str__(repr(value))
        except Exception:  # noqa: BLE001
            text = _type_name(value)
        self._add(text[:MAX_TEXT])


def fields_of(value: object) -> dict[Any, object] | None:
    """The named values of a dict, dataclass, pydantic model, attrs object or msgspec Struct; None for anything else.

    Only what these keep themselves is read, as MessagePack would have it: no property is asked.
    """
    if isinstance(value, dict):
        return dict.copy(value)
    kind = type(value)
    if issubclass(kind, msgspec.Struct):
        return _fields_of_struct(value)
    if dataclasses.is_dataclass(kind):
        return _present(value, (field.name for field in dataclasses.fields(kind)))
    if hasattr(kind, "__attrs_attrs__"):
        return _present(value, (a.name for a in kind.__attrs_attrs__ if not a.name.startswith("_")))
    if isinstance(getattr(kind, "__pydantic_fields__", None), dict):
        return {**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {})}
    names = getattr(getattr(value, "dtype", None), "names", None)
    if kind.__module__ == "numpy" and kind.__name__ == "void" and names:  # a row of a structured array
        return {name: value[name] for name in names}  # type: ignore[index]
    return None


def _fields_of_struct(value: Any) -> dict[Any, object]:
    fields: dict[Any, object] = {}
    config = value.__struct_config__
    if config.tag is not None:
        fields[config.tag_field] = config.tag
    for field in msgspec.structs.fields(value):
        item = getattr(value, field.name, msgspec.UNSET)
        is_default = item is field.default or (
            field.default_factory in (list, dict, set) and type(item) is field.default_factory and not item
        )
        if item is not msgspec.UNSET and not (config.omit_defaults and is_default):
            fields[field.encode_name] = item
    return fields


def _present(value: object, names: Iterable[str]) -> dict[Any, object]:
    missing = msgspec.UNSET
    pairs = ((name, getattr(value, name, missing)) for name in names)
    return {name: item for name, item in pairs if item is not missing}


def items_of(value: Any, at_most: int) -> list[object] | None:
    """The first items of a sequence or set of Python's own, or of a msgspec Struct that is an array; None for anything else.

    They are read by the base's own iterator, in one C call: another thread cannot change the container amid.
    """
    for base in (list, tuple, set, frozenset, deque, range):
        if isinstance(value, base):
            return list(islice(base.__iter__(value), at_most))  # type: ignore[arg-type]
    if isinstance(value, msgspec.Struct) and value.__struct_config__.array_like:
        tag = value.__struct_config__.tag
        return [*([] if tag is None else [tag]), *msgspec.structs.astuple(value)]
    return None


def _type_name(value: object) -> str:
    return f"<{type(value).__qualname__}>"[:MAX_TEXT]
