"""Profiles of vectors: what the roll-up stores of every dimension is what NumPy computes from the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel, flywheel_on, requests
from tests.monitoring.exact_statistics import OF_VECTORS
from upshot_joiner.changes import Changed
from upshot_joiner.store.client import Store
from upshot_monitoring.drift.answers import Asked
from upshot_monitoring.profiles.from_values import profile_vectors
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.read import read_slots, read_window
from upshot_monitoring.profiles.scales import Key, Scales
from upshot_monitoring.profiles.vector_profile import LengthProfile, merge_lengths
from upshot_monitoring.profiles.window import Window

V: Key = ("feature", "v")
Vectors = Sequence[Any]


@pytest.fixture
def anywhere(any_store: Store, fresh: str, tmp_path: Path) -> Flywheel:
    """A flywheel on the embedded store, and on a real server."""
    return flywheel_on(any_store, fresh, tmp_path)


def serve(flywheel: Flywheel, vectors: Vectors, *, prefix: str = "", **common: Any) -> None:
    flywheel.serve(requests(f"{flywheel.model}-{prefix}", [{"v": v} for v in vectors], **common))


def read(flywheel: Flywheel, start: Any = START, end: Any = START + DAY, version: str | None = None) -> Profile:
    window = Window(flywheel.model, start, end, version)
    return read_window(flywheel.store, Scales(flywheel.store), window)[V]


def assert_same(found: Sequence[LengthProfile], expected: Sequence[LengthProfile]) -> None:
    """Counts exactly; means to 1e-12 of the larger of mean and spread, sums of squares to 1e-12 of themselves."""
    assert [(one.length, one.rows, one.summed) for one in found] == [
        (one.length, one.rows, one.summed) for one in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert one.means.shape == one.m2.shape == other.means.shape
        unit = np.maximum(np.abs(other.means), np.sqrt(other.variances))
        assert (np.abs(one.means - other.means) <= 1e-12 * unit).all()
        np.testing.assert_allclose(one.m2, other.m2, rtol=1e-12, atol=1e-24 * float(np.square(unit).max(initial=0)))


SHAPES: dict[str, Callable[[np.random.Generator], Any]] = {
    "embedding": lambda r: r.normal(0, 1, (700, 64)),
    "one element": lambda r: r.normal(3, 2, (500, 1)),
    "integers": lambda r: r.integers(-5, 100, (400, 7)),
    "skewed": lambda r: r.lognormal(0, 2, (600, 12)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_means_and_spreads_are_those_of_numpy(anywhere: Flywheel, shape: str) -> None:
    """Floats and integers, on both kinds of store; hours add up to the day."""
    vectors = SHAPES[shape](np.random.default_rng(1))
    for hour, part in enumerate(np.array_split(vectors, 3)):
        serve(anywhere, part.tolist(), prefix=f"{hour}-", at=START + hour * HOUR)
    anywhere.roll()
    found = read(anywhere)
    assert (found.kind, found.vectors, found.rows) == ("vector", len(vectors), len(vectors))
    assert_same(found.lengths, profile_vectors(vectors).lengths)


def test_a_small_spread_about_a_large_number_keeps_its_digits(flywheel: Flywheel) -> None:
    """1000 +/- 0.001, hour by hour: the spread is NumPy's to nine digits, as many as such numbers have."""
    vectors = 1000 + 0.001 * np.random.default_rng(2).normal(size=(900, 8))
    for hour, part in enumerate(np.array_split(vectors, 4)):
        serve(flywheel, part.tolist(), prefix=f"{hour}-", at=START + hour * HOUR)
    flywheel.roll()
    [found] = read(flywheel).lengths
    np.testing.assert_allclose(found.variances, vectors.var(axis=0), rtol=1e-9)


values = st.one_of(
    st.lists(st.floats(-1e6, 1e6), max_size=4),
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=3),
    st.sampled_from([None, 1.5, "text", [math.nan, 1.0], [math.inf, 1.0], [1e200, 1.0], [0.0, -0.0]]),
)


