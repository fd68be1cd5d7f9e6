"""Verdicts: ``ok``, ``drift`` or ``no_verdict``, always with the reason where it is not the statistic alone.

In two steps. :func:`compare` looks at one column: its statistic against its threshold (the effect floor), the share of its missing
values, and how probable each finding is without drift. :func:`settle` looks at all columns together: what is probable enough among
so many is no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.chance import chance, chance_of_share
from upshot_monitoring.drift.discoveries import benjamini_yekutieli
from upshot_monitoring.drift.means import Means, means_of
from upshot_monitoring.drift.registry import CLASSES, NUMERIC, Method, all_statistics, method_for
from upshot_monitoring.drift.vectors import Looked, few_of_length, look_at_dimensions, look_at_lengths, why_not
from upshot_monitoring.profiles.profile import Profile

Verdict = Literal["ok", "drift", "no_verdict"]

NEW_SCALE = "the profiles are being rolled up again on a new scale"
MIN_ROWS = 100
"""On either side; below, chance is larger than most thresholds."""
MISSING_STEP = 0.05
"""From this change of the share of missing values on it is a finding of its own."""
RATE = 0.01
"""Of false discoveries among those of one window, unless configured otherwise."""
NORM_METHOD = "wasserstein"
_NO_ROWS = Profile()


@dataclass(frozen=True)
class Finding:
    """Something that is beyond its floor, and how probable it is by chance; the statistic's own finding needs no words."""

    p_value: float
    reason: str | None = None


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
    is_tested: bool = False
    """Whether there are rows enough for a verdict; only such columns count among those looked at together."""
    findings: list[Finding] = field(default_factory=list)
    falls: bool = False
    """Whether a small statistic means drift."""
    questions: int = 1
    """How many things were looked at of this column; the probability of a finding counts so many times."""
    adjusted_p_value: float | None = None
    rows: tuple[int, int] | None = None
    """The rows of the reference and of the window that the statistic rests on, where those are not all with a usable value."""

    @property
    def reason(self) -> str | None:
        """The reasons in one line; None where the statistic says it all."""
        return "; ".join(self.reasons) or None

    @property
    def p_value(self) -> float | None:
        """How probable the least probable finding is by chance; 1 where nothing was found, None where nothing was tested."""
        if not self.is_tested:
            return None
        return min((min(1.0, one.p_value * self.questions) for one in self.findings), default=1.0)

    @property
    def severity(self) -> tuple[int, float]:
        """Sorts the worst first."""
        ratio = self._excess(self.statistic) if self.statistic is not None else 0.0
        # A finding without a statistic (a feature that is not served at all) is worse than any number.
        if self.verdict == "drift" and self.statistic is None:
            ratio = math.inf
        return ({"drift": 0, "no_verdict": 1, "ok": 2}[self.verdict], -ratio)

    def _excess(self, statistic: float) -> float:
        """How many thresholds away it is; 1 is on the threshold, more is worse."""
        if self.falls:
            return self.threshold / max(statistic, 1e-300)
        return statistic / self.threshold if self.threshold > 0 else 0.0

    def withhold(self, reason: str) -> None:
        """Give no verdict, and do not count it among those looked at together."""
        self.verdict, self.is_tested, self.findings, self.reasons = "no_verdict", False, [], [reason]


def judge(
    reference: Profile | None,
    current: Profile | None,
    config: FeatureDriftConfig | None = None,
    *,
    min_rows: int = MIN_ROWS,
) -> Judgement:
    """The verdict on a column that is looked at alone."""
    found = compare(reference, current, config, min_rows=min_rows)
    settle([found])
    return found


def settle(judgements: Sequence[Judgement], rate: float = RATE, family: int = 0) -> None:
    """Turn the findings of columns that are looked at together into verdicts. ``family`` is how many are looked at, where not all
    of them are given."""
    tested = [one for one in judgements if one.is_tested]
    family = max(family, len(tested))
    discoveries = benjamini_yekutieli([one.p_value or 0.0 for one in tested], rate, family)
    for one, adjusted in zip(tested, discoveries.adjusted, strict=True):
        one.adjusted_p_value = adjusted
        kept = [finding for finding in one.findings if finding.p_value * one.questions <= discoveries.cutoff]
        if kept:
            one.verdict = "drift"
            one.reasons = [finding.reason for finding in kept if finding.reason] + one.reasons
        elif one.findings:
            one.verdict = "no_verdict"
            among = f"among {family} columns" if family > 1 else "alone"
            one.reasons.append(f"may be chance: p = {one.p_value:.2g}, and {among} {discoveries.cutoff:.2g} is needed")


def compare(
    reference: Profile | None,
    current: Profile | None,
    config: FeatureDriftConfig | None = None,
    *,
    min_rows: int = MIN_ROWS,
) -> Judgement:
    """Compare the current rows with the reference; None is a column that a side does not have at all. What is found is not yet
    called drift."""
    now, then = current or _NO_ROWS, reference or _NO_ROWS
    kind = then.kind if then.kind != "none" else now.kind
    method, threshold, trouble = method_for(kind, config)
    reasons = [trouble] if trouble else []
    found = Judgement(kind, method.name, threshold, "no_verdict", reasons=reasons, falls=method.falls)
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
        found.is_tested = True
        p_value = 0.0 if current is None else chance_of_share(then.missing, then.rows, now.missing, now.rows)
        found.findings = [Finding(p_value, "missing: in the reference, but not served")]
        return found
    found.is_tested = True
    _look_at_shares(found, then, now)
    if then.kind == "none" or now.kind == "none":
        side = "either side" if then.kind == now.kind else "the reference" if then.kind == "none" else "the window"
        return _because(found, f"no values on {side}")
    if not _comparable(then, now):
        found.findings.append(Finding(0.0, f"the type changed: {then.kind} in the reference, {now.kind} in the window"))
        return found
    if then.present < min_rows or now.present < min_rows:
        return _because(found, f"too few values: {then.present} in the reference, {now.present} in the window")
    if kind in NUMERIC and then.scale.scale_id != now.scale.scale_id:
        return _because(found, NEW_SCALE)
    if kind == "vector" and (trouble := _look_at_vectors(found, then, now, method, min_rows)):
        return _because(found, trouble)
    return _compare_values(found, then, now, method)


