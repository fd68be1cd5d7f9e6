"""The demo's folder: fresh at every start, and never somebody else's."""

from __future__ import annotations

import shutil
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


def fresh(root: Path) -> DemoFolder:
    """An empty demo folder at ``root``: made, or emptied when an earlier demo made it. Raises :class:`DemoError` for
    any other."""
    root = root.absolute()
    if root.exists() and any(root.iterdir()):
        if not (root / MARKER).exists():
            raise DemoError(f"{root} is not empty and was not made by the demo; choose another folder with --data")
        shutil.rmtree(root)
    folder = DemoFolder(root)
    folder.models.mkdir(parents=True)
    (root / MARKER).touch()
    return folder
