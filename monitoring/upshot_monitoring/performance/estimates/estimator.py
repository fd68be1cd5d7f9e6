"""What is estimated of open windows, from what is known of the past."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upshot_monitoring.performance.binary.cells import Cells
from upshot_monitoring.performance.binary.sums import BinarySums, add
from upshot_monitoring.performance.estimates import cbpe, delay_corrected
from upshot_monitoring.performance.estimates.calibrator import Calibrator, fit
from upshot_monitoring.performance.estimates.delay_corrected import OpenHour, Seen
from upshot_monitoring.performance.metrics import Measured, Metrics

CALIBRATED_FROM = 50
"""So many positives and negatives of a version must be matured; until then its scores are taken as they are."""


@dataclass(frozen=True)
class OpenPart:
    """The sums of one hour of one version whose windows have not closed."""

    segment: str
    version: str
    slot: int
    hour: datetime
    sums: BinarySums


@dataclass(frozen=True)
class Estimator:
    """What is known of the past of a binary model."""

    now: datetime
    default: bool | None
    """The class of rows without a label; None where they have none."""
    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    """By version."""
    seen: Mapping[bool, Seen | None] = field(default_factory=dict)

    def say(self, matured: BinarySums, parts: Sequence[OpenPart], wanted: Sequence[str]) -> dict[str, Any]:
        """``estimated`` with ``estimated_intervals`` (CBPE), and ``delay_corrected``; matured rows count as they turned out."""
        if not parts:
            return {"estimated": {}}
        by_version = by_versions(parts)
        known = matured.cells(self.default)
        expected = cbpe.estimate(
            [cbpe.Open(everything(sums), self.calibrators.get(version)) for version, sums in by_version.items()], known
        )
        told = Metrics(0, expected).describe(wanted)
        answer: dict[str, Any] = {
            "estimated": told["metrics"],
            "estimated_intervals": told["intervals"],
            "estimated_calibrated": all(version in self.calibrators for version in by_version),
        }
        corrected, rows = self._corrected(matured, parts)
        if corrected:
            answer["delay_corrected"] = {"rows": rows, **Metrics(0, corrected).describe(wanted)}
        return answer

    def _corrected(self, matured: BinarySums, parts: Sequence[OpenPart]) -> tuple[dict[str, Measured], int]:
        positives, negatives = self.seen.get(True), self.seen.get(False)
        needed = [positives, negatives] if self.default is None else [negatives if self.default else positives]
        if None in needed:
            return {}, 0
        either = positives or negatives
        assert either is not None  # noqa: S101  # one of them is needed, and there
        hours = [OpenHour((self.now - part.hour).total_seconds() - 3600, part.sums) for part in parts]
        return delay_corrected.estimate(
            hours,
            matured,
            default=self.default,
            of_positives=positives or either,
            of_negatives=negatives or either,
        )


def calibrators(matured: Iterable[tuple[str, BinarySums]], default: bool | None) -> dict[str, Calibrator]:  # a class
    """By version, from its matured rows."""
    learnt = {}
    for version, sums in matured:
        cells = sums.cells(default)
        if min(cells.m, cells.n) >= CALIBRATED_FROM:
            learnt[version] = fit(cells)
    return learnt


def by_versions(parts: Iterable[OpenPart]) -> dict[str, BinarySums]:
    """The sums of each version."""
    of_version: defaultdict[str, list[BinarySums]] = defaultdict(list)
    for part in parts:
        of_version[part.version].append(part.sums)
    return {version: add(sums) for version, sums in of_version.items()}


def everything(sums: BinarySums) -> Cells:
    """All rows, labelled or not, as cells of which only weights and scores count."""
    return sums.cells(False)
