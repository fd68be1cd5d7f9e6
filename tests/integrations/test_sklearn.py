"""`upshot.integrations.sklearn` around real estimators."""

from __future__ import annotations

import asyncio
import copy
import io
import logging
import pickle
import threading
import warnings
from functools import cache
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.validation import check_is_fitted

import upshot
import upshot.testing
from upshot.capture.request_id import RequestIds, current_request
from upshot.integrations.rows import features_of
from upshot.integrations.sklearn import LoggedEstimator, collect_request_ids

IRIS = load_iris(as_frame=True)
X, Y = IRIS.data, IRIS.target
NAMES = list(X.columns)
BINARY = Y == 1


@cache
def on_iris() -> LogisticRegression:
    """Fitted once; no test changes it."""
    return LogisticRegression(max_iter=500).fit(X, Y)


def logged_by(logger: upshot.Logger, collector: Any) -> list[Any]:
    """What has arrived."""
    assert logger.flush(10)
    return collector.predictions


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("target", [BINARY, Y, IRIS.target_names[Y]], ids=["bool", "int", "text"])
def test_it_answers_exactly_what_the_estimator_answers(logger, method, target):
    fitted = LogisticRegression(max_iter=500).fit(X, target)
    plain, wrapped = (getattr(estimator, method)(X) for estimator in (fitted, LoggedEstimator(fitted, logger=logger)))
    assert type(plain) is type(wrapped)
    assert plain.dtype == wrapped.dtype
    assert np.array_equal(plain, wrapped)


def test_predict_logs_the_class_of_each_row_with_its_features(logger, collector):
    fitted = LogisticRegression(max_iter=500).fit(X, IRIS.target_names[Y])
    model = LoggedEstimator(fitted, model="iris", model_version="7", logger=logger)
    predicted = model.predict(X)
    events = logged_by(logger, collector)
    assert [p.prediction for p in events] == predicted.tolist()
    assert [p.features for p in events] == X.to_dict("records")
    assert {(p.model, p.model_version, p.probabilities is None, p.item_id) for p in events} == {("iris", "7", True, "")}
    assert len({p.request_id for p in events}) == len(X)


@pytest.mark.parametrize(
    ("target", "classes"), [(Y, ["0", "1", "2"]), (BINARY, ["false", "true"])], ids=["int", "bool"]
)
def test_predict_proba_logs_every_class_and_the_most_probable_one(logger, collector, target, classes):
    fitted = LogisticRegression(max_iter=500).fit(X, target)
    probabilities = LoggedEstimator(fitted, logger=logger).predict_proba(X)
    events = logged_by(logger, collector)
    assert [p.probabilities for p in events] == [dict(zip(classes, row, strict=True)) for row in probabilities.tolist()]
    assert [p.prediction for p in events] == fitted.predict(X).tolist()
    assert type(events[0].prediction) is (bool if target is BINARY else int)


def test_decision_function_logs_the_score_or_the_class_of_the_highest(logger, collector):
    two, three, outliers = (
        LinearSVC().fit(X, BINARY),
        LinearSVC().fit(X, Y),
        IsolationForest(n_estimators=5, random_state=1).fit(X),
    )
    for version, fitted in enumerate((two, three, outliers)):
        LoggedEstimator(fitted, model_version=str(version), logger=logger).decision_function(X)
    events = logged_by(logger, collector)
    by_version = [[p.prediction for p in events if p.model_version == str(version)] for version in range(3)]
    assert by_version == [
        two.decision_function(X).tolist(),
        three.predict(X).tolist(),
        outliers.decision_function(X).tolist(),
    ]


def test_one_against_one_scores_are_outputs_of_their_own(logger, collector):
    """Four classes, six pairs: no class has a score."""
    target = np.arange(len(X)) % 4
    fitted = SVC(decision_function_shape="ovo").fit(X, target)
    scores = LoggedEstimator(fitted, logger=logger).decision_function(X[:2])
    events = logged_by(logger, collector)
    assert [(p.item_id, p.prediction) for p in events] == [
        (str(n), s) for row in scores.tolist() for n, s in enumerate(row)
    ]


def test_a_regressor_and_what_it_returns_besides(logger, collector):
    y = X.iloc[:, 0] * 2
    line, process = LinearRegression().fit(X, y), GaussianProcessRegressor(optimizer=None).fit(X[:30], y[:30])
    assert LoggedEstimator(line, logger=logger).predict(X[:3]).tolist() == line.predict(X[:3]).tolist()
    mean, deviation = LoggedEstimator(process, logger=logger).predict(X[:3], return_std=True)
    assert len(deviation) == 3
    events = logged_by(logger, collector)
    assert [p.prediction for p in events] == [*line.predict(X[:3]).tolist(), *mean.tolist()]


