"""Whether the features that decide are still the ones that decided: the ranking of features by their attributions.

Detects: a model that leans on other features than before, which no feature's own distribution need show (two features trade
places in importance; a feature that was broken upstream and carries nothing any more).

Statistic: the normalized discounted cumulative gain of the current order of features. With features ordered by what they
contribute now, ``DCG = sum of a_i / log2(i + 1)`` over places i = 1, 2, ..., where ``a_i`` is the mean absolute attribution that
the feature of place i had in the baseline; divided by the same sum in the baseline's own order. 1: nothing changed its place.
Below 0.9 is drift, as in SageMaker Clarify, whose measure this is (Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR
techniques, 2002).

Beyond chance: a ranking by noise changes by itself, so at least one feature's mean absolute attribution must have moved: the
smallest p-value of Welch's test over all features, times their number (Bonferroni, which holds however they depend on each other).

Example: (0.5, 0.3, 0.2) becoming (0.2, 0.3, 0.5) gives (0.2 + 0.3 / 1.585 + 0.5 / 2) / (0.5 + 0.3 / 1.585 + 0.2 / 2) = 0.810.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from upshot_monitoring.drift.verdict import Finding, Judgement
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.scales import Key

THRESHOLD = 0.9
RANKING: Final[Key] = ("ranking", "attributions")
"""The key of the verdict on all attributions together."""

Of = Callable[[Key], Profile | None]
"""The baseline's profile of a column."""


def ndcg(before: Sequence[float], now: Sequence[float]) -> float:
    """Of the importances of the same features before and now; 1 where the order is the same. NaN where nothing had any."""
    gains = np.asarray(before, np.float64)
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    ideal = float((-np.sort(-gains) * discounts).sum())
    # Ties keep the baseline's order: what is equally important did not change its place.
    order = np.lexsort((-gains, -np.asarray(now, np.float64)))
    return float((gains[order] * discounts).sum()) / ideal if ideal > 0 else math.nan


def ranking(base: Of, current: Mapping[Key, Profile], min_rows: int) -> Judgement | None:
    """What is said about the order of all features; not yet settled. None where there are no attributions on both sides."""
    pairs = [(then, now) for _, then, now in _both(base, current)]
    if not pairs:
        return None
    found = Judgement("ranking", "ndcg", THRESHOLD, "no_verdict", falls=True)
    rows = min(min(then.n, now.n) for then, now in pairs)
    if len(pairs) < 2:
        found.reasons.append("one feature has no order")
    elif rows < min_rows:
        found.reasons.append(f"too few attributions: {rows}, {min_rows} needed on both sides")
    else:
        statistic = ndcg([then.mean_abs for then, _ in pairs], [now.mean_abs for _, now in pairs])
        if math.isnan(statistic):
            found.reasons.append("no feature contributed anything in the baseline")
            return found
        found.statistic, found.verdict, found.is_tested = statistic, "ok", True
        found.statistics = {"ndcg": statistic}
        if statistic < THRESHOLD:
            p_value = min(1.0, len(pairs) * min(_chance(then, now) for then, now in pairs))
            found.findings.append(Finding(p_value))
    return found


def rows_of(base: Of, current: Mapping[Key, Profile]) -> tuple[int, int]:
    """The rows that the ranking rests on, on both sides: those of the feature that has the fewest."""
    pairs = _both(base, current)
    return min((then.n for _, then, _ in pairs), default=0), min((now.n for _, _, now in pairs), default=0)


def table(base: Of, current: Mapping[Key, Profile]) -> list[dict[str, Any]]:
    """Every feature with an attribution now, the most important first: importance is the mean absolute attribution, ``share``
    is of the sum over all features."""
    now = {key[1]: one for key, one in current.items() if key[0] == "attribution" and one.n}
    before = {name: one for name in now if (one := base(("attribution", name))) is not None and one.n}
    importance = {name: one.mean_abs for name, one in now.items()}
    was = {name: one.mean_abs for name, one in before.items()}
    rank = {name: place for place, name in enumerate(_ordered(importance), 1)}
    rank_was = {name: place for place, name in enumerate(_ordered(was), 1)}
    total, total_was = sum(importance.values()), sum(was.values())
    return [
        {
            "feature": name,
            "importance": importance[name],
            "importance_before": was.get(name),
            "share": importance[name] / total if total > 0 else None,
            "share_before": was[name] / total_was if name in was and total_was > 0 else None,
            "rank": rank[name],
            "rank_before": rank_was.get(name),
            "mean": now[name].mean,
            "mean_before": before[name].mean if name in before else None,
        }
        for name in rank
    ]


def _ordered(importance: Mapping[str, float]) -> list[str]:
    return sorted(importance, key=lambda name: (-importance[name], name))


def _both(base: Of, current: Mapping[Key, Profile]) -> list[tuple[Key, Profile, Profile]]:
    return [
        (key, then, now)
        for key, now in current.items()
        if key[0] == "attribution" and now.n and (then := base(key)) is not None and then.n
    ]


def _chance(before: Profile, now: Profile) -> float:
    """How probable such a difference of the mean absolute attribution is without a change."""
    variances = [max(0.0, one.std**2 + one.mean**2 - one.mean_abs**2) for one in (before, now)]
    error = math.sqrt(variances[0] / before.n + variances[1] / now.n)
    difference = abs(now.mean_abs - before.mean_abs)
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return math.erfc(difference / error / math.sqrt(2))
