"""P-values from profiles: neither too small, which would cry wolf, nor too large, which would sleep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import chi2, fisher_exact, hypergeom

from tests.monitoring.shapes import SHAPES
from upshot_monitoring.drift.chance import LEAST, chance, chance_of_share, upper_tail
from upshot_monitoring.drift.discoveries import benjamini_yekutieli
from upshot_monitoring.drift.registry import METHODS
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values
from upshot_monitoring.profiles.profile import Profile

Pair = tuple[Profile, Profile]


def of_shape(shape: str, rows: tuple[int, int], drift: float = 0.0) -> Callable[[np.random.Generator], Pair]:
    def pair(rng: np.random.Generator) -> Pair:
        x, y = SHAPES[shape](rng, rows[0], 0.0), SHAPES[shape](rng, rows[1], drift)
        scale = scale_of_values(x)
        return profile_numbers(x, scale), profile_numbers(y, scale)

    return pair


def of_classes(levels: int, rows: tuple[int, int]) -> Callable[[np.random.Generator], Pair]:
    def pair(rng: np.random.Generator) -> Pair:
        return tuple(profile_classes([str(v) for v in rng.integers(0, levels, n)]) for n in rows)  # type: ignore[return-value]

    return pair


QUIET = {
    "normal": of_shape("normal", (3_000, 150)),
    "heavy tails": of_shape("heavy_tails", (3_000, 300)),
    "zeros": of_shape("zeros", (1_400, 1_400)),
    "hundred classes": of_classes(100, (3_000, 400)),
    "two classes": of_classes(2, (2_000, 200)),
}


@pytest.mark.parametrize("name", ["wasserstein", "jensen_shannon", "psi", "ks"])
@pytest.mark.parametrize("source", QUIET)
def test_without_drift_small_p_values_are_rare(name: str, source: str) -> None:
    """300 pairs of samples of one source: p < 0.05 in about one in twenty, p < 1e-4 never; and they do reach down."""
    method, pair = METHODS[name], QUIET[source]
    rng = np.random.default_rng(41)
    found = []
    for _ in range(300):
        reference, current = pair(rng)
        if reference.kind not in method.kinds:
            pytest.skip("the method does not apply")
        found.append(chance(method, method.cells(reference, current)))
    assert sum(p < 0.05 for p in found) <= 30  # 15 are expected; 30 is 4 deviations more
    assert min(found) > 1e-4
    assert min(found) < 0.1


@pytest.mark.parametrize("name", ["wasserstein", "jensen_shannon", "psi", "ks", "hellinger"])
def test_a_real_shift_is_beyond_chance_with_few_rows(name: str) -> None:
    """A shift of one standard deviation, in 200 rows: nearly impossible by chance."""
    method = METHODS[name]
    reference, current = of_shape("normal", (5_000, 200), 1.0)(np.random.default_rng(9))
    assert LEAST <= chance(method, method.cells(reference, current)) < 1e-7
    assert chance(method, method.cells(reference, reference)) == 1


def test_the_tail_is_never_too_light() -> None:
    """Where the truth is known, the norm of 1, 5 and 30 normal numbers: at 1e-6, the tail is never half the truth, nor 1,000
    times."""
    rng = np.random.default_rng(3)
    for degrees in (1, 5, 30):
        point = float(np.sqrt(chi2.isf(1e-6, degrees)))
        found = [upper_tail(np.sqrt(rng.chisquare(degrees, 200)), point, 1.0) for _ in range(50)]
        assert min(found) > 0.5e-6, degrees
        assert max(found) < 1e-3, degrees


def test_rare_values_far_away_widen_the_tail() -> None:
    """Of events that happen in one draw in ten, three at once are not as improbable as a normal tail has it."""
    draws = np.random.default_rng(4).poisson(0.1, 200) * 0.1
    assert upper_tail(draws, 0.3, 0.01) > 1e-5


def test_a_share_is_judged_by_the_hypergeometric_distribution() -> None:
    """Twice SciPy's smaller tail, with few rows and with many; and near Fisher's test."""
    for then, then_rows, now, now_rows in (
        (30, 3_000, 6, 100),
        (0, 500, 3, 100),
        (900, 1_000, 300, 500),
        (5, 10, 0, 9),
    ):
        total, hits = then_rows + now_rows, then + now
        tails = hypergeom.sf(now - 1, total, hits, now_rows), hypergeom.cdf(now, total, hits, now_rows)
        found = chance_of_share(then, then_rows, now, now_rows)
        assert found == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-9)
        exact = fisher_exact([[then, then_rows - then], [now, now_rows - now]]).pvalue
        assert exact * 0.99 <= found <= 2.01 * exact
    many = chance_of_share(500_000, 1_000_000, 50_400, 100_000)
    assert many == pytest.approx(2 * hypergeom.sf(50_399, 1_100_000, 550_400, 100_000), rel=0.02)
    assert chance_of_share(0, 500, 0, 100) == 1


def test_false_discoveries_are_controlled_together() -> None:
    """Benjamini-Yekutieli against its definition, ties and a larger family included."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        p = np.round(rng.random(12) ** 4, 3).tolist()
        m, rate = 20, 0.2
        harmonic = sum(1 / i for i in range(1, m + 1))
        ordered = sorted(p)
        passed = [i for i, one in enumerate(ordered, 1) if one <= i * rate / (m * harmonic)]
        expected = set(ordered[: passed[-1]]) if passed else set()
        found = benjamini_yekutieli(p, rate, m)
        assert {one for one, adjusted in zip(p, found.adjusted, strict=True) if adjusted <= rate} == expected
        assert {one for one in p if one <= found.cutoff} == expected