MANY = np.column_stack([Y == 1, Y == 2, X.iloc[:, 0] > 5.8]).astype(int)
SCALED = StandardScaler().fit_transform(X)


@pytest.mark.parametrize(
    "estimator",
    [RandomForestClassifier(5, random_state=1), MultiOutputClassifier(LogisticRegression()), KNeighborsClassifier()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_several_outputs_are_items_of_one_request(logger, collector, estimator):
    """Each output has labels of its own, so it is a prediction of its own, under the same request ID."""
    fitted = estimator.fit(SCALED, MANY)
    classes = LoggedEstimator(fitted, model_version="c", logger=logger).predict(SCALED[:4])
    each = LoggedEstimator(fitted, model_version="p", logger=logger).predict_proba(SCALED[:4])
    events = logged_by(logger, collector)
    assert [p.prediction for p in events if p.model_version == "c"] == classes.ravel().tolist()
    proba = [p for p in events if p.model_version == "p"]
    assert [p.probabilities for p in proba] == [
        dict(zip(("0", "1"), each[n][row].tolist(), strict=True)) for row in range(4) for n in range(3)
    ]
    assert [p.item_id for p in proba] == ["0", "1", "2"] * 4
    assert len({p.request_id for p in proba}) == 4


@pytest.mark.parametrize(
    "estimator",
    [
        OneVsRestClassifier(LogisticRegression()),
        MLPClassifier(3, random_state=1, max_iter=5),
        ClassifierChain(LogisticRegression()),
        make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression())),
        GridSearchCV(OneVsRestClassifier(LogisticRegression()), {"estimator__C": [1.0]}, cv=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_probabilities_of_several_labels_are_no_distribution(logger, collector, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five iterations do not converge
        fitted = estimator.fit(SCALED, MANY)
    each = LoggedEstimator(fitted, logger=logger).predict_proba(SCALED[:4])
    events = logged_by(logger, collector)
    assert [(p.item_id, p.prediction) for p in events] == [
        (str(n), p) for row in each.tolist() for n, p in enumerate(row)
    ]
    assert {p.probabilities for p in events} == {None}


def test_a_single_class_is_a_class(logger, collector):
    fitted = RandomForestClassifier(2).fit(X, np.ones(len(X)))
    LoggedEstimator(fitted, logger=logger).predict_proba(X[:1])
    [event] = logged_by(logger, collector)
    assert (event.prediction, event.probabilities) == (1.0, {"1.0": 1.0})


# ---- names and values ------------------------------------------------------------------------------------------------


def test_names_come_from_the_argument_the_frame_or_the_fitting(logger, collector):
    on_frame, on_array = (
        LogisticRegression(max_iter=500).fit(X, Y),
        LogisticRegression(max_iter=500).fit(X.to_numpy(), Y),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn says that names are missing
        LoggedEstimator(on_frame, logger=logger, feature_names=["a", "b", "c", "d"]).predict(X[:1])
        LoggedEstimator(on_frame, logger=logger).predict(X[:1])
        LoggedEstimator(on_frame, logger=logger).predict(X[:1].to_numpy())
        LoggedEstimator(on_array, logger=logger).predict(X[:1].to_numpy())
        LoggedEstimator(on_array, logger=logger, feature_names=["too", "few"]).predict(X[:1].to_numpy())
    events = logged_by(logger, collector)
    assert [list(p.features) for p in events] == [
        list("abcd"),
        NAMES,
        NAMES,
        ["x0", "x1", "x2", "x3"],
        ["x0", "x1", "x2", "x3"],
    ]


def rows_of(table: Any, *names: Any) -> list[Any]:
    return [row["features"] for row in features_of(table, *names)]


def test_rows_of_tables_of_every_kind_keep_their_types():
    frame = pd.DataFrame({"i": [1, 2], "f": [0.5, float("inf")], "s": ["a", ""], "b": [True, False]})
    expected = [{"i": 1, "f": 0.5, "s": "a", "b": True}, {"i": 2, "f": float("inf"), "s": "", "b": False}]
    for table in (frame, pa.Table.from_pandas(frame), {name: frame[name].to_numpy() for name in frame}, expected):
        rows = rows_of(table)
        assert rows == expected
        assert [type(value) for value in rows[0].values()] == [int, float, str, bool]
    assert rows_of(frame.to_records(index=False)) == expected
    assert rows_of(np.array([[1.0, 2.0]], dtype="float32")) == [{"x0": 1.0, "x1": 2.0}]
    assert rows_of([[1, "a"], [2, "b"]]) == [{"x0": 1, "x1": "a"}, {"x0": 2, "x1": "b"}]
    assert rows_of(scipy.sparse.csc_matrix([[0, 3], [4, 0]])) == [{"x0": 0, "x1": 3}, {"x0": 4, "x1": 0}]
    assert rows_of(scipy.sparse.coo_array([[0, 3], [4, 0]])) == [{"x0": 0, "x1": 3}, {"x0": 4, "x1": 0}]
    assert rows_of(["a text", "another"]) == [{"x0": "a text"}, {"x0": "another"}]
    assert rows_of(pd.Series(["a text"], name="body")) == [{"body": "a text"}]
    assert rows_of({"a": 1, "b": "x"}) == [{"a": 1, "b": "x"}]
    assert rows_of(np.arange(8).reshape(2, 2, 2)) == [{"x0": [0, 1, 2, 3]}, {"x0": [4, 5, 6, 7]}]


def test_repeated_names_are_told_apart():
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "a", 5])
    assert rows_of(frame) == [{"a": 1, "a~2": 2, "5": 3}]


def test_null_nan_and_text_arrive_as_they_were_served(logger, collector):
    """In a pipeline that makes numbers of texts, the features are the texts."""
    texts = ["cheap pills", "dinner at eight", "", "cheap cheap"] * 3
    fitted = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0, 0, 1] * 3)
    LoggedEstimator(fitted, feature_names=["subject"], logger=logger).predict(["dinner", ""])
    assert [p.features for p in logged_by(logger, collector)] == [{"subject": "dinner"}, {"subject": ""}]

    class Constant:
        def predict(self, rows: Any) -> Any:
            return np.zeros(len(rows))

    frame = pd.DataFrame({"f": [np.nan, 1.5], "i": pd.array([None, 3], dtype="Int64"), "s": [None, "x"]})
    frame["c"] = frame["s"].astype("category")
    frame["o"] = pd.Series([float("nan"), None], dtype=object)
    LoggedEstimator(Constant(), model_version="n", logger=logger).predict(frame)
    first, second = (p.features for p in logged_by(logger, collector)[2:])
    assert np.isnan([first.pop("f"), first.pop("o")]).all()
    assert first == {"i": None, "s": None, "c": None}
    assert second == {"f": 1.5, "i": 3, "s": "x", "c": "x", "o": None}


# ---- many rows ---------------------------------------------------------------------------------------------------------

MIXED = pd.DataFrame(
    {
        "f": [1.5, np.nan, float("inf"), 0.0] * 300,
        "i": [1, 2, 3, 4] * 300,
        "s": ["a", None, "", "b"] * 300,
        "b": [True, False] * 600,
        "o": pd.Series(["x", "y", None, ""] * 300, dtype=object),
        "n": pd.array([1, None, 3, 4] * 300, dtype="Int64"),
        7: np.arange(1200, dtype="float32"),
    }
)


class Fixed:
    """Answers what it was made with."""

    classes_ = np.array([0, 1])

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, rows: Any) -> Any:
        """The same for all."""
        return self.answer

    predict_proba = predict


