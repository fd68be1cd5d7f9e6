"""The kinds of model: how the stored sums of each are added up, and which metrics come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_monitoring.performance import binary, multiclass, regression
from upshot_monitoring.performance.metrics import Metrics

Sums = TypeVar("Sums", binary.BinarySums, regression.RegressionSums, multiclass.MulticlassSums)

_GROUPS = "sum(p.rows) AS rows, sumForEach(p.group_rows) AS group_rows"
_BINARY = f"""
{_GROUPS},
sumMap(p.bins, p.negatives, p.positives, p.unlabelled, p.negative_scores, p.positive_scores, p.unlabelled_scores) AS added,
added.1 AS bins, added.2 AS negatives, added.3 AS positives, added.4 AS unlabelled,
added.5 AS negative_scores, added.6 AS positive_scores, added.7 AS unlabelled_scores,
sum(p.outside) AS outside, sumForEach(p.losses) AS losses, sumForEach(p.losses2) AS losses2,
sumForEach(p.errors2) AS errors2, sumForEach(p.errors4) AS errors4
"""
_REGRESSION = f"""
{_GROUPS},
groupArray((p.regression_n, p.y_means, p.y_m2s, p.e_sums, p.abs_sums, p.e2_sums, p.e4_sums)) AS parts
"""
_MULTICLASS = f"""
{_GROUPS}, groupArray((p.actual, p.predicted, p.pair_states, p.pairs)) AS parts
"""


@dataclass(frozen=True)
class Task(Generic[Sums]):
    """How one kind of model is summed and measured."""

    sql: str
    """Aggregates over rows of ``performance_hours AS p``."""
    read: Callable[[Mapping[str, Any]], Sums]
    add: Callable[[Iterable[Sums]], Sums]
    metrics: Callable[[Sums, bool], Metrics]
    """Of the labelled rows, or (true) of those and the defaulted ones."""


def task_of(config: ModelConfig, rules: LabelConfig) -> Task[Any]:
    """The task of a model, for one label. Ranking is judged item by item, as binary."""
    if config.task == "regression":
        return Task(
            _REGRESSION,
            _read_regression,
            regression.add,
            lambda sums, defaults: regression.metrics(sums, with_default=defaults),
        )
    if config.task == "multiclass":
        return Task(
            _MULTICLASS,
            _read_multiclass,
            multiclass.add,
            lambda sums, defaults: multiclass.metrics(sums, with_default=defaults),
        )
    default_class = rules.default == config.positive
    return Task(
        _BINARY,
        _read_binary,
        binary.add,
        lambda sums, defaults: binary.metrics(sums, default=default_class if defaults else None),
    )


def _read_binary(row: Mapping[str, Any]) -> binary.BinarySums:
    def stacked(*names: str) -> binary.Floats:
        return np.array([row[name] for name in names], np.float64).reshape(len(names), -1)

    return binary.BinarySums(
        rows=int(row["rows"]),
        group_rows=np.array(row["group_rows"], np.int64),
        bins=np.array(row["bins"], np.int64),
        counts=stacked("negatives", "positives", "unlabelled"),
        scores=stacked("negative_scores", "positive_scores", "unlabelled_scores"),
        outside=int(row["outside"]),
        **{name: np.array(row[name], np.float64) for name in ("losses", "losses2", "errors2", "errors4")},
    )


def _read_regression(row: Mapping[str, Any]) -> regression.RegressionSums:
    parts = [tuple(part.values()) if isinstance(part, dict) else tuple(part) for part in row["parts"]]
    total = regression.add(
        regression.RegressionSums(0, np.zeros(4, np.int64), *(np.array(one, np.float64) for one in part))
        for part in parts
    )
    return regression.add([regression.RegressionSums(int(row["rows"]), np.array(row["group_rows"], np.int64)), total])


def _read_multiclass(row: Mapping[str, Any]) -> multiclass.MulticlassSums:
    pairs: Counter[tuple[str, str, int]] = Counter()
    for part in row["parts"]:
        actual, predicted, states, counts = part.values() if isinstance(part, dict) else part
        for key, count in zip(zip(actual, predicted, states, strict=True), counts, strict=True):
            pairs[key] += count
    return multiclass.MulticlassSums(int(row["rows"]), np.array(row["group_rows"], np.int64), pairs)
