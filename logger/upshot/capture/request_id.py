"""Request IDs for callers who bring none: that of the web request they work for, or a UUIDv7 (RFC 9562; these sort by time)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count

__all__ = ["RequestIds", "current_request", "new_request_id", "request_id_source"]

_sources: dict[int, Callable[[], str]] = {}
"""Of `new_request_id`, by process: a forked child must not use its parent's."""


class RequestIds:
    """The request IDs of the predictions that are made for one web request. Safe to use from any thread.

    An ID names one prediction of each model (and item): other content under the same ID would be refused as a conflict. So
    the first one has the ID of the web request, and the further ones have it with a number: ``ID~2``, ``ID~3``. A request
    that is sent again therefore has the same IDs again.
    """

    __slots__ = ("_counts", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self._counts: dict[tuple[str, ...], count[int]] = {}

    def take(self, model: object, model_version: object, item_id: object) -> str:
        """The ID of the next prediction of this model, version and item; None is as good as empty."""
        key = (_text(model), _text(model_version), _text(item_id))
        # Neither step can be interrupted within: whoever comes second to setdefault gets the counter of the first.
        number = next(self._counts.setdefault(key, count(1)))
        return self.request_id if number == 1 else f"{self.request_id}~{number}"


def _text(part: object) -> str:
    if part is None:
        return ""
    try:
        return str(part)
    except Exception:  # noqa: BLE001  # its __str__ raises
        return f"<{type(part).__name__}>"


current_request: ContextVar[RequestIds | None] = ContextVar("upshot_request", default=None)
"""The web request that this thread or task works for; set by `upshot.integrations.fastapi`."""


def new_request_id() -> str:
    """A UUIDv7 from this process's own source."""
    pid = os.getpid()
    source = _sources.get(pid) or _sources.setdefault(pid, request_id_source())
    return source()


def request_id_source() -> Callable[[], str]:
    """Return a function that makes a new ID at every call, from a generator of its own.

    An ID is 48 bits of milliseconds, 12 bits of their fraction, 62 random bits. The generator is our own because a
    service that calls ``random.seed(42)`` in each of its replicas would otherwise make the same IDs in all of them.
    Make a new source after a fork: the child holds a copy of the generator's state.
    """
    getrandbits = random.Random(os.urandom(32)).getrandbits  # noqa: S311  # IDs must be unique, not secret
    time_ns = time.time_ns

    def new_request_id() -> str:
        now_ns = time_ns()
        now_ms = now_ns // 1_000_000
        fraction = (now_ns - now_ms * 1_000_000) * 4096 // 1_000_000
        noise = getrandbits(62)
        return "%08x-%04x-%04x-%04x-%012x" % (  # noqa: UP031  # an f-string takes a fifth longer here
            now_ms >> 16,
            now_ms & 0xFFFF,
            0x7000 | fraction,
            0x8000 | (noise >> 48),
            noise & 0xFFFF_FFFF_FFFF,
        )

    return new_request_id