SCORES = np.linspace(0, 1, 1200)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize(
    "table",
    [MIXED, MIXED[["f", 7]].to_numpy(), MIXED[["f", "i"]].set_axis(["a", "a"], axis=1)],
    ids=["frame", "matrix", "names"],
)
def test_many_rows_are_logged_as_few_are(monkeypatch, table, method, with_ids):
    """By way of Arrow or row by row, nobody can tell from the events."""
    answer = SCORES if method == "predict" else np.column_stack([1 - SCORES, SCORES])
    given = [f"r{n}" for n in range(1200)] if with_ids else None
    by_frame: list[int] = []
    log_frame = upshot.log_frame
    monkeypatch.setattr(upshot, "log_frame", lambda *a, **k: by_frame.append(1) or log_frame(*a, **k))
    events = []
    for from_rows in (1_000, 2_000):
        monkeypatch.setattr("upshot.integrations.rows.FRAME_FROM_ROWS", from_rows)
        with upshot.testing.capture(model="m", model_version="1") as logged, collect_request_ids() as ids:
            assert getattr(LoggedEstimator(Fixed(answer)), method)(table, request_ids=given) is answer
            predictions = logged.predictions
        assert ids == [p.request_id for p in predictions]
        assert given in (None, ids)
        events.append(
            [(p.features, p.prediction, p.probabilities, p.model, p.model_version, p.item_id) for p in predictions]
        )
    assert by_frame == [1]
    assert len(events[0]) == 1200
    assert repr(sorted_names(events[0])) == repr(sorted_names(events[1]))


