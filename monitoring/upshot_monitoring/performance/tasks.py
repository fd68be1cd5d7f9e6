"""The kinds of model: how the stored sums of each are added up, and which metrics come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_monitoring.performance.binary import sums as binary
from upshot_monitoring.performance.metrics import Metrics
from upshot_monitoring.performance.multiclass import catalogue as of_multiclass
from upshot_monitoring.performance.multiclass import sums as multiclass
from upshot_monitoring.performance.ranking import slates
from upshot_monitoring.performance.regression import catalogue as of_regression
from upshot_monitoring.performance.regression import sums as regression

Sums = TypeVar("Sums", binary.BinarySums, slates.RankingSums, regression.RegressionSums, multiclass.MulticlassSums)

_GROUPS = "sum(p.rows) AS rows, sumForEach(p.group_rows) AS group_rows, sumForEach(p.group_weights) AS group_weights"


def _by_bin(groups: tuple[int, ...]) -> str:
    names = [f"{sum_}_{group}" for sum_ in "wvx" for group in groups]
    added = ", ".join(f"added.{i} AS {name}" for i, name in enumerate(["bins", *names], 1))
    return f"sumMap(p.bins, {', '.join(f'p.{name}' for name in names)}) AS added, {added}"


_BINARY = f"{_GROUPS}, sumForEach(p.sums) AS sums, {_by_bin((0, 1, 2))}"
_RANKING = f"{_BINARY}, sumForEach(p.slates) AS slates"
_REGRESSION = f"{_GROUPS}, groupArray((p.centre, p.sums)) AS parts, {_by_bin((0, 2))}"
_MULTICLASS = f"""
{_GROUPS}, sumForEach(p.sums) AS sums, groupArray((p.actual, p.predicted, p.pair_states, p.pair_w, p.pair_v,
  p.score_classes, p.score_bins, p.score_own, p.score_states, p.score_w, p.score_v)) AS parts
"""


@dataclass(frozen=True)
class Task(Generic[Sums]):
    """How one kind of model is summed and measured."""

    name: str
    sql: str
    """Aggregates over rows of ``performance_sums AS p``."""
    read: Callable[[Mapping[str, Any]], Sums]
    add: Callable[[Iterable[Sums]], Sums]
    metrics: Callable[[Sums, bool], Metrics]
    """Of the labelled rows, or (true) of those and the defaulted ones."""


def task_of(config: ModelConfig, rules: LabelConfig, *, exact: bool = False) -> Task[Any]:
    """The task of a model, for one label; ``exact`` where the sums have a bin for each score."""
    if config.task == "regression":
        return Task(
            config.task,
            _REGRESSION,
            regression.read,
            regression.add,
            lambda sums, defaults: of_regression.metrics(sums, with_default=defaults),
        )
    if config.task == "multiclass":
        return Task(
            config.task,
            _MULTICLASS,
            multiclass.read,
            multiclass.add,
            lambda sums, defaults: of_multiclass.metrics(sums, with_default=defaults),
        )
    default_class = rules.default == config.positive
    threshold = config.performance.threshold if exact else None
    if config.task == "ranking":
        return Task(
            config.task,
            _RANKING,
            lambda row: slates.read(row, threshold),
            slates.add,
            lambda sums, defaults: slates.metrics(sums, default=default_class if defaults else None),
        )
    return Task(
        config.task,
        _BINARY,
        lambda row: binary.read(row, threshold),
        binary.add,
        lambda sums, defaults: binary.metrics(sums, default=default_class if defaults else None),
    )