def vectors_of(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if isinstance(row, list)]


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 3), values), min_size=1, max_size=25), min_size=1, max_size=3)
)
def test_merged_equals_recomputed_whatever_comes_late(flywheel: Flywheel, batches: list[list[Any]]) -> None:
    """Any values in any hours, rolled up batch by batch: every window is the profile of its rows, recomputed."""
    model = Flywheel(**{**vars(flywheel), "model": f"{flywheel.model}-{flywheel.stamper.next().timestamp()}"})
    for number, batch in enumerate(batches):
        model.serve(
            {"request_id": f"{model.model}-{number}-{at}", "features": {"v": value}, "at": START + hour * HOUR}
            for at, (hour, value) in enumerate(batch)
        )
        model.roll()
    rows = [row for batch in batches for row in batch]
    for hours in (range(4), range(1, 3)):
        within = [value for hour, value in rows if hour in hours]
        if within:
            found = read(model, START + hours[0] * HOUR, START + (hours[-1] + 1) * HOUR)
            assert_same(found.lengths, profile_vectors(vectors_of(within)).lengths)


def test_every_vector_is_counted_as_what_it_is(anywhere: Flywheel) -> None:
    """Several lengths, NaN, infinite, beyond squaring: counted by length, summed only where finite; an empty list is no vector."""
    rows: list[Any] = [
        [1.0, 2.0],
        [3.0, 6.0],
        [math.nan, 1.0],
        [math.inf, 0.0],
        [1e200, 1.0],
        [5, 7],
        [1.0, 2.0, 3.0],
        [],
    ]
    serve(anywhere, [*rows, None, 4.0, "text"])
    anywhere.roll()
    two, three = read(anywhere).lengths
    assert (two.length, two.rows, two.summed) == (2, 6, 3)
    assert two.means.tolist() == [3.0, 5.0]
    assert two.m2.tolist() == pytest.approx([8.0, 14.0], rel=1e-15)
    assert (three.length, three.rows, three.summed, three.m2.tolist()) == (3, 1, 1, [0.0, 0.0, 0.0])
    assert (read(anywhere).nulls, read(anywhere).strs, read(anywhere).others) == (1, 1, 1)


def many_lengths(flywheel: Flywheel) -> dict[tuple[str, int], Vectors]:
    """Eleven lengths in an hour, of two versions and hours each its own."""
    rng = np.random.default_rng(3)
    sides: dict[tuple[str, int], Vectors] = {}
    for version, hour, first in (("1", 0, 1), ("2", 0, 3), ("1", 1, 5)):
        vectors = [rng.normal(size=first + at).tolist() for at in range(11) for _ in range(30 - at)]
        serve(flywheel, vectors, prefix=f"{version}-{hour}-", at=START + hour * HOUR, model_version=version)
        sides[version, hour] = vectors
    return sides


def assert_most_frequent(flywheel: Flywheel, sides: dict[tuple[str, int], Vectors]) -> None:
    for (version, hour), vectors in sides.items():
        found = read(flywheel, START + hour * HOUR, START + (hour + 1) * HOUR, version)
        assert_same(found.lengths, profile_vectors(vectors).lengths)
        assert {one.length: one.rows for one in found.lengths}[0] == 22 + 21 + 20
    assert sum(one.rows for one in read(flywheel).lengths) == read(flywheel).vectors == 3 * 275


def test_the_most_frequent_lengths_are_kept_and_all_are_counted(flywheel: Flywheel) -> None:
    """Of eleven lengths in an hour, eight; the rest is one number."""
    sides = many_lengths(flywheel)
    flywheel.roll()
    assert_most_frequent(flywheel, sides)


def test_two_shards_are_one_store(two_shards: Store, fresh: str, tmp_path: Path) -> None:
    """The most frequent lengths of both together, means over both; a reference, drift, and the rows that verify it."""
    flywheel = flywheel_on(two_shards, fresh, tmp_path)
    training = np.random.default_rng(4).normal(0, 1, (400, 3))
    pq.write_table(pa.table({"v": list(training)}), tmp_path / "t.parquet")
    flywheel.monitor.add_reference(fresh, tmp_path / "t.parquet")
    sides = many_lengths(flywheel)
    flywheel.roll()
    table = flywheel.served.table(fresh)
    assert min(len(shard.query(f"SELECT 1 FROM {table}")) for shard in two_shards.shards) > 100
    assert_most_frequent(flywheel, sides)
    flywheel.configure(drift={"min_rows": 10})
    [row] = [one for one in flywheel.monitor.drift(fresh, Asked(), exact=True)["features"] if one["feature"] == "v"]
    of_length = np.array([vector for vectors in sides.values() for vector in vectors if len(vector) == 3])
    assert (row["rows_reference"], row["rows_current"]) == (400, len(of_length))
    assert row["statistic"] == pytest.approx(OF_VECTORS["centroid"](training, of_length), rel=1e-12)
    assert row["exact"]["statistic"] == pytest.approx(row["statistic"], rel=1e-12)


