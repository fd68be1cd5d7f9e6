"""The conversion table: from what a model service holds to what an event can hold.

An event holds ints, floats (NaN and the infinities too), bools, text, null, and lists of numbers. Those pass as they
are. Everything else becomes one of them:

==============================================  =====================================================================
given                                           kept as
==============================================  =====================================================================
NumPy, pandas, torch, polars scalar;            the Python number, bool or text of the same value (``float32`` as float)
0-d array
1-d array, tensor, Series, tuple, range,        list, when all in it are numbers (a set in its own order)
deque, set
``None``, ``pandas.NA``, ``NaT``, a masked      null
value
``Decimal``, ``Fraction``                       float, the nearest one
``date``, ``time``, ``datetime`` without a      ISO 8601 text
zone, datetime64
``datetime`` with a zone                        ISO 8601 text in UTC
``timedelta``, timedelta64                      ISO 8601 duration in days and seconds: ``P1DT2.5S``
``Enum``, ``Flag``                              its value, converted
``UUID``, path, IP address, pandas Period and   text
Interval
``bytes``, ``bytearray``, ``memoryview``        text, when it is valid UTF-8
a subclass of int, float or str                 the plain int, float or str
anything else                                   bounded text, flagged ``repr`` and counted as ``converted_repr``
==============================================  =====================================================================

Bounded text is what Python writes, cut at 1,000 characters: of a mapping, dataclass, pydantic model, attrs object or msgspec
Struct as a dict of converted values; of a list, tuple, set or matrix as a list of them; of anything else its ``repr``.

The table holds on every way. MessagePack can hold some of what an event cannot (nested values, bytes, moments), and the short
way of the SDK leaves those to the reader, who applies this same code to what MessagePack made of them. So of every such
value ``value(given) == value(decoded(encoded(given)))``; that is why a tuple is written as a list, and a moment in UTC.

NumPy, pandas, polars, torch and the like are recognised by name and never imported. Objects of unknown types are not
iterated: an iterator may have no end.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from upshot.capture.bounded_text import MAX_LIST, bounded_text, fields_of, items_of
from upshot.capture.flags import REDACTED, REPR, Flags

if TYPE_CHECKING:
    from upshot.capture.redaction import Redaction

__all__ = [
    "NATIVE_TYPES",
    "NUMBER_TYPES",
    "Converter",
    "as_text",
    "duration_text",
    "free_name",
    "named_values",
    "only_texts",
]

NATIVE_TYPES = frozenset({float, int, str, bool, type(None)})
NUMBER_TYPES = frozenset({float, int, bool})

only_texts = "".startswith
"""``only_texts(a_tuple)`` raises TypeError when something in it is no text (a subclass of str is), and is true when one is
empty, whereupon it looks no further. The quickest check there is: 3 ns an element."""

_MAX_BYTES = 1_048_576
_MAX_NAMES = 20_000
"""Twice what a server takes. A mapping of a foreign type may have no end."""
_MAX_KNOWN_TYPES = 1_000


def as_text(plain: object) -> str:
    """A plain value as text. A bool is written as in JSON, so that a class ``True`` is the class of a label ``True``."""
    if type(plain) is str:
        return plain
    if type(plain) is bool:
        return "true" if plain else "false"
    try:
        return str(plain)
    except ValueError:  # an int of more than 4,300 digits
        return hex(plain) if isinstance(plain, int) else ""


def duration_text(nanoseconds: int) -> str:
    """A duration in ISO 8601, in days and seconds: ``P1DT2.5S``, ``-PT0.000001S``, ``P0D``."""
    days, rest = divmod(abs(nanoseconds), 86_400_000_000_000)
    seconds, fraction = divmod(rest, 1_000_000_000)
    text = f"{'-' if nanoseconds < 0 else ''}P{f'{days}D' if days or not rest else ''}"
    if rest:
        text += f"T{seconds}{f'.{fraction:09}'.rstrip('0') if fraction else ''}S"
    return text


def free_name(name: str, taken: Mapping[str, object]) -> str:
    """The name, or where two names became the same when they were masked, one that is free."""
    while name in taken:
        name += "*"
    return name


class _NotConvertibleError(Exception):
    """The value has no place in the table."""


class Converter:
    """Converts values by their type, and redacts them where rules say so.

    ``on_repr`` is called for each value that could only be kept as bounded text, ``on_redacted`` for each place that a
    rule of ``redaction`` changed or removed. One object may serve many threads.
    """

    def __init__(
        self,
        on_repr: Callable[[], object],
        redaction: Redaction | None = None,
        on_redacted: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_repr = on_repr
        self._redaction = redaction
        self._on_redacted = on_redacted
        self._by_type: dict[type, Callable[[Any], object]] = {}

    def plain(self, value: object) -> Any:
        """One value as an event can hold it, not redacted. Raises anything when the table has no row for it."""
        kind = type(value)
        if kind in NATIVE_TYPES:
            return value
        convert = self._by_type.get(kind)
        if convert is None:
            convert = self._learn(kind)
        return convert(value)

    def value(self, value: object) -> Any:
        """One value as an event can hold it, not redacted. Raises nothing, whatever the value's own methods do."""
        try:
            return self.plain(value)
        except Exception:  # noqa: BLE001  # the methods of foreign objects may raise anything
            self._on_repr()
            return self._bounded(value)

    def at(self, section: str, name: str, value: object, flags: Flags) -> tuple[str, Any] | None:
        """One value of an event with its name, both converted and redacted, and noted in ``flags``; None where it is dropped."""
        if self._redaction is None:
            try:
                return name, self.plain(value)
            except Exception:  # noqa: BLE001
                self._on_repr()
                flags.note(f"{section}.{name}" if section else name, REPR)
                return name, bounded_text(value, self.plain)
        entry = self._redaction.entry(section, name, value, self.plain)
        place = f"{section}.{entry.name}" if section else entry.name
        if entry.is_repr:
            self._on_repr()
            flags.note(place, REPR)
        for _ in range(entry.n_redacted):
            self._on_redacted()
        if entry.n_redacted:
            flags.note(place, REDACTED)
        return None if entry.is_dropped else (entry.name, entry.value)

    def screened(self, value: object) -> Any:
        """`value`, searched for kinds of values that must not leave; for fields that no rule can name. Null where it is dropped."""
        plain = self.value(value)
        if type(plain) is str and self._redaction is not None:
            text = self._redaction.text(plain)
            if text is not plain:
                self._on_redacted()
            return text
        return plain

    def name(self, key: object) -> str:
        """A key of a mapping as text: ``5`` and ``numpy.int64(5)`` are ``"5"``, ``True`` is ``"true"``."""
        if type(key) is str:
            return key
        try:
            return as_text(self.plain(key))
        except Exception:  # noqa: BLE001
            return self._bounded(key)

    def mapping(self, given: object, section: str = "", flags: Flags | None = None) -> dict[str, Any]:
        """A mapping with names as text and values converted; its odd places are noted as ``section.name``.

        Takes a dict or another mapping, a pandas Series, a frame of one row, and an object with named fields: dataclass,
        pydantic model, attrs object, msgspec Struct, NamedTuple. Raises TypeError for anything else.
        """
        items = named_values(given)
        try:
            if not only_texts(tuple(items)):
                if NATIVE_TYPES.issuperset(map(type, items.values())):
                    if self._redaction is None or self._redaction.is_clean(section, items):
                        return items
                elif self._redaction is None:
                    known = self._by_type  # a KeyError sends a type that is met for the first time the careful way
                    return {
                        name: item if (kind := type(item)) in NATIVE_TYPES else known[kind](item)
                        for name, item in items.items()
                    }
        except Exception:  # noqa: BLE001, S110  # the careful way finds out which value it was
            pass
        return self._carefully(items, section, Flags() if flags is None else flags)

    def texts(self, given: object, section: str = "", flags: Flags | None = None) -> dict[str, str]:
        """A mapping of names to text: entities and tags. Null is left out, other values are written as text."""
        if type(given) is dict and self._redaction is None:
            try:
                if not only_texts((*given, *given.values())):
                    return given
            except TypeError:
                pass
        mapping = self.mapping(given, section, flags)
        return {name: as_text(item) for name, item in mapping.items() if item is not None}

    def _carefully(self, items: dict[Any, object], section: str, flags: Flags) -> dict[str, Any]:
        texts = {key for key in items if type(key) is str}
        converted: dict[str, object] = {}
        for key, item in items.items():
            name = self.name(key)
            if type(key) is not str and (name in converted or name in texts):  # 1 and "1" in one dict: keep both
                name = f"{type(key).__name__}:{name}"
            kept = self.at(section, name, item, flags)
            if kept is not None:
                converted[free_name(kept[0], converted)] = kept[1]
        return converted

    def _bounded(self, value: object) -> str:
        screen = None if self._redaction is None else self._redaction.screen(self.plain)
        return bounded_text(value, self.plain, screen=screen)

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
            return lambda v: self.plain(v.value)
        if not names.isdisjoint(_NULLS):
            return lambda _: None
        if issubclass(kind, (list, tuple, set, frozenset, deque, range, msgspec.Struct)):
            return self._numbers
        for base, convert in _BY_BASE:
            if issubclass(kind, base):
                return convert
        for name, by_name in _BY_NAME:
            if name in names:
                return by_name
        for name, method in _UNWRAPPED:
            if name in names:
                return lambda v: self.plain(getattr(v, method)())
        for method in ("tolist", "to_list"):  # NumPy, pandas, torch, array.array; polars
            if callable(getattr(kind, method, None)):
                return lambda v: self._array(v, method)
        return _refuse

    def _array(self, value: Any, method: str) -> object:
        n_dimensions = getattr(value, "ndim", 1)
        if n_dimensions > 1 or (n_dimensions == 1 and len(value) > MAX_LIST):
            raise _NotConvertibleError
        if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M"):  # as a list these may be plain integers
            return self.plain(value[()]) if n_dimensions == 0 else _refuse(value)
        plain = getattr(value, method)()
        if type(plain) is type(value):
            raise _NotConvertibleError
        return self.plain(plain)

    def _numbers(self, values: Any) -> list[object]:
        """A list of numbers, NumPy's among them made plain. Raises _NotConvertibleError when something else is in it."""
        items = items_of(values, MAX_LIST + 1)
        if items is None or len(items) > MAX_LIST:
            raise _NotConvertibleError
        if not NUMBER_TYPES.issuperset(map(type, items)):
            items = [v if type(v) in NUMBER_TYPES else self.plain(v) for v in items]
            if not NUMBER_TYPES.issuperset(map(type, items)):
                raise _NotConvertibleError
        return items


