"""Two sides as one table of numbers, which is what the methods compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upshot_monitoring.multivariate.groups import Bools, Ints
from upshot_monitoring.profiles.profile import Floats


@dataclass(frozen=True)
class Sides:
    """Rows of both sides. A feature has one column or several: a vector has one per dimension."""

    rows: Floats
    """(rows, columns); NaN is missing, a class is a number that means nothing else, 0 to 254."""
    is_current: Bools
    groups: Ints
    """Which rows belong together."""
    is_class: Bools
    """Per column."""
    features: list[str]
    feature_of: Ints
    """Per column, the position of its feature in ``features``."""

    @classmethod
    def of(
        cls,
        reference: Floats,
        current: Floats,
        *,
        classes: Sequence[int] = (),
        groups: tuple[Ints, Ints] | None = None,
        features: Sequence[str] = (),
    ) -> Sides:
        """Two arrays of the same columns, each a feature; ``classes`` are the columns of categories. Without ``groups``, every row
        is one of its own."""
        rows = np.concatenate([reference, current]).astype(np.float64)
        columns = rows.shape[1]
        return cls(
            rows,
            np.arange(len(rows)) >= len(reference),
            np.arange(len(rows)) if groups is None else np.concatenate(groups),
            np.isin(np.arange(columns), classes),
            list(features) or [f"x{i}" for i in range(columns)],
            np.arange(columns),
        )

    def columns_of_features(self) -> list[Ints]:
        """The columns of each feature."""
        return [np.flatnonzero(self.feature_of == i) for i in range(len(self.features))]
