"""Every metric by kind of model, and whether the configured ones exist."""

from __future__ import annotations

from upshot_joiner.config import ModelConfig
from upshot_joiner.errors import Place, Problem
from upshot_monitoring.performance.binary import sums as binary
from upshot_monitoring.performance.metrics import About
from upshot_monitoring.performance.multiclass import catalogue as multiclass
from upshot_monitoring.performance.ranking import slates
from upshot_monitoring.performance.regression import catalogue as regression

_BINARY = tuple(metric.about for metric in binary.METRICS)
CATALOGUE: dict[str, tuple[About, ...]] = {
    "binary": _BINARY,
    "multiclass": multiclass.ABOUT,
    "regression": tuple(metric.about for metric in regression.METRICS),
    "ranking": (*slates.ABOUT, *_BINARY),
}


def hidden(task: str) -> list[str]:
    """Metrics that are shown only where they are configured."""
    return [name for name in slates.NAMES if name not in slates.SHOWN] if task == "ranking" else []


def better(task: str, name: str) -> str:
    """``higher``, ``lower`` or ``neither``."""
    return next((about.better for about in CATALOGUE[task] if about.name == name), "neither")


def check(config: ModelConfig) -> None:
    """Raise a 422 :class:`Problem` that names each configured metric that the task does not have."""
    known = {about.name for about in CATALOGUE[config.task]}
    elsewhere = {about.name for of_task in CATALOGUE.values() for about in of_task}
    places: list[Place] = [
        {
            "loc": f"performance.metrics.{i}",
            "code": "metric_of_another_task" if name in elsewhere else "unknown_metric",
        }
        for i, name in enumerate(config.performance.metrics)
        if name not in known
    ]
    if places:
        listed = ", ".join(about.name for about in CATALOGUE[config.task])
        raise Problem(422, "invalid_config", f"A {config.task} model has no such metric. It has: {listed}.", places)
