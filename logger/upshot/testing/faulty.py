"""A transport that fails by script."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from upshot.delivery.batch import Batch, Kind
from upshot.delivery.transport.contract import Receipt
from upshot.errors import InvalidBatchError, PayloadTooLargeError, PermanentError, TransientError
from upshot.testing.in_memory import InMemoryTransport

__all__ = [
    "Attempt",
    "Bug",
    "FaultyTransport",
    "Hang",
    "Invalid",
    "LoseResponse",
    "Ok",
    "Permanent",
    "Step",
    "TooLarge",
    "Transient",
]


@dataclass(frozen=True, slots=True)
class Ok:
    """The batch is kept and acknowledged."""


@dataclass(frozen=True, slots=True)
class Transient:
    """The server is away or overloaded (503); ``retry_after_s`` is the time it asks for."""

    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Permanent:
    """The server refuses us until somebody mends something (a wrong key)."""

    reason: str = "http_401"


@dataclass(frozen=True, slots=True)
class Invalid:
    """The server refuses this very batch, whatever is in it."""

    reason: str = "http_400"


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A batch of more than ``above`` events is too large (413); a smaller one is kept."""

    above: int = 0


@dataclass(frozen=True, slots=True)
class Hang:
    """The answer takes so long: the batch is kept, unless the sender's patience ends before."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LoseResponse:
    """The batch is kept, and the connection is lost before the answer."""


@dataclass(frozen=True, slots=True)
class Bug:
    """The transport itself fails, with an exception that none should raise."""

    error: Exception


Step = Ok | Transient | Permanent | Invalid | TooLarge | Hang | LoseResponse | Bug
"""What one call of `FaultyTransport.send` does."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of `FaultyTransport.send`."""

    step: Step
    kind: Kind
    n_events: int


class FaultyTransport(InMemoryTransport):
    """Does what a script says, call by call, then what ``default`` says for ever. Writers' reports always pass.

    ::

        transport = FaultyTransport([Transient(retry_after_s=0.1), LoseResponse()])
        logger = upshot.Logger(transport=transport, model="fraud")
    """

    def __init__(self, script: Iterable[Step] = (), *, default: Step | None = None) -> None:
        super().__init__()
        self._script = deque(script)
        self._default = Ok() if default is None else default
        self._attempts: list[Attempt] = []
        self._released = threading.Event()

    @property
    def attempts(self) -> list[Attempt]:
        """The calls so far, in order."""
        with self._changed:
            return list(self._attempts)

    def then(self, *steps: Step) -> None:
        """Put more steps at the end of the script."""
        with self._changed:
            self._script.extend(steps)

    def release(self) -> None:
        """End every `Hang`, now and from now on."""
        self._released.set()

    def send(self, batch: Batch, *, timeout_s: float) -> Receipt:
        """Do the next step; see ``Transport.send``."""
        if batch.kind == "writers":
            return super().send(batch, timeout_s=timeout_s)
        with self._changed:
            step = self._script.popleft() if self._script else self._default
            self._attempts.append(Attempt(step, batch.kind, batch.n_events))
        match step:
            case Transient(retry_after_s):
                raise TransientError("scripted: the server is away", retry_after_s=retry_after_s)
            case Permanent(reason):
                raise PermanentError("scripted: the server refuses us", reason=reason)
            case Invalid(reason):
                raise InvalidBatchError("scripted: the server refuses the batch", reason=reason)
            case TooLarge(above) if batch.n_events > above:
                raise PayloadTooLargeError("scripted: the batch is too large")
            case Hang(seconds):
                if not self._released.wait(min(seconds, timeout_s)) and seconds >= timeout_s:
                    raise TransientError(f"scripted: no answer within {timeout_s:.1f} s")
            case Bug(error):
                raise error
        receipt = super().send(batch, timeout_s=timeout_s)
        if isinstance(step, LoseResponse):
            raise TransientError("scripted: the answer was lost")
        return receipt
