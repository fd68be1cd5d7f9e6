"""The language of alert rules: comparisons of named values, joined by ``and`` and ``or``. Parsed here, never run as code.

::

    rule       = all { "or" all }
    all        = one { "and" one }
    one        = comparison | "(" rule ")"
    comparison = name [ "[" key "=" text { "," key "=" text } "]" ] operator value
    operator   = "<" | "<=" | ">" | ">=" | "==" | "!="
    value      = number | duration | word            0.3, 1e-3, 15m, drift
    text       = '"' ... '"' (as in JSON) | letters, digits and _ . : @ / - without quotes

Example: ``drift.share > 0.3 or drift.verdict[feature="amount"] == drift``
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from upshot_joiner.config import parse_duration

Operator = Literal["<", "<=", ">", ">=", "==", "!="]

MAX_LENGTH = 1000
MAX_COMPARISONS = 16
MAX_DEPTH = 8

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<duration>[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw])(?![A-Za-z0-9_.]))
    | (?P<number>-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.]))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_@]+)*)
    | (?P<operator><=|>=|==|!=|<|>)
    | (?P<mark>[()\[\],=])
    | (?P<quoted>"(?:[^"\\]|\\.)*")
    )""",
    re.VERBOSE,
)
_BARE = re.compile(r"\s*([A-Za-z0-9_.:@/-]+)")

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class WrongExpression(ValueError):
    """An expression that cannot be understood: ``code`` says why, ``at`` where (a character, from 0). Never holds its text."""

    def __init__(self, code: str, at: int) -> None:
        super().__init__(f"{code} at character {at}")
        self.code = code
        self.at = at


@dataclass(frozen=True)
class Value:
    """What a comparison asks for: a name with options, such as ``drift.statistic[feature="amount"]``."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def option(self, key: str) -> str | None:
        """The text of an option; None where it is not given."""
        return dict(self.options).get(key)

    def __str__(self) -> str:
        chosen = ", ".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in self.options)
        return f"{self.name}[{chosen}]" if chosen else self.name


@dataclass(frozen=True)
class Comparison:
    """One value against one number (or word)."""

    of: Value
    operator: Operator
    against: float | str
    is_duration: bool = False
    at: int = 0
    """Where its name stands."""
    against_at: int = 0

    def holds(self, value: float | str) -> bool:
        """Whether it is true of a value. A word is only equal to itself or not."""
        if isinstance(self.against, str) or isinstance(value, str):
            return (value == self.against) == (self.operator == "==")
        return COMPARE[self.operator](value, self.against)


@dataclass(frozen=True)
class Joined:
    """Several of them: all must hold, or any."""

    by: Literal["and", "or"]
    parts: tuple[Expression, ...]


Expression = Comparison | Joined


def comparisons(of: Expression) -> Iterator[Comparison]:
    """Every comparison, from left to right."""
    if isinstance(of, Comparison):
        yield of
    else:
        for part in of.parts:
            yield from comparisons(part)


def judge(of: Expression, known: Callable[[Comparison], bool | None]) -> bool | None:
    """Whether an expression holds where some comparisons are not known (None): Kleene's logic.

    ``or`` holds as soon as one part does, ``and`` fails as soon as one part does, whatever is not known.
    """
    if isinstance(of, Comparison):
        return known(of)
    found = [judge(part, known) for part in of.parts]
    decides = of.by == "or"
    if decides in found:
        return decides
    return None if None in found else not decides


def parse(text: str) -> Expression:
    """Understand an expression, or raise :class:`WrongExpression`."""
    if len(text) > MAX_LENGTH:
        raise WrongExpression("too_long", MAX_LENGTH)
    found = _Parser(text).whole()
    if sum(1 for _ in comparisons(found)) > MAX_COMPARISONS:
        raise WrongExpression("too_many_comparisons", 0)
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Expression:
        found = self._joined("or", 0)
        if self._skip() < len(self._text):
            raise self._wrong("unexpected")
        return found

    def _joined(self, by: Literal["and", "or"], depth: int) -> Expression:
        parts = [self._part(by, depth)]
        while self._take("name", by):
            parts.append(self._part(by, depth))
        return parts[0] if len(parts) == 1 else Joined(by, tuple(parts))

    def _part(self, by: Literal["and", "or"], depth: int) -> Expression:
        if by == "or":
            return self._joined("and", depth)
        if self._take("mark", "("):
            if depth >= MAX_DEPTH:
                raise self._wrong("too_deep")
            found = self._joined("or", depth + 1)
            self._need("mark", ")", "missing_bracket")
            return found
        return self._comparison()

    def _comparison(self) -> Comparison:
        at = self._skip()
        name = self._need("name", None, "missing_name")
        if name in ("and", "or"):
            raise WrongExpression("missing_name", at)
        options = self._options() if self._take("mark", "[") else ()
        operator: Operator = self._need("operator", None, "missing_operator")  # type: ignore[assignment]
        against_at = self._skip()
        if (duration := self._take("duration")) is not None:
            length = parse_duration(duration)
            seconds = length.total_seconds()  # type: ignore[attr-defined]
            return Comparison(Value(name, options), operator, seconds, True, at, against_at)
        if (number := self._take("number")) is not None:
            if not math.isfinite(float(number)):
                raise WrongExpression("not_finite", against_at)
            return Comparison(Value(name, options), operator, float(number), False, at, against_at)
        word = self._quoted() or self._need("name", None, "missing_number")
        return Comparison(Value(name, options), operator, word, False, at, against_at)

    def _options(self) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        while True:
            at = self._skip()
            key = self._need("name", None, "missing_option")
            if key in found:
                raise WrongExpression("repeated_option", at)
            self._need("mark", "=", "missing_option")
            text = self._quoted()
            if text is None:
                match = _BARE.match(self._text, self._at)
                if match is None:
                    raise self._wrong("missing_option")
                self._at, text = match.end(), match[1]
            found[key] = text
            if self._take("mark", "]"):
                return tuple(sorted(found.items()))
            self._need("mark", ",", "missing_bracket")

    def _quoted(self) -> str | None:
        at = self._skip()
        quoted = self._take("quoted")
        if quoted is None:
            return None
        try:
            text: str = json.loads(quoted, strict=False)
        except ValueError:
            raise WrongExpression("invalid_text", at) from None
        return text

    def _skip(self) -> int:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at

    def _take(self, kind: str, text: str | None = None) -> str | None:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup != kind or (text is not None and match[kind] != text):
            return None
        self._at = match.end()
        return str(match[kind])

    def _need(self, kind: str, text: str | None, code: str) -> str:
        found = self._take(kind, text)
        if found is None:
            raise self._wrong(code)
        return found

    def _wrong(self, code: str) -> WrongExpression:
        at = self._skip()
        return WrongExpression(code if at < len(self._text) else "unexpected_end", at)
