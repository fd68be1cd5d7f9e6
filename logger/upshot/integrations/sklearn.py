"""scikit-learn: an estimator that logs what it predicts.

`LoggedEstimator` wraps a fitted classifier, regressor or pipeline. It answers exactly what the estimator answers, and every row
is one prediction event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, cast

from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from upshot.integrations.rows import Answer, answers_of, collect_request_ids, log_table
from upshot.logger import Logger

__all__ = ["LoggedEstimator", "collect_request_ids"]


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _if_estimator_has(method: str) -> Callable[[_Method], _Method]:
    def check(self: LoggedEstimator) -> bool:
        getattr(self.estimator, method)  # its AttributeError says more than False
        return True

    return cast(Callable[[_Method], _Method], available_if(check))


class LoggedEstimator(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Answers as ``estimator`` does, and logs each row of ``predict``, ``predict_proba`` and ``decision_function``.

    ``model``, ``model_version``: those of the configuration unless given. ``feature_names``: those of the frame, of the fitting, or
    ``x0``, ``x1``, … unless given. ``methods``: which of the three are logged; where a service calls two of them for the same rows,
    choose one. ``logger``: instead of the default one; it is not pickled.

    What is logged: of ``predict`` the class or number; of ``predict_proba`` class -> probability; of ``decision_function`` the
    score, or with more than two classes the class of the highest. A further output of the same row has its number as the item ID.
    Everything else is the estimator's own: fitted attributes, ``score``, ``transform``. ``fit`` fits the estimator in place.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        model: str | None = None,
        model_version: str | None = None,
        feature_names: Sequence[str] | None = None,
        methods: Sequence[str] = ("predict", "predict_proba", "decision_function"),
        logger: Logger | None = None,
    ) -> None:
        self.estimator = estimator
        self.model = model
        self.model_version = model_version
        self.feature_names = feature_names
        self.methods = methods
        self.logger = logger

    @_if_estimator_has("fit")
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:  # noqa: N803  # as scikit-learn calls it
        """Fit the estimator, in place."""
        self.estimator.fit(X, y, **params)
        return self

    @_if_estimator_has("predict")
    def predict(self, X: Any, *, request_ids: Sequence[str] | None = None, **params: Any) -> Any:  # noqa: N803
        """What the estimator predicts. ``request_ids``: one for each row; else they are made, see `collect_request_ids`."""
        return self._answered("predict", self._predicted, X, request_ids, params)

    @_if_estimator_has("predict_proba")
    def predict_proba(self, X: Any, *, request_ids: Sequence[str] | None = None, **params: Any) -> Any:  # noqa: N803
        """The estimator's probabilities. ``request_ids``: one for each row; else they are made."""
        return self._answered("predict_proba", self._probabilities, X, request_ids, params)

    @_if_estimator_has("decision_function")
    def decision_function(self, X: Any, *, request_ids: Sequence[str] | None = None, **params: Any) -> Any:  # noqa: N803
        """The estimator's scores. ``request_ids``: one for each row; else they are made."""
        return self._answered("decision_function", self._decided, X, request_ids, params)

    def _answered(
        self,
        method: str,
        answers: Callable[[Any, int], list[Answer]],
        X: Any,  # noqa: N803
        request_ids: Sequence[str] | None,
        params: dict[str, Any],
    ) -> Any:
        result = getattr(self.estimator, method)(X, **params)
        if method in self.methods:
            log_table(
                self.logger,
                X,
                lambda n_rows: answers(result, n_rows),
                names=self.feature_names,
                fallback_names=_fitted_names(self.estimator),
                request_ids=request_ids,
                n_rows=_length(result),
                model=self.model,
                model_version=self.model_version,
            )
        return result

    def _predicted(self, result: Any, n_rows: int) -> list[Answer]:
        return answers_of(result, n_rows)

    def _probabilities(self, result: Any, n_rows: int) -> list[Answer]:
        classes = self.estimator.classes_
        if isinstance(result, list):  # several outputs: an array for each
            each = zip(result, classes, strict=True)
            return [
                Answer(str(n), answers_of(array, n_rows, own.tolist())[0].predictions)
                for n, (array, own) in enumerate(each)
            ]
        if isinstance(classes, list) or _is_multilabel(self.estimator):  # for each label how probable it is
            return answers_of(result, n_rows)
        return answers_of(result, n_rows, classes.tolist())

    def _decided(self, result: Any, n_rows: int) -> list[Answer]:
        classes = getattr(self.estimator, "classes_", None)
        if (
            result.ndim == 2
            and classes is not None
            and not isinstance(classes, list)
            and len(classes) == result.shape[1]
        ):
            return [Answer("", classes[result.argmax(axis=1)].tolist())]
        return answers_of(result, n_rows)

    # ---- as good as the estimator itself -----------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "estimator" not in self.__dict__:  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.estimator, name)

    def __sklearn_is_fitted__(self) -> bool:
        try:
            check_is_fitted(self.estimator)
        except NotFittedError:
            return False
        return True

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def __sklearn_clone__(self) -> Self:
        params = self.get_params(deep=False)
        return type(self)(**{**params, "estimator": clone(params["estimator"])})

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "logger": None}


def _is_multilabel(estimator: Any) -> bool:
    """Whether a row may have several classes at once; scikit-learn has no one attribute that says it."""
    while True:
        inner = getattr(estimator, "best_estimator_", None)
        if inner is None and (steps := getattr(estimator, "steps", None)):
            inner = steps[-1][1]
        if inner is None or inner is estimator:
            break
        estimator = inner
    is_multilabel_network = (
        getattr(estimator, "out_activation_", "") == "logistic" and getattr(estimator, "n_outputs_", 1) > 1
    )
    return is_multilabel_network or getattr(estimator, "multilabel_", False) is True


def _length(result: Any) -> int:
    try:
        return len(result[0] if isinstance(result, (list, tuple)) and hasattr(result[0], "shape") else result)
    except Exception:  # noqa: BLE001  # whatever the estimator returned
        return 1


def _fitted_names(estimator: Any) -> Sequence[str] | None:
    try:
        names: Sequence[str] = estimator.feature_names_in_
    except Exception:  # noqa: BLE001  # a property of some estimators
        return None
    return names
