"""The writer's books for the server: what was logged, and what became of what did not arrive."""

from __future__ import annotations

import os
import socket
import time

from upshot._version import __version__
from upshot.capture.plain import encode
from upshot.delivery.batch import Batch
from upshot.wire import PACKED_CONTENT_TYPE, WriterReport
from upshot.writer import Writer

__all__ = ["ReportSchedule"]

_EVERY_S = 60.0
_AFTER_LOSS_S = 5.0
_AFTER_FAILURE_S = 300.0


class ReportSchedule:
    """When the next report is due: every minute in which something was logged, soon after a loss, and at the end."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._started_at = time.time()
        self._reported_at = time.monotonic()
        self._next_seq = 0
        self._n_dropped = 0
        self._not_before = 0.0

    def is_due(self, *, is_last: bool) -> bool:
        """Whether to send one now."""
        next_seq = self._writer.ledger.accepted.value
        if not next_seq:
            return False
        now = time.monotonic()
        if now < self._not_before:
            return False
        if is_last:
            return True
        since_s = now - self._reported_at
        if since_s < _AFTER_LOSS_S:
            return False
        if self._writer.ledger.n_dropped() > self._n_dropped:
            return True
        return since_s >= _EVERY_S and next_seq > self._next_seq

    def batch(self, *, is_last: bool) -> Batch:
        """The report as a batch of one."""
        stats = self._writer.stats()
        self._reported_at = time.monotonic()
        self._next_seq = stats["accepted"]
        self._n_dropped = stats["dropped"]
        report = WriterReport(
            writer_id=self._writer.writer_id,
            next_seq=stats["accepted"],
            reported_at=time.time(),
            started_at=self._started_at,
            counters=dict(stats),
            host=socket.gethostname(),
            pid=os.getpid(),
            sdk=f"upshot-python/{__version__}",
            is_last=is_last,
        )
        return Batch.of("writers", PACKED_CONTENT_TYPE, [encode(report)])

    def failed(self) -> None:
        """The server did not take it; it may be one that knows no reports."""
        self._not_before = time.monotonic() + _AFTER_FAILURE_S
