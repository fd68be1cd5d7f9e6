"""What a channel promises: one attempt in bounded time, and the truth about how it ended.

:meth:`Channel.send` returns when the receiver has taken the message. It raises :class:`Refused` when it will never take it (4xx:
what is wrong has to be mended by a person), and :class:`NotNow` for everything else. Neither holds a secret or an answer's text.
"""

from __future__ import annotations

from typing import Protocol

from upshot_monitoring.alerts.message import Message

PASSING = frozenset({408, 409, 421, 423, 425, 429})
"""Of the 4xx, those that say "not now"."""


class Refused(Exception):
    """The receiver will not take it: ``code`` such as ``http_404``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotNow(Exception):
    """It may be taken later. ``retry_after_s`` is what the receiver asked for, if it did."""

    def __init__(self, code: str, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_s = retry_after_s


class Channel(Protocol):
    """One way out. Used by one thread at a time."""

    is_for_people: bool
    """Whether several messages may be told as one, when there are too many."""

    def send(self, message: Message) -> None:
        """Deliver, or raise :class:`Refused` or :class:`NotNow`."""
        ...


def failure(status: int, retry_after_s: float | None = None) -> Refused | NotNow:
    """What an HTTP status other than 2xx means. A redirect is refused: a message goes where the settings say, nowhere else."""
    if (300 <= status < 500) and status not in PASSING:
        return Refused(f"http_{status}")
    return NotNow(f"http_{status}", retry_after_s)
