"""What every registered method must satisfy. A new method is held to all of it by being registered."""

from __future__ import annotations

import doctest
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.monitoring.exact_statistics import OF_CLASSES, OF_NUMBERS, OF_VECTORS
from tests.monitoring.shapes import SHAPES, Floats
from upshot_monitoring.drift.registry import CLASSES, METHODS, NUMERIC, VECTORS, Method
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, profile_vectors, scale_of_values
from upshot_monitoring.profiles.profile import Profile, merge

OF_NUMERIC = [method for method in METHODS.values() if "numeric" in method.kinds]
OF_CLASS = [method for method in METHODS.values() if "categorical" in method.kinds]
OF_VECTOR = [method for method in METHODS.values() if method.kinds == VECTORS]
by_name = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
of_numbers = pytest.mark.parametrize("method", OF_NUMERIC, ids=lambda method: method.name)
of_classes = pytest.mark.parametrize("method", OF_CLASS, ids=lambda method: method.name)

TOLERANCE = {1_000: 4e-3, 10_000: 2e-3, 100_000: 2e-3, 1_000_000: 1e-3}
"""By rows a side, for what counts rows in bins: with few rows, those at a bin's edge are more than 1e-3 of all."""
KS_TOLERANCE = {1_000: 4e-3, 10_000: 2e-3, 100_000: 5e-4, 1_000_000: 5e-4}


def profiles(reference: Floats, current: Floats) -> tuple[Profile, Profile]:
    scale = scale_of_values(reference)
    return profile_numbers(reference, scale), profile_numbers(current, scale)


def vector_profiles(reference: Floats, current: Floats) -> tuple[Profile, Profile]:
    """Of rows x dimensions."""
    scale = scale_of_values(np.linalg.norm(reference, axis=1))
    return profile_vectors(reference, scale), profile_vectors(current, scale)


def mixes(method: Method) -> Iterator[tuple[Profile, Profile]]:
    """Pairs of the kinds that a method applies to, from equal to far apart."""
    rng = np.random.default_rng(3)
    if method in OF_NUMERIC:
        for shape in ("normal", "eight_values", "zeros"):
            yield from (
                profiles(SHAPES[shape](rng, 5_000, 0.0), SHAPES[shape](rng, 4_000, drift)) for drift in (0.0, 0.3, 2.0)
            )
    if method in OF_CLASS:
        for weights in ([0.6, 0.3, 0.1], [0.5, 0.35, 0.15], [0.1, 0.1, 0.8]):
            yield (
                profile_classes(list(rng.choice(list("abc"), 5_000, p=[0.6, 0.3, 0.1]))),
                profile_classes(list(rng.choice(list("abc"), 4_000, p=weights))),
            )
    if method in OF_VECTOR:
        for drift in (0.0, 0.3, 2.0):
            yield vector_profiles(rng.normal(0, 1, (3_000, 8)), rng.normal(drift, 1.5, (2_000, 8)))


@by_name
def test_a_method_is_described_where_it_is_defined(method: Method) -> None:
    """One file: what it detects, parameters, formula, an example that is true, the paper."""
    module = importlib.import_module(method.statistic.__module__)
    text = inspect.getdoc(module) or ""
    for part in ("Detects", "Parameters:", "Formula:", "Paper:", ">>>"):
        assert part in text, part
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
    assert [other.name for other in METHODS.values() if other.statistic.__module__ == module.__name__] == [method.name]


@by_name
def test_equal_distributions_are_no_distance(method: Method) -> None:
    """The same rows, twice, or three times as many on one side: 0, or p = 1."""
    nothing = 1.0 if method.falls else 0.0
    for reference, _ in mixes(method):
        assert method.statistic(reference, reference) == pytest.approx(nothing, abs=1e-12)
        assert method.statistic(reference, merge([reference] * 3)) == pytest.approx(nothing, abs=1e-7)


@by_name
def test_the_sides_can_be_exchanged_where_that_is_claimed(method: Method) -> None:
    """Symmetric where claimed; and the claim is not made in vain: the others do change."""
    pairs = list(mixes(method))
    gaps = [abs(method.statistic(a, b) - method.statistic(b, a)) for a, b in pairs]
    if method.symmetric:
        assert max(gaps) < 1e-12
    else:
        assert max(gaps) > 1e-6


