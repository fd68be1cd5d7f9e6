"""How profiles and judgements are said in answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from upshot_monitoring.drift.registry import NUMERIC
from upshot_monitoring.drift.verdict import Judgement
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.scales import Key

_QUANTILES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])


def said(judgement: Judgement, reference: Profile | None, current: Profile | None) -> dict[str, Any]:
    """A judgement with the rows it rests on."""
    return {
        "method": judgement.method,
        "statistic": judgement.statistic,
        "threshold": judgement.threshold,
        "direction": "below" if judgement.falls else "above",
        "p_value": judgement.p_value,
        "adjusted_p_value": judgement.adjusted_p_value,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "rows_reference": judgement.rows[0] if judgement.rows else _rows(judgement, reference),
        "rows_current": judgement.rows[1] if judgement.rows else _rows(judgement, current),
        "null_share_reference": reference.missing_share if reference else None,
        "null_share_current": current.missing_share if current else None,
        "statistics": judgement.statistics,
    }


def key_of(row: Mapping[str, Any]) -> Key:
    """Which column a row of an answer is about: where a feature is named like the score, the other one is "score (score)"."""
    role, name = str(row["role"]), str(row["feature"])
    return (role, name) if role == "feature" else (role, name.removesuffix(f" ({role})"))


def _rows(judgement: Judgement, profile: Profile | None) -> int:
    """The rows that the statistic rests on; without a statistic, all rows."""
    if profile is None:
        return 0
    return profile.present if judgement.statistic is not None else profile.rows


def moments(profile: Profile) -> dict[str, float | None]:
    """Mean, standard deviation, smallest and largest; None where there are no numbers."""
    return {
        name: value if math.isfinite(value) else None
        for name, value in (("mean", profile.mean), ("std", profile.std), ("min", profile.low), ("max", profile.high))
    }


def figures_of(profile: Profile | None) -> dict[str, Any] | None:
    """What one side looks like, in figures."""
    if profile is None:
        return None
    figures: dict[str, Any] = {
        "rows": profile.rows,
        "nulls": profile.nulls,
        "absent": profile.absents,
        "nan": profile.nans,
        "infinite": profile.infs,
        "other": profile.others,
        "kind": profile.kind,
        **moments(profile),
    }
    if profile.kind in NUMERIC:
        figures["quantiles"] = {
            f"p{share * 100:g}": float(value)
            for share, value in zip(_QUANTILES, profile.quantiles(_QUANTILES), strict=True)
        }
    elif profile.kind != "none":
        figures["values"] = len(profile.values)
        figures["rows_of_rare_values"] = profile.overflow
    return figures
