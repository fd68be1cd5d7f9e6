"""What the ranges found, added up, and the answer that is made of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from upshot_monitoring.row_skew import rule
from upshot_monitoring.row_skew.comparison import GAMMA, Range
from upshot_monitoring.row_skew.rule import Rule

Example = tuple[float, str, str, str]
"""How large the difference is (the largest first), request ID, item ID, model version."""


@dataclass
class _Sizes:
    total: float = 0.0
    largest: float = 0.0
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, total: float, largest: float, bins: Iterable[tuple[int, int]]) -> None:
        self.total += total
        self.largest = max(self.largest, largest)
        for bin_, count in bins:
            self.bins[bin_] += count

    def describe(self) -> dict[str, float | None]:
        """Mean, quantiles and maximum of the differences; None where there are none."""
        rows = sum(self.bins.values())
        if not rows:
            return {"mean": None, "p50": None, "p99": None, "max": None}
        # Twelve digits: in which order the store adds up floats shows in the last ones.
        mean = float(f"{self.total / rows:.12g}") if math.isfinite(self.total) else None
        return {"mean": mean, "p50": self._quantile(0.5, rows), "p99": self._quantile(0.99, rows), "max": self.largest}

    def _quantile(self, share: float, rows: int) -> float:
        rank, seen = math.ceil(share * rows), 0
        for bin_, count in sorted(self.bins.items()):
            seen += count
            if seen >= rank:
                # The middle of the bin, in ratio; no more than the largest difference there is.
                return min(float(2 * math.exp(bin_ * math.log(GAMMA)) / (1 + GAMMA)), self.largest)
        raise AssertionError("a rank is at most the number of rows")


class FeatureTally:
    """One feature's counts, differences and examples."""

    def __init__(self, examples: int) -> None:
        self._examples = examples
        self._states: Counter[tuple[int, int, int]] = Counter()
        self._absolute, self._relative = _Sizes(), _Sizes()
        self.first: dict[int, list[Example]] = {outcome: [] for outcome in rule.DIFFERENT}

    def add(self, found: Mapping[str, Any]) -> None:
        """Add what one range found."""
        for code, count in zip(*_map(found["states"]), strict=True):
            self._states[code // 100, code // 10 % 10, code % 10] += count
        self._absolute.add(found["sum"], found["max"], zip(*_map(found["sizes"]), strict=True))
        self._relative.add(
            found["sum_relative"], found["max_relative"], zip(*_map(found["sizes_relative"]), strict=True)
        )
        for outcome, examples in zip(rule.DIFFERENT, found["first"], strict=True):
            more = [_example(one) for one in examples]
            self.first[outcome] = sorted([*self.first[outcome], *more])[: self._examples]

    def describe(self, name: str, asked: Rule) -> dict[str, Any]:
        """The feature in the answer, without its examples."""
        counts: Counter[int] = Counter()
        for (outcome, _, _), count in self._states.items():
            counts[outcome] += count
        rows = counts.total()
        compared = rows - counts[rule.NONE]
        different = compared - counts[rule.EQUAL]
        share = different / compared if compared else None
        sized = sum(self._absolute.bins.values())
        return {
            "feature": name,
            "differs": None if share is None else share > asked.allowed,
            "rows": rows,
            "compared": compared,
            **{word: counts[number] for number, word in enumerate(rule.OUTCOMES)},
            "different_share": share,
            "states": [
                {
                    "served": rule.STATES[s],
                    "recomputed": rule.STATES[r],
                    "outcome": rule.OUTCOMES[outcome],
                    "rows": count,
                }
                for (outcome, s, r), count in sorted(self._states.items())
            ],
            "tolerance": asked.of(name).describe(),
            "differences": {
                "rows": sized,
                "absolute": self._absolute.describe(),
                "relative": self._relative.describe(),
            },
        }


class Tally:
    """All of a comparison so far."""

    def __init__(self, names: Iterable[str], asked: Rule) -> None:
        self._rule = asked
        self._features = {name: FeatureTally(asked.examples) for name in names}
        self._rows = self._distinct = self._matched = self._pairs = 0
        self._not_served: list[tuple[str, str, str]] = []

    @property
    def rows(self) -> int:
        """Rows of the table that were looked at."""
        return self._rows

    def add(self, found: Range) -> None:
        """Add a range."""
        self._rows += found.rows
        self._distinct += found.distinct
        self._matched += found.matched
        self._pairs += found.pairs
        self._not_served = sorted([*self._not_served, *found.not_served])[: self._rule.examples]
        for name, of_feature in found.features.items():
            self._features[name].add(of_feature)

    def examples(self) -> list[tuple[str, int, Example]]:
        """Feature, outcome and identity of every example."""
        return [
            (name, outcome, one)
            for name, tally in self._features.items()
            for outcome, examples in tally.first.items()
            for one in examples
        ]

    def describe(self) -> dict[str, Any]:
        """Rows and features, those that differ most first."""
        features = [tally.describe(name, self._rule) for name, tally in self._features.items()]
        features.sort(key=lambda one: (-(one["different_share"] or 0.0), one["feature"]))
        return {
            "rows": {
                "given": self._rows,
                "repeated": self._rows - self._distinct,
                "not_served": self._distinct - self._matched,
                "matched": self._matched,
                "compared": self._pairs,
            },
            "not_served": [
                {"request_id": request_id, "item_id": item_id, "model_version": version or None}
                for request_id, item_id, version in self._not_served
            ],
            "features": features,
            "differing": sum(one["differs"] is True for one in features),
        }


def _map(found: Any) -> tuple[Iterable[int], Iterable[int]]:
    """What ``sumMap`` gives: a tuple of two arrays."""
    keys, counts = found.values() if isinstance(found, dict) else found
    return keys, counts


def _example(found: Any) -> Example:
    rank, request_id, item_id, version = found.values() if isinstance(found, dict) else found
    return float(rank), str(request_id), str(item_id), str(version)
