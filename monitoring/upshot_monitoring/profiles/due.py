"""What is still to be rolled up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class Due:
    """What is to be rolled of one model: hours whose served rows changed, and hours by label."""

    served: set[datetime] = field(default_factory=set)
    labels: dict[str, set[datetime]] = field(default_factory=lambda: defaultdict(set))

    def hours(self) -> set[datetime]:
        """All of them."""
        return self.served.union(*self.labels.values())

    def add(self, other: Due) -> None:
        """Take over what is due elsewhere."""
        self.served |= other.served
        for label, hours in other.labels.items():
            self.labels[label] |= hours

    def remove(self, hours: Iterable[datetime]) -> None:
        """These were done."""
        for due in (self.served, *self.labels.values()):
            due.difference_update(hours)