@by_name
def test_nothing_is_out_of_bounds(method: Method) -> None:
    """Never negative, never above what is claimed to be the most; disjoint samples reach it."""
    assert all(method.statistic(a, b) >= 0 for a, b in mixes(method))
    disjoint: list[tuple[Profile, Profile]] = []
    if method in OF_NUMERIC:
        disjoint.append(profiles(np.arange(5_000.0), np.arange(5_000.0) + 1e9))
    if method in OF_CLASS:
        disjoint.append((profile_classes(["a"] * 500), profile_classes(["b"] * 300)))
    if method in OF_VECTOR:
        disjoint.append(vector_profiles(np.ones((500, 3)), np.full((300, 3), 1e9)))
    for reference, current in disjoint:
        statistic = method.statistic(reference, current)
        assert method.is_beyond(statistic, method.threshold)
        if method.most is not None and not method.falls:
            assert statistic == pytest.approx(method.most, abs=1e-6)


@of_numbers
@pytest.mark.parametrize("shape", ["normal", "lognormal", "thousand", "counts", "decimals", "billions"])
def test_a_growing_shift_never_looks_smaller(method: Method, shape: str) -> None:
    """The same draws, moved further and further: the statistic does not fall (equal-width bins move too: 2 % of slack)."""
    found = []
    for drift in (0.0, 0.1, 0.25, 0.5, 1.0, 2.0):
        reference = SHAPES[shape](np.random.default_rng(1), 20_000, 0.0)
        found.append(method.statistic(*profiles(reference, SHAPES[shape](np.random.default_rng(2), 20_000, drift))))
    slack = 0.0 if method.rests_on != "bins" else 0.02 * max(found)
    assert all(later >= earlier - slack for earlier, later in pairwise(found)), found
    assert found[-1] > found[0]


@of_classes
def test_a_growing_change_of_a_mix_never_looks_smaller(method: Method) -> None:
    """Rows that move from one category to another, more and more."""
    found = [
        method.statistic(
            profile_classes(["a"] * 600 + ["b"] * 400), profile_classes(["a"] * (600 - moved) + ["b"] * (400 + moved))
        )
        for moved in (0, 20, 50, 100, 300, 600)
    ]
    assert found == sorted(found, reverse=method.falls)
    assert found[0] != found[-1]


@by_name
def test_the_order_of_rows_does_not_matter(method: Method) -> None:
    """Shuffled rows give the same number."""
    rng = np.random.default_rng(5)
    if method in OF_NUMERIC:
        x, y = rng.normal(0, 1, 3_000), rng.normal(0.3, 1, 2_000)
        first = method.statistic(*profiles(x, y))
        assert method.statistic(*profiles(rng.permutation(x), rng.permutation(y))) == pytest.approx(first, abs=1e-12)
    if method in OF_CLASS:
        a, b = list(rng.choice(list("abcd"), 900)), list(rng.choice(list("abcd"), 700))
        first = method.statistic(profile_classes(a), profile_classes(b))
        a.reverse()
        assert method.statistic(profile_classes(a), profile_classes(b)) == first
    if method in OF_VECTOR:
        v, w = rng.normal(0, 1, (900, 5)), rng.normal(0.3, 1, (700, 5))
        first = method.statistic(*vector_profiles(v, w))
        assert method.statistic(*vector_profiles(v[::-1], w[::-1])) == pytest.approx(first, abs=1e-12)


@of_numbers
@pytest.mark.parametrize(("factor", "offset"), [(1000.0, 0.0), (0.25, 0.0), (1.0, 1e6), (-1.0, 0.0)])
def test_the_unit_does_not_matter(method: Method, factor: float, offset: float) -> None:
    """Euros or cents, metres or kilometres, from another origin, upside down: every method is free of the unit.

    Upside down, what is cut by bins or tenths is cut on the other side of a value: a tenth of a per cent.
    """
    rng = np.random.default_rng(6)
    x, y = rng.gamma(2, 3, 20_000), rng.gamma(2.3, 3, 15_000)
    first = method.statistic(*profiles(x, y))
    close = 1e-6 if factor > 0 else 2e-2
    assert method.statistic(*profiles(x * factor + offset, y * factor + offset)) == pytest.approx(first, rel=close)


@pytest.mark.parametrize("method", OF_VECTOR, ids=lambda method: method.name)
def test_a_growing_shift_of_vectors_never_looks_smaller(method: Method) -> None:
    """The same draws, moved further and further, in one dimension or in all."""
    reference, current = (np.random.default_rng(seed).normal(0, 1, (4_000, 16)) for seed in (1, 2))
    for direction in (np.ones(16), np.eye(16)[3]):
        found = [
            method.statistic(*vector_profiles(reference, current + drift * direction))
            for drift in (0.0, 0.25, 0.5, 1.0, 2.0)
        ]
        assert found == sorted(found)
        assert found[-1] > found[0] + 0.3


