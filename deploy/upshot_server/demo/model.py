"""The model: gradient-boosted trees that answer how probable it is that a flight arrives more than 15 minutes late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict

from upshot_server.demo.features import CATEGORICAL, Value

Columns = Mapping[str, Sequence[Value]]
"""One sequence per feature, all equally long."""


@dataclass(frozen=True)
class LateModel:
    """A fitted model with the order of its features and the code of every category it has seen."""

    features: tuple[str, ...]
    categories: dict[str, dict[str, int]]
    trees: Any

    def probabilities(self, columns: Columns) -> NDArray[np.float64]:
        """P(late) of each row. A category never seen in training counts as missing."""
        answer: NDArray[np.float64] = self.trees.predict_proba(matrix(columns, self.features, self.categories))[:, 1]
        return answer

    def save(self, path: Path) -> None:
        """Write to ``path``, for :meth:`load` in another process."""
        joblib.dump(self, path)

    @staticmethod
    def load(path: Path) -> LateModel:
        """Read what :meth:`save` wrote. Only for files of one's own: unpickling runs what is in them."""
        model: LateModel = joblib.load(path)
        return model


@dataclass(frozen=True)
class Trained:
    """A model, and what it answers on its own training rows when those are held out in turn."""

    model: LateModel
    held_out: NDArray[np.float64]


def fit(columns: Columns, labels: Sequence[int], features: tuple[str, ...], seed: int) -> LateModel:
    """Fit on the rows of ``columns``; ``labels`` are 0 or 1."""
    categories = {name: codes_of(columns[name]) for name in features if name in CATEGORICAL}
    trees = new_trees(len(labels), features, seed)
    trees.fit(matrix(columns, features, categories), np.asarray(labels))
    return LateModel(features, categories, trees)


def train(columns: Columns, labels: Sequence[int], features: tuple[str, ...], seed: int) -> Trained:
    """Fit like :func:`fit`, and three times more to know how good the model is on rows it has not seen."""
    model = fit(columns, labels, features, seed)
    rows = matrix(columns, features, model.categories)
    trees = new_trees(len(labels), features, seed)
    held_out = cross_val_predict(trees, rows, np.asarray(labels), cv=3, method="predict_proba")[:, 1]
    return Trained(model, held_out)


def new_trees(rows: int, features: tuple[str, ...], seed: int) -> Any:
    """The classifier before it has seen anything."""
    return HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=8,  # stiff trees: next season's flights are not last season's
        min_samples_leaf=100 if rows >= 10_000 else 20,
        l2_regularization=5.0,
        categorical_features=[name in CATEGORICAL for name in features],
        random_state=seed,
    )


def codes_of(values: Sequence[Value]) -> dict[str, int]:
    """A number for every text that occurs, in alphabetical order."""
    return {text: code for code, text in enumerate(sorted({str(value) for value in values if value is not None}))}


def matrix(
    columns: Columns, features: tuple[str, ...], categories: Mapping[str, Mapping[str, int]]
) -> NDArray[np.float64]:
    """The rows as numbers, shape (rows, features); null and unknown categories are NaN."""
    parts: list[Any] = []
    for name in features:
        values = columns[name]
        codes = categories.get(name)
        parts.append([codes.get(str(value)) for value in values] if codes is not None else values)
    return np.array(parts, dtype=np.float64).T
