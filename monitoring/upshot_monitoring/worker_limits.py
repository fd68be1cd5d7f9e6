"""What a worker process puts on itself before it begins."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
from pathlib import Path

MAX_FILE_BYTES = 512 * 1024 * 1024
_PR_SET_PDEATHSIG = 1


def limit_this_process(max_memory_bytes: int) -> None:
    """Whatever goes wrong here must not fill the server's disk, with its error output either, nor its memory.

    The limit is of addresses: libraries reserve several times what they use. Where memory runs out all the same, the kernel ends
    this process and not the server.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    with contextlib.suppress(AttributeError, OSError):  # Linux: not to outlive a server that is killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