@pytest.mark.parametrize("method", OF_VECTOR, ids=lambda method: method.name)
@pytest.mark.parametrize("factor", [1000.0, 1e-9, -1.0])
def test_the_unit_and_the_axes_of_vectors_do_not_matter(method: Method, factor: float) -> None:
    """Another unit, another origin, rotated axes."""
    rng = np.random.default_rng(6)
    v, w = rng.gamma(2, 3, (4_000, 6)), rng.gamma(2.3, 3, (3_000, 6))
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    first = method.statistic(*vector_profiles(v, w))
    turned = (side @ axes * factor + np.arange(6) * factor for side in (v, w))
    assert method.statistic(*vector_profiles(*turned)) == pytest.approx(first, rel=1e-9)


BROKEN: dict[str, Callable[[], Profile]] = {
    "empty": Profile,
    "all null": lambda: Profile(rows=500, nulls=500),
    "all NaN": lambda: profile_numbers([math.nan] * 500, scale_of_values([1.0, 2.0])),
    "all infinite": lambda: profile_numbers([math.inf] * 500, scale_of_values([1.0, 2.0])),
}


@by_name
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_side_is_no_error(method: Method, broken: str) -> None:
    """Through the verdict, which is how a method is called: no error, and a finite number or none, on either side."""
    from upshot_joiner.config import FeatureDriftConfig
    from upshot_monitoring.drift.verdict import judge

    whole, _ = next(iter(mixes(method)))
    other = BROKEN[broken]()
    for pair in ((whole, other), (other, whole), (other, other)):
        found = judge(*pair, FeatureDriftConfig(method=method.name))
        assert found.statistic is None or math.isfinite(found.statistic)
        assert found.verdict == "no_verdict" or found.reason


@by_name
def test_a_constant_side_is_a_number(method: Method) -> None:
    """Constant against constant, equal or not, and against what varies; enormous and tiny values."""
    rng = np.random.default_rng(7)
    x = rng.normal(0, 1, 2_000)
    pairs: list[tuple[Profile, Profile, bool]] = []
    if method in OF_NUMERIC:
        for reference, current, same in (
            (np.full(500, 7.0), np.full(300, 7.0), True),
            (np.full(500, 7.0), np.full(300, 8.0), False),
            (np.full(500, 7.0), x, False),
            (x, np.full(300, 3.0), False),
            (x, x * 1e200, False),
            (x, x * 1e-200, False),
        ):
            pairs.append((*profiles(reference, current), same))
    if method in OF_CLASS:
        pairs += [
            (profile_classes(["a"] * 500), profile_classes(["a"] * 300), True),
            (profile_classes(["a"] * 500), profile_classes(["b"] * 300), False),
            (profile_classes(["a"] * 500), profile_classes(["a", "b"] * 300), False),
        ]
    if method in OF_VECTOR:
        v = rng.normal(0, 1, (2_000, 4))
        for before, after, same in (
            (np.full((500, 4), 0.1), np.full((777, 4), 0.1), True),
            (np.full((500, 4), 0.1), np.full((300, 4), 0.2), False),
            (np.full((500, 4), 7.0), v, False),
            (v, np.full((300, 4), 3.0), False),
            (v, v * 1e100 + 1e100, False),
            (v * 1e-200, v * 1e-200, True),
        ):
            pairs.append((*vector_profiles(before, after), same))
    for left, right, same in pairs:
        statistic = method.statistic(left, right)
        assert math.isfinite(statistic)
        assert method.is_beyond(statistic, method.threshold) != same


@by_name
def test_a_sum_of_profiles_is_the_profile_of_all_rows(method: Method) -> None:
    """Twenty-four hours added up give the number of the day."""
    rng = np.random.default_rng(8)
    if method in OF_NUMERIC:
        x, y = rng.lognormal(0, 1, 12_000), rng.lognormal(0.2, 1, 9_600)
        reference, day = profiles(x, y)
        hours = merge(profile_numbers(part, reference.scale) for part in np.split(y, 24))
        assert method.statistic(reference, hours) == pytest.approx(method.statistic(reference, day), abs=1e-12)
    if method in OF_CLASS:
        a, b = list(rng.choice(list("abcd"), 900)), list(rng.choice(list("abcd"), 960, p=[0.4, 0.3, 0.2, 0.1]))
        hours = merge(profile_classes(b[i::24]) for i in range(24))
        day = profile_classes(b)
        assert method.statistic(profile_classes(a), hours) == method.statistic(profile_classes(a), day)
    if method in OF_VECTOR:
        v, w = rng.normal(1_000, 1e-3, (3_000, 5)), rng.normal(1_000.0005, 1e-3, (2_400, 5))
        reference, day = vector_profiles(v, w)
        hours = merge(profile_vectors(part, reference.scale) for part in np.split(w, 24))
        assert method.statistic(reference, hours) == pytest.approx(method.statistic(reference, day), rel=1e-8)