def named_values(given: Any) -> dict[Any, object]:
    """A copy of what has names and values, as it is. Raises TypeError when it has none, or more than any event can hold."""
    kind = type(given)
    if kind is dict:  # one C call: what another thread does to the dict happens before it or after it, not amid
        return given.copy()  # type: ignore[no-any-return]
    names = {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in kind.__mro__}
    if "pandas.Series" in names:
        return _gathered(zip(given.index.tolist(), given.tolist(), strict=True))
    if not names.isdisjoint(_FRAMES):
        if len(given) != 1:
            raise TypeError("a frame of features must have exactly one row")
        if "pandas.DataFrame" in names:
            return _gathered(zip(given.columns.tolist(), next(given.itertuples(index=False, name=None)), strict=True))
        return dict((given.to_dicts() if "polars.DataFrame" in names else given.to_pylist())[0])
    if isinstance(given, tuple) and hasattr(kind, "_fields"):
        return dict(zip(kind._fields, given, strict=True))
    if (fields := fields_of(given)) is not None:
        return fields
    if isinstance(given, Mapping) or (hasattr(kind, "keys") and hasattr(kind, "__getitem__")):
        keys = list(islice(given.keys(), _MAX_NAMES + 1))
        if len(keys) <= _MAX_NAMES:
            return {key: given[key] for key in keys}
        raise TypeError(f"a mapping of more than {_MAX_NAMES} names is no event")
    raise TypeError(f"{kind.__name__} is no mapping")


