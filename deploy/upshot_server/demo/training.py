"""Training sets: the first from the archives, the second from an export of Upshot, and either one as a reference for
Upshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from upshot_server.demo.features import SERVED_FEATURES, Value, features_of
from upshot_server.demo.flights import Flight
from upshot_server.demo.planes import Planes
from upshot_server.demo.weather import Weather

LABEL = "late"


@dataclass(frozen=True)
class TrainingSet:
    """Feature columns, and 0 or 1 for each row."""

    columns: dict[str, Sequence[Value]]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)


def from_archives(flights: Sequence[Flight], weather: Weather, planes: Planes) -> TrainingSet:
    """What an analyst puts together afterwards: flights whose arrival is known, with the weather *of* the hour of
    departure."""
    known = [(flight, flight.late) for flight in flights if flight.late is not None]
    rows = [
        features_of(flight, planes.of(flight.tail), weather.of_the_hour(flight.origin, flight.departs))
        for flight, _ in known
    ]
    return TrainingSet({name: [row[name] for row in rows] for name in SERVED_FEATURES}, [late for _, late in known])


def read_export(folder: Path, files: Sequence[str], version: str) -> pa.Table:
    """The rows of one model version in an export, in the export's order. ``files`` as its manifest lists them."""
    table = pa.concat_tables([pq.read_table(folder / name) for name in files], promote_options="permissive")
    return table.filter(pc.equal(table["model_version"], version))


def labelled(export: pa.Table) -> pa.Table:
    """The rows whose label has come."""
    return export.filter(pc.equal(export[f"label_state__{LABEL}"], "labelled"))


def from_export(export: pa.Table) -> TrainingSet:
    """The features as they were served, with the labels that had arrived when the export was made."""
    rows = labelled(export)
    columns = {name: rows[f"feature__{name}"].to_pylist() for name in SERVED_FEATURES}
    return TrainingSet(columns, [int(value) for value in rows[f"label__{LABEL}"].to_pylist()])


def write_reference(path: Path, rows: TrainingSet, features: tuple[str, ...], predictions: NDArray[np.float64]) -> None:
    """Write a training set the way Upshot reads references: columns named as in an export."""
    table = {f"feature__{name}": pa.array(rows.columns[name]) for name in features}
    table["prediction"] = pa.array(predictions)
    table[f"label__{LABEL}"] = pa.array(rows.labels, pa.int64())
    pq.write_table(pa.table(table), path)
