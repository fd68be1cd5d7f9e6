"""The bins of a binary score: narrow where scores are, in an order that keeps the ranks.

A probability p in [0, 1] is binned by its log-odds, 128 bins per unit: equal steps of log-odds are equal steps of evidence, so
scores of rare events (0.0001, 0.0002, ...) are told apart, too. A thousand equal steps of p would put all of those into one bin:
with 0.1 % positives that moves the AUC by 0.01 to 0.03, log-odds bins by 1e-5. Other scores (margins) go on in asinh steps on
both sides. Within a bin, the decile of p and the side of the decision threshold are kept apart, so that calibration by deciles,
accuracy, precision and recall are exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PER_UNIT = 128
_END = 5000
"""Log-odds of the smallest and largest p below 1 are +/-37, or +/-4,737 bins."""
_OFFSET = 100_000
"""Makes every bin positive: the largest score, 1.8e308, is at asinh = 710, or 91,000 bins."""

SQL = f"""toInt32(((multiIf(
    score < 0, -{_END + 1} - floor(asinh(-score) * {PER_UNIT}),
    score > 1, {_END + 1} + floor((asinh(score) - asinh(1)) * {PER_UNIT}),
    greatest(-{_END}., least({_END}., floor(log(score / (1 - score)) * {PER_UNIT})))) + {_OFFSET}) * 16
  + if(score >= 0 AND score <= 1, least(9, floor(score * 10)), 0)) * 2 + (score >= {{threshold:Float64}}))"""
"""The bin of a finite ``score``."""

EXACT_SQL = (
    "toInt64(if(reinterpretAsInt64(score + 0.) < 0, bitXor(reinterpretAsInt64(score + 0.), toInt64(9223372036854775807)), "
    "reinterpretAsInt64(score + 0.)))"
)
"""Instead of a bin, a key of each finite ``score``: its bits as an integer, in the order of the scores. -0.0 is 0.0."""


def score_of_key(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The scores that :data:`EXACT_SQL` made keys of."""
    return np.where(keys < 0, keys ^ np.int64(2**63 - 1), keys).view(np.float64)


def decile(bins: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for p in [0, 0.1), ... 9 for p in [0.9, 1]."""
    return (bins >> 1) & 15


def above_threshold(bins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the scores of a bin count as positive."""
    return (bins & 1).astype(bool)
