"""The number of all rows, by SQL, against SciPy and NumPy on the same values, and beside the profile's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.monitoring.conftest import DAY, START, Flywheel
from tests.monitoring.exact_statistics import OF_CLASSES, OF_NUMBERS
from tests.monitoring.shapes import SHAPES
from upshot_joiner.store.client import Store
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.drift.exact.sides import Side, Sides
from upshot_monitoring.drift.exact.statistic import exact_statistic
from upshot_monitoring.drift.registry import METHODS
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values

X = ("feature", "x")
Put = Callable[[Any, Any], Sides]


@pytest.fixture
def put(store: Store) -> Iterator[Put]:
    """Puts the values of a column into two tables of their own; None is null."""
    tables: list[str] = []

    def put(reference: Any, current: Any) -> Sides:
        sides = []
        for values in (reference, current):
            column = pa.array(values, from_pandas=False)
            text = pa.types.is_string(column.type)
            table = f"exact_{uuid4().hex}"
            tables.append(table)
            kind = "Nullable(String)" if text else "Nullable(Float64)"
            store.command(f"CREATE TABLE {table} (v {kind}) ENGINE = MergeTree ORDER BY tuple()")
            store.insert(table, pa.table({"v": column}))
            of = Column(*X, text="v") if text else Column(*X, number="v")
            sides.append(Side(table, {}, {X: of}))
        return Sides(*sides)

    yield put
    for table in tables:
        store.command(f"DROP TABLE {table} SYNC")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rows", "drift"), [(1_000, 0.0), (30_000, 0.25)])
def test_exact_numbers_are_those_of_scipy_and_numpy(
    store: Store, put: Put, shape: str, rows: int, drift: float
) -> None:
    """Every method of numbers, to 1e-9."""
    rng = np.random.default_rng(rows)
    reference, current = SHAPES[shape](rng, rows, 0.0), SHAPES[shape](rng, int(rows * 0.7), drift)
    sides = put(reference, current)
    for name, oracle in OF_NUMBERS.items():
        found = exact_statistic(store, sides, X, "numeric", METHODS[name])
        assert found.statistic == pytest.approx(oracle(reference, current), rel=1e-9, abs=1e-9), name
        assert (found.rows_reference, found.rows_current) == (rows, int(rows * 0.7))


def test_exact_numbers_of_classes_are_those_of_scipy_and_numpy(store: Store, put: Put) -> None:
    """Every method of classes, to 1e-9; more of them than a profile keeps, and nulls that do not count."""
    rng = np.random.default_rng(2)
    # Every category often enough: the chi-square test of SciPy does not put rare ones together.
    reference = [f"v{v}" for v in rng.permutation(np.arange(60_000) % 3_000)]
    current = [f"v{v}" for v in rng.permutation(np.arange(45_000) % 1_500 * 2)] + ["new"] * 100
    sides = put([*reference, None], [*current, None, None])
    for name, oracle in OF_CLASSES.items():
        found = exact_statistic(store, sides, X, "categorical", METHODS[name])
        assert found.statistic == pytest.approx(oracle(reference, current), rel=1e-9, abs=1e-9), name
        assert (found.rows_reference, found.rows_current) == (60_000, 45_100)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_what_is_no_finite_number_does_not_count(store: Store, put: Put, name: str) -> None:
    """Null, NaN and the infinities are left out; both zeros are one value; a constant is no error; nothing is nothing."""
    method = METHODS[name]
    odd = [None, float("nan"), float("inf"), float("-inf")]
    values = [0.0, -0.0, 1.0, 2.0, 2.0] * 40
    clean = np.array(values) + 0.0
    found = exact_statistic(store, put([*values, *odd], [*odd, *values, 5.0]), X, "numeric", method)
    assert found.statistic == pytest.approx(OF_NUMBERS[name](clean, np.append(clean, 5.0)), abs=1e-9)
    assert exact_statistic(store, put([7.0] * 9, [7.0] * 5), X, "numeric", method).statistic == 0
    assert exact_statistic(store, put([None, float("nan")], [1.0]), X, "numeric", method).statistic is None


def test_no_verdict_changes_between_profile_and_all_rows(store: Store, put: Put) -> None:
    """Eleven shapes, three drifts, 20,000 rows, every method: both numbers lie on the same side of the threshold."""
    for make in SHAPES.values():
        for drift in (0.0, 0.3, 1.0):
            rng = np.random.default_rng(23)
            reference, current = make(rng, 20_000, 0.0), make(rng, 15_000, drift)
            scale = scale_of_values(reference)
            profiles = profile_numbers(reference, scale), profile_numbers(current, scale)
            sides = put(reference, current)
            for name in ("wasserstein", "ks", "psi", "jensen_shannon"):
                method = METHODS[name]
                exact = exact_statistic(store, sides, X, "numeric", method).statistic
                assert exact is not None
                of_profile = method.statistic(*profiles)
                assert method.is_beyond(exact, method.threshold) == method.is_beyond(of_profile, method.threshold)


def serve(flywheel: Flywheel, rng: np.random.Generator, rows: int, day: int, shift: float) -> list[dict[str, Any]]:
    served = [
        {
            "x": float(x),
            "c": str(c),
            "flag": bool(f),
            "v": [float(x), 1.0],
            "sometimes": None if i % 3 else float(x),
        }
        for i, (x, c, f) in enumerate(
            zip(
                rng.normal(shift, 1, rows),
                rng.choice(list("abc"), rows),
                rng.random(rows) < 0.3 + shift / 4,
                strict=True,
            )
        )
    ]
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{day}-{i}",
            "features": one,
            "prediction": float(rng.beta(2, 5)),
            "at": START + day * DAY + i * (DAY / rows),
        }
        for i, one in enumerate(served)
    )
    return served


def test_drift_can_be_verified_on_the_rows(flywheel: Flywheel, tmp_path: Path) -> None:
    """Against an uploaded reference: every kind of feature and the score, the difference to the profile, the rows it rests on."""
    rng = np.random.default_rng(4)
    rows = 3_000
    x = rng.normal(0, 1, rows)
    training = {
        "x": x,
        "c": rng.choice(list("abc"), rows),
        "flag": rng.random(rows) < 0.3,
        "v": [[float(v), 1.0] for v in x],
        "sometimes": x,
        "prediction": rng.beta(2, 5, rows),
    }
    pq.write_table(pa.table(training), tmp_path / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, tmp_path / "training.parquet")
    served = serve(flywheel, rng, 1_500, 0, 0.5)
    flywheel.roll()
    answer = flywheel.monitor.drift(flywheel.model, Asked(), exact=True)
    found = {row["feature"]: row for row in answer["features"]}
    assert found.keys() == {"x", "c", "flag", "v", "sometimes", "score"}
    for row in found.values():
        assert row["exact"]["difference"] == row["statistic"] - row["exact"]["statistic"]
        assert abs(row["exact"]["difference"]) < 1e-3
        assert row["exact"]["rows_current"] == row["rows_current"]
        assert row["exact"]["rows_reference"] == 3_000
    of_x = OF_NUMBERS["wasserstein"](x, np.array([one["x"] for one in served]))
    assert found["x"]["exact"]["statistic"] == pytest.approx(of_x, abs=1e-9)
    of_c = OF_CLASSES["jensen_shannon"](list(training["c"]), [one["c"] for one in served])
    assert found["c"]["exact"]["statistic"] == pytest.approx(of_c, abs=1e-9)
    assert found["sometimes"]["rows_current"] == 500
    assert "exact" not in flywheel.monitor.drift(flywheel.model, Asked())["features"][0]
    assert flywheel.store.query("SELECT count() FROM system.tables WHERE name LIKE 'staged_reference%'") == [(0,)]


def test_an_earlier_window_is_verified_too(flywheel: Flywheel) -> None:
    """Baseline and window are both served rows, of one version; one feature may be asked alone."""
    rng = np.random.default_rng(5)
    days = [serve(flywheel, rng, 600, day, shift) for day, shift in enumerate((0.0, 1.0))]
    flywheel.roll()
    one = flywheel.monitor.feature(flywheel.model, "x", Asked(baseline="previous", version="1"), exact=True)
    exact = OF_NUMBERS["wasserstein"](*(np.array([row["x"] for row in day]) for day in days))
    assert one["exact"]["statistic"] == pytest.approx(exact, abs=1e-9)
    assert (one["exact"]["rows_reference"], one["exact"]["rows_current"]) == (600, 600)


def test_what_cannot_be_verified_says_why(flywheel: Flywheel, tmp_path: Path) -> None:
    """A reference whose file is gone, a column that one side lacks, too few rows: a reason, no failure."""
    pq.write_table(pa.table({"x": np.arange(500.0), "gone": np.arange(500.0)}), tmp_path / "t.parquet")
    added = flywheel.monitor.add_reference(flywheel.model, tmp_path / "t.parquet")
    serve(flywheel, np.random.default_rng(1), 200, 0, 0.0)
    flywheel.roll()
    rows = {row["feature"]: row for row in flywheel.monitor.skew(flywheel.model, Asked(), exact=True)["features"]}
    assert rows["x"]["exact"]["statistic"] is not None
    assert rows["gone"]["exact"]["reason"] == "no statistic to verify"
    references = flywheel.monitor._references
    references.path(next(one for one in references.of_model(flywheel.model) if one.id == added["id"])).unlink()
    rows = {row["feature"]: row for row in flywheel.monitor.skew(flywheel.model, Asked(), exact=True)["features"]}
    assert "not kept" in rows["x"]["exact"]["reason"]


def test_profile_and_exact_agree_on_more_categories_than_a_profile_keeps(store: Store, put: Put) -> None:
    """Profiles count rare categories together, so their number is a little smaller; never larger."""
    rng = np.random.default_rng(9)
    reference, current = ([f"v{v}" for v in rng.zipf(1.3, 40_000) % 20_000] for _ in range(2))
    method = METHODS["jensen_shannon"]
    exact = exact_statistic(store, put(reference, current), X, "categorical", method).statistic
    assert exact is not None
    assert method.statistic(profile_classes(reference), profile_classes(current)) <= exact
