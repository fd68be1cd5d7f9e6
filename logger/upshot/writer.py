"""One writer: the identity, the queues and the books behind one logger in one process."""

from __future__ import annotations

import os

from upshot.buffer import Buffer
from upshot.capture.events import EventEncoder
from upshot.capture.plain import MarkedPrediction, PlainEncoder, PlainPrediction, with_context
from upshot.capture.redaction import Redaction
from upshot.capture.request_id import request_id_source
from upshot.capture.sampling import Sampler
from upshot.complaints import Complaints
from upshot.counters import Ledger
from upshot.delivery.batch import Kind
from upshot.settings import Settings

__all__ = ["Writer"]


class Writer:
    """What a logging call touches. Made anew in a forked child: a copy would write under its parent's name."""

    __slots__ = (
        "complaints",
        "encoder",
        "is_marking",
        "is_sampling",
        "is_spool_full",
        "labels",
        "ledger",
        "n_held",
        "new_request_id",
        "next_seq",
        "plain",
        "predictions",
        "redaction",
        "refuses",
        "sampler",
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
        self.redaction = Redaction.read(settings.redact, settings.redact_key)
        self.sampler = Sampler(settings.sample_rate)
        self.is_sampling = settings.sample_rate < 1
        self.is_marking = self.is_sampling or self.redaction is not None
        """Whether events may bear a probability or flags."""
        self.encoder = EventEncoder(self.ledger, self.redaction)
        self.plain = PlainEncoder()
        watch_from = settings.queue_max_events // 2 if settings.on_full == "prune" else settings.queue_max_events
        self.predictions = Buffer(settings.queue_max_events, settings.queue_max_bytes, watch_from)
        self.labels = Buffer(settings.queue_max_events, settings.queue_max_bytes)
        self.n_held = 0
        """Events that wait in memory behind the queues: they are being written, or the spool's disk refuses them.

        Changed under the ledger's lock.
        """
        self.is_spool_full = False
        self.refuses: str | None = None
        """Why no event is taken: ``after_close`` or ``misconfigured``; None while they are."""

    def keep_probability(self, request_id: str) -> float:
        """With which probability a request is kept now; 0.0, and counted, when this one is not."""
        buffer = self.predictions
        is_pruning = self.settings.on_full == "prune" and buffer.max_events > 0
        fill = len(buffer.events) / buffer.max_events if is_pruning else 0.0
        probability = self.sampler.keep_probability(request_id, fill)
        if not probability:
            is_sampled_out = self.is_sampling and not self.sampler.keeps(request_id)
            (self.ledger.sampled_out if is_sampled_out else self.ledger.pruned).next()
        return probability

    def marked(self, plain: PlainPrediction, keep_probability: float) -> MarkedPrediction:
        """The prediction redacted, and with its probability. Raises TypeError where the long way must decide."""
        marked = plain if isinstance(plain, MarkedPrediction) else with_context(plain, None, None)
        if self.redaction is not None:
            if marked is plain:
                raise TypeError
            marked.features, marked.flags = self.redaction.plain(
                plain.features, plain.prediction, self.ledger.redacted.next
            )
        marked.keep_probability = keep_probability
        return marked

    def buffers(self) -> tuple[tuple[Kind, Buffer], ...]:
        """The queues. Predictions first, so that a label normally comes after its prediction."""
        return ("predictions", self.predictions), ("labels", self.labels)

    def refuse(self, reason: str) -> None:
        """Take no more events. A queue without room sends callers the long way, where they find the reason."""
        self.refuses = self.refuses or reason
        for _, buffer in self.buffers():
            buffer.max_events = buffer.watch_from = 0

    def queued(self) -> int:
        """Events that wait in memory."""
        return len(self.predictions.events) + len(self.labels.events) + self.n_held

    def stats(self) -> dict[str, int]:
        """This writer's counters."""
        return self.ledger.snapshot(self.queued)
