"""Ten shapes of numeric features, each with a drift that can be dialled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = Callable[[np.random.Generator, int, float], Floats]

SHAPES: dict[str, Shape] = {
    "normal": lambda r, n, d: r.normal(d, 1, n),
    "lognormal": lambda r, n, d: r.lognormal(d, 1, n),
    "exponential": lambda r, n, d: r.exponential(1 + d, n),
    "uniform": lambda r, n, d: r.uniform(d, 1 + d, n),
    "thousand": lambda r, n, d: r.normal(1000 + 5 * d, 5, n),
    "heavy_tails": lambda r, n, d: r.standard_t(3, n) + d,
    "counts": lambda r, n, d: r.poisson(20 + 4 * d, n).astype(float),
    "eight_values": lambda r, n, d: np.minimum(r.integers(0, 8, n) + (r.random(n) < d), 7).astype(float),
    "zeros": lambda r, n, d: np.where(r.random(n) < 0.7 - 0.2 * d, 0.0, r.gamma(2, 1, n)),
    "decimals": lambda r, n, d: np.round(r.normal(10 + d, 1, n), 2),
    "billions": lambda r, n, d: 1e9 + r.normal(d, 1, n),
}
