"""Every method on all rows, by NumPy and SciPy: what profiles and SQL are held against. Nothing here is shared with the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import distance
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from tests.monitoring.shapes import Floats

FEW = 20


def in_bins(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Counts as Evidently makes them: by value where the reference has few, else in Sturges' bins over both."""
    if len(np.unique(reference)) > FEW:
        edges = np.histogram_bin_edges(np.concatenate([reference, current]), "sturges")
        return np.histogram(reference, edges)[0], np.histogram(current, edges)[0]
    return by_value(list(reference), list(current))


def by_value(reference: Sequence[object], current: Sequence[object]) -> tuple[Floats, Floats]:
    """Counts of each distinct value."""
    of_r, of_c = Counter(reference), Counter(current)
    values = list({**of_r, **of_c})
    return np.array([of_r[v] for v in values], float), np.array([of_c[v] for v in values], float)


def in_deciles(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Counts between the reference's deciles."""
    edges = np.unique(np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf"))
    r, c = (np.bincount(np.searchsorted(edges, x, "left"), minlength=len(edges) + 1) for x in (reference, current))
    if edges[0] == reference.min():
        new = [(x < edges[0]).sum() for x in (reference, current)]
        r, c = (np.concatenate([[n], [x[0] - n], x[1:]]) for n, x in zip(new, (r, c), strict=True))
    used = (r > 0) | (c > 0)
    return r[used], c[used]


def _shares(counts: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return counts[0] / counts[0].sum(), counts[1] / counts[1].sum()


def jensen_shannon(counts: tuple[Floats, Floats]) -> float:
    return float(distance.jensenshannon(*_shares(counts)))


def hellinger(counts: tuple[Floats, Floats]) -> float:
    p, q = _shares(counts)
    return float(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2))


def total_variation(counts: tuple[Floats, Floats]) -> float:
    p, q = _shares(counts)
    return float(np.linalg.norm(p - q, 1) / 2)


def l_infinity(counts: tuple[Floats, Floats]) -> float:
    p, q = _shares(counts)
    return float(np.linalg.norm(p - q, np.inf))


def psi(counts: tuple[Floats, Floats]) -> float:
    p, q = (np.maximum(shares, 1e-4) for shares in _shares(counts))
    return float(((q - p) * np.log(q / p)).sum())


def psi_equal_width(counts: tuple[Floats, Floats]) -> float:
    """With Evidently's filling of empty bins."""
    filled = []
    for shares in _shares(counts):
        least = shares[shares != 0].min()
        filled.append(np.where(shares == 0, least / 10**6 if least <= 0.0001 else 0.0001, shares))
    p, q = filled
    return float(((p - q) * np.log(p / q)).sum())


def chi_square(counts: tuple[Floats, Floats]) -> float:
    return float(chi2_contingency(np.array(counts), correction=False).pvalue)


def wasserstein(reference: Floats, current: Floats) -> float:
    return float(wasserstein_distance(reference, current) / max(float(np.std(reference)), 0.001))


def ks(reference: Floats, current: Floats) -> float:
    return float(ks_2samp(reference, current).statistic)


OF_NUMBERS: dict[str, Callable[[Floats, Floats], float]] = {
    "wasserstein": wasserstein,
    "ks": ks,
    "jensen_shannon": lambda r, c: jensen_shannon(in_bins(r, c)),
    "psi": lambda r, c: psi(in_deciles(r, c)),
    "psi_equal_width": lambda r, c: psi_equal_width(in_bins(r, c)),
    "hellinger": lambda r, c: hellinger(in_bins(r, c)),
    "total_variation": lambda r, c: total_variation(in_bins(r, c)),
}
OF_CLASSES: dict[str, Callable[[Sequence[object], Sequence[object]], float]] = {
    "jensen_shannon": lambda r, c: jensen_shannon(by_value(r, c)),
    "psi": lambda r, c: psi(by_value(r, c)),
    "psi_equal_width": lambda r, c: psi_equal_width(by_value(r, c)),
    "hellinger": lambda r, c: hellinger(by_value(r, c)),
    "total_variation": lambda r, c: total_variation(by_value(r, c)),
    "l_infinity": lambda r, c: l_infinity(by_value(r, c)),
    "chi_square": lambda r, c: chi_square(by_value(r, c)),
}


def centroid(reference: Floats, current: Floats) -> float:
    """Of rows x dimensions."""
    moved = current.mean(axis=0) - reference.mean(axis=0)
    return float(np.linalg.norm(moved) / np.sqrt(reference.var(axis=0).sum()))


OF_VECTORS: dict[str, Callable[[Floats, Floats], float]] = {"centroid": centroid}
