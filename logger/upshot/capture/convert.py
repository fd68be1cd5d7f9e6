"""The conversion table: from what a model service holds to what an event can hold.

An event holds ints, floats (NaN and the infinities too), bools, text, null, and lists of numbers. Those pass as they
are. Everything else becomes one of them:

==============================================  =====================================================================
given                                           kept as
==============================================  =====================================================================
NumPy, pandas, torch scalar; 0-d array          the Python number, bool or text of the same value (``float32`` as float)
1-d array, tensor, Series, tuple, range         list of numbers
``pandas.NA``, ``NaT``, ``numpy`` NaT           null
``Decimal``, ``Fraction``                       float, the nearest one
``datetime``, ``date``, ``time``, datetime64    ISO 8601 text
``timedelta``, timedelta64                      seconds, as float
``Enum``                                        its value, converted
``UUID``                                        text
``bytes``, ``bytearray``, ``memoryview``        text, when it is valid UTF-8
a subclass of int, float or str                 the plain int, float or str
anything else: dict, set, object, matrix,       its ``repr``, cut at 1,000 characters, and counted as
list with text in it                            ``converted_repr``
==============================================  =====================================================================

NumPy, pandas and torch are recognised by name and never imported.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID

__all__ = ["NATIVE_TYPES", "NUMBER_TYPES", "Converter", "as_text", "only_texts"]

NATIVE_TYPES = frozenset({float, int, str, bool, type(None)})
NUMBER_TYPES = frozenset({float, int, bool})

only_texts = "".startswith
"""``only_texts(a_tuple)`` raises TypeError when something in it is no text (a subclass of str is), and is true when one is
empty, whereupon it looks no further. The quickest check there is: 3 ns an element."""

_MAX_LIST = 262_144
"""A longer list cannot fit an event, whatever it holds; it is not even looked at."""
_MAX_KNOWN_TYPES = 1_000
_MAX_REPR = 1_000


def as_text(plain: object) -> str:
    """A plain value as text. A bool is written as in JSON, so that a class ``True`` is the class of a label ``True``."""
    if type(plain) is str:
        return plain
    if type(plain) is bool:
        return "true" if plain else "false"
    return str(plain)


class _NotConvertibleError(Exception):
    """The value has no place in the table."""


class Converter:
    """Converts values by their type. ``on_repr`` is called for each value that could only be kept as ``repr``."""

    def __init__(self, on_repr: Callable[[], object]) -> None:
        self._on_repr = on_repr
        self._by_type: dict[type, Callable[[Any], object]] = {}

    def value(self, value: object) -> Any:
        """One value as an event can hold it. Raises nothing, whatever the value's own methods do."""
        kind = type(value)
        if kind in NATIVE_TYPES:
            return value
        try:
            convert = self._by_type.get(kind)
            if convert is None:
                convert = self._learn(kind)
            return convert(value)
        except Exception:  # noqa: BLE001  # the methods of foreign objects may raise anything
            self._on_repr()
            return _bounded_repr(value)

    def name(self, key: object) -> str:
        """A key of a mapping as text: ``5`` and ``numpy.int64(5)`` are ``"5"``, ``True`` is ``"true"``."""
        if type(key) is str:
            return key
        return as_text(self.value(key))

    def mapping(self, given: object) -> dict[str, Any]:
        """A mapping (a dict, a pandas Series, whatever ``dict()`` takes) with names as text and values converted."""
        items: dict[Any, object]
        # The copy is one C call: what another thread does to the dict happens before it or after it, not amid.
        items = given.copy() if type(given) is dict else dict(given)  # type: ignore[call-overload]
        try:
            if not only_texts(tuple(items)):
                if NATIVE_TYPES.issuperset(map(type, items.values())):
                    return items
                known = self._by_type  # a KeyError sends a type that is met for the first time the careful way
                return {
                    name: item if (kind := type(item)) in NATIVE_TYPES else known[kind](item)
                    for name, item in items.items()
                }
        except Exception:  # noqa: BLE001, S110  # the careful way finds out which value it was
            pass
        return self._carefully(items)

    def _carefully(self, items: dict[Any, object]) -> dict[str, Any]:
        texts = {key for key in items if type(key) is str}
        converted: dict[str, object] = {}
        for key, item in items.items():
            name = self.name(key)
            if type(key) is not str and (name in converted or name in texts):  # 1 and "1" in one dict: keep both
                name = f"{type(key).__name__}:{name}"
            converted[name] = self.value(item)
        return converted

    def texts(self, given: object) -> dict[str, str]:
        """A mapping of names to text: entities and tags. Null is left out, other values are written as text."""
        if type(given) is dict:
            try:
                if not only_texts((*given, *given.values())):
                    return given
            except TypeError:
                pass
        return {name: as_text(item) for name, item in self.mapping(given).items() if item is not None}

    def _learn(self, kind: type) -> Callable[[Any], object]:
        """Find a type's conversion and remember it: the second value of a type costs a look-up."""
        convert = self._find(kind)
        if len(self._by_type) >= _MAX_KNOWN_TYPES:  # a service that makes types without end must not fill the memory
            self._by_type.clear()
        self._by_type[kind] = convert
        return convert

    def _find(self, kind: type) -> Callable[[Any], object]:
        names = {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in kind.__mro__}
        if issubclass(kind, Enum):
            return lambda v: self.value(v.value)
        if names & {"pandas.NAType", "pandas.NaTType"}:
            return lambda _: None
        for base, convert in _BY_BASE:
            if issubclass(kind, base):
                return convert
        for name, convert in _BY_NAME:
            if name in names:
                return convert
        for method in ("tolist", "to_list"):  # NumPy, pandas, torch, array.array; polars
            if callable(getattr(kind, method, None)):
                return lambda v: self._array(v, method)
        return _refuse

    def _array(self, value: Any, method: str) -> object:
        if getattr(value, "ndim", 1) > 1:
            raise _NotConvertibleError
        if getattr(value, "ndim", 1) == 1 and len(value) > _MAX_LIST:
            raise _NotConvertibleError
        plain = getattr(value, method)()
        return _numbers(plain) if type(plain) is list else self.value(plain)


