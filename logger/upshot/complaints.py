"""What the user should hear about, said once: on the logger ``upshot``, from the sender's thread."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

__all__ = ["Complaints"]

_LOG = logging.getLogger("upshot")
_REPEAT_AFTER_S = 300.0


class Complaints:
    """Collects warnings from any thread without I/O, and says each kind at most once in five minutes.

    `note` is called from the request path of a service, where writing a log line may mean waiting for a disk. So it
    only keeps the text; the sender's thread says it. A text never holds a feature, a label or a key.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted: dict[str, str] = {}
        self._said_at: dict[str, float] = {}
        self._repeats: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, kind: str, text: str) -> None:
        """Remember the first text of this kind for `say`."""
        self._noted.setdefault(kind, text)

    def say(self) -> None:
        """Write what was noted. Never raises: a broken logging handler of the host must not stop the sender."""
        if not self._noted:
            return
        if not self._lock.acquire(blocking=False):  # another is saying it; a signal handler must not wait for itself
            return
        try:
            noted, self._noted = self._noted, {}
            now = self._clock()
            lines = []
            for kind, text in noted.items():
                said_at = self._said_at.get(kind)
                if said_at is not None and now - said_at < _REPEAT_AFTER_S:
                    self._repeats[kind] = self._repeats.get(kind, 0) + 1
                    continue
                self._said_at[kind] = now
                repeats = self._repeats.pop(kind, 0)
                lines.append(f"{text} (and {repeats} times since this was last said)" if repeats else text)
        finally:
            self._lock.release()
        for line in lines:
            with contextlib.suppress(Exception):  # the host's handler is broken; there is no one left to tell
                _LOG.warning("%s", line)