def judge_norm(reference: Profile | None, current: Profile | None, *, min_rows: int = MIN_ROWS) -> Judgement:
    """Compare the norms of vectors, by the default method of numbers, and nothing else of them. What is found is not yet called
    drift."""
    then, now = (_norms(side) if side is not None else None for side in (reference, current))
    return compare(then, now, FeatureDriftConfig(method=NORM_METHOD), min_rows=min_rows)


def _norms(side: Profile) -> Profile:
    of_norms = min(side.n, side.vectors)
    return replace(side, rows=side.n, vectors=of_norms, nulls=0, absents=0, others=0, nans=0, infs=0, lengths=())


def _look_at_shares(found: Judgement, then: Profile, now: Profile) -> None:
    for what, before, after in (("missing", then.missing, now.missing), ("infinite", then.infs, now.infs)):
        if not before and not after:
            continue
        found.questions += 1
        share, new_share = before / then.rows, after / now.rows
        if abs(new_share - share) >= MISSING_STEP:
            p_value = chance_of_share(before, then.rows, after, now.rows)
            found.findings.append(Finding(p_value, f"{what} values {_percent(share)} -> {_percent(new_share)}"))


def _look_at_vectors(found: Judgement, then: Profile, now: Profile, method: Method, min_rows: int) -> str | None:
    """Look at the lengths, and where the method does, at each dimension; returns why the centroids cannot be compared."""
    by_dimension = method.rests_on == "means"
    if (reason := why_not(then, now)) is not None:
        return reason if by_dimension else None
    looked = [look_at_lengths(then, now)]
    reason = few_of_length(then, now, min_rows) if by_dimension else None
    if by_dimension and reason is None:
        means = means_of(then, now)
        found.rows = means.rows_reference, means.rows_current
        if means.is_constant.all():
            looked.append(_look_at_constant(then, now, method, means))
        elif len(means.moved) > 1:
            looked.append(look_at_dimensions(means))
    _note(found, looked)
    return reason


def _look_at_constant(then: Profile, now: Profile, method: Method, means: Means) -> Looked:
    """One vector alone in the reference: it has no spread, so what is counted is who has another norm, or the mean is."""
    if not means.moved.any() and means.is_constant_now.all():
        return Looked()
    others = now.present - _rows_of(then, now)
    by_norm = chance_of_share(0, then.present, others, now.present)
    return Looked(min(1.0, 2 * min(by_norm, chance(method, means))), "constant in the reference, not any more")


def _note(found: Judgement, looked: Sequence[Looked | None]) -> None:
    for one in looked:
        if one is not None:
            found.questions += 1
            if one.p_value is not None:
                found.findings.append(Finding(one.p_value, one.reason))


def _compare_values(found: Judgement, reference: Profile, current: Profile, method: Method) -> Judgement:
    found.statistics = {name: _finite(value) for name, value in all_statistics(reference, current).items()}
    found.statistic = found.statistics[method.name]
    found.verdict = "ok"
    if not method.is_beyond(found.statistic, found.threshold):
        if _is_constant(reference, method) and _is_constant(current, method):
            found.reasons.append("constant on both sides")
        return found
    effect = method.effect
    if effect is not None and found.statistics[effect.method] < effect.least:
        return _because(found, f"beyond chance, but too small a change: {effect.method} below {effect.least:g}")
    if method.rests_on == "means":
        means = means_of(reference, current)
        if not means.is_constant.all():
            found.findings.append(Finding(chance(method, means)))
    elif reference.is_constant:
        others = current.present - _rows_of(reference, current)
        p_value = chance_of_share(0, reference.present, others, current.present)
        found.findings.append(Finding(p_value, "constant in the reference, not any more"))
    elif method.sort == "test":
        found.findings.append(Finding(found.statistic))
    else:
        found.findings.append(Finding(chance(method, method.cells(reference, current))))
    return found


def _is_constant(side: Profile, method: Method) -> bool:
    if method.rests_on == "means":
        return bool(means_of(side, side).is_constant.all())
    return side.is_constant


def _rows_of(constant: Profile, current: Profile) -> int:
    """How many of the current rows have the one value of a constant."""
    if constant.kind in NUMERIC:
        at = current.cdf(constant.lows[:1]) - current.cdf(constant.lows[:1], left=True)
        return round(float(at[0]) * current.n)
    return int(dict(zip(current.values, current.value_counts, strict=True)).get(constant.values[0], 0))


def _because(found: Judgement, reason: str) -> Judgement:
    found.reasons.append(reason)
    return found


def _comparable(reference: Profile, current: Profile) -> bool:
    return reference.kind == current.kind or (reference.kind in CLASSES and current.kind in CLASSES)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share in (0, 1) or 0.1 <= share <= 0.9 else f"{share:.2%}"


def _finite(value: float) -> float:
    """JSON has no infinity: a distance beyond all numbers is the largest one."""
    return min(value, 1.7e308) if not math.isnan(value) else 0.0
