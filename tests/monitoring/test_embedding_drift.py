"""Drift of vectors: the distance of their centroids, single dimensions, lengths, and what cannot be seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2, ttest_ind

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from tests.monitoring.exact_statistics import OF_VECTORS, wasserstein
from tests.monitoring.shapes import Floats
from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.answers import Asked
from upshot_monitoring.drift.chance import LEAST
from upshot_monitoring.drift.kept import AskedKept
from upshot_monitoring.drift.means import Means
from upshot_monitoring.drift.methods.centroid import p_value
from upshot_monitoring.drift.registry import METHODS
from upshot_monitoring.drift.verdict import Judgement, compare, judge, settle
from upshot_monitoring.profiles.from_values import profile_numbers, profile_vectors, scale_of_values
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.vector_profile import LengthProfile

Make = Callable[[np.random.Generator, int], Floats]


def profile(vectors: Any, reference: Profile | None = None) -> Profile:
    norms = [float(np.linalg.norm(vector)) for vector in vectors if len(vector)]
    return profile_vectors(vectors, reference.scale if reference else scale_of_values(norms))


def judged(reference: Any, current: Any, config: FeatureDriftConfig | None = None) -> Judgement:
    then = profile(reference)
    return judge(then, profile(current, then), config)


def draw(rows: int, dimensions: int = 64, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, 1, (rows, dimensions))


def means(v: Floats, w: Floats) -> Means:
    return Means(len(v), len(w), v.mean(axis=0), w.mean(axis=0), v.var(axis=0), w.var(axis=0))


def rotation(dimensions: int) -> Floats:
    return np.asarray(np.linalg.qr(np.random.default_rng(5).normal(size=(dimensions, dimensions)))[0])


class TestVerdicts:
    """On profiles in memory."""

    def test_a_shift_that_leaves_the_norm_alone_is_drift(self) -> None:
        """Embeddings on a sphere, rotated: every norm is 1 on both sides; the methods of the norm see nothing."""
        vectors = draw(2_000, 16) + 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        turned = vectors[:600] @ rotation(16)
        found = judged(vectors, turned)
        assert (found.method, found.verdict, found.rows) == ("centroid", "drift", (2_000, 600))
        assert found.statistic == pytest.approx(OF_VECTORS["centroid"](vectors, turned), rel=1e-12)
        assert judged(vectors, turned, FeatureDriftConfig(method="ks", threshold=0.6)).verdict == "ok"

    def test_the_threshold_is_a_tenth_of_the_spread(self) -> None:
        """A move of 0.05 spreads in all dimensions is ok, however many rows; one of 0.15 is drift."""
        reference = draw(20_000)
        assert judged(reference, draw(20_000, seed=2) + 0.05).verdict == "ok"
        found = judged(reference, draw(20_000, seed=2) + 0.15)
        assert (found.verdict, found.reason, found.threshold) == ("drift", None, 0.1)

    def test_a_vector_of_one_element_is_judged_like_its_number(self) -> None:
        """The same distance as by Wasserstein, where a shift is all that happened; a small one is ok, a large one drift."""
        x, y = draw(5_000, 1) + 50, draw(1_000, 1, seed=2) + 50
        for shift, verdict in ((0.0, "ok"), (0.3, "drift")):
            found = judged(x, y + shift)
            assert (found.verdict, found.reason) == (verdict, None)
            assert found.statistic == pytest.approx(wasserstein(x[:, 0], y[:, 0] + shift), abs=0.03)

    def test_one_dimension_of_64_is_found_and_named(self) -> None:
        """By 0.6 standard deviations: the distance of the centroids stays below its threshold, the dimension does not."""
        current = draw(500, seed=2)
        current[:, 17] -= 0.6
        found = judged(draw(5_000), current)
        assert found.statistic is not None
        assert found.statistic < found.threshold
        assert found.verdict == "drift"
        assert str(found.reason).startswith("dimension 17 moved by -0.6")

    def test_one_dimension_that_moved_a_little_is_none(self) -> None:
        """By 0.3 standard deviations, and 20,000 rows: beyond all chance, and below the floor."""
        current = draw(20_000, seed=2)
        current[:, 17] += 0.3
        found = judged(draw(20_000), current)
        assert (found.verdict, found.p_value) == ("ok", 1.0)

    def test_few_rows_are_no_verdict(self) -> None:
        """120 rows of the same source lie 0.09 apart; with 150 against 150 more than the threshold: it may be chance."""
        found = judged(draw(150), draw(150, seed=2))
        assert found.statistic is not None
        assert found.statistic > found.threshold
        assert found.verdict == "no_verdict"
        assert "may be chance" in str(found.reason)

    def test_other_lengths_are_a_finding_and_no_error(self) -> None:
        """Another length altogether, some of another length, as many as ever."""
        whole = list(draw(1_000, 8))
        other = judged(whole, list(draw(400, 5)))
        assert (other.verdict, other.statistic, other.kind) == ("drift", None, "vector")
        assert "the length changed: 8 in the reference, 5 in the window" in str(other.reason)
        some = judged(whole, list(draw(400, 8, 2)) + list(draw(100, 5)))
        assert (some.verdict, some.rows) == ("drift", (1_000, 400))
        assert some.reason == "vectors of another length than 8: 0.00% -> 20.00%"
        mixed = judged(whole + list(draw(200, 5)), list(draw(400, 8, 2)) + list(draw(90, 5)))
        assert (mixed.verdict, mixed.reason, mixed.rows) == ("ok", None, (1_000, 400))

    @pytest.mark.parametrize("method", ["centroid", "wasserstein"])
    def test_lengths_are_looked_at_whatever_the_method(self, method: str) -> None:
        """Chosen or default."""
        found = judged(list(draw(500, 8)), list(draw(500, 5)), FeatureDriftConfig(method=method))
        assert "the length changed" in str(found.reason)

    @pytest.mark.parametrize(
        ("reference", "current", "verdict", "reason"),
        [
            (np.full((300, 4), 0.1), np.full((777, 4), 0.1), "ok", "constant on both sides"),
            (np.full((300, 4), 0.1), np.full((200, 4), 0.2), "drift", "constant in the reference, not any more"),
            (np.full((300, 4), 0.1), draw(200, 4) + 0.1, "drift", "constant in the reference, not any more"),
            (draw(300, 4), np.full((200, 4), 3.0), "drift", "dimension"),
            (np.zeros((300, 4)), np.zeros((200, 4)), "ok", "constant on both sides"),
            (draw(300, 4), [[math.nan] * 4] * 200, "drift", "missing values"),
            (draw(300, 4), [[math.inf] * 4] * 200, "drift", "infinite values"),
            (draw(300, 4), draw(99, 4), "no_verdict", "too few rows"),
            (draw(300, 4), [*draw(80, 4), *draw(80, 5)], "drift", "too few vectors of length 4: 300 in the reference, 80"),
            (draw(300, 4), np.where(np.arange(4) == 2, 1e150, 1.0) * np.ones((200, 1)), "no_verdict", "too few vectors"),
        ],
    )  # fmt: skip
    def test_whatever_comes_is_one_honest_answer(self, reference: Any, current: Any, verdict: str, reason: str) -> None:
        """Constant, zero, not finite, too few, too large: a verdict and a finite number or none."""
        found = judged(reference, current)
        assert found.verdict == verdict, found.reason
        assert reason in str(found.reason)
        assert found.statistic is None or math.isfinite(found.statistic)

    def test_a_constant_dimension_that_changes_is_named(self) -> None:
        """It has no standard deviation to be measured in; of all the others nothing happened."""
        reference, current = draw(2_000, 8), draw(500, 8, seed=2)
        reference[:, 3], current[:, 3] = 0.1, 0.1
        assert judged(reference, current).verdict == "ok"
        current[::2, 3] = 0.2
        found = judged(reference, current)
        assert found.verdict == "drift"
        assert "dimension 3 was constant in the reference, and is not any more" in str(found.reason)

    def test_another_type_is_a_finding(self) -> None:
        """A vector that becomes a number, and the other way round."""
        vectors = profile(draw(500, 4))
        numbers = profile_numbers(np.arange(500.0), vectors.scale)
        for pair, kinds in (
            ((vectors, numbers), "vector in the reference, numeric"),
            ((numbers, vectors), "numeric in"),
        ):
            found = judge(*pair)
            assert (found.verdict, kinds in str(found.reason)) == ("drift", True)

    def test_vectors_that_are_not_known_by_dimension_have_no_verdict(self) -> None:
        """Rolled up by an earlier version, on either side: not called missing, nor drift; by the norm they can be compared."""
        then = profile(draw(500, 4))
        now = profile(draw(500, 4, seed=2) + 9, then)
        for pair in ((replace(then, lengths=()), now), (then, replace(now, lengths=(LengthProfile(4, 100),)))):
            found = judge(*pair)
            assert (found.verdict, found.statistic) == ("no_verdict", None)
            assert "by dimension" in str(found.reason)
            assert judge(*pair, FeatureDriftConfig(method="wasserstein")).verdict == "drift"


def one_source(rng: np.random.Generator, rows: int) -> Floats:
    """All dimensions are one number."""
    return np.repeat(rng.normal(size=(rows, 1)), 64, axis=1)


def sparse(rng: np.random.Generator, rows: int) -> Floats:
    """Mostly 0: counts of words."""
    return rng.poisson(np.geomspace(1e-3, 1, 64), (rows, 64)).astype(float)


QUIET: dict[str, tuple[Make, tuple[int, int]]] = {
    "independent": (lambda rng, rows: rng.normal(size=(rows, 64)), (3_000, 150)),
    "one number 64 times": (one_source, (3_000, 150)),
    "a few factors": (lambda rng, rows: rng.normal(size=(rows, 3)) @ rng.normal(size=(3, 32)), (400, 400)),
    "sparse": (sparse, (1_000, 120)),
    "skewed": (lambda rng, rows: rng.lognormal(0, 1, (rows, 64)), (2_000, 200)),
    "heavy tails": (lambda rng, rows: rng.standard_t(3, (rows, 64)), (500, 500)),
    "one element": (lambda rng, rows: rng.normal(size=(rows, 1)), (1_000, 100)),
}


class TestChance:
    """The p-value of the distance of two centroids."""

    @pytest.mark.parametrize("source", QUIET)
    def test_without_drift_small_p_values_are_rare(self, source: str) -> None:
        """200 pairs of one source, whatever its dimensions have to do with each other: p < 0.05 in at most one in twenty or so, and
        never p < 1e-4; where dimensions are one, or there is one, it is not blunt either."""
        make, rows = QUIET[source]
        rng = np.random.default_rng(41)
        found = []
        for _ in range(200):
            if source == "a few factors":
                both = make(rng, sum(rows))
                reference, current = both[: rows[0]], both[rows[0] :]
            else:
                reference, current = make(rng, rows[0]), make(rng, rows[1])
            found.append(p_value(means(reference, current)))
        assert sum(p < 0.05 for p in found) <= 22  # 10 are expected at most; 22 is 4 deviations more
        assert min(found) > 1e-4
        if source in ("one number 64 times", "one element"):
            assert min(found) < 0.2

    def test_the_bound_on_all_dimensions_together_is_one(self) -> None:
        """Against weighted sums of squares of normal numbers with the same total: from 1.5366 on, none is more probable."""
        rng = np.random.default_rng(7)
        squares = rng.chisquare(1, (200_000, 8))
        for weights in (np.ones(8) / 8, np.array([0.6, 0.4, 0, 0, 0, 0, 0, 0]), 0.5 ** np.arange(1, 9)):
            drawn = squares @ (weights / weights.sum())
            for point in (1.54, 2.0, 4.0, 8.0):
                assert (drawn >= point).mean() <= chi2.sf(point, 1) + 3e-3

    def test_one_element_is_a_t_test(self) -> None:
        """Never smaller than SciPy's, and near it: it counts on the degrees of freedom of the smaller side."""
        rng = np.random.default_rng(8)
        for shift in (0.05, 0.1, 0.2):
            x, y = rng.normal(0, 1, (900, 1)), rng.normal(shift, 1, (700, 1))
            expected = float(ttest_ind(x[:, 0], y[:, 0]).pvalue)
            found = p_value(means(x, y))
            assert expected <= found <= min(1.0, 4 * expected)

    def test_a_shift_in_all_dimensions_is_beyond_chance_with_few_rows(self) -> None:
        """Half a spread, 200 rows, in 64 and in 768 dimensions."""
        for dimensions in (64, 768):
            v, w = draw(3_000, dimensions), draw(200, dimensions, seed=2) + 0.5
            assert p_value(means(v, w)) < 1e-9

    def test_quiet_vectors_give_no_alarms(self) -> None:
        """60 features of 64 dimensions, 100 rows a day, among them sparse and correlated ones: not one false alarm at defaults."""
        rng = np.random.default_rng(9)
        makes = [make for name, (make, _) in QUIET.items() if name != "a few factors"]
        found = []
        for at in range(60):
            then = profile(makes[at % len(makes)](rng, 1_500))
            found.append(compare(then, profile(makes[at % len(makes)](rng, 100), then)))
        settle(found)
        assert sum(one.statistic is not None and one.statistic >= one.threshold for one in found) >= 20
        assert not [one for one in found if one.verdict == "drift"]

    def test_the_verdict_knows_the_p_value_of_the_method(self) -> None:
        """Without draws, and not below what is said at all."""
        found = judged(draw(3_000), draw(400, seed=2) + 0.3)
        [finding] = found.findings
        assert finding.p_value >= LEAST
        assert METHODS["centroid"].p_value is p_value


