"""The turn of the flywheel: train on what Upshot exported, and find out on Upshot's later export whether that was
better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from upshot_server.demo.comparison import Comparison, compare
from upshot_server.demo.features import ARCHIVE_FEATURES, SERVED_FEATURES, WEATHER
from upshot_server.demo.model import LateModel, Trained, fit, train
from upshot_server.demo.training import LABEL, TrainingSet, from_export, labelled
from upshot_server.demo.weather import Reading, Weather


@dataclass(frozen=True)
class NextRound:
    """Version 2, and the same training without the features that only the service's log has."""

    rows: TrainingSet
    trained: Trained
    without_live: LateModel


@dataclass(frozen=True)
class ReadingSkew:
    """How one weather feature as it was served differs from what the archive says for the hour of departure."""

    rows: int
    different: float
    """Share of rows."""
    mean_difference: float | None
    """Mean absolute difference where both have a value, in the feature's unit."""


def train_next(export: pa.Table, seed: int) -> NextRound:
    """Train on an export's labelled rows."""
    rows = from_export(export)
    return NextRound(
        rows,
        train(rows.columns, rows.labels, SERVED_FEATURES, seed),
        fit(rows.columns, rows.labels, ARCHIVE_FEATURES, seed),
    )


def on_the_same_flights(first: pa.Table, second: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The labelled rows of two versions that have the same request IDs, in the same order."""
    first, second = labelled(first), labelled(second)
    both = set(first["request_id"].to_pylist()) & set(second["request_id"].to_pylist())
    keep = pa.array(sorted(both))
    return pick(first, keep), pick(second, keep)


def pick(table: pa.Table, request_ids: pa.Array) -> pa.Table:
    """The rows with these request IDs, in this order."""
    position = {request_id: row for row, request_id in enumerate(table["request_id"].to_pylist())}
    return table.take([position[request_id] for request_id in request_ids.to_pylist()])


def judge(first: pa.Table, second: pa.Table) -> Comparison:
    """Compare what two versions answered, and what became of it; rows as from :func:`on_the_same_flights`."""
    return compare(labels_of(first), scores_of(first), scores_of(second))


def judge_unserved(first: pa.Table, other: LateModel) -> Comparison:
    """Compare a version with a model that never served, on the features that were."""
    columns = from_export(first).columns
    return compare(labels_of(first), scores_of(first), other.probabilities(columns))


def labels_of(rows: pa.Table) -> Sequence[int]:
    """0 or 1."""
    return [int(value) for value in rows[f"label__{LABEL}"].to_pylist()]


def scores_of(rows: pa.Table) -> Sequence[float]:
    """The predictions as they were served."""
    return [float(value) for value in rows["prediction"].to_pylist()]


def weather_skew(rows: pa.Table, archive: Weather) -> dict[str, ReadingSkew]:
    """Feature by feature, what was served against what a trainer would find in the archive for the same flight."""
    moments = zip(rows["feature__origin"].to_pylist(), rows["predicted_at"].to_pylist(), strict=True)
    later = [archive.of_the_hour(origin, moment) for origin, moment in moments]
    return {
        name: skew_of(rows[f"feature__{name}"].to_pylist(), [reading_value(reading, name) for reading in later])
        for name in WEATHER
    }


def reading_value(reading: Reading, name: str) -> float | None:
    """One field of a reading."""
    value: float | None = getattr(reading, name)
    return value


def skew_of(served: Sequence[float | None], later: Sequence[float | None]) -> ReadingSkew:
    """Compare two columns row by row."""
    different = sum(1 for a, b in zip(served, later, strict=True) if a != b)
    gaps = [abs(a - b) for a, b in zip(served, later, strict=True) if a is not None and b is not None]
    return ReadingSkew(len(served), different / len(served) if served else 0.0, float(np.mean(gaps)) if gaps else None)
