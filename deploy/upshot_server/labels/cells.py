"""From a cell to a value, a time or a text, by rules that a user can look up in docs/labels.md.

A cell of a CSV file is text and gets its type by rule; a cell of Parquet, NDJSON or a database has one already and keeps it.
Nothing is guessed in silence: what a rule does not cover is refused with a code, the same codes as the server's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from upshot.wire import Scalar, Time
from upshot_joiner.intake.check import NotAccepted

ValueType = Literal["auto", "int", "float", "bool", "str"]
TimeFormat = Literal["iso", "epoch", "epoch_ms"]

_INT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)\Z")
"""No leading zero: 007 is the name of something, not a number."""
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0*)?\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_DECIMAL = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)?\.[0-9]*|(?:0|[1-9][0-9]*))(?:[eE][+-]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)\Z", re.IGNORECASE)
_TRUE = {"true", "t", "yes", "y", "1", "1.0"}
_FALSE = {"false", "f", "no", "n", "0", "0.0"}
_LEAST_INT, _MOST_INT = -(2**63), 2**63 - 1
"""What every store and file format keeps exactly."""


@dataclass(frozen=True)
class Cells:
    """The rules for one source."""

    are_text: bool
    """Whether the source has no types of its own (CSV)."""
    value_type: ValueType = "auto"
    time_format: TimeFormat = "iso"
    timezone: tzinfo | None = None
    """Of times without an offset; without one they are refused."""
    nulls: Collection[str] = field(default_factory=frozenset)
    """Texts that stand for an empty cell; ``nan``, in any case, also means the float NaN."""

    def is_empty(self, cell: object) -> bool:
        """Whether there is nothing in a cell. 0, 0.0 and false are something; so is "" where the source has types."""
        if cell is None:
            return True
        if isinstance(cell, str):
            return (cell == "" and self.are_text) or cell in self.nulls
        return isinstance(cell, float) and math.isnan(cell) and any(text.lower() == "nan" for text in self.nulls)

    def value(self, cell: object) -> Scalar:
        """The value of a label; raises :class:`NotAccepted` with the place ``value``."""
        if isinstance(cell, str):
            if self.value_type == "str" or (self.value_type == "auto" and not self.are_text):
                return cell
            return _in_range(_FROM_TEXT[self.value_type](cell))
        if isinstance(cell, Decimal):
            cell = _from_decimal(cell)
        if not isinstance(cell, bool | int | float):
            raise NotAccepted("wrong_type", "value")
        return _in_range(cell if self.value_type == "auto" else _FROM_NUMBER[self.value_type](cell))

    def time(self, cell: object) -> Time:
        """A moment as an event holds it; raises :class:`NotAccepted` with the place ``observed_at``."""
        if isinstance(cell, str):
            if self.time_format == "iso":
                return self._iso(cell.strip())
            if not _FLOAT.match(cell.strip()):
                raise NotAccepted("invalid_time", "observed_at")
            cell = Decimal(cell.strip())
        if isinstance(cell, datetime):
            return self._with_offset(cell)
        if isinstance(cell, date):
            return self._with_offset(datetime.combine(cell, time()))
        if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
            raise NotAccepted("wrong_type", "observed_at")
        seconds = float(cell / 1000) if self.time_format == "epoch_ms" else float(cell)
        if not math.isfinite(seconds):
            raise NotAccepted("out_of_range", "observed_at")
        return seconds

    def text(self, cell: object, loc: str) -> str:
        """An ID or a name. Whole numbers and UUIDs become their usual text; raises :class:`NotAccepted` for anything else."""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, Decimal) and cell.is_finite() and cell == cell.to_integral_value():
            return str(int(cell))
        if isinstance(cell, bool) or not isinstance(cell, int | UUID):
            raise NotAccepted("wrong_type", loc)
        return str(cell)

    def texts(self, cell: object, loc: str) -> dict[str, str]:
        """A map of texts, such as the tags of an event, from a source that has such cells."""
        if not isinstance(cell, dict):
            raise NotAccepted("wrong_type", loc)
        return {str(key): self.text(inner, f"{loc}.{key}") for key, inner in cell.items() if inner is not None}

    def _iso(self, text: str) -> Time:
        try:
            moment = msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise NotAccepted("invalid_time", "observed_at") from None
        return self._with_offset(moment)

    def _with_offset(self, moment: datetime) -> str:
        if moment.tzinfo is None:
            if self.timezone is None:
                raise NotAccepted("time_without_offset", "observed_at")
            moment = moment.replace(tzinfo=self.timezone)
        return moment.isoformat()


def _auto_text(cell: str) -> Scalar:
    text = cell.strip()
    if _INT.match(text):
        return _int(text)
    if _DECIMAL.match(text) and any(digit.isdigit() for digit in text):
        return float(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NOT_FINITE.match(text):
        raise NotAccepted("not_finite", "value")
    return cell


def _int_text(cell: str) -> int:
    text = cell.strip()
    if not _WHOLE.match(text):
        raise NotAccepted("wrong_type", "value")
    return _int(text.partition(".")[0])


def _int(digits: str) -> int:
    if len(digits) > 64:  # Python does not read more than 4,300 digits, and none of them would be in range
        raise NotAccepted("out_of_range", "value")
    return int(digits)


def _float_text(cell: str) -> float:
    text = cell.strip()
    if not _FLOAT.match(text):
        raise NotAccepted("not_finite" if _NOT_FINITE.match(text) else "wrong_type", "value")
    return float(text)


def _bool_text(cell: str) -> bool:
    text = cell.strip().lower()
    if text not in _TRUE | _FALSE:
        raise NotAccepted("wrong_type", "value")
    return text in _TRUE


def _int_number(number: float) -> int:
    if isinstance(number, float) and not number.is_integer():
        raise NotAccepted("wrong_type" if math.isfinite(number) else "not_finite", "value")
    return int(number)


def _bool_number(number: float) -> bool:
    if number not in (0, 1):
        raise NotAccepted("wrong_type", "value")
    return bool(number)


def _str_number(number: float) -> str:
    return str(number).lower() if isinstance(number, bool) else str(number)


_FROM_TEXT: dict[str, Callable[[str], Scalar]] = {
    "auto": _auto_text,
    "int": _int_text,
    "float": _float_text,
    "bool": _bool_text,
}
_FROM_NUMBER: dict[str, Callable[[Any], Scalar]] = {
    "int": _int_number,
    "float": float,
    "bool": _bool_number,
    "str": _str_number,
}


def _from_decimal(number: Decimal) -> int | float:
    """A database's NUMBER: whole where its type has no places, else the nearest float."""
    exponent = number.as_tuple().exponent
    return int(number) if isinstance(exponent, int) and exponent >= 0 else float(number)


def _in_range(value: Scalar) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise NotAccepted("not_finite", "value")
    if isinstance(value, int) and not _LEAST_INT <= value <= _MOST_INT:
        raise NotAccepted("out_of_range", "value")
    return value
