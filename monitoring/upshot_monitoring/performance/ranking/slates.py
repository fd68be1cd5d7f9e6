"""NDCG, MAP, MRR, hit rate and precision at k.

What they say, of the items of one request in the order of their scores: whether what is relevant stands on top. Hit rate:
whether anything relevant is among the first k; precision: which share of k is; MRR: 1 over the place of the first that is; MAP:
the mean precision at the places of what is relevant; NDCG: the sum of gains, each over log2(place + 1), as a share of the best
possible.

Formula: DCG@k = sum over places i <= k of g_i / log2(i + 1), NDCG@k = DCG@k / ideal DCG@k. AP@k = sum over relevant places i <=
k of precision@i, over min(k, relevant). The gain g of an item is its label where that is a number above 0 (the word that is
`positive` has gain 1), and it is relevant where the gain is above 0. Equal scores: NDCG and precision are the mean over all
orders of what is tied; MRR, MAP and hit rate go by the item ID. Slates without anything relevant have no NDCG and no MAP and
are left out there; elsewhere they count 0.

An interval is that of a mean over slates, weighted by 1 / ``keep_probability`` of the request.

    >>> round(ndcg([3, 2, 0, 1], 4), 4), round(ndcg([0, 2, 3, 1], 4), 4)
    (0.9854, 0.6704)

Papers: K. Jarvelin, J. Kekalainen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002; F. McSherry, M. Najork,
"Computing information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.binary import sums as items
from upshot_monitoring.performance.intervals import log_odds, mean_of_weighted
from upshot_monitoring.performance.metrics import About, Measured, Metrics, effective

Floats = NDArray[np.float64]

KS = (1, 3, 5, 10, 20)
"""The depths that are summed."""
DEFAULT_K = 10
NAMES = (
    *(f"ndcg@{k}" for k in KS),
    "ndcg",
    *(f"map@{k}" for k in KS),
    "map",
    *(f"hit_rate@{k}" for k in KS),
    *(f"precision@{k}" for k in KS),
    "mrr",
)
"""In the order of the store."""
WITH_RELEVANT = 2 * (len(KS) + 1)
"""So many of them, from the first, are of slates with something relevant only."""
SHOWN = (f"ndcg@{DEFAULT_K}", f"map@{DEFAULT_K}", f"hit_rate@{DEFAULT_K}", f"precision@{DEFAULT_K}", "mrr")
"""What is shown where nothing is configured."""
ABOUT = tuple(About(name, "higher") for name in NAMES)
PARTS = 5
"""Per metric x: sums over slates of w, w^2, w x, w^2 x, w^2 x^2."""


@dataclass(frozen=True)
class RankingSums:
    """The items, and the sums of their slates: shape (2, 5, metrics), of labelled items alone, and with defaults."""

    items: items.BinarySums = field(default_factory=items.BinarySums)
    slates: Floats = field(default_factory=lambda: np.zeros((2, PARTS, len(NAMES))))

    @property
    def rows(self) -> int:
        """Items."""
        return self.items.rows

    @property
    def group_rows(self) -> NDArray[np.int64]:
        """Items by group."""
        return self.items.group_rows

    @property
    def group_weights(self) -> Floats:
        """The weights of items by group."""
        return self.items.group_weights


def add(parts: Iterable[RankingSums]) -> RankingSums:
    """The sums over all slates of the parts."""
    several = list(parts)
    if not several:
        return RankingSums()
    return RankingSums(items.add(part.items for part in several), np.sum([part.slates for part in several], axis=0))


def read(row: Mapping[str, Any], threshold: float | None = None) -> RankingSums:
    """The sums in one row of an answer of the store."""
    slates = np.array(row["slates"], np.float64)
    shape = (2, PARTS, len(NAMES))
    return RankingSums(items.read(row, threshold), slates.reshape(shape) if len(slates) else np.zeros(shape))


def metrics(sums: RankingSums, *, default: bool | None) -> Metrics:
    """The metrics of the slates, and of the items as rows of a binary model."""
    of_items = items.metrics(sums.items, default=default)
    measured = dict(of_items.measured)
    of = sums.slates[0 if default is None else 1]
    for name, (w, v, x, v_x, v_x2) in zip(NAMES, of.T.tolist(), strict=True):
        if w > 0:
            value, variance = mean_of_weighted(x, w, v, v_x, v_x2)
            measured[name] = Measured(value, math.sqrt(variance), log_odds(value, variance, 0.0))
    # Every slate with an item that counts is in the last one's weight.
    slates = effective(float(of[0, -1]), float(of[1, -1]))
    return Metrics(of_items.rows, measured, slates or of_items.effective_rows, {"slates": float(of[0, -1])})


def ndcg(gains: Sequence[float], k: int) -> float:
    """Of one slate without equal scores, whose items have these gains from the top down."""
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    best = np.sort(np.asarray(gains, np.float64))[::-1]
    return float((gains * discounts)[:k].sum() / (best * discounts)[:k].sum())
