"""The demo's folder: fresh at every start, and never somebody else's."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from upshot_server.demo.processes import DemoError

MARKER = ".upshot-demo"


@dataclass(frozen=True)
class DemoFolder:
    """Where everything of one demo lies."""

    root: Path

    @property
    def store(self) -> Path:
        """The server's data."""
        return self.root / "upshot"

    @property
    def models(self) -> Path:
        """Models and training sets."""
        return self.root / "models"

    @property
    def clock(self) -> Path:
        """The shared clock."""
        return self.root / "clock"

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.root / f"{name}.log"


@contextmanager
def fresh(root: Path) -> Iterator[DemoFolder]:
    """An empty demo folder at ``root``: made, or emptied when an earlier demo made it. Belongs to one demo at a time.

    Raises :class:`DemoError` for a folder that is somebody else's, or in use.
    """
    root = root.absolute()
    marker = root / MARKER
    if root.exists() and any(root.iterdir()) and not marker.exists():
        raise DemoError(f"{root} is not empty and was not made by the demo; choose another folder with --data")
    root.mkdir(parents=True, exist_ok=True)
    with marker.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError(f"another demo is running in {root}; choose another folder with --data") from error
        for entry in root.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
        folder = DemoFolder(root)
        folder.models.mkdir()
        yield folder
