"""How far a file is loaded, so that the next run goes on there: one small file in the user's state folder.

It is found again by what is loaded (size, time of change, beginning and end of the file) and how (the options and the server):
another file under the same name, or the same file with another mapping, starts from its beginning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from upshot_server.labels.books import Books

_LOOKED_AT_BYTES = 64 * 1024


class Progress(msgspec.Struct):
    """What is written down after each answered batch."""

    offset: int
    place: int
    books: Books
    rejected_bytes: int
    """Of the list of rejected rows."""
    version: int = 1


def state_folder() -> Path:
    """``$XDG_STATE_HOME/upshot/labels``, by default ``~/.local/state/upshot/labels``."""
    given = os.environ.get("XDG_STATE_HOME", "")
    home = Path(given) if given.startswith("/") else Path.home() / ".local/state"
    return home / "upshot" / "labels"


def key_of(path: Path, options: Mapping[str, object]) -> str:
    """By what a load is found again."""
    status = path.stat()
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT_BYTES)
        file.seek(max(0, status.st_size - _LOOKED_AT_BYTES))
        end = file.read(_LOOKED_AT_BYTES)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([status.st_size, status.st_mtime_ns, options], sort_keys=True).encode())
    digest.update(hashlib.blake2b(start).digest() + hashlib.blake2b(end).digest())
    return digest.hexdigest()


class Bookmark:
    """The progress of one load. A folder that cannot be written costs the ability to go on, nothing else (``is_kept``)."""

    def __init__(self, key: str, folder: Path | None = None) -> None:
        self._path = (folder or state_folder()) / f"{key}.json"
        self.is_kept = True

    def read(self) -> Progress | None:
        """How far an earlier run got; None when there was none, or it was completed."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.version == 1 else None

    def write(self, progress: Progress) -> None:
        """Replace what was written before."""
        if not self.is_kept:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = self._path.with_suffix(f".{os.getpid()}.tmp")
            beside.write_bytes(msgspec.json.encode(progress))
            beside.replace(self._path)
        except OSError:
            self.is_kept = False

    def clear(self) -> None:
        """The load is complete, or is to start anew."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
