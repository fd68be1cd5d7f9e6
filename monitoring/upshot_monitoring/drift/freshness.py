"""How old feature values were when they were served: ``predicted_at`` minus the time that was logged for the value, in seconds.

Detects: a job that computes a feature and stands still or falls behind, although the values themselves look as ever; values that
are said to have been computed after the prediction (a wrong clock, or a training set that will leak). Example: a feature that is
computed each midnight is 0 to 24 hours old; when one night's job fails, half of the next day's values are older than 24 hours.

Three findings: older than ``max_age`` (where one is configured), computed after the prediction, and a distribution of ages that
moved against the earlier window (Wasserstein, in standard deviations). Rows share the time at which their feature was computed, so
their ages are not independent and chance explains more than a test of rows knows: hence a high threshold for the last, and none by
chance for the first two, which are limits and no estimates. SageMaker's and Feast's word for the first is a feature's TTL.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.verdict import Finding, Judgement, compare
from upshot_monitoring.profiles.profile import Profile

THRESHOLD = 0.5
"""Standard deviations of the earlier ages."""
SHARE = 0.01
"""From this share of values on it is a finding that they are too old, or of the future."""
CLOCKS_S = 1.0
"""What clocks of two machines may differ by."""

_CONFIG = FeatureDriftConfig(method="wasserstein", threshold=THRESHOLD)
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def compare_ages(
    reference: Profile | None, current: Profile | None, max_age: timedelta | None, min_rows: int
) -> Judgement:
    """What is said about the ages of one feature; not yet settled."""
    found = compare(reference, current, _CONFIG, min_rows=min_rows)
    if reference is None:
        found.reasons = ["no earlier ages to compare with"]
    if current is None or current.n < min_rows:
        return found
    stale, future = stale_share(current, max_age), future_share(current)
    if stale is not None and stale >= SHARE and max_age is not None:
        found.findings.append(Finding(0.0, f"{stale:.1%} older than {_in_words(max_age)}"))
    if future >= SHARE:
        found.findings.append(Finding(0.0, f"{future:.1%} computed after the prediction"))
    found.is_tested = found.is_tested or bool(found.findings)
    return found


def stale_share(ages: Profile, max_age: timedelta | None) -> float | None:
    """The share of values older than the limit, to within a bucket of the profile; None without a limit."""
    if max_age is None:
        return None
    return float(1 - ages.cdf(np.array([max_age.total_seconds()]))[0])


def future_share(ages: Profile) -> float:
    """The share of values that were computed after the prediction, beyond what clocks differ by."""
    return float(ages.cdf(np.array([-CLOCKS_S]), left=True)[0])


def describe(reference: Profile | None, current: Profile | None, max_age: timedelta | None) -> dict[str, Any]:
    """The figures of one feature. Ages are in seconds."""
    present = current is not None and current.n > 0
    return {
        "rows": current.rows if current is not None else 0,
        "with_time_share": current.n / current.rows if current is not None and current.rows else None,
        "age_s": _ages(current),
        "age_s_before": _ages(reference),
        "max_age_s": max_age.total_seconds() if max_age is not None else None,
        "stale_share": stale_share(current, max_age) if present and current is not None else None,
        "future_share": future_share(current) if present and current is not None else None,
    }


def _ages(profile: Profile | None) -> dict[str, float] | None:
    if profile is None or not profile.n:
        return None
    values = profile.quantiles(np.array(list(_QUANTILES.values())))
    return {
        "min": profile.low,
        **{name: float(value) for name, value in zip(_QUANTILES, values, strict=True)},
        "max": profile.high,
        "mean": profile.mean,
    }


def _in_words(length: timedelta) -> str:
    seconds = length.total_seconds()
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {word}"
    return f"{seconds:g} s"
