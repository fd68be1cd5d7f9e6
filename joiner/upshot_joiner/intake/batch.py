"""What one request brings to the writer, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from upshot_joiner.errors import Place
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction, CheckedReport
from upshot_joiner.intake.decode import Refused
from upshot_joiner.intake.origin import Origins


@dataclass
class Answer:
    """What became of the events of one request. ``accepted`` were new; every event is in exactly one count."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    errors: list[Place] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    """What was rejected, whoever found out; all of it is in quarantine."""

    def add(self, other: Answer) -> None:
        """Count what another part of the same request became."""
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.rejected += other.rejected
        self.errors += other.errors
        self.refused += other.refused


Item = tuple["Batch", int, CheckedPrediction | CheckedLabel | CheckedReport]
"""One event of a group, with the request it belongs to and its index there."""


@dataclass
class Batch:
    """The events of one request, by kind, each with its index there; what is refused on the way is added to ``refused``."""

    predictions: list[tuple[int, CheckedPrediction]]
    labels: list[tuple[int, CheckedLabel]]
    entity_labels: list[tuple[int, CheckedLabel]]
    reports: list[tuple[int, CheckedReport]]
    refused: list[Refused]
    kind: str
    origins: Origins | None = None
    answer: Answer = field(default_factory=Answer)
    future: Future[Answer] = field(default_factory=Future)

    @property
    def events(self) -> int:
        """How many there are, refused ones included."""
        return (
            len(self.predictions) + len(self.labels) + len(self.entity_labels) + len(self.reports) + len(self.refused)
        )

    @property
    def items(self) -> list[Item]:
        """Its events one by one."""
        kinds = (self.predictions, self.labels, self.entity_labels, self.reports)
        return [(self, index, one) for events in kinds for index, one in events]

    def part(self, items: Sequence[Item], refused: list[Refused]) -> Batch:
        """A batch of some of its events."""
        part = Batch([], [], [], [], refused, self.kind, self.origins)
        for _, index, one in items:
            if isinstance(one, CheckedPrediction):
                part.predictions.append((index, one))
            elif isinstance(one, CheckedLabel):
                (part.labels if one.event.entity is None else part.entity_labels).append((index, one))
            else:
                part.reports.append((index, one))
        return part
