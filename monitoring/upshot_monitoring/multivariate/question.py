"""What is asked of multivariate drift, as it is written down with a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from upshot_joiner.config import DriftConfig
from upshot_joiner.errors import Problem
from upshot_monitoring.drift.asked import asked_of
from upshot_monitoring.drift.baselines import Asked

METHODS: Final = ("domain_classifier", "pca_reconstruction")
THRESHOLDS: Final = {"domain_classifier": 0.55, "pca_reconstruction": 0.02}
"""Unless asked otherwise; why these: docs/decisions/0034-multivariate-drift.md."""
LOWEST: Final = {"domain_classifier": 0.5, "pca_reconstruction": 0.0}
ROWS: Final = 5000
"""Of either side. The chance in an AUC of so many rows is 0.008: well below what matters."""
MAX_ROWS: Final = 20_000


@dataclass(frozen=True)
class Question:
    """Which rows are compared, and how."""

    asked: Asked
    methods: tuple[str, ...]
    thresholds: Mapping[str, float]
    rows: int
    without: frozenset[str]
    """Features that are not looked at."""
    revision: int | None = None
    """Of the roll-up of a window that closed, whose verdict is kept as such; None where somebody asked."""


def read(request: Mapping[str, Any], drift: DriftConfig) -> Question:
    """The question in a request; what it leaves open is as the model is configured. Raises a 422 :class:`Problem`."""
    methods = tuple(dict.fromkeys(request.get("methods") or drift.multivariate or METHODS))
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise _wrong("methods", f"A method is one of {', '.join(METHODS)}.")
    thresholds = dict(THRESHOLDS)
    for name, value in (request.get("thresholds") or {}).items():
        if name not in METHODS:
            raise _wrong("thresholds", f"A method is one of {', '.join(METHODS)}.")
        if not LOWEST[name] <= value < (1 if name == "domain_classifier" else 1e9):
            raise _wrong(f"thresholds.{name}", "The threshold is out of its range.")
        thresholds[name] = float(value)
    rows = int(request["rows"]) if request.get("rows") is not None else ROWS
    if not 1 <= rows <= MAX_ROWS:
        raise _wrong("rows", f"Between 1 and {MAX_ROWS} rows of either side are looked at.")
    without: Sequence[str] = [*drift.multivariate_without, *(request.get("without") or ())]
    return Question(asked_of(request), methods, thresholds, rows, frozenset(without), request.get("revision"))


def _wrong(loc: str, title: str) -> Problem:
    return Problem(422, "invalid_multivariate", title, [{"loc": loc, "code": "invalid"}])
