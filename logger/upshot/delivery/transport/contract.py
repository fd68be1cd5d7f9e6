"""The contract of a transport: one method, so that another way is another module of this folder.

A transport takes a `Batch`, and either returns a `Receipt` (the other side has dealt with every event of it for good)
or raises one of the three errors below. It keeps nothing, retries nothing and counts nothing: that is the sender's.
Foreign exceptions end here; none but those of ``upshot.errors`` leaves a transport.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from upshot.delivery.batch import Batch

__all__ = ["Receipt", "Transport"]


@dataclass(frozen=True)
class Receipt:
    """What became of a batch's events. The three add up to the size of the batch."""

    stored: int
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By code: how many events the server refused, and why."""
    converted: int = 0
    """How many of their values the server could only keep as ``repr``."""


class Transport(Protocol):
    """Called by one thread at a time."""

    def send(self, batch: Batch, *, timeout_s: float) -> Receipt:
        """Deliver the batch, or raise.

        May block up to about ``timeout_s``. After TransientError the caller sends the same batch again, so the other
        side must know an event it has seen before. After InvalidBatchError (which
        PayloadTooLargeError is one of) it sends the halves; after any other PermanentError nothing for a while.
        """
        ...

    def close(self) -> None:
        """Give up connections. A later `send` opens them anew."""
        ...
