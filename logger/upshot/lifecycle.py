"""Fork and exit: what happens to loggers when their process is copied or ends."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Protocol
from weakref import WeakSet

__all__ = ["watch_logger", "watch_sender"]

EXIT_TIMEOUT_S = 1.8
"""How long the end of the interpreter may be delayed, for all loggers together, when the server is away. With what the interpreter
itself takes, a process ends within two seconds."""


class _Logger(Protocol):
    def forget_parent(self) -> None: ...

    def stop_taking(self) -> None: ...


class _Sender(Protocol):
    def begin_close(self, deadline: float) -> None: ...

    def finish_close(self) -> None: ...


_loggers: WeakSet[_Logger] = WeakSet()
_senders: WeakSet[_Sender] = WeakSet()
_registered_in_pid = 0


def watch_logger(logger: _Logger) -> None:
    """From now on a forked child starts with this logger empty. To be called before any thread can hold its lock."""
    _loggers.add(logger)


def watch_sender(sender: _Sender) -> None:
    """From now on the end of this process gives this sender a last chance."""
    global _registered_in_pid
    _senders.add(sender)
    if _registered_in_pid != os.getpid():
        _registered_in_pid = os.getpid()
        # A forked multiprocessing child ends without atexit (before Python 3.13); it runs these finalisers instead.
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util is not None and process is not None and process.parent_process() is not None:
            util.Finalize(None, _at_exit, exitpriority=0)


def _after_fork_in_child() -> None:
    """What is queued in the child's copy is the parent's to send; a lock in the copy may be held for ever."""
    global _senders
    _senders = WeakSet()
    for logger in list(_loggers):
        logger.forget_parent()


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    for logger in list(_loggers):
        logger.stop_taking()
    senders = list(_senders)
    for sender in senders:
        sender.begin_close(deadline)
    for sender in senders:
        sender.finish_close()


# At import, which is before any thread can use a logger; a handler registered at the first event could miss a fork of that
# very moment.
os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