def test_of_long_vectors_the_first_4096_dimensions_are_kept(flywheel: Flywheel) -> None:
    """The length is said as it is."""
    vectors = np.random.default_rng(4).normal(size=(20, 5000))
    serve(flywheel, vectors.tolist())
    flywheel.roll()
    [found] = read(flywheel).lengths
    assert (found.length, found.rows, found.summed, len(found.means)) == (5000, 20, 20, 4096)
    assert_same([found], profile_vectors(vectors).lengths)


def test_an_hour_that_is_rolled_again_is_replaced(flywheel: Flywheel) -> None:
    """Noted three times, and with a row twice in the table until it merges: the same numbers, one row per length."""
    vectors = np.random.default_rng(5).normal(size=(50, 3)).tolist()
    serve(flywheel, vectors)
    serve(flywheel, vectors)
    flywheel.roll()
    before = read(flywheel).lengths
    assert before[0].rows == 50
    for _ in range(2):
        flywheel.changes.put_back([Changed(flywheel.model, START, served=True, outcomes=False)])
        flywheel.roll()
    assert_same(read(flywheel).lengths, before)
    assert flywheel.store.query(
        "SELECT count() FROM vector_profiles FINAL WHERE model = {m:String}", {"m": flywheel.model}
    ) == [(1,)]


def test_a_length_that_is_gone_from_an_hour_is_gone_from_its_profile(anywhere: Flywheel) -> None:
    """Rows can be taken back (a writer that came second, an erasure): also all of a version."""
    serve(anywhere, [[1.0, 2.0]] * 5 + [[1.0]] * 3)
    serve(anywhere, [[1.0, 2.0, 3.0]] * 4, prefix="other-", model_version="2")
    anywhere.roll()
    assert [(one.length, one.rows) for one in read(anywhere).lengths] == [(2, 5), (3, 4), (1, 3)]
    table = anywhere.served.table(anywhere.model)
    column = anywhere.served.columns(anywhere.model)["v"]["floats"]
    anywhere.store.command(f"DELETE FROM {table} WHERE length({column}) != 2")
    anywhere.changes.put_back([Changed(anywhere.model, START, served=True, outcomes=False)])
    anywhere.roll()
    assert [(one.length, one.rows) for one in read(anywhere).lengths] == [(2, 5)]


def test_versions_are_apart_and_add_up(flywheel: Flywheel) -> None:
    rng = np.random.default_rng(6)
    one, two = rng.normal(0, 1, (40, 4)), rng.normal(9, 1, (60, 4))
    serve(flywheel, one.tolist(), prefix="a-", model_version="1")
    serve(flywheel, two.tolist(), prefix="b-", model_version="2")
    flywheel.roll()
    for version, expected in (("1", one), ("2", two), (None, np.concatenate([one, two]))):
        assert_same(read(flywheel, version=version).lengths, profile_vectors(expected).lengths)


def test_a_long_window_is_added_up_piece_by_piece(flywheel: Flywheel) -> None:
    """Forty days, in slots of a day and as one: borders of the pieces that are read fall inside."""
    rng = np.random.default_rng(7)
    days = {day: rng.normal(day, 1, (5, 2)) for day in (0, 6, 7, 13, 20, 39)}
    for day, vectors in days.items():
        serve(flywheel, vectors.tolist(), prefix=f"{day}-", at=START + day * DAY + 5 * HOUR)
    flywheel.roll()
    end = START + 40 * DAY
    assert_same(read(flywheel, end=end).lengths, profile_vectors(np.concatenate(list(days.values()))).lengths)
    slots = read_slots(flywheel.store, Scales(flywheel.store), Window(flywheel.model, START, end), V, 86_400)
    assert {day: START + day * DAY in slots for day in days} == dict.fromkeys(days, True)
    for day, vectors in days.items():
        assert_same(slots[START + day * DAY].lengths, profile_vectors(vectors).lengths)


