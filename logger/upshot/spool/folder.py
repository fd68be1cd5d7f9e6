"""Whose folder is whose: one per destination, in it one per writer, locked while that writer lives."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

try:
    import fcntl
except ImportError:  # Windows: no locks of this kind, so no spool
    fcntl = None  # type: ignore[assignment]

__all__ = ["DAMAGED", "Destination", "WriterFolder", "default_spool_dir"]

DAMAGED = "damaged"
"""Below the destination's folder: bytes that were no events any more, moved aside for whoever wants to look."""
_LOCK = "lock"
_NEW = ".new-"
_NEW_IS_STALE_S = 3600.0
_OPEN_FOLDER = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def default_spool_dir() -> Path:
    """Where the spool lies when nobody says otherwise: the user's state folder. Raises OSError when there is none."""
    if state := os.environ.get("XDG_STATE_HOME", "").strip():
        return Path(state) / "upshot" / "spool"
    try:
        return Path.home() / ".local" / "state" / "upshot" / "spool"
    except RuntimeError:
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder") from None


class WriterFolder:
    """One writer's folder, locked by this process until `close`."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    def close(self) -> None:
        """Unlock the folder; remove it when nothing is left in it."""
        lock_fd, self._lock_fd = self._lock_fd, -1
        if lock_fd < 0:
            return
        with contextlib.suppress(OSError):
            if {entry.name for entry in os.scandir(self.path)} <= {_LOCK}:
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        os.close(lock_fd)

    def close_descriptors(self) -> None:
        """In a forked child: the lock is the parent's, and stays while the parent lives."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


class Destination:
    """The folder of all writers of this user that send to the same address."""

    def __init__(self, spool_dir: Path, url: str) -> None:
        host = re.sub(r"[^a-z0-9.-]+", "-", urlsplit(url).netloc.lower())[:60]
        self.path = spool_dir / f"{host}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"

    def make(self) -> None:
        """Create the folder, for this user alone. Raises OSError; PermissionError when others may write into it."""
        if fcntl is None:
            raise OSError(errno.ENOSYS, "this system has no file locks")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path, _OPEN_FOLDER)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise PermissionError(errno.EPERM, "the spool's folder belongs to, or can be written by, someone else")

    def claim_new(self, writer_id: str) -> WriterFolder:
        """Make and lock a folder for a new writer. Raises OSError."""
        name = f"{time.time_ns() // 1_000_000:013d}-{writer_id}"  # so that names are in order of age
        unlocked = self.path / f"{_NEW}{name}"  # nobody takes over a folder that is not locked yet
        unlocked.mkdir(mode=0o700)
        lock_fd = os.open(unlocked / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(self.path / name)
        except OSError:
            os.close(lock_fd)
            shutil.rmtree(unlocked, ignore_errors=True)
            raise
        return WriterFolder(self.path / name, lock_fd)

    def claim_left(self) -> Iterator[WriterFolder]:
        """Lock, one after the other, the folders whose writers are gone, the oldest first. Raises OSError.

        Whoever takes one must close it.
        """
        for name in sorted(entry.name for entry in os.scandir(self.path) if entry.is_dir(follow_symlinks=False)):
            if name == DAMAGED:
                continue
            path = self.path / name
            if name.startswith(_NEW):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > _NEW_IS_STALE_S:
                        shutil.rmtree(path, ignore_errors=True)
                continue
            if (folder := _claim(path)) is not None:
                yield folder

    def move_aside(self, name: str, data: bytes) -> None:
        """Keep damaged bytes where nobody takes them for events. Raises OSError."""
        folder = self.path / DAMAGED
        folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)


def _claim(path: Path) -> WriterFolder | None:
    try:
        lock_fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have removed the folder between our open and our lock.
        if os.fstat(lock_fd).st_nlink == 0:
            os.close(lock_fd)
            return None
    except OSError:
        os.close(lock_fd)
        return None
    return WriterFolder(path, lock_fd)
