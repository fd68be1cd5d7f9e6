"""From stored profiles of vectors to those of a window: added up piece by piece, so memory does not grow with the window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.scales import Key
from upshot_monitoring.profiles.vector_profile import LengthProfile, merge_lengths
from upshot_monitoring.profiles.window import Window, rows_of

Lengths = dict[Key, tuple[LengthProfile, ...]]

PIECE = timedelta(days=7)
"""What is read at a time: 168 hours of 1,536 dimensions are 4 MB."""

_WINDOW = """
SELECT role, feature, intDiv(toUInt32(hour) - toUInt32({first:DateTime('UTC')}), {slot_s:UInt32}) AS slot,
  length, rows, summed, means, m2
FROM vector_profiles FINAL
WHERE model = {model:String} AND hour >= {start:DateTime('UTC')} AND hour < {end:DateTime('UTC')} AND rows > 0
  AND (model_version = {version:String} OR {any_version:Bool})
  AND (role = {role:String} AND feature = {feature:String} OR {any_feature:Bool})
"""
_REFERENCE = """
SELECT role, feature, length, rows, summed, means, m2 FROM reference_vectors FINAL WHERE reference_id = {id:String}
"""


def lengths_of_window(store: Store, window: Window, key: Key | None = None, slot_s: int = 0) -> dict[int, Lengths]:
    """By slot of ``slot_s`` seconds from the start of the window (0: one for all), the profiles of the vectors of one column, or of
    all that have some."""
    found: dict[int, Lengths] = {}
    start = window.start
    while start < window.end:
        end = min(start + PIECE, window.end)
        params = {
            "model": window.model,
            "first": window.start,
            "slot_s": slot_s or 2**32 - 1,
            "start": start,
            "end": end,
            "version": window.version or "",
            "any_version": window.version is None,
            "role": key[0] if key else "",
            "feature": key[1] if key else "",
            "any_feature": key is None,
        }
        parts: defaultdict[tuple[int, Key], list[LengthProfile]] = defaultdict(list)
        for row in rows_of(store.arrow(_WINDOW, params)):
            parts[int(row["slot"]), (row["role"], row["feature"])].append(_length_of(row))
        for (slot, of), more in parts.items():
            known = found.setdefault(slot, {})
            known[of] = merge_lengths([*known.get(of, ()), *more])
        start = end
    return found


def lengths_of_reference(store: Store, reference_id: str) -> Lengths:
    """The profiles of the vectors of a reference."""
    parts: defaultdict[Key, list[LengthProfile]] = defaultdict(list)
    for row in rows_of(store.arrow(_REFERENCE, {"id": reference_id})):
        parts[row["role"], row["feature"]].append(_length_of(row))
    return {key: merge_lengths(of_key) for key, of_key in parts.items()}


def with_lengths(
    profiles: Mapping[Key, Profile], lengths: Mapping[Key, tuple[LengthProfile, ...]]
) -> dict[Key, Profile]:
    """Profiles with what is known of their vectors."""
    return {
        key: replace(profile, lengths=lengths[key]) if key in lengths else profile for key, profile in profiles.items()
    }


def _length_of(row: Mapping[str, Any]) -> LengthProfile:
    return LengthProfile(int(row["length"]), int(row["rows"]), int(row["summed"]), row["means"], row["m2"])
