"""The sums of ``performance_sums`` for a multiclass model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair = tuple[str, str, int]
Cell = tuple[str, int, int, int]
"""Class, bin of its probability, whether it is the actual one, state."""

UNLABELLED = 2
LOSS = ("w", "v", "l", "v_l", "v_l2", "few")
"""Per group, of the rows with probabilities: sums of w, w^2, of the log loss l: w l, w^2 l, w^2 l^2, and of w where classes are few
enough for an AUC."""


@dataclass(frozen=True)
class MulticlassSums:
    """Weights and squared weights by (actual class, predicted class, state); the actual class of an unlabelled row is the
    default."""

    rows: int = 0
    group_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    group_weights: Floats = field(default_factory=lambda: np.zeros(4))
    pairs: Mapping[Pair, Floats] = field(default_factory=dict)
    """Each two numbers: sums of w and of w^2."""
    sums: Floats = field(default_factory=lambda: np.zeros((2, len(LOSS))))
    """Of labelled rows, and of unlabelled rows taken at the default."""
    scores: Mapping[Cell, Floats] = field(default_factory=dict)
    """One class against the rest; two numbers each."""


@dataclass(frozen=True)
class Confusion:
    """Pairs of some rows, as arrays; classes are numbers into ``classes``."""

    classes: list[str]
    actual: NDArray[np.int64]
    predicted: NDArray[np.int64]
    weights: Floats
    weights2: Floats


def add(parts: Iterable[MulticlassSums]) -> MulticlassSums:
    """The sums over all rows of the parts."""
    several = list(parts)
    if not several:
        return MulticlassSums()
    pairs: defaultdict[Pair, Floats] = defaultdict(lambda: np.zeros(2))
    scores: defaultdict[Cell, Floats] = defaultdict(lambda: np.zeros(2))
    for part in several:
        for pair, weights in part.pairs.items():
            pairs[pair] = pairs[pair] + weights
        for cell, weights in part.scores.items():
            scores[cell] = scores[cell] + weights
    return MulticlassSums(
        sum(part.rows for part in several),
        np.sum([part.group_rows for part in several], axis=0),
        np.sum([part.group_weights for part in several], axis=0),
        dict(pairs),
        np.sum([part.sums for part in several], axis=0),
        dict(scores),
    )


def read(row: Mapping[str, Any]) -> MulticlassSums:
    """The sums in one row of an answer of the store."""
    pairs: defaultdict[Pair, Floats] = defaultdict(lambda: np.zeros(2))
    scores: defaultdict[Cell, Floats] = defaultdict(lambda: np.zeros(2))
    for part in row["parts"]:
        actual, predicted, states, w, v, *ovr = part.values() if isinstance(part, dict) else part
        for pair, *weights in zip(zip(actual, predicted, states, strict=True), w, v, strict=True):
            pairs[pair] = pairs[pair] + weights
        for cell, *weights in zip(zip(*ovr[:4], strict=True), ovr[4], ovr[5], strict=True):
            scores[cell] = scores[cell] + weights
    return MulticlassSums(
        int(row["rows"]),
        np.array(row["group_rows"], np.int64),
        np.array(row["group_weights"], np.float64),
        dict(pairs),
        np.array(row["sums"], np.float64).reshape(2, -1),
        dict(scores),
    )


def confusion(sums: MulticlassSums, *, with_default: bool) -> Confusion:
    """The pairs of the labelled rows, or of those and the defaulted ones."""
    wanted = {pair: weights for pair, weights in sums.pairs.items() if with_default or pair[2] != UNLABELLED}
    classes = sorted({name for pair in wanted for name in pair[:2]})
    place = {name: i for i, name in enumerate(classes)}
    weights = np.array(list(wanted.values()), np.float64).reshape(-1, 2)
    return Confusion(
        classes,
        np.array([place[actual] for actual, _, _ in wanted], np.int64),
        np.array([place[predicted] for _, predicted, _ in wanted], np.int64),
        weights[:, 0],
        weights[:, 1],
    )
