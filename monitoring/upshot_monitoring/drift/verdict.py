"""One column's verdict: ``ok``, ``drift`` or ``no_verdict``, always with the reason where it is not the statistic alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.chance import chance_limit
from upshot_monitoring.drift.registry import CLASSES, METHODS, NUMERIC, Method, method_for
from upshot_monitoring.profiles.profile import Profile

Verdict = Literal["ok", "drift", "no_verdict"]

MIN_ROWS = 100
"""On either side; below, chance is larger than most thresholds."""
MISSING_STEP = 0.05
"""From this change of the share of missing values on (and beyond 3.3 standard errors) it is a finding of its own."""
_STANDARD_ERRORS = 3.3
_NO_ROWS = Profile()


@dataclass
class Judgement:
    """What is said about one column."""

    kind: str
    method: str
    threshold: float
    verdict: Verdict
    statistic: float | None = None
    reasons: list[str] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)
    """Every method that applies."""

    @property
    def reason(self) -> str | None:
        """The reasons in one line; None where the statistic says it all."""
        return "; ".join(self.reasons) or None

    @property
    def severity(self) -> tuple[int, float]:
        """Sorts the worst first."""
        ratio = METHODS[self.method].excess(self.statistic, self.threshold) if self.statistic is not None else 0.0
        # A finding without a statistic (a feature that is not served at all) is worse than any number.
        if self.verdict == "drift" and self.statistic is None:
            ratio = math.inf
        return ({"drift": 0, "no_verdict": 1, "ok": 2}[self.verdict], -ratio)


def judge(
    reference: Profile | None,
    current: Profile | None,
    config: FeatureDriftConfig | None = None,
    *,
    min_rows: int = MIN_ROWS,
) -> Judgement:
    """Compare the current rows with the reference; None is a column that a side does not have at all."""
    now, then = current or _NO_ROWS, reference or _NO_ROWS
    kind = then.kind if then.kind != "none" else now.kind
    method, threshold, trouble = method_for(kind, config)
    found = Judgement(kind, method.name, threshold, "no_verdict", reasons=[trouble] if trouble else [])
    if reference is None:
        return _because(found, "new: not in the reference")
    if then.rows < min_rows or (current is not None and now.rows < min_rows):
        return _because(
            found,
            f"too few rows: {then.rows} in the reference, {now.rows} in the window, {min_rows} needed on both sides",
        )
    if current is None or now.absents == now.rows:
        if then.absents == then.rows or then.missing == then.rows:
            return _because(found, "no values on either side")
        found.verdict = "drift"
        return _because(found, "missing: in the reference, but not served")
    for finding in (_changed_share("missing", then.missing, then.rows, now.missing, now.rows),
                    _changed_share("infinite", then.infs, then.rows, now.infs, now.rows)):  # fmt: skip
        if finding:
            found.verdict = "drift"
            found.reasons.append(finding)
    if then.kind == "none" or now.kind == "none":
        side = "either side" if then.kind == now.kind else "the reference" if then.kind == "none" else "the window"
        return _because(found, f"no values on {side}")
    if not _comparable(then, now):
        found.verdict = "drift"
        return _because(found, f"the type changed: {then.kind} in the reference, {now.kind} in the window")
    if then.present < min_rows or now.present < min_rows:
        return _because(found, f"too few values: {then.present} in the reference, {now.present} in the window")
    if kind in NUMERIC and then.scale.scale_id != now.scale.scale_id:
        return _because(found, "the profiles are being rolled up again on a new scale")
    return _compared(found, then, now, method)


def _compared(found: Judgement, reference: Profile, current: Profile, method: Method) -> Judgement:
    found.statistics = {
        one.name: _finite(one.statistic(reference, current)) for one in METHODS.values() if reference.kind in one.kinds
    }
    found.statistic = found.statistics[method.name]
    if reference.is_constant and current.is_constant and not method.is_beyond(found.statistic, found.threshold):
        found.reasons.append("constant on both sides")
    elif reference.is_constant and method.is_beyond(found.statistic, found.threshold):
        found.reasons.append("constant in the reference, not any more")
    beyond = method.is_beyond(found.statistic, found.threshold)
    if beyond and method.effect is not None and found.statistics[method.effect.method] < method.effect.least:
        found.reasons.append(
            f"beyond chance, but too small a change: {method.effect.method} below {method.effect.least:g}"
        )
        beyond = False
    if beyond and method.sort == "distance" and not reference.is_constant:
        limit = chance_limit(method.statistic, reference, current, found.statistic)
        if found.statistic <= limit:
            beyond = False
            if found.verdict != "drift":
                return _because(
                    found,
                    f"too few rows to tell from chance, which explains up to {limit:.3g} with {current.present} rows",
                )
    if beyond:
        found.verdict = "drift"
    elif found.verdict != "drift":
        found.verdict = "ok"
    return found


def _because(found: Judgement, reason: str) -> Judgement:
    found.reasons.append(reason)
    return found


def _comparable(reference: Profile, current: Profile) -> bool:
    return reference.kind == current.kind or (reference.kind in CLASSES and current.kind in CLASSES)


def _changed_share(what: str, then: int, then_rows: int, now: int, now_rows: int) -> str | None:
    before, after = then / then_rows, now / now_rows
    pooled = (then + now) / (then_rows + now_rows)
    error = math.sqrt(pooled * (1 - pooled) * (1 / then_rows + 1 / now_rows))
    if abs(after - before) < MISSING_STEP or abs(after - before) < _STANDARD_ERRORS * error:
        return None
    return f"{what} values {_percent(before)} -> {_percent(after)}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share in (0, 1) or 0.1 <= share <= 0.9 else f"{share:.2%}"


def _finite(value: float) -> float:
    """JSON has no infinity: a distance beyond all numbers is the largest one."""
    return min(value, 1.7e308) if not math.isnan(value) else 0.0