def sorted_names(events: list[Any]) -> list[Any]:
    """Features in the order of their names; Arrow has those that are not null in one column each."""
    return [(sorted(features.items()), *rest) for features, *rest in events]


@pytest.mark.parametrize(
    "table",
    [
        MIXED.rename(columns={"i": "prediction"}),
        MIXED.assign(o=[1, "x", None, 2.5] * 300),
        MIXED.to_numpy(),
        scipy.sparse.eye_array(1200).tocsr(),
    ],
)
def test_what_arrow_cannot_hold_goes_row_by_row(logger, collector, table):
    """A feature called like a column of ours, objects of several types, a sparse matrix."""
    LoggedEstimator(Fixed(SCORES), logger=logger).predict(table)
    assert [p.prediction for p in logged_by(logger, collector)] == SCORES.tolist()
    assert [len(p.features) for p in collector.predictions] == [table.shape[1]] * 1200


# ---- request IDs -----------------------------------------------------------------------------------------------------


def test_request_ids_can_be_given_and_collected(logger, collector):
    model = LoggedEstimator(on_iris(), logger=logger)
    model.predict(X[:2], request_ids=["r0", "r1"])
    with collect_request_ids() as ids:
        model.predict(X[:3])
        model.predict_proba(X[:1], request_ids=["mine"])
    model.predict(X[:1])
    events = logged_by(logger, collector)
    assert [p.request_id for p in events[:2]] == ["r0", "r1"]
    assert [p.request_id for p in events[2:6]] == ids
    assert ids[3] == "mine"
    assert len(events) == 7


def test_ids_are_collected_per_thread(logger):
    """Eight threads share one model; each collects the IDs of its own rows."""
    model = LoggedEstimator(on_iris(), logger=logger)
    found: dict[int, list[str]] = {}

    def work(n: int) -> None:
        with collect_request_ids() as ids:
            for _ in range(20):
                model.predict(X[:2], request_ids=[f"{n}a", f"{n}b"])
        found[n] = ids

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [f"{n}a", f"{n}b"] * 20 for n in range(8)}


def test_in_a_web_request_the_rows_bear_its_id(logger, collector):
    model = LoggedEstimator(on_iris(), logger=logger)

    async def endpoint() -> None:
        current_request.set(RequestIds("web"))
        model.predict(X[:2])
        await asyncio.to_thread(model.predict, X[:1])

    asyncio.run(endpoint())
    model.predict(X[:1])
    events = logged_by(logger, collector)
    assert [p.request_id for p in events[:3]] == ["web", "web~2", "web~3"]
    assert not events[3].request_id.startswith("web")


def test_request_ids_that_are_not_one_for_each_row_lose_nothing_in_silence(logger, collector, caplog, monkeypatch):
    """A wrong pairing would be worse than none: the rows are counted, the answer stays."""
    monkeypatch.setattr("upshot.integrations.rows._complaints", upshot.complaints.Complaints())
    model = LoggedEstimator(on_iris(), logger=logger)
    with caplog.at_level(logging.WARNING, "upshot"):
        assert len(model.predict(X[:3], request_ids=["only one"])) == 3
    assert logged_by(logger, collector) == []
    assert logger.stats()["dropped_failed"] == 3
    assert "1 request_ids for 3 rows" in caplog.text


# ---- as good as the estimator ----------------------------------------------------------------------------------------


def test_everything_else_is_the_estimators_own(logger, collector):
    fitted = on_iris()
    model = LoggedEstimator(fitted, logger=logger)
    assert model.coef_ is fitted.coef_
    assert list(model.feature_names_in_) == NAMES
    assert (model.n_features_in_, model.classes_.tolist()) == (4, [0, 1, 2])
    assert model.score(X, Y) == fitted.score(X, Y)
    assert np.array_equal(model.predict_log_proba(X), fitted.predict_log_proba(X))
    assert is_classifier(model)
    assert not is_regressor(model)
    assert not hasattr(model, "transform")
    assert not hasattr(LoggedEstimator(LinearSVC()), "predict_proba")
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = model.no_such_thing
    assert logged_by(logger, collector) == []


