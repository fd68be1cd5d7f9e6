"""What has reached a process and is not stored and joined yet: its own queues, and what lies in Kafka for it.

The question behind it: did everything that came by a moment get into the outcomes? Only then can be said of a feed that it was
silent up to that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.intake.committer import Committer
from upshot_joiner.join.attributor import Attributor
from upshot_joiner.join.joiner import Joiner


@dataclass(frozen=True, slots=True)
class KafkaLag:
    """What lies in the partitions that a worker owns."""

    messages: int
    """That are not committed, as far as known."""
    age_s: float | None
    """Everything that was there so many seconds ago is stored; None: that was not found out yet."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a process holds."""

    to_store: int
    """Events that were handed in."""
    to_join: int
    """Requests that were touched, and entities whose labels are not attributed."""
    in_kafka: int | None
    """Messages; None: this process reads no Kafka."""
    until: datetime
    """Whatever had come by this moment is stored and joined; ``EPOCH`` where that is not known."""


def backlog_of(
    now: datetime,
    stored: datetime,
    started: datetime,
    committer: Committer,
    joiner: Joiner,
    attributor: Attributor,
    kafka: KafkaLag | None = None,
) -> Backlog:
    """The backlog of these parts. What was handed in by ``stored`` was stored before the call; nothing was before ``started``."""
    waits_s = joiner.lag.oldest_waiting_s
    until = stored if waits_s is None else min(stored, now - timedelta(seconds=waits_s))
    until = max(started, attributor.attributed_until(until))
    if kafka is not None:
        until = EPOCH if kafka.age_s is None else min(until, now - timedelta(seconds=kafka.age_s))
    return Backlog(
        max(0, committer.waiting), joiner.behind + attributor.behind, kafka.messages if kafka else None, until
    )


def is_held_up(clock: Clock, joiner: Joiner, moment: datetime) -> bool:
    """Where nobody else takes events: whether something that had come by a moment is not joined yet."""
    waits_s = joiner.lag.oldest_waiting_s
    return joiner.is_far_behind or (waits_s is not None and clock.now() - timedelta(seconds=waits_s) < moment)
