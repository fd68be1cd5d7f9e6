"""Verdicts: what is said about one feature, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import hypergeom

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.registry import METHODS
from upshot_monitoring.drift.verdict import compare, judge, settle
from upshot_monitoring.profiles.from_values import profile_classes, profile_numbers, scale_of_values
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.scales import Scale

RNG = np.random.default_rng(11)
X = RNG.normal(0, 1, 5000)
SCALE = scale_of_values(X)
NUMBERS = profile_numbers(X, SCALE)
CLASSES = profile_classes(list(RNG.choice(list("abc"), 5000, p=[0.6, 0.3, 0.1])))
BOOLS = replace(profile_classes(["true"] * 300 + ["false"] * 300), strs=0, bools=600)


def numbers(values: object) -> Profile:
    return profile_numbers(values, SCALE)


def test_the_default_method_follows_the_type() -> None:
    """Numbers by Wasserstein, classes and bools by Jensen-Shannon; with 100 rows as with 5,000."""
    for rows in (100, 1000, 1001, 5000):
        assert judge(numbers(X[:rows]), numbers(X[:rows])).method == "wasserstein"
    assert judge(CLASSES, CLASSES).method == "jensen_shannon"
    found = judge(BOOLS, BOOLS)
    assert (found.kind, found.method, found.verdict, found.statistic) == ("bool", "jensen_shannon", "ok", 0)


def test_a_shift_is_drift_and_all_statistics_are_given() -> None:
    """The verdict rests on the pinned method; the others are there to look at."""
    found = judge(NUMBERS, numbers(X + 0.5))
    assert (found.verdict, found.reason, found.threshold) == ("drift", None, 0.1)
    assert found.statistic == pytest.approx(0.5, abs=0.02)
    assert set(found.statistics) == {name for name, method in METHODS.items() if "numeric" in method.kinds}


def test_method_and_threshold_can_be_configured() -> None:
    """A configured method counts; one that does not apply is named as such and not used."""
    found = judge(NUMBERS, numbers(X + 0.5), FeatureDriftConfig(method="ks", threshold=0.4))
    assert (found.method, found.threshold, found.verdict) == ("ks", 0.4, "ok")
    assert "does not apply" in str(judge(NUMBERS, NUMBERS, FeatureDriftConfig(method="l_infinity")).reason)
    assert "not known" in str(judge(NUMBERS, NUMBERS, FeatureDriftConfig(method="vibes")).reason)


@pytest.mark.parametrize(
    ("reference", "current", "verdict", "reason"),
    [
        (None, NUMBERS, "no_verdict", "new: not in the reference"),
        (NUMBERS, None, "drift", "missing: in the reference, but not served"),
        (NUMBERS, Profile(rows=500, absents=500), "drift", "missing: in the reference, but not served"),
        (NUMBERS, numbers(X[:99]), "no_verdict", "too few rows: 5000 in the reference, 99 in the window, 100 needed"),
        (numbers(X[:50]), NUMBERS, "no_verdict", "too few rows"),
        (NUMBERS, Profile(rows=500, nulls=500), "drift", "missing values 0% -> 100%; no values on the window"),
        (Profile(rows=500, nulls=500), Profile(rows=300, nulls=300), "no_verdict", "no values on either side"),
        (Profile(rows=500, nulls=500), NUMBERS, "drift", "missing values 100% -> 0%"),
        (NUMBERS, CLASSES, "drift", "the type changed: numeric in the reference, categorical in the window"),
        (NUMBERS, replace(numbers(X[:200]), rows=5000, nulls=4800), "drift", "missing values 0% -> 96.00%"),
        (NUMBERS, replace(numbers(X[:1000]), rows=1100, infs=100), "drift", "infinite values 0% -> 9.09%"),
        (numbers([7.0] * 200), numbers([7.0] * 300), "ok", "constant on both sides"),
        (numbers([7.0] * 200), numbers([8.0] * 300), "drift", "constant in the reference, not any more"),
        (numbers([7.0] * 200), NUMBERS, "drift", "constant in the reference"),
        (NUMBERS, numbers([0.0] * 300), "drift", None),
        (CLASSES, profile_classes(["new"] * 300), "drift", None),
        (NUMBERS, replace(NUMBERS, scale=Scale(1.0, 2.0, 3)), "no_verdict", "rolled up again"),
    ],
)
def test_a_broken_column_is_one_honest_answer(
    reference: Profile | None, current: Profile | None, verdict: str, reason: str | None
) -> None:
    """Whatever a column looks like, there is a verdict or a reason why not."""
    found = judge(reference, current)
    assert found.verdict == verdict
    assert (reason is None and found.reason is None) or (reason is not None and reason in str(found.reason))


def test_a_small_change_of_missing_values_is_no_finding() -> None:
    """2 % to 5 % in 200 rows can be chance; 2 % to 40 % is not."""
    then = replace(NUMBERS, rows=5100, nulls=100)
    now = numbers(X[:200])
    assert judge(then, replace(now, rows=210, nulls=10)).verdict == "ok"
    assert judge(then, replace(now, rows=330, nulls=130)).verdict == "drift"


def test_what_chance_explains_is_no_verdict() -> None:
    """A distance above the threshold that 150 rows of the same source reach is not called drift."""
    reference = profile_classes([str(v) for v in RNG.integers(0, 100, 20_000)])
    found = judge(reference, profile_classes([str(v) for v in RNG.integers(0, 100, 150)]))
    assert found.statistic is not None
    assert found.statistic > 0.1
    assert found.verdict == "no_verdict"
    assert "chance" in str(found.reason)


def test_quiet_features_give_no_alarms() -> None:
    """400 features without drift, 150 rows a day, half of the values missing: not one false alarm at defaults."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(400):
        x, y = (np.where(rng.random(n) < 0.5, np.nan, rng.normal(0, 1, n)) for n in (6000, 300))
        scale = scale_of_values(x)
        found.append(compare(profile_numbers(x, scale), profile_numbers(y, scale)))
    settle(found)
    assert sum(one.statistic is not None and one.statistic >= one.threshold for one in found) > 100
    assert sum(one.verdict == "no_verdict" for one in found) > 100
    assert not [one for one in found if one.verdict == "drift"]


