"""The methods beyond what every one of them must satisfy (``test_conformance.py``)."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from tests.monitoring.shapes import SHAPES, Floats
from upshot_monitoring.drift.cells import pooled_buckets
from upshot_monitoring.drift.methods.l_infinity import l_infinity
from upshot_monitoring.drift.methods.psi import psi
from upshot_monitoring.drift.methods.psi_equal_width import psi_equal_width
from upshot_monitoring.drift.methods.wasserstein import wasserstein
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values
from upshot_monitoring.profiles.profile import Profile


def profiles(reference: Floats, current: Floats) -> tuple[Profile, Profile]:
    scale = scale_of_values(reference)
    return profile_numbers(reference, scale), profile_numbers(current, scale)


def test_no_method_changes_its_side_of_the_threshold() -> None:
    """On all shapes and drifts, profile and rows agree on which side of 0.1 the distance lies."""
    for shape, make in SHAPES.items():
        for drift in (0.0, 0.05, 0.1, 0.25, 1.0):
            rng = np.random.default_rng(5)
            reference, current = make(rng, 50_000, 0.0), make(rng, 50_000, drift)
            r, c = profiles(reference, current)
            exact = wasserstein_distance(reference, current) / max(reference.std(), 0.001)
            assert (wasserstein(r, c) >= 0.1) == (exact >= 0.1), (shape, drift)


def test_one_far_value_does_not_hide_a_shift_from_the_robust_psi() -> None:
    """Adding 1e6 to a sample with a real shift leaves PSI over deciles as it was."""
    rng = np.random.default_rng(2)
    reference, current = rng.normal(0, 1, 20_000), rng.normal(1, 1, 20_000)
    without = psi(*profiles(reference, current))
    assert psi(*profiles(reference, np.append(current, 1e6))) == pytest.approx(without, rel=0.01)
    assert psi_equal_width(*profiles(reference, current)) > 0.8
    assert psi_equal_width(*profiles(reference, np.append(current, 1e6))) < 0.1


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


@pytest.mark.parametrize(
    "module",
    [
        *("drift.discoveries", "performance.delong", "performance.intervals"),
    ],
)
def test_the_examples_in_the_documentation_are_true(module: str) -> None:
    """Seeded examples print what the docstring says."""
    found = doctest.testmod(importlib.import_module(f"upshot_monitoring.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
