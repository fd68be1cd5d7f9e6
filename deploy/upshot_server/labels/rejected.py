"""The list of what was not stored: one JSON line for each event, with its place and code and never with its value."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from upshot_server.labels.batches import Rejected
from upshot_server.labels.errors import WrongInput


class RejectedFile:
    """Made with the first line. What an earlier run left under its name is replaced, kept up to ``keep_bytes``, or added to."""

    def __init__(self, path: Path, unit: str, keep_bytes: int = 0, *, appends: bool = False) -> None:
        self.path = path
        self.size = 0
        self._unit = unit
        self._file: IO[bytes] | None = None
        if appends:
            return
        try:
            if keep_bytes and path.exists() and path.stat().st_size >= keep_bytes:
                os.truncate(path, keep_bytes)
                self.size = keep_bytes
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise WrongInput(f"{path}: {error.strerror}; choose another file with --rejected") from error

    def add(self, rejected: Sequence[Rejected], more: Mapping[int, Mapping[str, str]] | None = None) -> None:
        """Write lines, by place, with what there is to say ``more`` of each place; they are with the operating system then."""
        if not rejected:
            return
        try:
            if self._file is None:
                self._file = self.path.open("ab")
            lines = [
                one.line(self._unit) | dict((more or {}).get(one.place, {}))
                for one in sorted(rejected, key=lambda one: one.place)
            ]
            self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            self._file.flush()
        except OSError as error:
            raise WrongInput(f"{self.path}: {error.strerror}; choose another file with --rejected") from error
        self.size = self._file.tell()

    def close(self) -> None:
        """Done."""
        if self._file is not None:
            self._file.close()
            self._file = None
