"""Profiles: what the roll-up stores is what the rows are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel, requests
from tests.monitoring.shapes import SHAPES
from upshot_joiner.changes import Changed
from upshot_joiner.errors import StoreError
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers
from upshot_monitoring.profiles.profile import Profile, merge
from upshot_monitoring.profiles.read import Window, read_slots, read_window
from upshot_monitoring.profiles.rollup import MAX_VALUES
from upshot_monitoring.profiles.scales import Key, Scales

X: Key = ("feature", "x")


def read(
    flywheel: Flywheel, start: Any = START, end: Any = START + DAY, version: str | None = None
) -> dict[Key, Profile]:
    return read_window(flywheel.store, Scales(flywheel.store), Window(flywheel.model, start, end, version))


def assert_same(one: Profile, other: Profile) -> None:
    """Counts exactly, sums but for the order in which floats were added."""
    for name in ("rows", "nulls", "absents", "others", "nans", "infs", "bools", "strs", "vectors", "n", "overflow"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.buckets.tolist() == other.buckets.tolist()
    assert one.counts.tolist() == other.counts.tolist()
    assert one.lows.tolist() == other.lows.tolist()
    assert one.highs.tolist() == other.highs.tolist()
    for name in ("sums", "sums2"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9)
    assert dict(zip(one.values, one.value_counts, strict=True)) == dict(
        zip(other.values, other.value_counts, strict=True)
    )


def test_sql_and_numpy_make_the_same_profile(flywheel: Flywheel) -> None:
    """The conformance test: buckets, counts, sums, smallest and largest of each bucket are those that NumPy computes."""
    rng = np.random.default_rng(1)
    columns = {name: shape(rng, 3_000, 0.0) for name, shape in SHAPES.items()}
    flywheel.serve(requests(flywheel.model, [{n: float(x[i]) for n, x in columns.items()} for i in range(3_000)]))
    flywheel.roll()
    profiles = read(flywheel)
    for name, x in columns.items():
        found = profiles["feature", name]
        assert_same(found, profile_numbers(x, found.scale))
        assert found.mean == pytest.approx(x.mean(), rel=1e-12)
        assert found.std == pytest.approx(x.std(), rel=1e-6)


def test_every_value_is_counted_as_what_it_is(flywheel: Flywheel) -> None:
    """Null, absent, NaN, infinite, 0, empty string, bool, vector and what no column can hold are different things."""
    values: list[Mapping[str, Any]] = [
        {"x": None}, {}, {}, {"x": math.nan}, {"x": math.inf}, {"x": -math.inf}, {"x": 0}, {"x": 0.0}, {"x": ""}, {"x": "a"},
        {"x": True}, {"x": False}, {"x": [3.0, 4.0]}, {"x": 2**70}, {"x": {"nested": 1}},
    ]  # fmt: skip
    flywheel.serve(requests(flywheel.model, values))
    flywheel.roll()
    x = read(flywheel)[X]
    assert (x.rows, x.nulls, x.absents, x.nans, x.infs) == (15, 1, 2, 1, 2)
    assert (x.n, x.vectors, x.bools, x.strs, x.others) == (3, 1, 2, 2, 2)
    assert (x.low, x.high) == (0.0, 5.0)
    assert dict(zip(x.values, x.value_counts, strict=True)) == {"": 1, "a": 1, "true": 1, "false": 1}


def test_a_feature_that_comes_later_was_absent_before(flywheel: Flywheel) -> None:
    """Hours that were rolled up before a feature was known count as rows without it."""
    flywheel.serve(requests(f"{flywheel.model}-a", [{"x": 1.0}] * 3))
    flywheel.roll()
    flywheel.serve(requests(f"{flywheel.model}-b", [{"x": 1.0, "new": "n"}] * 2, at=START + HOUR))
    flywheel.roll()
    new = read(flywheel)["feature", "new"]
    assert (new.rows, new.absents, new.strs) == (5, 3, 2)


numbers = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0.0, -0.0, 1e-300, 1e300, 5e-324, 1000.0]),
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 5), numbers, st.sampled_from(["a", "b", "", None])), min_size=1, max_size=20),
        min_size=1,
        max_size=4,
    )
)
def test_merged_equals_recomputed_in_any_order_with_late_rows(flywheel: Flywheel, batches: list[list[Any]]) -> None:
    """Rows come in any hours, batch by batch, each rolled up: the day is the sum of its hours, and the profile of all rows."""
    model = Flywheel(**{**vars(flywheel), "model": f"{flywheel.model}-{flywheel.stamper.next().timestamp()}"})
    for number, batch in enumerate(batches):
        model.serve(
            {
                "request_id": f"{model.model}-{number}-{i}",
                "features": {"x": x, "c": c},
                "at": START + hour * HOUR + timedelta(minutes=30),
            }
            for i, (hour, x, c) in enumerate(batch)
        )
        model.roll()
    rows = [row for batch in batches for row in batch]
    day = read(model)
    hours = [read(model, START + h * HOUR, START + (h + 1) * HOUR) for h in range(6)]
    expected = profile_numbers([float(x) for _, x, _ in rows if x is not None], day[X].scale)
    assert_same(
        day[X],
        merge([expected, Profile(rows=sum(x is None for _, x, _ in rows), nulls=sum(x is None for _, x, _ in rows))]),
    )
    assert_same(day["feature", "c"], profile_classes([c for _, _, c in rows]))
    for key in day:
        assert_same(day[key], merge(hour[key] for hour in hours if key in hour))


def test_rolling_an_hour_again_changes_nothing(flywheel: Flywheel) -> None:
    """The same hour noted five times gives the same profile, and one row per feature."""
    x = np.random.default_rng(2).normal(0, 1, 500)
    flywheel.serve(requests(flywheel.model, [{"x": float(v), "c": "ab"[i % 2]} for i, v in enumerate(x)]))
    flywheel.roll()
    before = read(flywheel)
    for _ in range(4):
        flywheel.changes.put_back([Changed(flywheel.model, START, served=True, outcomes=True)])
        assert flywheel.roll() == 1
    after = read(flywheel)
    for key in before:
        assert_same(before[key], after[key])


def test_a_repeated_row_is_counted_once(flywheel: Flywheel) -> None:
    """The typed table may hold a row twice until it merges; its profile does not."""
    rows = requests(flywheel.model, [{"x": float(v)} for v in range(200)])
    flywheel.serve(rows)
    flywheel.serve(rows)
    flywheel.roll()
    assert read(flywheel)[X].rows == 200


def test_only_the_most_frequent_values_are_kept_and_all_rows_are_counted(flywheel: Flywheel) -> None:
    """Of 1,500 values, 1,000 are kept; the rows of the others are counted together."""
    values = [f"v{i}" for i in range(1500)] + ["v7"] * 50
    flywheel.serve(requests(flywheel.model, [{"c": v} for v in values]))
    flywheel.roll()
    found = read(flywheel)["feature", "c"]
    assert len(found.values) == MAX_VALUES
    assert found.values[0] == "v7"
    assert found.value_counts.sum() + found.overflow == found.strs == 1550


def test_long_strings_stay_different_and_short(flywheel: Flywheel) -> None:
    """A text of 10 kB is kept as its beginning and a hash."""
    long = "x" * 10_000
    flywheel.serve(requests(flywheel.model, [{"c": long + "a"}, {"c": long + "b"}, {"c": long + "a"}]))
    flywheel.roll()
    found = read(flywheel)["feature", "c"]
    assert sorted(found.value_counts.tolist()) == [1, 2]
    assert all(len(value) < 100 for value in found.values)


def test_versions_are_apart_and_add_up(flywheel: Flywheel) -> None:
    """A window of one version, and of all."""
    flywheel.serve(requests(flywheel.model, [{"x": 1.0}] * 10), version="1")
    flywheel.serve(requests(flywheel.model, [{"x": 2.0}] * 5), version="2")
    flywheel.roll()
    assert [read(flywheel, version=v)[X].n for v in (None, "1", "2", "3") if (X in read(flywheel, version=v))] == [
        15,
        10,
        5,
    ]


def test_400_features_take_a_handful_of_statements(flywheel: Flywheel) -> None:
    """Statements are batched over features."""
    features = {f"f{i}": float(i) for i in range(300)} | {f"s{i}": "abc"[i % 3] for i in range(100)}
    flywheel.serve(requests(flywheel.model, [features] * 20))
    before = flywheel.monitor.stats()["statements"]
    flywheel.roll()
    assert flywheel.monitor.stats()["statements"] - before <= 12
    assert len(read(flywheel)) >= 400


def test_slots_split_a_window(flywheel: Flywheel) -> None:
    """The trend of a feature is its profile per day."""
    for day in range(3):
        flywheel.serve(
            requests(f"{flywheel.model}-{day}", [{"x": float(day)}] * (day + 1), at=START + day * DAY + HOUR)
        )
    flywheel.roll()
    slots = read_slots(
        flywheel.store, Scales(flywheel.store), Window(flywheel.model, START, START + 3 * DAY), X, 86_400
    )
    assert {day: profile.n for day, profile in slots.items()} == {START + d * DAY: d + 1 for d in range(3)}


class TestScales:
    """How the unit of a feature is found and kept."""

    def test_the_first_rows_pin_the_scale_and_more_rows_firm_it(self, flywheel: Flywheel) -> None:
        """A scale from two rows is replaced when there are enough; every hour is then measured on the new one."""
        rng = np.random.default_rng(3)
        flywheel.serve(requests(f"{flywheel.model}-a", [{"x": 5.0}, {"x": 5.1}]))
        flywheel.roll()
        first = Scales(flywheel.store).read(flywheel.model)[X]
        assert first.provisional
        flywheel.serve(
            requests(f"{flywheel.model}-b", [{"x": float(v)} for v in rng.normal(0, 1, 2000)], at=START + HOUR)
        )
        flywheel.roll()
        firm = Scales(flywheel.store).read(flywheel.model)[X]
        assert not firm.provisional
        assert firm.scale_id != first.scale_id
        assert firm.scale == pytest.approx(1, abs=0.1)
        assert read(flywheel)[X].n == 2002
        flywheel.serve(
            requests(f"{flywheel.model}-c", [{"x": float(v)} for v in rng.normal(50, 9, 9000)], at=START + 2 * HOUR)
        )
        flywheel.roll()
        assert Scales(flywheel.store).read(flywheel.model)[X] == firm

    def test_constant_and_tiny_features_have_a_scale(self, flywheel: Flywheel) -> None:
        """A width of 0 becomes 1; values far below 1 are told apart."""
        rng = np.random.default_rng(3)
        flywheel.serve(requests(flywheel.model, [{"x": 7.0, "tiny": float(v)} for v in rng.normal(1e-9, 1e-12, 500)]))
        flywheel.roll()
        scales = Scales(flywheel.store).read(flywheel.model)
        assert scales[X].scale == 1
        assert scales["feature", "tiny"].scale == pytest.approx(1e-12, rel=0.2)
        assert len(read(flywheel)["feature", "tiny"].buckets) > 50


class TestRestart:
    """What a stopped or killed server left behind is found in the store itself."""

    def test_nothing_is_due_when_all_is_rolled(self, flywheel: Flywheel) -> None:
        """A restart after a clean stop rolls nothing."""
        flywheel.configure(labels={"y": {"window": "1h", "default": 0}})
        flywheel.serve(requests(flywheel.model, [{"x": 1.0}] * 3))
        flywheel.label({f"{flywheel.model}-0": 1})
        flywheel.roll()
        assert flywheel.monitor._roller.reconcile(flywheel.model) == 0

    def test_hours_whose_change_was_forgotten_are_found(self, flywheel: Flywheel) -> None:
        """The notes of changed hours are in memory; after a crash the store itself says what is not covered."""
        flywheel.serve(requests(flywheel.model, [{"x": 1.0}] * 3))
        flywheel.changes.take()
        assert flywheel.monitor._roller.reconcile(flywheel.model) == 1
        flywheel.roll()
        assert read(flywheel)[X].n == 3
        flywheel.serve(requests(f"{flywheel.model}-late", [{"x": 2.0}] * 2))
        flywheel.changes.take()
        assert flywheel.monitor._roller.reconcile(flywheel.model) == 1
        flywheel.roll()
        assert read(flywheel)[X].n == 5

    def test_a_roll_up_that_was_cut_off_is_done_again(
        self, flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The store fails between the profiles and the note that they are done: the hours are put back, and rolled later."""
        flywheel.serve(requests(flywheel.model, [{"x": 1.0, "c": "a"}] * 3))
        insert = flywheel.store.insert

        def failing(table: str, rows: Any) -> None:
            if table == "rolled_hours":
                raise StoreError("no space")
            insert(table, rows)

        monkeypatch.setattr(flywheel.store, "insert", failing)
        failures = flywheel.monitor.stats()["failures"]
        flywheel.roll()
        assert flywheel.monitor.stats()["failures"] == failures + 1
        monkeypatch.undo()
        assert flywheel.monitor._roller.reconcile(flywheel.model) == 1
        flywheel.changes.take()
        flywheel.roll()
        assert flywheel.monitor._roller.reconcile(flywheel.model) == 0
        assert read(flywheel)[X].n == 3

    def test_an_outcome_that_was_forgotten_is_found(self, flywheel: Flywheel) -> None:
        """A label whose change was lost with the process is in the performance after the next start."""
        flywheel.configure(labels={"y": {"window": "1h", "default": 0}})
        flywheel.serve(requests(flywheel.model, [{"x": 1.0}] * 3, prediction=0.5))
        flywheel.roll()
        flywheel.label({f"{flywheel.model}-0": 1})
        flywheel.changes.take()
        assert flywheel.monitor._roller.reconcile(flywheel.model) == 1
        flywheel.roll()
        assert read(flywheel)["label", "y"].values == ("1",)
