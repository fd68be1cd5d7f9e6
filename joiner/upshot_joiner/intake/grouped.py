"""Many callers, one write: what several threads ask for at the same time is done as one group."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from upshot_joiner.errors import Problem, StoreError

_log = logging.getLogger("upshot.intake")

MAX_GROUP = 1000

AskedT = TypeVar("AskedT")
DoneT = TypeVar("DoneT")


class Grouped(Generic[AskedT, DoneT]):
    """Runs ``work`` in a thread of its own, over all that was asked for while it was busy with the last group.

    ``work`` gives one result for each, in order; what it raises, each of the group is answered with. ``submit`` may be called
    from any thread. There is no waiting for company: under load groups form by themselves, and without load nobody waits.
    """

    def __init__(self, name: str, work: Callable[[Sequence[AskedT]], Sequence[DoneT]]) -> None:
        self._work = work
        self._queue: queue.SimpleQueue[tuple[AskedT, Future[DoneT]] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def submit(self, asked: AskedT) -> Future[DoneT]:
        """Ask for one; raises a 503 :class:`Problem` while the server is stopping."""
        future: Future[DoneT] = Future()
        with self._lock:
            if self._closed:
                raise Problem(503, "closing", "The server is stopping; nothing was stored.", retry_after_s=2)
            self._queue.put((asked, future))
        return future

    def close(self) -> None:
        """Do what was asked for, then stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, stop = [first], False
            while len(group) < MAX_GROUP and not stop:
                try:
                    one = self._queue.get_nowait()
                except queue.Empty:
                    break
                if one is None:
                    stop = True
                else:
                    group.append(one)
            self._do(group)
            if stop:
                return

    def _do(self, group: Sequence[tuple[AskedT, Future[DoneT]]]) -> None:
        try:
            done = self._work([asked for asked, _ in group])
        except Exception as error:  # noqa: BLE001  # the thread must outlive a bug: it fails the group, loudly
            if not isinstance(error, Problem | StoreError):
                _log.exception("a group of %s could not be done", self._thread.name)
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), result in zip(group, done, strict=True):
            future.set_result(result)