def _gathered(pairs: Any) -> dict[Any, object]:
    """A dict of these pairs. Where a name comes again, its values are a list: none is lost."""
    gathered: dict[Any, list[object]] = {}
    for name, value in pairs:
        gathered.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in gathered.items()}


def _refuse(_: object) -> Any:
    raise _NotConvertibleError


def _nearest_float(value: Decimal) -> float:
    return float("nan") if value.is_nan() else float(value)


def _moment_text(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError:  # in UTC it is not in the years 1 to 9999
        return value.isoformat()


def _time_text(value: time) -> str:
    return value.isoformat() if value.tzinfo is None else str(msgspec.to_builtins(value))  # which writes Z, as encoded


def _duration(value: timedelta) -> str:
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return duration_text(microseconds * 1_000 + getattr(value, "nanoseconds", 0))  # of a pandas.Timedelta


def _numpy_duration(value: Any) -> object:
    if str(value) == "NaT":
        return None
    unit = re.search(r"\[(\d*)(\w+)\]", value.dtype.str)
    if unit is None or unit[2] not in _NANOSECONDS:  # months and years have no length in seconds
        raise _NotConvertibleError
    return duration_text(int(value.astype("int64")) * int(unit[1] or 1) * _NANOSECONDS[unit[2]])


def _numpy_moment(value: Any) -> object:
    text = str(value)
    return None if text == "NaT" else text


def _text_of_bytes(value: bytes | bytearray | memoryview) -> str:
    if len(value) > _MAX_BYTES:
        raise _NotConvertibleError
    return bytes(value).decode()


def _numpy_number(value: Any) -> object:
    return int(value) if hasattr(value, "__index__") else float(value)


_NANOSECONDS = {
    "W": 604_800_000_000_000,
    "D": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_NULLS = {"pandas.NAType", "pandas.NaTType", "numpy.MaskedConstant"}
_FRAMES = {"pandas.DataFrame", "polars.DataFrame", "pyarrow.Table", "pyarrow.RecordBatch"}
_BY_BASE: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
    # The base's own method on a subclass gives the plain value, without asking what the subclass overrode.
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (datetime, _moment_text),
    (date, lambda v: v.isoformat()),
    (time, _time_text),
    (timedelta, _duration),
    (Decimal, _nearest_float),
    (Fraction, float),
    (UUID, str),
    (PurePath, os.fspath),
    ((IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network), str),
    ((bytes, bytearray, memoryview), _text_of_bytes),
)
_BY_NAME: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("numpy.timedelta64", _numpy_duration),  # before integer, of which NumPy makes it a kind
    ("numpy.datetime64", _numpy_moment),
    ("numpy.floating", float),
    ("numpy.integer", int),
    ("numpy.bool", bool),  # NumPy 2
    ("numpy.bool_", bool),  # NumPy 1
    ("numpy.complexfloating", _refuse),
    ("numpy.void", _refuse),
    ("numpy.generic", _numpy_number),  # bfloat16 and its kin, of ml_dtypes
    ("pandas.Period", str),
    ("pandas.Interval", str),
)
_UNWRAPPED = (("pyarrow.Scalar", "as_py"), ("tensorflow.Tensor", "numpy"), ("tensorflow.EagerTensor", "numpy"))
