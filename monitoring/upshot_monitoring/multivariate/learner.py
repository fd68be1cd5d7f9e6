"""What is learnt with scikit-learn; the only file of monitoring that knows it. Loaded in worker processes alone: it takes a second.

Gradient-boosted trees take missing values and categories as they are, and find interactions between features. They are small on
purpose: two sides that do not differ must not be learnt by heart, and a faint difference in one of many features is drowned by
large trees (see docs/decisions/0034-multivariate-drift.md for what was tried).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import StandardScaler

from upshot_monitoring.profiles.profile import Floats

Bools = NDArray[np.bool_]

MAX_CLASSES: Final = 255
"""More categories than the trees take; the rarest are one."""
TREES: Final[dict[str, Any]] = {
    "learning_rate": 0.06,
    "max_iter": 100,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
    "early_stopping": False,
}


class Classifier:
    """Tells current rows from reference rows, once fitted."""

    def __init__(self, rows: Floats, is_current: Bools, is_class: Bools, seed: int) -> None:
        """``rows``: NaN is missing, a class is its number.

        Sides of different size are taken as they are: the AUC does not depend on it, and weights make the fit twenty times
        slower (scikit-learn 1.9 finds the borders of its bins by one weighted quantile after the other).
        """
        self._trees = HistGradientBoostingClassifier(**TREES, categorical_features=is_class, random_state=seed).fit(
            rows, is_current
        )

    def scores(self, rows: Floats) -> Floats:
        """How much each row looks like a current one; larger is more."""
        found: Floats = self._trees.decision_function(rows)
        return found


class Components:
    """The main components of standardized rows: as few as explain a share of their variance, and fewer than columns."""

    def __init__(self, rows: Floats, share: float) -> None:
        """``rows``: at least two columns, none of them constant, nothing missing."""
        self._scaler = StandardScaler().fit(rows)
        standard = self._scaler.transform(rows)
        explained = np.cumsum(PCA(svd_solver="full").fit(standard).explained_variance_ratio_)
        self.count = min(int(np.searchsorted(explained, share) + 1), rows.shape[1] - 1)
        self._pca = PCA(self.count, svd_solver="full").fit(standard)

    def errors(self, rows: Floats) -> Floats:
        """The Euclidean distance of each standardized row from its reconstruction."""
        standard = self._scaler.transform(rows)
        again = self._pca.inverse_transform(self._pca.transform(standard))
        distances: Floats = np.linalg.norm(standard - again, axis=1)
        return distances
