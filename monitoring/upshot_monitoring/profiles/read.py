"""From stored hourly profiles to the profile of a window: one statement for all columns of a model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.rollup import COUNTS
from upshot_monitoring.profiles.scales import UNSCALED, Key, Scale, Scales

MERGED = f"""
  {", ".join(f"sum(p.{name}) AS {name}" for name in COUNTS)}, sum(p.overflow) AS overflow,
  sumMap(p.buckets, p.counts, p.sums, p.sums2) AS added,
  added.1 AS buckets, added.2 AS counts, added.3 AS sums, added.4 AS sums2,
  minMap(p.buckets, p.lows).2 AS lows, maxMap(p.buckets, p.highs).2 AS highs,
  sumMap(p.values, p.value_counts) AS counted, counted.1 AS values, counted.2 AS value_counts
"""
"""Sums of rows of ``profiles AS p``."""
_COLUMNS = f"{', '.join(COUNTS)}, overflow, buckets, counts, sums, sums2, lows, highs, values, value_counts"
_WINDOW = f"""
SELECT role, feature, slot, {_COLUMNS} FROM (
  SELECT role, feature, %(slot)s AS slot, {MERGED}
  FROM (
    SELECT * FROM profiles FINAL
    WHERE model = {{model:String}} AND hour >= {{start:DateTime('UTC')}} AND hour < {{end:DateTime('UTC')}} %(where)s
      AND rows > 0 AND (n = 0 OR scale_id IN {{scale_ids:Array(UInt64)}})
  ) AS p
  GROUP BY role, feature, slot
)
"""
_SLOT = "toUInt32(intDiv(toUInt32(hour) - toUInt32({start:DateTime('UTC')}), {slot_s:UInt32}))"


@dataclass(frozen=True)
class Window:
    """Which hours of a model: ``start`` <= hour < ``end``, of one version or of all together."""

    model: str
    start: datetime
    end: datetime
    version: str | None = None


def read_window(store: Store, scales: Scales, window: Window) -> dict[Key, Profile]:
    """The profile of every column over a window. A column that some hours do not know was absent in their rows."""
    pinned = scales.read(window.model)
    table = _read(store, window, pinned, slot="0", where="")
    profiles = {
        (row["role"], row["feature"]): profile_of(row, pinned.get((row["role"], row["feature"])))
        for row in rows_of(table)
    }
    rows = max((profile.rows for key, profile in profiles.items() if key[0] != "label"), default=0)
    return {
        key: profile
        if key[0] == "label"
        else replace(profile, rows=rows, absents=profile.absents + rows - profile.rows)
        for key, profile in profiles.items()
    }


def read_slots(store: Store, scales: Scales, window: Window, key: Key, slot_s: int) -> dict[datetime, Profile]:
    """The profile of one column over each slot of ``slot_s`` seconds, counted from the start of the window."""
    pinned = scales.read(window.model)
    table = _read(
        store,
        window,
        pinned,
        slot=_SLOT,
        where="AND role = {role:String} AND feature = {feature:String}",
        params={"role": key[0], "feature": key[1], "slot_s": slot_s},
    )
    return {
        window.start + row["slot"] * timedelta(seconds=slot_s): profile_of(row, pinned.get(key))
        for row in sorted(rows_of(table), key=lambda row: int(row["slot"]))
    }


def _read(
    store: Store,
    window: Window,
    pinned: Mapping[Key, Scale],
    *,
    slot: str,
    where: str,
    params: Mapping[str, object] | None = None,
) -> pa.Table:
    if window.version is not None:
        where += " AND model_version = {version:String}"
    return store.arrow(
        _WINDOW % {"slot": slot, "where": where},
        {
            "model": window.model,
            "start": window.start,
            "end": window.end,
            "version": window.version or "",
            "scale_ids": [scale.scale_id for scale in pinned.values()],
            **(params or {}),
        },
    )


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table; lists of numbers as NumPy arrays, which is several times faster than as lists."""
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        column = pa.concat_arrays(table[name].chunks) if table.num_rows else pa.array([])
        if pa.types.is_list(column.type) and not pa.types.is_string(column.type.value_type):
            offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
            columns[name] = [values[start:end] for start, end in itertools.pairwise(offsets)]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def profile_of(row: Mapping[str, Any], scale: Scale | None) -> Profile:
    """The profile in a row of ``profiles``, of ``reference_profiles`` or of their sums."""
    order = np.argsort(-np.asarray(row["value_counts"], np.float64), kind="stable")
    counts: dict[str, Any] = {name: int(row[name]) for name in (*COUNTS, "overflow")}
    cells: dict[str, Any] = {
        name: np.asarray(row[name], np.float64) for name in ("counts", "sums", "sums2", "lows", "highs")
    }
    return Profile(
        **counts,
        **cells,
        scale=scale or UNSCALED,
        buckets=np.asarray(row["buckets"], np.int64),
        values=tuple(row["values"][i] for i in order),
        value_counts=np.asarray(row["value_counts"], np.float64)[order],
    )
