"""What is found about vectors beside the distance of their centroids: other lengths, and single dimensions that moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from upshot_monitoring.drift.chance import chance_of_share
from upshot_monitoring.drift.means import Means, means_of, same_length, usual_length
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.vector_profile import MAX_DIMENSIONS

LENGTH_STEP = 0.05
"""From this change of the share of vectors of another length on it is a finding, as of missing values."""
DIMENSION_STEP = 0.5
"""From this many standard deviations on, the move of one dimension is a finding by itself."""
MOST_MOVED = 20
"""Dimensions that are named in an answer."""


@dataclass(frozen=True)
class Looked:
    """Something that was looked at; ``p_value`` is None where it is below its floor."""

    p_value: float | None = None
    reason: str = ""


def why_not(then: Profile, now: Profile) -> str | None:
    """Why the vectors of these sides cannot be compared dimension by dimension (yet); None where all of them are known.

    A roll-up writes vectors before the profile that counts them, so fewer vectors than that were rolled up by an earlier version of
    Upshot.
    """
    if _counted(now) < now.vectors:
        return "the vectors of the window are being rolled up by dimension"
    if _counted(then) < then.vectors:
        return (
            "the vectors of the baseline are not known by dimension: "
            "add a reference of an earlier version again, or wait for the roll-up of the window"
        )
    return None


def look_at_lengths(then: Profile, now: Profile) -> Looked | None:
    """The share of vectors of another length than the reference's usual one; None where there are no others."""
    usual = usual_length(then)
    if usual is None:
        return None
    before = _counted(then) - usual.rows
    after = _counted(now) - sum(one.rows for one in now.lengths if one.length == usual.length)
    if not before and not after:
        return None
    share, new_share = before / _counted(then), after / max(1, _counted(now))
    if abs(new_share - share) < LENGTH_STEP:
        return Looked()
    p_value = chance_of_share(before, _counted(then), after, _counted(now))
    usual_now = usual_length(now)
    if usual_now is not None and usual_now.length != usual.length:
        reason = f"the length changed: {usual.length} in the reference, {usual_now.length} in the window"
        return Looked(p_value, f"{reason} ({new_share:.0%} are not of length {usual.length})")
    return Looked(p_value, f"vectors of another length than {usual.length}: {share:.2%} -> {new_share:.2%}")


def look_at_dimensions(means: Means) -> Looked:
    """The dimension that moved furthest beyond chance, of those that moved by :data:`DIMENSION_STEP` or more."""
    far = np.flatnonzero(np.abs(means.shifts) >= DIMENSION_STEP)
    if not len(far):
        return Looked()
    p_value = min(1.0, float(means.p_values[far].min()) * len(means.shifts))
    furthest = far[np.argmax(np.abs(means.shifts[far]))]
    moved = f"dimension {furthest} moved by {means.shifts[furthest]:+.2g} standard deviations"
    if means.is_constant[furthest]:
        moved = f"dimension {furthest} was constant in the reference, and is not any more"
    more = f", and {len(far) - 1} more by at least {DIMENSION_STEP:g}" if len(far) > 1 else ""
    return Looked(p_value, moved + more)


def few_of_length(then: Profile, now: Profile, min_rows: int) -> str | None:
    """Why there are too few vectors of one length; None where there are enough."""
    usual = usual_length(then)
    assert usual is not None  # noqa: S101  # a side of vectors that are all known has one
    rows = sum(one.summed for one in now.lengths if one.length == usual.length)
    if usual.summed >= min_rows and rows >= min_rows:
        return None
    return f"too few vectors of length {usual.length}: {usual.summed} in the reference, {rows} in the window"


def vector_figures(then: Profile | None, now: Profile | None) -> dict[str, Any]:
    """Lengths on both sides, and where both have vectors of one length, how the centroids lie and which dimensions moved most."""
    sides = {"reference": then or Profile(), "current": now or Profile()}
    figures: dict[str, Any] = {
        "lengths": {
            name: [
                {"length": one.length or None, "rows": one.rows, "finite": one.summed if one.length else None}
                for one in side.lengths
            ]
            for name, side in sides.items()
        },
        "length": None,
        "dimensions": None,
        "rows": {"reference": 0, "current": 0},
        "cosine": None,
        "moved": [],
    }
    same = same_length(sides["reference"], sides["current"])
    if same is None:
        return figures
    means = means_of(sides["reference"], sides["current"])
    figures["length"] = same[0].length
    figures["dimensions"] = min(same[0].length, MAX_DIMENSIONS)
    figures["rows"] = {"reference": means.rows_reference, "current": means.rows_current}
    figures["cosine"] = means.cosine
    most = np.lexsort((means.p_values, -np.abs(means.shifts)))[:MOST_MOVED]
    figures["moved"] = [
        {
            "dimension": int(at),
            "mean_reference": float(means.means_reference[at]),
            "mean_current": float(means.means_current[at]),
            "std_reference": float(np.sqrt(means.variances_reference[at])),
            "std_current": float(np.sqrt(means.variances_current[at])),
            "shift": float(means.shifts[at]),
            "p_value": float(means.p_values[at]),
            "was_constant": bool(means.is_constant[at]),
        }
        for at in most
    ]
    return figures


def _counted(side: Profile) -> int:
    return sum(one.rows for one in side.lengths)
