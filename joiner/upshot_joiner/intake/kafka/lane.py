"""One partition that this process owns: what was taken of it, how far it is done, and whether it stands still."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from upshot_joiner.intake.kafka.contract import Message, Partition
from upshot_joiner.intake.kafka.opening import Opener
from upshot_joiner.intake.kafka.parcel import Parcel
from upshot_joiner.intake.kafka.poison import PoisonCount, PoisonLimit

MAX_MARKS = 64
"""Ends remembered of a partition; of more, half as many at even distances."""
IDLE_LOOKS = 3
"""Looks at the end after which a partition that gives nothing is read to its end: the last offsets may hold no message (they were
deleted, or are marks of transactions)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be on its way to the store. Above it a partition is paused, and goes on at half of it."""

    lane_events: int = 40_000
    """Of one partition: two groups of the committer, so that it never waits for us."""
    lane_bytes: int = 32 * 1024 * 1024
    events: int = 120_000
    """Of all partitions together; below what the committer lets wait."""
    parcel_events: int = 5_000
    """Enough that a parcel's own cost does not count."""


@dataclass
class Lane:
    """A partition from its assignment to its end here; a partition that comes back gets a new one."""

    partition: Partition
    limit: PoisonLimit
    backlog: deque[Message] = field(default_factory=deque)
    """Polled, and not opened yet: only while the lane is full."""
    parcels: deque[Parcel] = field(default_factory=deque)
    """Opened, in order of their offsets; the first is the oldest that is not done."""
    done: int | None = None
    """Everything before this offset is stored, and its dead letters are acknowledged."""
    committed: int | None = None
    n_events: int = 0
    n_bytes: int = 0
    is_paused: bool = False
    stopped: str = ""
    """Why nothing more is taken, until the process starts again; empty while all is well."""
    end: int | None = None
    """Offset after the newest message, as far as known."""
    marks: deque[tuple[float, int]] = field(default_factory=deque)
    """Ends that were seen and are not reached yet, with when that was (monotonic seconds), in order."""
    whole_at: float | None = None
    """Everything that was there at this moment (monotonic seconds) is done; None: not known yet."""
    idle_looks: int = 0
    """How often the end was looked up since anything came."""
    counts: PoisonCount = field(init=False)

    def __post_init__(self) -> None:
        self.counts = PoisonCount(self.limit)

    def is_full(self, bounds: Bounds) -> bool:
        """Whether nothing more may be opened now."""
        return self.n_events >= bounds.lane_events or self.n_bytes >= bounds.lane_bytes

    def has_room(self, bounds: Bounds) -> bool:
        """Whether it may be polled again."""
        return not self.backlog and 2 * self.n_events < bounds.lane_events and 2 * self.n_bytes < bounds.lane_bytes

    def pack(self, opener: Opener, bounds: Bounds) -> Parcel | None:
        """Open messages of the backlog into a new parcel; None when there are none, or the lane is full or stopped."""
        if not self.backlog or self.stopped or self.is_full(bounds):
            return None
        parcel = Parcel(self.backlog[0].offset)
        while self.backlog and parcel.n_events < bounds.parcel_events and not self.stopped:
            opened = opener.open(self.backlog[0])
            self.stopped = self.counts.would_exceed(opened.n_good, opened.n_bad)
            if self.stopped:
                break
            self.backlog.popleft()
            self.counts.add(opened.n_good, opened.n_bad)
            parcel.add(opened)
        if parcel.end == parcel.first:
            return None
        self.parcels.append(parcel)
        self.n_events += parcel.n_events
        self.n_bytes += parcel.n_bytes
        return parcel

    def settle(self) -> None:
        """The oldest parcel is done with."""
        parcel = self.parcels.popleft()
        self.done = parcel.end
        self.n_events -= parcel.n_events
        self.n_bytes -= parcel.n_bytes

    def polled(self, message: Message) -> None:
        """A message came."""
        self.backlog.append(message)
        self.idle_looks = 0

    def saw_end(self, end: int, at: float) -> None:
        """The partition ended before this offset at a moment (monotonic seconds)."""
        self.end = end
        if len(self.marks) >= MAX_MARKS:
            self._thin_out((at - self.marks[0][0]) / (MAX_MARKS / 2))
        self.marks.append((at, end))
        is_idle = not self.backlog and not self.parcels and not self.is_paused and not self.stopped
        self.idle_looks = self.idle_looks + 1 if is_idle else 0
        self.look_back()

    def _thin_out(self, distance_s: float) -> None:
        kept: deque[tuple[float, int]] = deque()
        for mark in self.marks:
            if not kept or mark[0] - kept[-1][0] >= distance_s:
                kept.append(mark)
        self.marks = kept

    def look_back(self) -> None:
        """Find out up to when everything is done."""
        done = max(self.done or 0, self.committed or 0)
        is_idle = self.idle_looks >= IDLE_LOOKS
        while self.marks and (self.marks[0][1] <= done or (is_idle and len(self.marks) > 1)):
            self.whole_at = self.marks.popleft()[0]

    @property
    def to_commit(self) -> int | None:
        """The offset that Kafka does not know of yet."""
        return self.done if self.done is not None and self.done > (self.committed or 0) else None

    @property
    def lag(self) -> int | None:
        """Messages that are not done, as far as known."""
        if self.end is None:
            return None
        return max(0, self.end - (self.committed or 0))
