"""When two values are equal: the words, numbers and defaults that the statement, the answer and the documentation share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from upshot_joiner.errors import Problem

NONE, EQUAL, MISMATCH, KIND_MISMATCH, MISSING, EXTRA = range(6)
OUTCOMES = ("neither", "equal", "mismatch", "kind_mismatch", "missing", "extra")
"""What became of one value of one row. ``neither``: neither side has the feature. ``missing``: it was served, and not
recomputed; ``extra``: it was recomputed, and not served. ``kind_mismatch``: 3 and 3.0, or 3 and "3"; numbers of two kinds that
differ by more than the tolerance are a ``mismatch``."""
DIFFERENT = (MISMATCH, KIND_MISMATCH, MISSING, EXTRA)

ABSENT, NULL, NAN, INT, FLOAT, BOOL, STR, INTS, FLOATS, OTHER = range(10)
STATES = ("absent", "null", "nan", "int", "float", "bool", "str", "ints", "floats", "other")
"""What a value is. ``other``: what no kind holds exactly, an empty list or an integer beyond 64 bits."""

MAX_EXAMPLES = 20


@dataclass(frozen=True)
class Tolerance:
    """Two numbers are equal if they differ by at most ``absolute``, or by at most ``relative`` times the larger of both magnitudes.

    That is Python's ``math.isclose``. Of vectors, every element has to be.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def describe(self) -> dict[str, float]:
        """As in answers."""
        return {"absolute": self.absolute, "relative": self.relative}


@dataclass(frozen=True)
class Rule:
    """How values are compared."""

    tolerance: Tolerance = Tolerance()
    by_feature: Mapping[str, Tolerance] = field(default_factory=dict)
    same_numbers: bool = False
    """Whether 3 and 3.0 are equal. A CSV file has no kinds, so there they always are."""
    same_blanks: bool = False
    """Whether a recomputed null is equal to NaN and absent as well. An empty cell of a CSV file cannot say which."""
    allowed: float = 0.0
    """The share of different rows up to which a feature does not differ."""
    examples: int = 5
    """Of each outcome of each feature."""

    def of(self, feature: str) -> Tolerance:
        """The tolerance of a feature."""
        return self.by_feature.get(feature, self.tolerance)


def read_rule(given: Mapping[str, Any]) -> Rule:
    """The rule of a request: ``absolute``, ``relative``, ``tolerances`` (feature: [absolute, relative]), ``same_numbers``,
    ``allowed``, ``examples``. Raises a 422 :class:`Problem` that names the place.
    """
    by_feature = {}
    for name, pair in (given.get("tolerances") or {}).items():
        by_feature[name] = Tolerance(_size(pair[0], "tolerance"), _size(pair[1], "tolerance"))
    allowed = _size(given.get("allowed", 0.0), "allowed")
    examples = given.get("examples", 5)
    if allowed > 1:
        raise _wrong("allowed")
    if not 0 <= examples <= MAX_EXAMPLES:
        raise _wrong("examples")
    whole = Tolerance(_size(given.get("absolute", 0.0), "absolute"), _size(given.get("relative", 0.0), "relative"))
    same_numbers = bool(given.get("same_numbers", False))
    return Rule(whole, by_feature, same_numbers=same_numbers, allowed=allowed, examples=examples)


def _size(value: float, loc: str) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise _wrong(loc)
    return float(value)


def _wrong(loc: str) -> Problem:
    title = "A tolerance is a number that is not negative; a share is between 0 and 1; there are at most 20 examples."
    return Problem(422, "invalid_rule", title, [{"loc": loc, "code": "out_of_range"}])
