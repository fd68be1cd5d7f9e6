"""From stored hourly profiles to the profile of a window: one statement for all columns of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.rollup import COUNTS
from upshot_monitoring.profiles.scales import UNSCALED, Key, Scale, Scales
from upshot_monitoring.profiles.vector_read import lengths_of_window, with_lengths
from upshot_monitoring.profiles.window import Window, rows_of

__all__ = ["Window", "profile_of", "read_slots", "read_window", "rows_of"]

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


def read_window(store: Store, scales: Scales, window: Window) -> dict[Key, Profile]:
    """The profile of every column over a window. A column that some hours do not know was absent in their rows."""
    pinned = scales.read(window.model)
    table = _read(store, window, pinned, slot="0", where="")
    profiles = {
        (row["role"], row["feature"]): profile_of(row, pinned.get((row["role"], row["feature"])))
        for row in rows_of(table)
    }
    if any(profile.vectors for profile in profiles.values()):
        profiles = with_lengths(profiles, lengths_of_window(store, window).get(0, {}))
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
    slots = {
        int(row["slot"]): profile_of(row, pinned.get(key))
        for row in sorted(rows_of(table), key=lambda row: int(row["slot"]))
    }
    if any(profile.vectors for profile in slots.values()):
        lengths = lengths_of_window(store, window, key, slot_s)
        slots = {slot: with_lengths({key: profile}, lengths.get(slot, {}))[key] for slot, profile in slots.items()}
    return {window.start + slot * timedelta(seconds=slot_s): profile for slot, profile in slots.items()}


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
