"""Every method, from profiles, against the same formula on all rows."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pytest
from scipy.spatial import distance
from scipy.stats import ks_2samp, wasserstein_distance

from tests.monitoring.shapes import SHAPES, Floats
from upshot_monitoring.drift.alignment import pooled_buckets
from upshot_monitoring.drift.chance import chance_limit
from upshot_monitoring.drift.jensen_shannon import jensen_shannon
from upshot_monitoring.drift.kolmogorov_smirnov import kolmogorov_smirnov
from upshot_monitoring.drift.l_infinity import l_infinity
from upshot_monitoring.drift.methods import METHODS
from upshot_monitoring.drift.psi import psi
from upshot_monitoring.drift.wasserstein import wasserstein
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values
from upshot_monitoring.profiles.profile import Profile


def exact_jensen_shannon(reference: Floats, current: Floats) -> float:
    """As Evidently computes it from rows."""
    if len(np.unique(reference)) > 20:
        edges = np.histogram_bin_edges(np.concatenate([reference, current]), "sturges")
        p, q = (np.histogram(x, edges)[0] / len(x) for x in (reference, current))
    else:
        values = np.unique(np.concatenate([reference, current]))
        p, q = (np.array([(x == v).mean() for v in values]) for x in (reference, current))
    return float(distance.jensenshannon(p, q))


def exact_psi(reference: Floats, current: Floats) -> float:
    edges = np.unique(np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf"))
    p, q = (
        np.bincount(np.searchsorted(edges, x, "left"), minlength=len(edges) + 1) / len(x) for x in (reference, current)
    )
    used = (p > 0) | (q > 0)
    p, q = np.maximum(p[used], 1e-4), np.maximum(q[used], 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def profiles(reference: Floats, current: Floats) -> tuple[Profile, Profile]:
    scale = scale_of_values(reference)
    return profile_numbers(reference, scale), profile_numbers(current, scale)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("drift", [0.0, 0.25, 1.0])
def test_profiles_give_what_all_rows_give(shape: str, drift: float) -> None:
    """Wasserstein and Jensen-Shannon within 1e-3, KS D within 5e-4, PSI within 1e-3 or 1 %, with 250,000 rows."""
    rng = np.random.default_rng(17)
    reference, current = SHAPES[shape](rng, 250_000, 0.0), SHAPES[shape](rng, 200_000, drift)
    r, c = profiles(reference, current)
    exact = wasserstein_distance(reference, current) / max(reference.std(), 0.001)
    assert wasserstein(r, c) == pytest.approx(exact, abs=1e-3)
    assert jensen_shannon(r, c) == pytest.approx(exact_jensen_shannon(reference, current), abs=1e-3)
    assert kolmogorov_smirnov(r, c) == pytest.approx(ks_2samp(reference, current).statistic, abs=5e-4)
    assert psi(r, c) == pytest.approx(exact_psi(reference, current), abs=1e-3, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("drift", [0.0, 0.25, 1.0])
def test_few_rows_are_coarser_but_never_wrong(shape: str, drift: float) -> None:
    """With 1,000 rows, Wasserstein is as good as ever; what counts rows in bins is off by a few rows at a bin's edge."""
    rng = np.random.default_rng(17)
    reference, current = SHAPES[shape](rng, 1_000, 0.0), SHAPES[shape](rng, 750, drift)
    r, c = profiles(reference, current)
    exact = wasserstein_distance(reference, current) / max(reference.std(), 0.001)
    assert wasserstein(r, c) == pytest.approx(exact, abs=1e-3)
    assert jensen_shannon(r, c) == pytest.approx(exact_jensen_shannon(reference, current), abs=5e-3)
    assert kolmogorov_smirnov(r, c) == pytest.approx(ks_2samp(reference, current).statistic, abs=4e-3)
    assert psi(r, c) == pytest.approx(exact_psi(reference, current), abs=0.01, rel=0.02)