def test_it_is_fitted_when_the_estimator_is():
    model = LoggedEstimator(LogisticRegression(max_iter=500))
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert model.fit(X, Y) is model
    check_is_fitted(model)
    check_is_fitted(model.estimator)


def test_clone_get_params_and_set_params(logger):
    model = LoggedEstimator(LogisticRegression(C=3.0), model="iris", methods=["predict"], logger=logger)
    copied = clone(model)
    assert copied.estimator is not model.estimator
    assert (copied.get_params()["estimator__C"], copied.model, copied.logger) == (3.0, "iris", logger)
    assert copied.set_params(estimator__C=5.0).estimator.C == 5.0
    assert model.estimator.C == 3.0
    assert "LogisticRegression(C=3.0)" in repr(model)
    assert "LogisticRegression" in model._repr_html_()


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_it_can_be_stored_and_loaded(logger, how):
    """The logger stays behind: where the model is loaded, the default one takes over."""
    model = LoggedEstimator(on_iris(), model="iris", logger=logger)
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(model))  # noqa: S301
    elif how == "joblib":
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        loaded = joblib.load(file)
    else:
        loaded = copy.deepcopy(model)
    check_is_fitted(loaded)
    assert (loaded.logger, loaded.model, loaded.classes_.tolist()) == (None, "iris", [0, 1, 2])
    loaded.set_params(logger=logger)
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


def test_it_works_as_a_step_and_around_a_pipeline(logger, collector):
    step = make_pipeline(
        StandardScaler(), LoggedEstimator(LogisticRegression(), model_version="step", logger=logger)
    ).fit(X, Y)
    around = LoggedEstimator(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), model_version="around", logger=logger
    )
    assert step.predict(X[:1], request_ids=["s"]).tolist() == around.predict(X[:1], request_ids=["a"]).tolist()
    events = {p.request_id: p for p in logged_by(logger, collector)}
    assert events["a"].features == X.iloc[0].to_dict()
    scaled = StandardScaler().fit(X).transform(X[:1])[0].tolist()
    assert events["s"].features == {f"x{n}": value for n, value in enumerate(scaled)}


def test_it_can_be_searched_and_cross_validated(logger):
    searched = GridSearchCV(
        LoggedEstimator(LogisticRegression(max_iter=500), logger=logger), {"estimator__C": [0.1, 1.0]}, cv=2
    )
    assert searched.fit(X, Y).best_params_["estimator__C"] in {0.1, 1.0}
    assert len(cross_val_score(LoggedEstimator(LogisticRegression(max_iter=500), logger=logger), X, Y, cv=2)) == 2


def test_only_the_chosen_methods_are_logged(logger, collector):
    model = LoggedEstimator(on_iris(), methods=("predict_proba",), logger=logger)
    model.predict(X)
    model.decision_function(X)
    model.predict_proba(X[:2])
    assert len(logged_by(logger, collector)) == 2


def test_the_estimators_errors_are_its_own(logger, collector):
    model = LoggedEstimator(on_iris(), logger=logger)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.iloc[:, :3])
    assert logged_by(logger, collector) == []


def test_nothing_is_raised_because_of_logging(logger, collector):
    """Whatever the table and the estimator are: the answer is returned, the rows are counted."""

    class Odd:
        classes_ = None

        def __init__(self, answer: Any) -> None:
            self.answer = answer

        @property
        def feature_names_in_(self) -> Any:
            raise RuntimeError

        def predict(self, rows: Any) -> Any:
            return self.answer

        predict_proba = decision_function = predict

    class Table:
        @property
        def ndim(self) -> int:
            raise RuntimeError

    for table in (Table(), object(), None, [[1, 2], [3]], 5, iter([1])):
        for answer in (np.zeros(2), object(), None, [np.zeros(2)], "text", [1, [2]], np.zeros((2, 2, 2)), ()):
            for method in ("predict", "predict_proba", "decision_function"):
                assert getattr(LoggedEstimator(Odd(answer), logger=logger), method)(table) is answer
    logger.flush(10)
    assert logger.stats()["dropped_failed"] > 100


def test_a_missing_server_changes_no_answer():
    with upshot.Logger(url="http://127.0.0.1:9", model="m") as logger:
        fitted = on_iris()
        assert LoggedEstimator(fitted, logger=logger).predict(X).tolist() == fitted.predict(X).tolist()
        logger.close(0.01)
