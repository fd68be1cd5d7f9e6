"""Waiting for what a server makes in the background, with progress on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress

from upshot_server.client import ServerClient

_err = Console(stderr=True)


def wait_for(server: ServerClient, path: str, what: str, *, quiet: bool) -> dict[str, Any]:
    """The answer of ``path`` once it is neither queued nor running; ``what`` stands before the bar."""
    show = not quiet and sys.stderr.isatty()
    with Progress(console=_err, disable=not show, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        while True:
            found = server.get(path)
            progress.update(task, completed=found.get("progress") or 0.0)
            if found["status"] not in ("queued", "running"):
                return found
            time.sleep(0.1)
