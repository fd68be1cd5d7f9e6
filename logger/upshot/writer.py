"""One writer: the identity, the queues and the books behind one logger in one process."""

from __future__ import annotations

import os

from upshot.buffer import Buffer
from upshot.capture.events import EventEncoder
from upshot.capture.request_id import request_id_source
from upshot.complaints import Complaints
from upshot.counters import Ledger
from upshot.settings import Settings

__all__ = ["Writer"]


class Writer:
    """What a logging call touches. Made anew in a forked child: a copy would write under its parent's name."""

    __slots__ = (
        "complaints",
        "encoder",
        "labels",
        "ledger",
        "new_request_id",
        "next_seq",
        "predictions",
        "refuses",
        "settings",
        "writer_id",
    )

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.writer_id = os.urandom(8).hex()
        self.ledger = Ledger()
        self.next_seq = self.ledger.accepted.next
        """Counts the call and numbers its event, in one."""
        self.new_request_id = request_id_source()
        self.complaints = Complaints()
        self.encoder = EventEncoder(self.ledger)
        self.predictions = Buffer(settings.queue_max_events, settings.queue_max_bytes)
        self.labels = Buffer(settings.queue_max_events, settings.queue_max_bytes)
        self.refuses: str | None = None
        """Why no event is taken: ``after_close`` or ``misconfigured``; None while they are."""

    def refuse(self, reason: str) -> None:
        """Take no more events. A queue without room sends callers the long way, where they find the reason."""
        self.refuses = self.refuses or reason
        self.predictions.max_events = self.labels.max_events = 0

    def queued(self) -> int:
        """Events that wait for the sender."""
        return len(self.predictions.events) + len(self.labels.events)

    def stats(self) -> dict[str, int]:
        """This writer's counters."""
        return self.ledger.snapshot(self.queued)