def test_more_columns_need_more_evidence() -> None:
    """The same difference is drift alone, and may be chance among twenty."""
    reference = numbers(X)
    now = numbers(np.random.default_rng(8).normal(0.4, 1, 160))
    alone, among = compare(reference, now), compare(reference, now)
    settle([alone])
    settle([among, *(compare(reference, reference) for _ in range(19))])
    assert alone.verdict == "drift"
    assert among.verdict == "no_verdict"
    assert "among 20 columns" in str(among.reason)
    assert among.p_value == alone.p_value
    assert alone.adjusted_p_value == alone.p_value
    assert among.adjusted_p_value == pytest.approx(alone.p_value * 20 * 3.5977, rel=1e-3)


def test_many_drifts_make_each_other_credible() -> None:
    """What is chance as the only finding among 40 is drift as one of twenty."""
    reference = numbers(X)
    weak = [numbers(np.random.default_rng(seed).normal(0.45, 1, 150)) for seed in range(20)]
    quiet = numbers(X[:150])
    together = [compare(reference, one) for one in weak] + [compare(reference, quiet) for _ in range(20)]
    settle(together)
    singly = []
    for one in weak:
        found = compare(reference, one)
        settle([found], family=40)
        singly.append(found)
    assert sum(one.verdict == "drift" for one in together) > sum(one.verdict == "drift" for one in singly)


def test_a_test_needs_an_effect() -> None:
    """Chi-square: a change of one point in a hundred is beyond all chance with a million rows, and no drift."""
    config = FeatureDriftConfig(method="chi_square")

    def mix(share: float, rows: int) -> Profile:
        return replace(
            profile_classes(["a", "b"]), rows=rows, strs=rows, value_counts=np.array([share, 1 - share]) * rows
        )

    small = judge(mix(0.50, 1_000_000), mix(0.51, 1_000_000), config)
    assert small.statistic is not None
    assert small.statistic < 1e-9
    assert (small.verdict, "too small a change" in str(small.reason)) == ("ok", True)
    large = judge(mix(0.50, 1_000_000), mix(0.56, 1_000_000), config)
    assert (large.method, large.verdict) == ("chi_square", "drift")
    few = judge(mix(0.50, 1_000), mix(0.56, 150), config)
    assert few.verdict == "ok"
    assert few.p_value == 1


def test_rare_missing_values_and_few_rows_are_judged_exactly() -> None:
    """1 % missing then, 7 in 107 rows now: a normal approximation would be sure, the hypergeometric distribution is not."""
    found = judge(replace(NUMBERS, rows=5050, nulls=50), replace(numbers(X[:100]), rows=107, nulls=7))
    tail = float(hypergeom.sf(6, 5157, 57, 107))
    assert found.p_value == pytest.approx(2 * 2 * tail, rel=1e-6)
    assert 1e-6 < tail < 1e-3


def test_the_worst_comes_first() -> None:
    """Drift before no verdict before ok; the further beyond its threshold, the earlier; missing before all."""
    found = [
        judge(NUMBERS, NUMBERS),
        judge(None, NUMBERS),
        judge(NUMBERS, numbers(X + 0.2)),
        judge(NUMBERS, numbers(X + 2)),
        judge(NUMBERS, None),
    ]
    assert sorted(found, key=lambda one: one.severity) == [found[i] for i in (4, 3, 2, 1, 0)]
