"""The paired comparison of two models, against brute force, against the bootstrap, and against its own promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from upshot_server.demo.comparison import Comparison, compare

Columns = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]


def two_models(seed: int, rows: int = 400, gain: float = 0.3, digits: int = 2) -> Columns:
    """Correlated scores, rounded so that there are ties; the second knows more by ``gain``."""
    random = np.random.default_rng(seed)
    late = random.random(rows) < 0.3
    shared = late * 0.8 + random.normal(size=rows)
    first = shared + random.normal(size=rows)
    second = shared + late * gain + random.normal(size=rows)
    return late, first.round(digits), second.round(digits)


def test_the_intervals_equal_the_definition_pair_by_pair() -> None:
    """DeLong's components, from all pairs of a late and a punctual flight; a tie counts half."""
    late, first, second = two_models(1, rows=120, digits=1)
    wins = [np.sign(column[late][:, None] - column[~late][None, :]) / 2 + 0.5 for column in (first, second)]
    of_late, of_punctual = ([won.mean(axis=axis) for won in wins] for axis in (1, 0))
    covariance = np.cov(of_late) / late.sum() + np.cov(of_punctual) / (~late).sum()
    found = compare(late, first, second)
    assert [found.first.value, found.second.value] == pytest.approx([won.mean() for won in wins])
    half = 1.959964 * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (found.difference.high - found.difference.low) / 2 == pytest.approx(half)
    assert (found.first.high - found.first.low) / 2 == pytest.approx(1.959964 * np.sqrt(covariance[0, 0]))


def test_the_interval_agrees_with_the_paired_bootstrap() -> None:
    late, first, second = two_models(2, rows=600)
    found = compare(late, first, second)
    random = np.random.default_rng(3)
    differences = []
    for _ in range(800):
        rows = random.integers(0, len(late), len(late))
        differences.append(roc_auc_score(late[rows], second[rows]) - roc_auc_score(late[rows], first[rows]))
    low, high = np.quantile(differences, [0.025, 0.975])
    width = found.difference.high - found.difference.low
    assert found.difference.low == pytest.approx(low, abs=0.15 * width)
    assert found.difference.high == pytest.approx(high, abs=0.15 * width)


def test_ninety_five_in_a_hundred_intervals_cover_the_truth() -> None:
    """Two equally good models, 400 times: the interval of the difference misses 0 in 2 to 8 of 100."""
    found = [compare(*two_models(seed, rows=250, gain=0.0)).difference for seed in range(400)]
    misses = sum(1 for estimate in found if estimate.low > 0 or estimate.high < 0)
    assert 0.02 * 400 <= misses <= 0.08 * 400


def test_pairing_makes_the_interval_narrower_than_two_separate_ones() -> None:
    found = compare(*two_models(4))
    separate = np.hypot(found.first.high - found.first.low, found.second.high - found.second.low)
    assert found.difference.high - found.difference.low < 0.9 * separate


def test_the_same_scores_twice_differ_by_exactly_nothing() -> None:
    late, first, _ = two_models(5)
    found = compare(late, first, first)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "undecided"


@pytest.mark.parametrize(("gain", "verdict"), [(1.5, "better"), (0.0, "undecided"), (-1.5, "worse")])
def test_the_verdict_says_whether_the_second_is_better(gain: float, verdict: str) -> None:
    assert compare(*two_models(6, gain=gain)).verdict == verdict


def test_a_perfect_model_stays_within_what_an_auc_can_be() -> None:
    late = np.arange(40) < 10
    found: Comparison = compare(late, late.astype(float), 1.0 - late)
    assert (found.first.value, found.first.high, found.second.value, found.second.low) == (1.0, 1.0, 0.0, 0.0)
    assert (found.rows, found.positives) == (40, 10)


def test_without_two_rows_of_each_class_there_is_no_answer() -> None:
    with pytest.raises(ValueError, match="two rows of each class, there are 1 and 3"):
        compare([1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