def test_hours_of_an_earlier_version_are_found_and_rolled_again(flywheel: Flywheel) -> None:
    """A store whose profiles know vectors by their norm only: the next look finds these hours, and no hour twice."""
    serve(flywheel, [[1.0, 2.0]] * 5)
    serve(flywheel, [[3.0, 2.0]] * 5, prefix="later-", at=START + HOUR)
    flywheel.roll()
    params = {"m": flywheel.model}
    flywheel.store.command("DELETE FROM vector_profiles WHERE model = {m:String}", params)
    assert read(flywheel).lengths == ()
    assert flywheel.monitor._roller.reconcile(flywheel.model) == 2
    flywheel.roll()
    assert [(one.length, one.rows) for one in read(flywheel).lengths] == [(2, 10)]
    assert flywheel.monitor._roller.reconcile(flywheel.model) == 0
    # An hour whose rows are gone, but not its profile: looked at once.
    flywheel.store.command("DELETE FROM vector_profiles WHERE model = {m:String}", params)
    flywheel.store.command(f"DELETE FROM {flywheel.served.table(flywheel.model)} WHERE true")
    assert flywheel.monitor._roller.reconcile(flywheel.model) == 2
    flywheel.roll()
    assert flywheel.monitor._roller.reconcile(flywheel.model) == 0


def test_columns_without_vectors_cost_no_statement(flywheel: Flywheel) -> None:
    """As many statements as before there were vectors, also where another hour has some of this column."""
    serve(flywheel, [[1.0]] * 3)
    flywheel.roll()
    before = flywheel.monitor.stats()["statements"]
    serve(flywheel, [1.0] * 3, prefix="numbers-", at=START + HOUR)
    flywheel.roll()
    of_numbers = flywheel.monitor.stats()["statements"] - before
    serve(flywheel, [[1.0]] * 3, prefix="vectors-", at=START + 2 * HOUR)
    flywheel.roll()
    assert flywheel.monitor.stats()["statements"] - before == 2 * of_numbers + 1


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.int64()), pa.list_(pa.float64(), 3)])
def test_a_reference_has_the_same(anywhere: Flywheel, tmp_path: Path, kind: pa.DataType) -> None:
    """Lists of every kind in Parquet; a null list is a missing vector, a null in a list is no finite element."""
    rng = np.random.default_rng(8)
    vectors: list[Any] = rng.integers(0, 9, (300, 3)).tolist()
    given = [*vectors, None, [1, None, 3]]
    pq.write_table(pa.table({"v": pa.array(given, kind), "x": np.arange(302.0)}), tmp_path / "t.parquet")
    anywhere.monitor.add_reference(anywhere.model, tmp_path / "t.parquet")
    references = anywhere.monitor._references
    found = references.profiles(anywhere.model, references.of_model(anywhere.model)[0])
    assert (found[V].rows, found[V].nulls, found[V].vectors) == (302, 1, 301)
    assert_same(found[V].lengths, profile_vectors([*vectors, [1, math.nan, 3]]).lengths)
    assert found["feature", "x"].lengths == ()


def test_parts_may_be_merged_in_any_order() -> None:
    """Also without any finite vector, and of several lengths."""
    rng = np.random.default_rng(9)
    parts = [profile_vectors(rng.normal(at, 1, (at + 1, 2))).lengths[0] for at in range(6)]
    parts += [LengthProfile(2, 3), LengthProfile(7, 1, 1, np.arange(7.0), np.zeros(7)), LengthProfile(0, 2)]
    first = merge_lengths(parts)
    for _ in range(5):
        rng.shuffle(parts)  # type: ignore[arg-type]
        assert_same(merge_lengths([*merge_lengths(parts[:4]), *parts[4:]]), first)
    assert [(one.length, one.rows, one.summed) for one in first] == [(2, 24, 21), (0, 2, 0), (7, 1, 1)]
