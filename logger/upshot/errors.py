"""Everything Upshot's logger can raise, as one tree.

::

    UpshotError
    ├── ConfigurationError      a setting is wrong; raised by configure() and Logger() only
    └── TransportError          a batch of events did not arrive; stays inside the sender, which counts it
        ├── TransientError      the same batch may pass later: no answer, 429, 5xx
        └── PermanentError      nothing will pass until somebody mends a setting: a bad key, a wrong address
            └── InvalidBatchError      this batch will never pass, a part of it may: it is halved
                └── PayloadTooLargeError   because it is too large

``log_prediction``, ``log_label`` and ``retract_label`` raise none of them, nor anything else. Errors of other libraries
are turned into these at the border (``upshot.delivery.transport``). No message holds a feature, a label or a key.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "InvalidBatchError",
    "PayloadTooLargeError",
    "PermanentError",
    "TransientError",
    "TransportError",
    "UpshotError",
]


class UpshotError(Exception):
    """The root of the tree."""


class ConfigurationError(UpshotError, ValueError):
    """A setting is wrong; the message names it, never its value when that may be a secret."""


class TransportError(UpshotError):
    """A batch did not arrive."""


class TransientError(TransportError):
    """The same batch may pass later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """How long the server asked us to wait, in seconds; None when it did not say."""


class PermanentError(TransportError):
    """No batch will pass for now. ``reason`` names its counter: ``http_401`` shows as ``dropped_http_401``."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidBatchError(PermanentError):
    """The other side refuses this very batch: something in it is wrong. A part of it may pass."""


class PayloadTooLargeError(InvalidBatchError):
    """The batch is larger than the other side takes; a part of it may pass."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="too_large_for_server")
