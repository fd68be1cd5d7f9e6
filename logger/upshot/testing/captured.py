"""What a block of code logs, kept in memory instead of being sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Unpack

import upshot
from upshot.delivery.transport.contract import Transport
from upshot.logger import Logger
from upshot.settings import Options, Settings
from upshot.testing.in_memory import InMemoryTransport
from upshot.wire import LabelEvent, Prediction

__all__ = ["Captured", "capture"]

_FLUSH_TIMEOUT_S = 10.0


class Captured:
    """What was logged in a `capture` block. Reading it waits until everything logged so far has arrived."""

    def __init__(self, logger: Logger, transport: InMemoryTransport) -> None:
        self.transport = transport
        self._logger: Logger | None = logger
        self._stats: dict[str, int] = {}

    @property
    def predictions(self) -> list[Prediction]:
        """The predictions, in the order of their arrival."""
        self._settle()
        return self.transport.predictions

    @property
    def labels(self) -> list[LabelEvent]:
        """The label events, in the order of their arrival."""
        self._settle()
        return self.transport.labels

    @property
    def stats(self) -> dict[str, int]:
        """The counters of ``upshot.stats()``, of this block alone."""
        self._settle()
        return dict(self._stats)

    @property
    def problems(self) -> list[str]:
        """What a service would only have counted: events dropped or refused, values kept as text."""
        stats = self.stats
        names = [name for name in stats if name.startswith(("dropped_", "rejected_"))]
        found = [f"{name}: {stats[name]}" for name in (*names, "converted_repr", "sanitized") if stats.get(name)]
        return found + [f"refused {one.kind}: {one.why}" for one in self.transport.rejected]

    def clear(self) -> None:
        """Forget what was logged so far; the counters go on."""
        self._settle()
        self.transport.clear()

    def _settle(self) -> None:
        if self._logger is not None:
            self._logger.flush(_FLUSH_TIMEOUT_S)
            self._stats = self._logger.stats()

    def _end(self) -> None:
        self._settle()
        self._logger = None


@contextmanager
def capture(
    logger: Logger | None = None,
    *,
    transport: InMemoryTransport | None = None,
    strict: bool = False,
    **options: Unpack[Options],
) -> Iterator[Captured]:
    """Keep in memory what a block logs, instead of sending it.

    ``logger``: whose events; None: those of the module-level functions of ``upshot``. Its settings stay what they are, but for
    ``options``; calls of ``configure()``, ``close()`` and ``flush()`` in the block do what they do otherwise, and still nothing
    leaves the process. At the end the logger is as it was before.
    ``transport``: an `InMemoryTransport` or `FaultyTransport` of yours.
    ``strict``: at the end of the block, raise AssertionError when an event was dropped or refused or a value kept as text: what a
    service must not stumble over, a test should.
    """
    captured_logger: Logger = upshot._default if logger is None else logger  # noqa: SLF001  # this is the same package
    kept_in = InMemoryTransport() if transport is None else transport
    restore = _divert(captured_logger, kept_in, options)
    logged = Captured(captured_logger, kept_in)
    try:
        yield logged
    finally:
        try:
            logged._end()  # noqa: SLF001
        finally:
            restore()
    if strict and (problems := logged.problems):
        raise AssertionError("; ".join(problems))


def _divert(logger: Logger, transport: Transport, options: Options) -> Callable[[], None]:
    """Give a logger a new life that ends in ``transport``; returns what gives it its old one back."""
    kind = type(logger)

    class Diverted(kind):  # type: ignore[valid-type, misc]  # it is one class more for one logger
        __slots__ = ()

        def reconfigure(self, *, transport: Transport | None = None, **options: Unpack[Options]) -> None:
            super().reconfigure(transport=kept, **options)

    kept = transport
    own = {name for name in Logger.__slots__ if not name.startswith("__")}
    with logger._lock:  # noqa: SLF001  # this is the same package
        before = {name: getattr(logger, name) for name in own}
        settings = before["_settings"]
        known = {} if settings is None else asdict(settings)
        chosen = Settings.read({**known, **options}, os.environ if settings is None else {})
        logger._settings, logger._transport, logger._is_closed = chosen, transport, False  # noqa: SLF001
        logger._reset()  # noqa: SLF001
        logger.__class__ = Diverted

    def restore() -> None:
        logger.close()
        if logger._finalizer is not None:  # noqa: SLF001
            logger._finalizer.detach()  # noqa: SLF001
        logger.__class__ = kind
        for name, value in before.items():
            setattr(logger, name, value)

    return restore
