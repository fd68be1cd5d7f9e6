"""What a window would lose: of the labels that come, how many come after it has closed.

What it says: "a window of 3 d would turn 2.1 % of the positives into false negatives". A short window gives early metrics and
training sets, and takes the late positives for negatives (where the label has a default); a long one makes everybody wait.

Formula: with S the share of predictions whose positive has not arrived (``delay_curve.py``; every prediction is watched for
its age, whatever other label it gets) and T the age until which enough of them were watched,

    late(w) = (S(w) - S(T)) / (1 - S(T)) = S(w) (1 - Q) / (1 - S(w) Q)          with Q = S(T) / S(w)
    log odds of late(w) = log S(w) - log(1 - S(w)) + log(1 - Q)

log S(w) and log Q are uncorrelated with the variances G(w) and G(T) - G(w), so by the delta method

    variance of the log odds = G(w) / (1 - S(w))^2 + (G(T) - G(w)) (Q / (1 - Q))^2

and the interval is symmetric on that scale. Where nothing came after w, the upper end is the exact binomial one of as many arrivals
as there are among the predictions that were watched until T. What comes after T nobody has seen: the advice is of the labels that
come within T, and says so.

    >>> from upshot_joiner.delays.bins import bin_of, followed
    >>> from upshot_joiner.delays.delay_curve import kaplan_meier
    >>> hour, day = 3600, 86400
    >>> curve = kaplan_meier({bin_of(2 * hour): 900, bin_of(4 * day): 100}, {followed(30 * day): 9000})
    >>> late = late_share(curve, 3 * day)
    >>> [round(x, 3) for x in (late.value, late.low, late.high)]
    [0.1, 0.083, 0.12]

Paper: for competing outcomes with known follow-up, J. P. Fine, R. J. Gray, "A proportional hazards model for the subdistribution of
a competing risk", JASA 94, 1999 (section 2: with censoring by age alone the risk set keeps those with another outcome).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from upshot_joiner.delays.delay_curve import ALPHA, DelayCurve, Share, Z

HOUR, DAY = 3600, 86400
CANDIDATES_S = [HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, *(n * DAY for n in (1, 2, 3, 7, 14, 21, 30, 45, 60, 90, 180, 365))]
FEWEST = 50
"""Below so many arrivals there is no advice: with 50 of them, and none late, up to 7 % may be late all the same."""
WATCHED = 30
WATCHED_SHARE = 0.001
"""How many predictions, and what share of all, must have been watched until an age for the curve to be read there."""


@dataclass(frozen=True)
class Candidate:
    """One window and what it would lose; ``late`` is None where nobody was watched for that long."""

    window_s: float
    late: Share | None


def horizon_s(curve: DelayCurve) -> float:
    """The age until which enough predictions were watched."""
    return curve.followed_s(max(WATCHED, math.ceil(curve.predictions * WATCHED_SHARE)))


def late_share(curve: DelayCurve, window_s: float, horizon: float | None = None) -> Share | None:
    """Of the labels that come within the horizon, the share that comes after the window; None when that cannot be said."""
    until = horizon_s(curve) if horizon is None else horizon
    if window_s > until:
        return None
    early, end = curve.survival(window_s), curve.survival(until)
    came = 1 - end.value
    if came <= 0:
        return None
    if early.value <= end.value:
        watched = end.at_risk * (came / end.value) if end.value > 0 else curve.arrived
        return Share(0.0, 0.0, 1 - (ALPHA / 2) ** (1 / max(1.0, watched)))
    if early.value >= 1:
        return Share(1.0, (ALPHA / 2) ** (1 / max(1, curve.arrived)), 1.0)
    late = (early.value - end.value) / came
    rest = end.value / early.value
    variance = early.variance / (1 - early.value) ** 2
    if rest > 0:
        variance += (end.variance - early.variance) * (rest / (1 - rest)) ** 2
    spread = math.exp(Z * math.sqrt(variance))
    odds = late / (1 - late)
    return Share(late, odds / spread / (1 + odds / spread), odds * spread / (1 + odds * spread))


def candidates(curve: DelayCurve, configured_s: float, horizon: float | None = None) -> list[Candidate]:
    """Every window that can be judged, the shortest first, and the configured one in its place."""
    until = horizon_s(curve) if horizon is None else horizon
    windows = sorted({*(float(one) for one in CANDIDATES_S if one <= until), float(configured_s)})
    return [Candidate(window_s, late_share(curve, window_s, until)) for window_s in windows]


def shortest(judged: Iterable[Candidate], loses_at_most: float) -> float | None:
    """The shortest window that loses no more, with 97.5 % confidence: the upper end of its interval counts."""
    return next((one.window_s for one in judged if one.late is not None and one.late.high <= loses_at_most), None)
