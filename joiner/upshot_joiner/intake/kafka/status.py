"""What a worker says of itself: for its health endpoint, its log and its metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    messages: int = 0
    """Counter: offsets of messages that were opened."""
    accepted: int = 0
    """Counter: events that were new."""
    duplicates: int = 0
    """Counter: events that were there already."""
    refused: int = 0
    """Counter: items that are in quarantine and in the topic of dead letters."""

    def copy(self) -> Counters:
        """As they are now."""
        return replace(self)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One partition."""

    partition: str
    lag: int | None
    """Gauge: messages that are not committed yet; None where that is not known."""
    behind_s: float | None
    """Gauge: everything that was in it so long ago is stored; None where that is not known."""
    committed: int | None
    in_flight: int
    """Gauge: events on their way to the store."""
    is_paused: bool
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """One moment of a worker."""

    partitions: list[LaneStatus] = field(default_factory=list)
    store: str | None = None
    """Why nothing is stored now."""
    kafka: str | None = None
    """Why nothing is read, or no dead letter written, now."""
    counters: Counters = field(default_factory=Counters)

    @property
    def reasons(self) -> list[str]:
        """Why it does not do its work; empty when it does."""
        reasons = [reason for reason in (self.store, self.kafka) if reason]
        return reasons + [f"{lane.partition} is stopped: {lane.stopped}" for lane in self.partitions if lane.stopped]

    @property
    def sentence(self) -> str:
        """For the log."""
        lags = [lane.lag for lane in self.partitions if lane.lag is not None]
        paused = sum(lane.is_paused for lane in self.partitions)
        return (
            f"{len(self.partitions)} partitions ({paused} paused), lag {sum(lags)} messages, "
            f"{sum(lane.in_flight for lane in self.partitions)} events in flight; since the start "
            f"{self.counters.accepted} accepted, {self.counters.duplicates} duplicates, {self.counters.refused} refused"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"reasons": self.reasons, **asdict(self)}
