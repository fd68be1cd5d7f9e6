"""The unit in which each numeric column is measured, pinned so that profiles of different hours can be added.

A scale is a centre and a width: the median and IQR / 1.349 (the standard deviation of a normal distribution with that IQR). The
buckets of a profile are narrow near the centre and grow with the distance from it, so a feature of 1000 +/- 5 is seen as
sharply as one of 0 +/- 1.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import name_hash
from upshot_monitoring.profiles.columns import VECTOR_ROWS_PER_BLOCK, Column

Source = Literal["reference", "rows"]
Key = tuple[str, str]
"""Role and name of a column."""

FIRST_ROWS = 100_000
"""About how many rows a scale is taken from when there is no reference."""
FIRM_ROWS = 1000
"""From fewer values than these, a scale is provisional: it is taken again when there are four times as many."""
FURTHEST = 1e150
"""In scales from the centre."""
_IQR_OF_NORMAL = 1.349

_READ = """
SELECT role, feature, center, scale, scale_id, source, pinned_rows FROM profile_scales FINAL WHERE model = {model:String}
"""


@dataclass(frozen=True)
class Scale:
    """Where a column's values lie and how wide they spread; ``rows`` finite values said so."""

    center: float = 0.0
    scale: float = 1.0
    scale_id: int = 0
    source: Source = "rows"
    rows: int = 0

    def standardized(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(x - center) / scale, as the roll-up computes it: cut off at +/-1e150, so that squares and sums stay finite."""
        with np.errstate(over="ignore"):
            z: NDArray[np.float64] = np.clip((x - self.center) / self.scale, -FURTHEST, FURTHEST)
        return z

    @property
    def provisional(self) -> bool:
        """Whether it was taken from too few values to be kept."""
        return self.source == "rows" and self.rows < FIRM_ROWS


UNSCALED = Scale()
"""Of columns without numbers."""


def scale_of(quartiles: Sequence[float], std: float, rows: int, source: Source) -> Scale:
    """The scale of values with these quartiles and standard deviation; raises nothing, whatever the values are."""
    low, median, high = quartiles
    for width in ((high - low) / _IQR_OF_NORMAL, std, 1.0):
        if math.isfinite(width) and width > 0 and math.isfinite(1 / width):
            break
    center = median if math.isfinite(median) else 0.0
    return Scale(center, width, name_hash(struct.pack("<dd", center, width).hex()), source, rows)


def measure(
    store: Store, columns: Sequence[Column], source: str, params: Mapping[str, object]
) -> dict[Key, tuple[int, Scale]]:
    """Take the scales of numeric columns from the rows of ``source``: the number of finite values and the scale, by column."""
    found: dict[Key, tuple[int, Scale]] = {}
    numeric = [column for column in columns if column.is_numeric]
    for start in range(0, len(numeric), 100):
        batch = numeric[start : start + 100]
        [row] = store.query(
            "SELECT "
            + ", ".join(
                # From a sample of 8,192 values: a scale need not be exact, it must only be the same everywhere.
                f"countIf(isFinite(x{i})), quantilesIf(0.25, 0.5, 0.75)(x{i}, isFinite(x{i})), "
                f"stddevPopStableIf(x{i}, isFinite(x{i}))"
                for i in range(len(batch))
            )
            + " FROM (SELECT "
            + ", ".join(f"{measured(column)} AS x{i}" for i, column in enumerate(batch))
            + f" FROM {source})"
            + (f" SETTINGS max_block_size = {VECTOR_ROWS_PER_BLOCK}" if any(column.vector for column in batch) else ""),
            params,
        )
        for i, column in enumerate(batch):
            rows, quartiles, std = row[3 * i : 3 * i + 3]
            if rows:
                found[column.role, column.name] = (rows, scale_of(quartiles, std, rows, "rows"))
    return found


def measured(column: Column) -> str:
    """The number of a row as SQL, a vector by its norm; NaN where there is none."""
    number = f"ifNull({column.number}, nan)" if column.number else "nan"
    return f"if(notEmpty({column.vector}), L2Norm({column.vector}), {number})" if column.vector else number


class Scales:
    """The pinned scales of every model. One thread at a time (the roll-up's, or that of an upload, under its lock)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, model: str) -> dict[Key, Scale]:
        """Every pinned scale of a model."""
        return {
            (role, feature): Scale(center, scale, scale_id, source, rows)
            for role, feature, center, scale, scale_id, source, rows in self._store.query(_READ, {"model": model})
        }

    def pin(self, model: str, scales: Mapping[Key, Scale], version: int) -> None:
        """Write scales down; those that replace others make their hours due again."""
        rows = list(scales.items())
        self._store.insert(
            "profile_scales",
            pa.table(
                {
                    "model": [model] * len(rows),
                    "role": pa.array([key[0] for key, _ in rows], pa.string()),
                    "feature": pa.array([key[1] for key, _ in rows], pa.string()),
                    "center": pa.array([scale.center for _, scale in rows], pa.float64()),
                    "scale": pa.array([scale.scale for _, scale in rows], pa.float64()),
                    "scale_id": pa.array([scale.scale_id for _, scale in rows], pa.uint64()),
                    "source": pa.array([scale.source for _, scale in rows], pa.string()),
                    "pinned_rows": pa.array([scale.rows for _, scale in rows], pa.uint64()),
                    "version": pa.array([version] * len(rows), pa.uint64()),
                }
            ),
        )


def wanting(columns: Iterable[Column], pinned: Mapping[Key, Scale]) -> list[Column]:
    """Numeric columns whose scale is missing or provisional."""
    return [
        column
        for column in columns
        if column.is_numeric and ((scale := pinned.get((column.role, column.name))) is None or scale.provisional)
    ]


def better(measured: Mapping[Key, tuple[int, Scale]], pinned: Mapping[Key, Scale]) -> dict[Key, Scale]:
    """Which measured scales to pin: new ones, and those taken from four times as many values as the provisional one."""
    return {
        key: scale
        for key, (rows, scale) in measured.items()
        if (before := pinned.get(key)) is None or rows >= 4 * max(1, before.rows) or rows >= FIRM_ROWS > before.rows
    }