def _numbers(values: Sequence[object]) -> list[object]:
    """A list of numbers, NumPy's among them made plain. Raises _NotConvertibleError when something else is in it."""
    if len(values) > _MAX_LIST:
        raise _NotConvertibleError
    numbers = list(values)
    if NUMBER_TYPES.issuperset(map(type, numbers)):
        return numbers
    scalars = Converter(_refuse_now)
    numbers = [v if type(v) in NUMBER_TYPES else scalars.value(v) for v in numbers]
    if not NUMBER_TYPES.issuperset(map(type, numbers)):
        raise _NotConvertibleError
    return numbers


def _refuse_now() -> object:
    raise _NotConvertibleError


def _refuse(_: object) -> object:
    raise _NotConvertibleError


def _iso_text(value: Any) -> object:
    text = str(value)
    return None if text == "NaT" else text


def _seconds(value: Any) -> object:
    if str(value) == "NaT":
        return None
    microseconds = value.astype(
        "timedelta64[us]"
    ).item()  # raises for months and years, which have no length in seconds
    return microseconds.total_seconds() if isinstance(microseconds, timedelta) else float(microseconds)


_BY_BASE: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
    # The base's own method on a subclass gives the plain value, without asking what the subclass overrode.
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((datetime, date, time), lambda v: v.isoformat()),
    (timedelta, lambda v: v.total_seconds()),
    ((Decimal, Fraction), float),
    (UUID, str),
    ((bytes, bytearray, memoryview), lambda v: bytes(v).decode()),
    ((list, tuple, range), _numbers),
)
_BY_NAME: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("numpy.timedelta64", _seconds),  # before integer, of which NumPy makes it a kind
    ("numpy.datetime64", _iso_text),
    ("numpy.floating", float),
    ("numpy.integer", int),
    ("numpy.bool", bool),  # NumPy 2
    ("numpy.bool_", bool),  # NumPy 1
)


class _Brief(reprlib.Repr):
    """``repr`` that stays small: it walks a few items of a container and a few levels deep."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = (
            self.maxarray
        ) = 40
        self.maxstring = self.maxother = self.maxlong = _MAX_REPR


_BRIEF = _Brief()


def _bounded_repr(value: object) -> str:
    try:
        return _BRIEF.repr(value)[:_MAX_REPR]
    except Exception:  # noqa: BLE001  # its __repr__ raises
        return f"<{type(value).__qualname__}>"[:_MAX_REPR]
