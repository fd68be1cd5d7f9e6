"""For tests of the services that log: transports that keep events, and fail, in memory.

::

    with upshot.testing.capture() as logged:
        answer = client.post("/score", json={"amount": 12.5})
    assert logged.predictions[0].features == {"amount": 12.5}

Nothing leaves the process. Events pass through the real logger, its thread and its encoding; what is kept is decoded from the bytes
that a server would have been sent.
"""

from upshot.testing.captured import Captured, capture
from upshot.testing.faulty import (
    Attempt,
    Bug,
    FaultyTransport,
    Hang,
    Invalid,
    LoseResponse,
    Ok,
    Permanent,
    Step,
    TooLarge,
    Transient,
)
from upshot.testing.in_memory import InMemoryTransport, Rejected

__all__ = [
    "Attempt",
    "Bug",
    "Captured",
    "FaultyTransport",
    "Hang",
    "InMemoryTransport",
    "Invalid",
    "LoseResponse",
    "Ok",
    "Permanent",
    "Rejected",
    "Step",
    "TooLarge",
    "Transient",
    "capture",
]