def serve(flywheel: Flywheel, day: int, vectors: Any, **common: Any) -> None:
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{day}-{i}",
            "features": {"v": vector, "x": float(i % 7)},
            "at": START + day * DAY + i * (DAY / len(vectors)),
            **common,
        }
        for i, vector in enumerate(vectors)
    )


def train(flywheel: Flywheel, folder: Path, vectors: Floats) -> None:
    table = pa.table({"v": list(vectors), "x": np.arange(len(vectors)) % 7.0})
    pq.write_table(table, folder / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, folder / "training.parquet")


def row_of(answer: dict[str, Any], name: str = "v") -> dict[str, Any]:
    return next(one for one in answer["features"] if one["feature"] == name)


class TestAnswers:
    """Through the roll-up, as the API answers."""

    def test_a_rotation_is_seen_day_by_day_and_verified(self, flywheel: Flywheel, tmp_path: Path) -> None:
        """Against a reference: the verdict, every day, the dimensions that moved, the norm that did not, and all rows."""
        rng = np.random.default_rng(1)
        training, quiet, turned = (rng.normal(0.5, 1, (rows, 8)) for rows in (2_000, 300, 400))
        turned = turned @ rotation(8)
        train(flywheel, tmp_path, training)
        serve(flywheel, 0, quiet.tolist())
        serve(flywheel, 1, turned.tolist())
        flywheel.roll()
        answer = flywheel.monitor.drift(flywheel.model, Asked(), exact=True)
        row = row_of(answer)
        assert (row["kind"], row["method"], row["threshold"], row["verdict"]) == ("vector", "centroid", 0.1, "drift")
        assert (row["rows_reference"], row["rows_current"]) == (2_000, 400)
        exact = OF_VECTORS["centroid"](training, turned)
        assert row["statistic"] == pytest.approx(exact, rel=1e-12)
        assert row["exact"]["statistic"] == pytest.approx(exact, rel=1e-12)
        assert (row["exact"]["rows_reference"], row["exact"]["rows_current"]) == (2_000, 400)
        assert (row_of(answer, "x")["verdict"], answer["drifted"]) == ("ok", 1)
        found = flywheel.monitor.feature(flywheel.model, "v", Asked())
        assert [day["verdict"] for day in found["windows"]] == ["ok", "drift"]
        assert found["windows"][0]["statistic"] == pytest.approx(OF_VECTORS["centroid"](training, quiet), rel=1e-12)
        vector, norm = found["vector"], found["norm"]
        assert vector["lengths"]["current"] == [{"length": 8, "rows": 400, "finite": 400}]
        assert (vector["length"], vector["dimensions"]) == (8, 8)
        assert vector["rows"] == {"reference": 2_000, "current": 400}
        means = training.mean(axis=0), turned.mean(axis=0)
        cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
        assert vector["cosine"] == pytest.approx(cosine, rel=1e-12)
        shifts = (means[1] - means[0]) / training.std(axis=0)
        assert [one["dimension"] for one in vector["moved"]] == np.argsort(-np.abs(shifts)).tolist()
        for one in vector["moved"]:
            assert one["shift"] == pytest.approx(shifts[one["dimension"]], rel=1e-12)
            assert one["std_current"] == pytest.approx(turned.std(axis=0)[one["dimension"]], rel=1e-12)
        assert (norm["method"], norm["verdict"]) == ("wasserstein", "ok")
        norms = [np.linalg.norm(side, axis=1) for side in (training, turned)]
        assert norm["statistic"] == pytest.approx(wasserstein(*norms), abs=1e-3)
        assert sum(share for _, _, share in found["histogram"]["current"]) == pytest.approx(1)

    def test_another_spread_about_the_same_centroid_is_seen_by_the_norm_alone(
        self, flywheel: Flywheel, tmp_path: Path
    ) -> None:
        """The limit of the method, and what is there for it."""
        train(flywheel, tmp_path, draw(2_000, 6))
        serve(flywheel, 0, (2 * draw(2_000, 6, seed=2)).tolist())
        flywheel.roll()
        found = flywheel.monitor.feature(flywheel.model, "v", Asked())
        assert (found["verdict"], found["norm"]["verdict"]) == ("ok", "drift")
        flywheel.configure(drift={"features": {"v": {"method": "wasserstein"}}})
        row = row_of(flywheel.monitor.drift(flywheel.model, Asked(), exact=True))
        assert (row["method"], row["verdict"]) == ("wasserstein", "drift")
        assert abs(row["exact"]["difference"]) < 1e-3

    def test_an_earlier_window_is_a_baseline_too(self, flywheel: Flywheel) -> None:
        """Without a reference: yesterday against today, of one version, verified on the rows."""
        first, second = draw(300, 5), draw(200, 5, seed=2) + 1
        serve(flywheel, 0, first.tolist())
        serve(flywheel, 1, second.tolist())
        flywheel.roll()
        row = row_of(flywheel.monitor.drift(flywheel.model, Asked(baseline="previous", version="1"), exact=True))
        assert row["verdict"] == "drift"
        assert row["statistic"] == pytest.approx(OF_VECTORS["centroid"](first, second), rel=1e-12)
        assert row["exact"]["statistic"] == pytest.approx(row["statistic"], rel=1e-12)

    def test_lengths_and_types_that_change_are_told(self, flywheel: Flywheel, tmp_path: Path) -> None:
        """Another encoder on the first day, some vectors cut short on the second, numbers on the third: no failure."""
        train(flywheel, tmp_path, draw(1_000, 6))
        serve(flywheel, 0, draw(300, 4).tolist())
        serve(flywheel, 1, [*draw(300, 6, seed=3).tolist(), *draw(100, 3).tolist()])
        serve(flywheel, 2, [1.0] * 300)
        flywheel.roll()
        found = flywheel.monitor.feature(flywheel.model, "v", Asked())
        assert [day["verdict"] for day in found["windows"]] == ["drift"] * 3
        reasons = [day["reason"] for day in found["windows"]]
        assert "the length changed: 6 in the reference, 4 in the window" in reasons[0]
        assert reasons[1] == "vectors of another length than 6: 0.00% -> 25.00%"
        assert "the type changed: vector in the reference, numeric in the window" in reasons[2]
        assert found["vector"]["lengths"]["current"] == []
        assert (found["vector"]["moved"], found["vector"]["length"]) == ([], None)
        cut = flywheel.monitor.feature(flywheel.model, "v", Asked(end=START + 2 * DAY), exact=True)
        assert [one["length"] for one in cut["vector"]["lengths"]["current"]] == [6, 3]
        assert cut["exact"]["statistic"] == pytest.approx(cut["statistic"], rel=1e-12)

    def test_numbers_that_become_vectors_are_told(self, flywheel: Flywheel) -> None:
        """A column may change its kind; its verdict says so."""
        serve(flywheel, 0, [1.0] * 200)
        serve(flywheel, 1, draw(200, 3).tolist())
        flywheel.roll()
        row = row_of(flywheel.monitor.drift(flywheel.model, Asked(baseline="previous"), exact=True))
        assert (row["kind"], row["verdict"], row["statistic"]) == ("numeric", "drift", None)
        assert "the type changed: numeric in the reference, vector in the window" in row["reason"]
        assert "vector" not in flywheel.monitor.feature(flywheel.model, "v", Asked(baseline="previous"))

    def test_verdicts_on_vectors_are_kept_and_late_rows_judged_again(self, flywheel: Flywheel, tmp_path: Path) -> None:
        """Method, threshold, statistic and the rows of the usual length; late vectors give a second verdict."""
        flywheel.clock.set(START + DAY + HOUR)
        train(flywheel, tmp_path, draw(1_000, 4))
        serve(flywheel, 0, draw(200, 4, seed=2).tolist())
        flywheel.roll()
        flywheel.monitor.give_verdicts(flywheel.model)
        flywheel.clock.set(START + DAY + 2 * HOUR)
        late = (draw(400, 4, seed=3) + 1).tolist()
        flywheel.serve(
            {"request_id": f"{flywheel.model}-late-{i}", "features": {"v": v, "x": 1.0}, "at": START + HOUR}
            for i, v in enumerate(late)
        )
        flywheel.roll()
        flywheel.monitor.give_verdicts(flywheel.model)
        kept = flywheel.monitor.verdicts(flywheel.model, AskedKept(feature="v", history=True))
        assert [(one["method"], one["verdict"], one["rows_current"]) for one in kept] == [
            ("centroid", "drift", 600),
            ("centroid", "ok", 200),
        ]
        assert {one["kind"] for one in kept} == {"vector"}
