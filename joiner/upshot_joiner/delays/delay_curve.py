"""The delay curve: the share of predictions whose label has arrived by a time after the prediction (Kaplan-Meier).

What it says: of a hundred predictions, how many have their label after an hour, a day, a month. The share is of *all* predictions,
those that never get a label included: where defaults are the rule (no chargeback ever comes for most payments), the curve levels
off far below 1, and the rest is the share without a label as far as can be seen. A prediction that has no label yet is
right-censored: it counts for as long as it has been watched, and no longer. Looking at labelled rows alone would show
the fast ones, because the slow ones of the last weeks are not there yet.

Formula: with d_j arrivals in bin j and n_j predictions that were watched through bin j and had no label before it,

    S(t) = prod (1 - d_j / n_j) over the bins up to t        share = 1 - S(t)
    G(t) = sum d_j / (n_j (n_j - d_j))                       Greenwood: the variance of log S(t)
    band of S(t): S(t) ^ exp(+-1.96 sqrt(G(t)) / |log S(t)|)

the band being symmetric on the scale log(-log S), which keeps it within 0 and 1. Predictions are watched in cohorts (those of one
hour, say) until the age of the youngest of them, rounded down to the border of a bin: an arrival after that is left out of the
counts, and its prediction counts as watched until then. So nobody leaves inside a bin, and the grouped product equals that of
single rows exactly. Where S reaches 0, or before the first arrival, Greenwood has nothing to go by; there the
band is the exact binomial one of n_j predictions that all did the same.

The rows are taken to be independent: the items of one slate, which often get their labels together, are not, and their
band is too narrow.

    >>> import random
    >>> from upshot_joiner.delays.bins import bin_of, followed
    >>> rng = random.Random(7)
    >>> arrived, ended = {}, {}
    >>> for _ in range(5000):   # 60 % get a label, after an hour on average; each was watched for up to two hours
    ...     watched, delay = followed(7200 * rng.random()), rng.expovariate(1 / 3600) if rng.random() < 0.6 else 1e12
    ...     if bin_of(delay) < watched:
    ...         arrived[bin_of(delay)] = arrived.get(bin_of(delay), 0) + 1
    ...     else:
    ...         ended[watched] = ended.get(watched, 0) + 1
    >>> curve = kaplan_meier(arrived, ended)
    >>> share = curve.share_by(3600)
    >>> [round(x, 3) for x in (share.value, share.low, share.high)], round(0.6 * (1 - 2.718281828 ** -1), 3)
    ([0.38, 0.364, 0.396], 0.379)
    >>> round(sum(arrived.values()) / 5000, 3)   # what has a label now, at whatever age
    0.337

Papers: E. L. Kaplan, P. Meier, "Nonparametric estimation from incomplete observations", JASA 53, 1958; M. Greenwood, "The natural
duration of cancer", 1926; the band: J. D. Kalbfleisch, R. L. Prentice, "The statistical analysis of failure time data", 1980.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from upshot_joiner.delays.bins import end_s, start_s

Z = 1.959963984540054
"""The normal quantile of a 95 % band."""
ALPHA = 0.05


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Survival:
    """S(t), the variance of its logarithm, and how many were watched there."""

    value: float
    variance: float
    at_risk: int


@dataclass(frozen=True)
class Step:
    """One bin with arrivals."""

    bin: int
    arrived: int
    at_risk: int
    """Predictions that were watched through this bin and had no label before it."""
    after: Survival
    """What is left after the bin."""


class DelayCurve:
    """The estimate. Times are seconds after the prediction."""

    def __init__(self, steps: list[Step], predictions: int, ended: Mapping[int, int]) -> None:
        self.steps = steps
        self.predictions = predictions
        """How many were watched at all."""
        self._ended = sorted(ended.items())
        self._borders = [end_s(step.bin) for step in steps]

    @property
    def arrived(self) -> int:
        """Arrivals while watched."""
        return sum(step.arrived for step in self.steps)

    def at_risk(self, bin_: int) -> int:
        """Predictions that were watched through a bin and had no label before it."""
        gone = sum(step.arrived for step in self.steps if step.bin < bin_)
        return self.predictions - gone - sum(n for until, n in self._ended if until <= bin_)

    def followed_s(self, at_least: int = 1) -> float:
        """The age until which at least so many predictions were still watched; 0 when that was never so."""
        last = max([until for until, _ in self._ended] + [step.bin + 1 for step in self.steps], default=0)
        # The number at risk only ever falls: look for where it falls below.
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            if self.at_risk(middle) >= at_least:
                low = middle + 1
            else:
                high = middle
        return end_s(low - 1) if low else 0.0

    def survival(self, time_s: float) -> Survival:
        """S at a time; inside a bin, its arrivals are taken to be spread evenly over it."""
        done = bisect_right(self._borders, time_s)
        before = self.steps[done - 1].after if done else Survival(1.0, 0.0, self.predictions)
        if done == len(self.steps) or start_s(self.steps[done].bin) >= time_s:
            return before
        step = self.steps[done]
        start, end = start_s(step.bin), end_s(step.bin)
        share = (time_s - start) / (end - start)
        arrived = step.arrived * share
        return _after(before, arrived, step.at_risk)

    def share_by(self, time_s: float) -> Share:
        """The share of predictions whose label has arrived by a time."""
        return _share(self.survival(time_s))


def kaplan_meier(arrived: Mapping[int, int], ended: Mapping[int, int]) -> DelayCurve:
    """The curve from counts: ``arrived`` by bin, and ``ended``: predictions without an arrival by how many bins they were watched.

    A prediction with an arrival was watched through the bin of its arrival; one that was watched for no bin counts nowhere.
    """
    ended = {until: n for until, n in ended.items() if until > 0 and n > 0}
    predictions = sum(arrived.values()) + sum(ended.values())
    left = sorted(ended.items())
    at_risk, gone = predictions, 0
    now = Survival(1.0, 0.0, predictions)
    steps = []
    for bin_, number in sorted(arrived.items()):
        if number <= 0:
            continue
        while gone < len(left) and left[gone][0] <= bin_:
            at_risk -= left[gone][1]
            gone += 1
        now = _after(now, number, at_risk)
        steps.append(Step(bin_, number, at_risk, now))
        at_risk -= number
    return DelayCurve(steps, predictions, ended)


def _after(before: Survival, arrived: float, at_risk: int) -> Survival:
    stay = at_risk - arrived
    if stay <= 0:
        return Survival(0.0, math.inf, at_risk)
    return Survival(before.value * stay / at_risk, before.variance + arrived / (at_risk * stay), at_risk)


def _share(left: Survival) -> Share:
    if left.at_risk == 0:
        return Share(0.0, 0.0, 1.0)
    all_the_same = (ALPHA / 2) ** (1 / left.at_risk)
    if left.value <= 0:
        return Share(1.0, all_the_same, 1.0)
    if left.variance <= 0:
        return Share(0.0, 0.0, 1 - all_the_same)
    spread = math.exp(Z * math.sqrt(left.variance) / -math.log(left.value))
    # A wide band can be beyond what a float holds: exp of a large spread.
    return Share(1 - left.value, 1 - left.value ** (1 / spread), 1 - left.value**spread)
