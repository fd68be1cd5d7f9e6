"""From two samples to one table of numbers: which features can be compared, as which columns, and why the others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from upshot_monitoring.multivariate.groups import Ints
from upshot_monitoring.multivariate.learner import MAX_CLASSES
from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.multivariate.values import MAX_DIMENSIONS, column_of
from upshot_monitoring.profiles.profile import Floats

MAX_COLUMNS = 1000
"""Of all features together: 10,000 rows of so many are 80 MB, and take minutes."""
INFINITE = 1e150
"""What an infinite number, or one beyond this, counts as: its square is still a number."""
_WORDS = {"number": "numbers", "class": "texts and bools", "vector": "vectors"}


@dataclass(frozen=True)
class _Part:
    kind: str
    reference: Floats
    """(rows, columns)"""
    current: Floats

    @property
    def on_reference(self) -> bool:
        return not bool(np.isnan(self.reference).all())

    @property
    def on_current(self) -> bool:
        return not bool(np.isnan(self.current).all())


@dataclass
class Table:
    """Both sides as numbers, and what was left out of them."""

    sides: Sides
    left_out: list[dict[str, str]] = field(default_factory=list)
    """``feature`` and ``reason``."""


def table_of(reference: pa.Table, current: pa.Table, features: Sequence[str], groups: tuple[Ints, Ints]) -> Table:
    """Put the samples of both sides together."""
    left_out: list[dict[str, str]] = []
    kept: list[tuple[str, _Part]] = []
    order = sorted(
        range(len(features)), key=lambda i: column_of("vector", i) in (*reference.column_names, *current.column_names)
    )
    used = 0
    for i in order:
        parts = [part for part in (_part(reference, current, kind, i) for kind in _WORDS) if part is not None]
        usable, reasons = _usable(parts)
        if any(part.kind == "vector" and part.current.shape[1] == MAX_DIMENSIONS + 1 for part in usable) and _is_longer(
            reference, current, i
        ):
            reasons.append(f"only its norm and its first {MAX_DIMENSIONS} dimensions are looked at")
        width = sum(part.current.shape[1] for part in usable)
        if used + width > MAX_COLUMNS:
            usable, reasons = [], [f"there are more than {MAX_COLUMNS} columns with it"]
        else:
            used += width
        kept += [(features[i], part) for part in usable]
        left_out += [{"feature": features[i], "reason": reason} for reason in reasons]
    names = list(dict.fromkeys(name for name, _ in kept))
    at = {name: i for i, name in enumerate(names)}
    columns = [(name, part.kind == "class", part.current.shape[1]) for name, part in kept]
    rows = np.concatenate([_side([part.reference for _, part in kept], len(reference)),
                           _side([part.current for _, part in kept], len(current))])  # fmt: skip
    sides = Sides(
        rows,
        np.arange(len(rows)) >= len(reference),
        np.concatenate(groups),
        np.repeat([is_class for _, is_class, _ in columns], [width for *_, width in columns]).astype(bool),
        names,
        np.repeat([at[name] for name, _, _ in columns], [width for *_, width in columns]).astype(np.int64),
    )
    return Table(sides, left_out)


def _side(parts: Sequence[Floats], rows: int) -> Floats:
    return np.concatenate(parts, axis=1) if parts else np.empty((rows, 0))


def _usable(parts: Sequence[_Part]) -> tuple[list[_Part], list[str]]:
    """The parts that can be compared, and what is to be said about the others."""
    then = [part for part in parts if part.on_reference]
    now = [part for part in parts if part.on_current]
    if not then or not now:
        where = "on either side" if not then and not now else "in the reference" if not then else "in the window"
        return [], [f"no values {where}"]
    both = [part for part in then if part.on_current]
    if not both:
        was, is_ = (" and ".join(_WORDS[part.kind] for part in side) for side in (then, now))
        return [], [f"the type changed: {was} in the reference, {is_} in the window"]
    if all(_is_constant(part) for part in both):
        return [], ["constant on both sides"]
    alone = [(part, "reference") for part in then if part not in both]
    alone += [(part, "window") for part in now if part not in both]
    return both, [f"its {_WORDS[part.kind]} are left out: there are none in the {_other(side)}" for part, side in alone]


def _other(side: str) -> str:
    return "window" if side == "reference" else "reference"


def _is_constant(part: _Part) -> bool:
    whole = np.concatenate([part.reference, part.current])
    return all(len(np.unique(column)) == 1 for column in whole.T)  # NaN is one value


def _part(reference: pa.Table, current: pa.Table, kind: str, i: int) -> _Part | None:
    name = column_of(kind, i)
    if name not in reference.column_names and name not in current.column_names:
        return None
    if kind == "number":
        return _Part(kind, *(_numbers(side, name)[:, None] for side in (reference, current)))
    if kind == "class":
        return _Part(kind, *(codes[:, None] for codes in _classes(reference, current, name)))
    longest = min(MAX_DIMENSIONS, max(_longest(side, name) for side in (reference, current)))
    norm = column_of("norm", i)
    made = [np.column_stack([_numbers(side, norm), _dimensions(side, name, longest)]) for side in (reference, current)]
    return _Part(kind, made[0], made[1])


def _numbers(side: pa.Table, name: str) -> Floats:
    if name not in side.column_names:
        return np.full(len(side), np.nan)
    values = side[name].to_numpy().astype(np.float64)
    clipped: Floats = np.clip(values, -INFINITE, INFINITE)
    return clipped


def _classes(reference: pa.Table, current: pa.Table, name: str) -> tuple[Floats, Floats]:
    texts = [
        side[name].to_pylist() if name in side.column_names else [None] * len(side) for side in (reference, current)
    ]
    counts = Counter(one for side in texts for one in side if one is not None)
    ranked = sorted(counts, key=lambda one: (-counts[one], one))
    rarest = MAX_CLASSES - 1
    codes = {one: float(min(i, rarest)) for i, one in enumerate(ranked)}
    made = [np.array([np.nan if one is None else codes[one] for one in side], np.float64) for side in texts]
    return made[0], made[1]


def _longest(side: pa.Table, name: str) -> int:
    if name not in side.column_names or not len(side):
        return 0
    return max((len(one) for one in side[name].to_pylist() if one is not None), default=0)


def _is_longer(reference: pa.Table, current: pa.Table, i: int) -> bool:
    return max(_longest(side, column_of("vector", i)) for side in (reference, current)) > MAX_DIMENSIONS


def _dimensions(side: pa.Table, name: str, longest: int) -> Floats:
    found = np.full((len(side), longest), np.nan)
    if name in side.column_names:
        for row, vector in zip(found, side[name].to_pylist(), strict=True):
            if vector:
                known = np.array(vector[:longest], np.float64)
                row[: len(known)] = np.clip(known, -INFINITE, INFINITE)
    return found
