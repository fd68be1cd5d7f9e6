"""One segment: an append-only file of frames, and how far it was synced and dealt with."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from upshot.delivery.batch import Batch, Kind, join
from upshot.spool.frame import Damage, encode_frame, read_frame

__all__ = ["Segment", "kind_of"]

_NAME = re.compile(r"(?P<kind>predictions|labels)-(?P<index>\d{8})-(?P<salt>[0-9a-f]{8})\.v1\.seg")
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


def kind_of(name: str) -> Kind | None:
    """What a file of this name holds; None when it is no segment of a version we know."""
    match = _NAME.fullmatch(name)
    return match["kind"] if match else None  # type: ignore[return-value]  # the pattern holds both kinds


class Segment:
    """A file of frames. One thread at a time.

    ``size``: bytes of whole frames. ``synced``: bytes that survive a power cut. ``done``: bytes whose frames were dealt
    with. ``n_events`` counts the events written and ``n_done`` those read and dealt with, so that what damage took is known.
    """

    __slots__ = ("done", "fd", "is_new", "n_done", "n_events", "path", "salt", "size", "synced")

    def __init__(self, path: Path, salt: int) -> None:
        self.path = path
        self.salt = salt
        self.fd = -1
        self.size = 0
        self.synced = 0
        self.done = 0
        self.n_events = 0
        self.n_done = 0
        self.is_new = False
        """Its folder was not synced since the file was made."""

    @classmethod
    def create(cls, folder: Path, kind: Kind, index: int) -> Segment:
        """Make a new, empty file. Raises OSError."""
        salt = secrets.randbits(32)
        segment = cls(folder / f"{kind}-{index:08d}-{salt:08x}.v1.seg", salt)
        segment.fd = os.open(segment.path, _OPEN | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        segment.is_new = True
        return segment

    @classmethod
    def found(cls, path: Path) -> Segment:
        """A file that another process wrote. Raises OSError."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise FileNotFoundError(errno.ENOENT, "not the name of a segment")
        segment = cls(path, int(match["salt"], 16))
        segment._open()  # its own class
        segment.size = segment.synced = os.fstat(segment.fd).st_size
        return segment

    def append(self, batch: Batch) -> None:
        """Write a batch as one frame, whole or not at all. Raises OSError."""
        frame = encode_frame(batch, self.salt)
        try:
            is_whole = os.pwrite(self.fd, frame, self.size) == len(frame)
        except OSError:
            self._truncate(self.size)
            raise
        if not is_whole:
            self._truncate(self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(frame)
        self.n_events += batch.n_events

    def sync(self) -> None:
        """Make what was written survive a power cut. Raises OSError; then it must not be tried again on this file."""
        if self.synced < self.size or self.is_new:
            if os.fstat(self.fd).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "the segment was deleted")
            os.fdatasync(self.fd)
            if self.is_new:
                folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
                self.is_new = False
            self.synced = self.size

    def oldest(
        self, max_events: int, max_bytes: int, on_damage: Callable[[Segment, Damage], None]
    ) -> tuple[Batch | None, int]:
        """The first events not dealt with yet, as one batch within the limits (one frame at least), and where they end.

        Damaged bytes before them are passed to ``on_damage`` and counted as dealt with. Raises OSError.
        """
        parts: list[Batch] = []
        offset, n_events, n_bytes = self.done, 0, 0
        if self.fd < 0:
            self._open()
        while (found := read_frame(self.fd, offset, self.size, self.salt)) is not None:
            if isinstance(found, Damage):
                if parts:
                    break
                on_damage(self, found)
                offset = self.done = found.end
                continue
            part = found.batch
            n_events += part.n_events
            n_bytes += part.n_bytes
            is_too_much = n_events > max_events or n_bytes > max_bytes
            if parts and (is_too_much or part.content_type != parts[0].content_type):
                break
            parts.append(part)
            offset = found.end
        return (join(parts) if parts else None), offset

    def bytes_of(self, damage: Damage) -> bytes:
        """The damaged bytes. Raises OSError."""
        return os.pread(self.fd, damage.end - damage.start, damage.start)

    def cut(self, size: int) -> None:
        """Nobody shall read beyond ``size`` any more: that is written elsewhere."""
        self.size = size
        self.synced = min(self.synced, size)
        self._truncate(size)

    def empty(self) -> None:
        """Everything in it was dealt with: begin at its beginning again. Raises OSError."""
        os.ftruncate(self.fd, 0)
        self.size = self.synced = self.done = self.n_events = self.n_done = 0

    def close(self) -> None:
        """Give up the descriptor; reading opens the file again."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def delete(self) -> bool:
        """Close and remove the file. False when it could not be removed."""
        self.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _open(self) -> None:
        self.fd = os.open(self.path, _OPEN | os.O_RDONLY)

    def _truncate(self, size: int) -> None:
        with contextlib.suppress(OSError):  # then a reader takes the rest for a torn tail
            os.ftruncate(self.fd, size)