@pytest.mark.parametrize(
    ("rows", "drift"),
    [(rows, drift) for rows in (1_000, 10_000, 100_000) for drift in (0.0, 0.25, 1.0)] + [(1_000_000, 0.25)],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_profiles_give_what_all_rows_give(shape: str, rows: int, drift: float) -> None:
    """Every method, against SciPy or NumPy on the values themselves.

    Wasserstein within 1e-3 at any size. What counts rows in bins, within 1e-3 of a million rows and 2e-3 of 100,000 (KS 5e-4 of
    both); with fewer, a few rows at the edge of a bin are more than that. The two PSI, which have no upper end, within 0.2 %
    where they are large (equal-width: 3 %, where nearly empty bins decide), and within 1e-2 or 1 % with few rows.
    """
    rng = np.random.default_rng(17)
    reference, current = SHAPES[shape](rng, rows, 0.0), SHAPES[shape](rng, int(rows * 0.8), drift)
    r, c = profiles(reference, current)
    for method in OF_NUMERIC:
        if rows == 1_000_000 and method.rests_on == "bins" and method.name != "jensen_shannon":
            continue  # the same cells
        tolerance = TOLERANCE[rows]
        relative = {"psi": 0.002, "psi_equal_width": 0.03}.get(method.name, 0.0)
        if method.name == "wasserstein":
            tolerance = 1e-3
        elif method.name == "ks":
            tolerance = KS_TOLERANCE[rows]
        elif method.quadratic and rows < 100_000:
            tolerance, relative = 1e-2, max(relative, 0.01)
        exact = OF_NUMBERS[method.name](reference, current)
        assert method.statistic(r, c) == pytest.approx(exact, abs=tolerance, rel=relative), method.name


@pytest.mark.parametrize("levels", [2, 5, 30, 900])
def test_categories_are_compared_exactly(levels: int) -> None:
    """Every method on categories, against SciPy or NumPy on the values themselves, to 1e-12."""
    rng = np.random.default_rng(levels)
    reference = [f"v{v}" for v in rng.permutation(np.arange(40_000) % levels)]
    current = [
        f"v{v}" for v in np.minimum(rng.integers(0, levels, 30_000), rng.integers(0, levels, 30_000) + levels // 3)
    ]
    r, c = profile_classes(reference), profile_classes(current)
    for method in OF_CLASS:
        exact = OF_CLASSES[method.name](reference, current)
        assert method.statistic(r, c) == pytest.approx(exact, abs=1e-12), method.name


def test_every_kind_has_methods_and_every_method_has_an_oracle() -> None:
    """A method that nothing checks cannot be registered."""
    assert {method.name for method in OF_NUMERIC} == set(OF_NUMBERS)
    assert {method.name for method in OF_CLASS} == set(OF_CLASSES)
    assert {method.name for method in OF_VECTOR} == set(OF_VECTORS)
    assert len(OF_NUMERIC) + len(set(OF_CLASSES) - set(OF_NUMBERS)) + len(OF_VECTOR) == len(METHODS)
    for kind in NUMERIC | CLASSES:
        assert sum(kind in method.kinds for method in METHODS.values()) >= 5


@pytest.mark.parametrize("method", OF_VECTOR, ids=lambda method: method.name)
@pytest.mark.parametrize("dimensions", [1, 3, 64])
def test_vectors_are_compared_exactly(method: Method, dimensions: int) -> None:
    """Against NumPy on the vectors themselves, to 1e-12 relative."""
    rng = np.random.default_rng(dimensions)
    for v, w in (
        (rng.normal(0, 1, (3_000, dimensions)), rng.normal(0.1, 2, (2_000, dimensions))),
        (rng.lognormal(0, 1, (3_000, dimensions)), rng.lognormal(0.2, 1, (500, dimensions))),
    ):
        exact = OF_VECTORS[method.name](v, w)
        assert method.statistic(*vector_profiles(v, w)) == pytest.approx(exact, rel=1e-12)


def test_a_vector_can_be_compared_by_its_norm() -> None:
    """The methods of numbers apply to its norms."""
    rng = np.random.default_rng(1)
    x, y = (np.linalg.norm(rng.normal(shift, 1, (2_000, 8)), axis=1) for shift in (0, 1))
    r, c = (replace(side, vectors=side.n) for side in profiles(x, y))
    assert r.kind == "vector"
    for method in OF_NUMERIC:
        assert method.statistic(r, c) == pytest.approx(method.statistic(*profiles(x, y)), abs=1e-12)