def test_no_method_changes_its_side_of_the_threshold() -> None:
    """On all shapes and drifts, profile and rows agree on which side of 0.1 the distance lies."""
    for shape, make in SHAPES.items():
        for drift in (0.0, 0.05, 0.1, 0.25, 1.0):
            rng = np.random.default_rng(5)
            reference, current = make(rng, 50_000, 0.0), make(rng, 50_000, drift)
            r, c = profiles(reference, current)
            exact = wasserstein_distance(reference, current) / max(reference.std(), 0.001)
            assert (wasserstein(r, c) >= 0.1) == (exact >= 0.1), (shape, drift)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_is_zero_on_equal_profiles_and_finite_on_broken_ones(method: object) -> None:
    """The conformance check that each method must pass: equal is 0, disjoint is large, nothing is NaN."""
    rng = np.random.default_rng(3)
    pairs: list[tuple[Profile, Profile, bool]] = []
    if "numeric" in method.kinds:  # type: ignore[attr-defined]
        x = rng.normal(0, 1, 5_000)
        for other, same in (
            (x, True),
            (x + 100, False),
            (np.full(500, 3.0), False),
            (x * 1e200, False),
            (x * 1e-200, False),
        ):
            pairs.append((*profiles(x, other), same))
        pairs.append((*profiles(np.full(500, 7.0), np.full(300, 7.0)), True))
        pairs.append((*profiles(np.full(500, 7.0), np.full(300, 8.0)), False))
    if "categorical" in method.kinds:  # type: ignore[attr-defined]
        a, b = ["a", "b", "b"] * 200, ["c"] * 300
        pairs += [(profile_classes(a), profile_classes(a), True), (profile_classes(a), profile_classes(b), False)]
        pairs.append(
            (profile_classes([str(i) for i in range(5000)]), profile_classes([str(i) for i in range(5000)]), True)
        )
    for reference, current, same in pairs:
        statistic = method.statistic(reference, current)  # type: ignore[attr-defined]
        assert math.isfinite(statistic)
        if same:
            assert statistic == pytest.approx(0, abs=1e-9)
        else:
            assert statistic >= method.threshold  # type: ignore[attr-defined]


def test_categories_are_compared_exactly() -> None:
    """Jensen-Shannon of categories is the one of all rows."""
    rng = np.random.default_rng(1)
    reference, current = (
        rng.choice(list("abcdefgh"), 3000, p=w / w.sum()) for w in (np.arange(1, 9), np.arange(9, 1, -1))
    )
    counts = [np.array([(x == v).mean() for v in "abcdefgh"]) for x in (reference, current)]
    r, c = profile_classes(list(reference)), profile_classes(list(current))
    assert jensen_shannon(r, c) == pytest.approx(distance.jensenshannon(*counts), abs=1e-12)
    assert l_infinity(r, c) == pytest.approx(np.abs(counts[0] - counts[1]).max(), abs=1e-12)


def test_one_far_value_does_not_hide_a_shift_from_the_robust_psi() -> None:
    """Adding 1e6 to a sample with a real shift leaves PSI over deciles as it was."""
    rng = np.random.default_rng(2)
    reference, current = rng.normal(0, 1, 20_000), rng.normal(1, 1, 20_000)
    without = psi(*profiles(reference, current))
    assert psi(*profiles(reference, np.append(current, 1e6))) == pytest.approx(without, rel=0.01)


def test_rare_categories_beyond_the_cap_are_one_category() -> None:
    """Two samples of 5,000 equally likely values do not drift because each keeps another thousand of them."""
    rng = np.random.default_rng(4)
    r, c = (profile_classes([str(v) for v in rng.integers(0, 5000, 50_000)]) for _ in range(2))
    assert r.overflow > 0
    assert l_infinity(r, c) < 0.05


def test_profiles_on_different_scales_are_not_compared() -> None:
    """Buckets of different scales are different things."""
    x = np.random.default_rng(1).normal(0, 1, 100)
    with pytest.raises(ValueError, match="different scales"):
        pooled_buckets(profile_numbers(x), profile_numbers(x * 2))


def test_chance_alone_explains_the_distance_of_two_samples_of_one_source() -> None:
    """With 900 rows and 100 values the distance is above 0.1 without any drift; the limit is above it in 30 of 30 cases."""
    rng = np.random.default_rng(9)
    beyond = above = 0
    for _ in range(30):
        r = profile_classes([str(v) for v in rng.integers(0, 100, 30_000)])
        c = profile_classes([str(v) for v in rng.integers(0, 100, 900)])
        statistic = jensen_shannon(r, c)
        above += statistic >= 0.1
        beyond += statistic > chance_limit(jensen_shannon, r, c, statistic)
    assert above >= 25
    assert beyond == 0


def test_a_real_drift_is_beyond_chance_with_few_rows() -> None:
    """A shift of half a standard deviation is seen in 200 rows."""
    rng = np.random.default_rng(9)
    r, c = profiles(rng.normal(0, 1, 5000), rng.normal(0.5, 1, 200))
    assert wasserstein(r, c) > chance_limit(wasserstein, r, c)


@pytest.mark.parametrize(
    "module",
    [
        *(f"drift.{name}" for name in ("wasserstein", "jensen_shannon", "kolmogorov_smirnov", "psi", "l_infinity")),
        *("performance.delong", "performance.intervals"),
    ],
)
def test_the_examples_in_the_documentation_are_true(module: str) -> None:
    """Seeded examples print what the docstring says."""
    found = doctest.testmod(importlib.import_module(f"upshot_monitoring.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
