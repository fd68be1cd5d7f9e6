"""The two methods on arrays: against scikit-learn, on a change that no single feature shows, and where nothing drifts."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from tests.monitoring.multivariate_worlds import correlated, long_tailed, normals, quiet, tied
from upshot_monitoring.drift.verdict import judge as judge_feature
from upshot_monitoring.multivariate.groups import fewest, variance_of_difference
from upshot_monitoring.multivariate.judged import judge
from upshot_monitoring.multivariate.learner import TREES
from upshot_monitoring.multivariate.methods import domain_classifier as dc
from upshot_monitoring.multivariate.methods import pca_reconstruction as pca
from upshot_monitoring.multivariate.question import THRESHOLDS
from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.profiles.from_values import profile_numbers, scale_of_values


def shifted(rows: int = 800) -> Sides:
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 4))
    current[:, 2] += 0.7
    reference[:, 3], current[:, 3] = rng.integers(0, 5, rows), rng.integers(0, 5, rows)
    current[::7, 1] = np.nan
    return Sides.of(reference, current, classes=[3])


@pytest.mark.parametrize("module", [dc, pca])
def test_the_examples_of_the_methods_are_true(module: object) -> None:
    """What the docstring prints is what comes out."""
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0


def test_the_classifiers_number_is_that_of_scikit_learn() -> None:
    """The same folds, the same trees: the mean of its ROC AUC, to the last digit but three."""
    sides = shifted()
    folds, areas = dc.folds_of(sides), []
    for fold in range(dc.FOLDS):
        held = folds == fold
        trees = HistGradientBoostingClassifier(**TREES, categorical_features=[3], random_state=dc.SEED)
        trees.fit(sides.rows[~held], sides.is_current[~held])
        areas.append(roc_auc_score(sides.is_current[held], trees.predict_proba(sides.rows[held])[:, 1]))
    found = dc.domain_classifier(sides)
    assert found.folds == pytest.approx(areas, abs=1e-12)
    assert found.statistic == pytest.approx(np.mean(areas), abs=1e-12)
    assert found.importance[0][0] == "x2"


def test_the_reconstruction_error_is_that_of_scikit_learn() -> None:
    """StandardScaler and PCA(0.65) on the half that is learnt from; nothing is missing, so rows are taken as they are."""
    rng = np.random.default_rng(4)
    sides = Sides.of(correlated(8)(rng, 900), correlated(8)(rng, 700) * 1.1)
    learnt = pca.learnt_rows(sides)
    scaler = StandardScaler().fit(sides.rows[learnt])
    model = PCA(0.65, svd_solver="full").fit(scaler.transform(sides.rows[learnt]))
    standard = scaler.transform(sides.rows)
    errors = np.linalg.norm(standard - model.inverse_transform(model.transform(standard)), axis=1)
    found = pca.pca_reconstruction(sides)
    assert found.components == model.n_components_
    assert found.error_reference == pytest.approx(errors[~sides.is_current & ~learnt].mean(), rel=1e-9)
    assert found.error_current == pytest.approx(errors[sides.is_current].mean(), rel=1e-9)
    assert found.change == pytest.approx(found.error_current / found.error_reference - 1)


@pytest.mark.parametrize(("then", "now", "sign"), [(0.9, 0.0, 1), (0.0, 0.9, -1)])
def test_a_changed_correlation_is_seen_where_no_feature_shows_it(then: float, now: float, sign: int) -> None:
    """Two standard normals: every univariate method says ok of both; both multivariate methods say drift, either way round."""
    rng = np.random.default_rng(11)
    reference, current = normals(then)(rng, 2000), normals(now)(rng, 2000)
    for i in range(2):
        scale = scale_of_values(reference[:, i])
        profiles = (profile_numbers(side[:, i], scale) for side in (reference, current))
        univariate = judge_feature(*profiles)
        assert univariate.verdict == "ok", univariate
        assert all(value < 0.1 for value in univariate.statistics.values())
    sides = Sides.of(reference, current)
    told, again = dc.domain_classifier(sides), pca.pca_reconstruction(sides)
    found = {
        "domain_classifier": {"statistic": told.statistic, "p_value": told.p_value},
        "pca_reconstruction": {"statistic": again.statistic, "p_value": again.p_value},
    }
    assert [one["verdict"] for one in judge(found, THRESHOLDS, 0.01)] == ["drift", "drift"]
    assert told.statistic > 0.7
    assert {name for name, _ in told.importance} == {"x0", "x1"}
    assert np.sign(again.change) == sign


def test_the_classifier_cries_wolf_no_more_often_than_its_p_value_says() -> None:
    """Small samples without drift, correlated or full of ties: p <= 0.1 in about a tenth of 16 rounds.

    More than 5 are at or below 0.1 with a probability of 3 in 1,000. The large simulation is tests/bench/multivariate.py.
    """
    worlds = (tied(3), correlated(5))
    found = np.array([dc.domain_classifier(quiet(worlds[i % 2], 100, 140, i)).p_value for i in range(16)])
    assert (found <= 0.1).sum() <= 5
    assert (found <= 0.01).sum() <= 2
    assert found.max() > 0.3


@pytest.mark.parametrize(("reference", "current"), [(100, 100), (120, 600), (600, 120)])
def test_the_reconstruction_error_cries_wolf_no_more_often_than_its_p_value_says(reference: int, current: int) -> None:
    """Errors with long tails, and one side with a few rows: p <= 0.05 in at most 11 of 100 rounds (1 in 100 has more)."""
    found = np.array([pca.pca_reconstruction(quiet(long_tailed(4), reference, current, i)).p_value for i in range(100)])
    assert (found <= 0.05).sum() <= 11
    assert (found <= 0.01).sum() <= 4
    assert found.max() > 0.5


def test_rows_of_one_group_are_not_taken_for_independent() -> None:
    """Thirty users with forty equal rows each, on either side, drawn from one world: told apart by rows, not by users."""
    rng = np.random.default_rng(5)
    users = rng.normal(size=(60, 4))
    rows = np.repeat(users, 40, axis=0) + 0.01 * rng.normal(size=(2400, 4))
    groups = np.repeat(np.arange(60), 40)
    by_row = Sides.of(rows[:1200], rows[1200:])
    by_user = Sides.of(rows[:1200], rows[1200:], groups=(groups[:1200], groups[1200:]))
    assert dc.domain_classifier(by_row).p_value < 1e-6
    assert dc.domain_classifier(by_user).p_value > 0.01
    assert pca.pca_reconstruction(by_user).p_value > 0.01
    folds = dc.folds_of(by_user)
    assert all(len(set(folds[groups == user])) == 1 for user in range(60))
    assert fewest(by_user.groups, by_user.is_current) == 30


def test_the_variance_of_groups_of_one_is_that_of_a_difference_of_means() -> None:
    """Against the textbook: var / n + var / m."""
    rng = np.random.default_rng(6)
    values, is_current = rng.normal(size=500), np.arange(500) >= 200
    centres = np.where(is_current, values[is_current].mean(), values[~is_current].mean())
    wanted = values[:200].var() / 200 + values[200:].var() / 300
    assert variance_of_difference(values, centres, np.arange(500), is_current) == pytest.approx(wanted, rel=0.01)


def test_the_same_sides_give_the_same_numbers() -> None:
    """Twice, all of it."""
    sides = shifted(160)
    assert dc.domain_classifier(sides) == dc.domain_classifier(sides)
    assert pca.pca_reconstruction(sides) == pca.pca_reconstruction(sides)


def test_what_cannot_be_reconstructed_says_so_and_far_values_do_not_hide_the_rest() -> None:
    """One column has nothing to be reconstructed from; a single 1e150 in the reference leaves the changed correlation visible."""
    rng = np.random.default_rng(8)
    with pytest.raises(pca.NothingToReconstruct):
        pca.pca_reconstruction(Sides.of(rng.normal(size=(200, 1)), rng.normal(size=(200, 1))))
    reference, current = normals(0.9)(rng, 1000), normals(0.0)(rng, 1000)
    reference[3, 0] = 1e150
    found = pca.pca_reconstruction(Sides.of(reference, current))
    assert found.change > 1
    assert found.p_value < 1e-6


@pytest.mark.parametrize(
    ("statistics", "p_values", "verdicts"),
    [
        ((0.7, 0.2), (1e-9, 1e-9), ["drift", "drift"]),
        ((0.54, 0.019), (1e-9, 1e-9), ["ok", "ok"]),
        ((0.60, 0.0), (0.2, 0.9), ["no_verdict", "ok"]),
        ((0.60, 0.0), (0.004, 0.9), ["no_verdict", "ok"]),
        ((0.60, 0.0), (0.003, 0.9), ["drift", "ok"]),
        ((0.60, 0.1), (0.006, 0.006), ["drift", "drift"]),
    ],
)
def test_both_methods_of_a_window_are_judged_together(
    statistics: tuple[float, float], p_values: tuple[float, float], verdicts: list[str]
) -> None:
    """At 0.01 one of two needs 0.01 / (2 x 1.5), both need 0.01 / 1.5; what is below its threshold is no finding."""
    found = {
        name: {"statistic": statistic, "p_value": p_value}
        for name, statistic, p_value in zip(THRESHOLDS, statistics, p_values, strict=True)
    }
    judged = judge(found, THRESHOLDS, 0.01)
    assert [one["verdict"] for one in judged] == verdicts
    assert all(("may be chance" in (one["reason"] or "")) == (one["verdict"] == "no_verdict") for one in judged)
