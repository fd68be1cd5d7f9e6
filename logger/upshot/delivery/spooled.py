"""The outbox behind a spool: a thread of its own brings events to disk, twenty times a second, whatever the network does.

What was written survives the end of this process, however it ends; what was synced (twice a second) survives a power cut. When the
disk refuses, events are kept in bounded memory, and every five seconds the disk is tried again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from pathlib import Path

from upshot.delivery.batch import Batch, Kind, Packer
from upshot.spool.folder import Destination, WriterFolder, default_spool_dir
from upshot.spool.frame import Damage
from upshot.spool.lane import Lane, Refused
from upshot.spool.leftovers import Leftovers
from upshot.spool.segment import Segment
from upshot.writer import Writer

__all__ = ["SpooledOutbox"]

_WRITE_EVERY_S = 0.05
"""How long an event waits in memory at most: what ``kill -9`` may take."""
_WRITE_AT_ONCE = 500
"""At rates where more than this many came in that time, it is written more often."""
_WRITE_EVERY_AT_LEAST_S = 0.002
_SYNC_EVERY_S = 0.5
_SYNC_AT_BYTES = 8 * 1024 * 1024
_TRY_DISK_EVERY_S = 5.0
_LOOK_FOR_LEFT_EVERY_S = 30.0
_MEMORY_BYTES = 32 * 1024 * 1024
"""What may wait in memory, compressed, while the disk refuses."""
_LOOK_AT_DISK_EVERY_S = 1.0
_LARGEST_FLOOR_SHARE = 0.1
_MAX_ASIDE_BYTES = 64 * 1024 * 1024


class SpooledOutbox:
    """Events go from the queues to disk (``pump``), and from disk to whoever takes them."""

    keeps_refused = True

    def __init__(self, writer: Writer, url: str) -> None:
        self._writer = writer
        self._settings = writer.settings
        self._ledger = writer.ledger
        self._url = url
        self._packer = Packer()
        self._lock = threading.RLock()  # re-entrant: flush() may be called in a signal handler
        self._destination: Destination | None = None
        self._folder: WriterFolder | None = None
        self._lanes: dict[Kind, Lane] = {}
        self._left: Leftovers | None = None
        self._memory: deque[Batch] = deque()
        self._memory_bytes = 0
        self._taken: tuple[Batch, Lane | Leftovers | None] | None = None
        self._try_disk_at = 0.0
        self._look_at_disk_at = 0.0
        self._look_for_left_at = 0.0
        self._has_space = True
        self._aside_bytes = 0
        self._synced_at = time.monotonic()
        self._wake = threading.Event()
        self._secure_asked = 0
        self._secure_done = 0
        self._secured = threading.Condition()
        self._is_behind = False
        """Whether the last `_pump` left something in memory that had been logged before it."""
        self._closing = False
        self._thread: threading.Thread | None = None

    # ---- the thread ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Without one (the system refuses it) the sender's does the work, less often."""
        thread = threading.Thread(target=self._run, name="upshot-spool", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def _run(self) -> None:
        wait_s = _WRITE_EVERY_S
        while not self._closing:
            self._wake.wait(wait_s)
            asked = self._secure_asked
            self._wake.clear()
            try:
                n_events = self._pump()
                if asked > self._secure_done or self._is_sync_due():
                    self._sync()
            except Exception as error:  # noqa: BLE001  # the thread must survive whatever happens
                self._writer.complaints.note("spool", f"the spool failed ({type(error).__name__}) and goes on")
                n_events = 0
                self._is_behind = True
            if asked > self._secure_done:
                with self._secured:
                    self._secure_done = asked
                    self._secured.notify_all()
            wait_s = _WRITE_EVERY_S
            if n_events > _WRITE_AT_ONCE:
                wait_s = max(_WRITE_EVERY_AT_LEAST_S, wait_s * _WRITE_AT_ONCE / n_events)

    def secure(self, timeout_s: float) -> bool:
        """Write and sync everything logged before this call, in at most this time. Whether it is all on disk."""
        if self._thread is not None and self._thread.is_alive():
            with self._secured:
                self._secure_asked += 1
                ticket = self._secure_asked
                self._wake.set()
                if not self._secured.wait_for(lambda: self._secure_done >= ticket, timeout_s):
                    return False
        elif self._lock.acquire(timeout=max(0.0, timeout_s)):
            try:
                self._pump()
                self._sync()
            finally:
                self._lock.release()
        else:
            return False
        taken = self._taken
        is_in_hand_only = taken is not None and taken[1] is None
        return not self._is_behind and not self._memory and not is_in_hand_only

    # ---- from the queues to disk -------------------------------------------------------------------------------------

    def _pump(self) -> int:
        """Write what is queued now. Returns how many events that were."""
        n_taken = 0
        with self._lock:
            if self._folder is not None:
                self._is_disk_usable()  # it may have been deleted since
            self._unload_memory()
            self._is_behind = False
            for kind, buffer in self._writer.buffers():
                n_queued = len(buffer.events)
                while n_queued > 0 and self._has_room():
                    with self._ledger.lock:
                        events = buffer.take(self._settings.batch_max_events, self._settings.batch_max_bytes)
                        self._writer.n_held += len(events)
                    if not events:
                        break
                    n_queued -= len(events)
                    n_taken += len(events)
                    for batch in self._packer.batches(kind, events):
                        self._keep(batch)
                else:
                    self._is_behind = self._is_behind or n_queued > 0
            return n_taken

    def put(self, batch: Batch) -> bool:
        """Write a batch that was never queued. False when there is no room; then nothing was done."""
        with self._lock:
            if not self._has_room():
                return False
            with self._ledger.lock:
                self._writer.n_held += batch.n_events
            self._keep(batch)
            return True

    def _has_room(self) -> bool:
        """Whether another batch may be taken out of the queues. When not, they fill, and new events are dropped."""
        if self._is_disk_usable():
            used = sum(lane.size_bytes for lane in self._lanes.values())
            has_room = used < self._settings.spool_max_bytes
        else:
            has_room = self._memory_bytes < _MEMORY_BYTES
        self._writer.is_spool_full = not has_room
        return has_room

    def _keep(self, batch: Batch) -> None:
        """Write a batch that waits in memory, or let it wait there."""
        if self._is_disk_usable():
            try:
                self._lanes[batch.kind].append(batch)
            except OSError as error:
                self._disk_failed(error)
            else:
                self._count_written(batch)
                return
        self._keep_in_memory(batch)

    def _keep_in_memory(self, batch: Batch) -> None:
        self._memory.append(batch)
        self._memory_bytes += len(batch.payload)

    def _count_written(self, batch: Batch) -> None:
        """Not before it is: whoever reads ``spooled`` takes it for safe."""
        with self._ledger.lock:
            self._ledger.spooled += batch.n_events
            self._writer.n_held -= batch.n_events

    def _count_unwritten(self, batch: Batch) -> None:
        with self._ledger.lock:
            self._ledger.spooled -= batch.n_events
            self._writer.n_held += batch.n_events

    def _count_refused(self, refused: Refused) -> None:
        """They wait again. What is on its way to the server meanwhile is written a second time: it may have to be sent again."""
        for number, batch in enumerate(refused.batches):
            if number >= refused.n_in_hand:
                self._count_unwritten(batch)
                continue
            with self._ledger.lock:
                self._ledger.recovered += batch.n_events
                self._writer.n_held += batch.n_events

    def _unload_memory(self) -> None:
        """Bring to disk what waits in memory since it refused."""
        while self._memory and self._is_disk_usable():
            batch = self._memory[0]
            try:
                self._lanes[batch.kind].append(batch)
            except OSError as error:
                self._disk_failed(error)
                return
            self._memory.popleft()
            self._memory_bytes -= len(batch.payload)
            self._count_written(batch)

    def _is_sync_due(self) -> bool:
        unsynced = sum(lane.unsynced_bytes for lane in self._lanes.values())
        if not unsynced:
            return False
        is_full = any(lane.is_due for lane in self._lanes.values())
        return is_full or unsynced > _SYNC_AT_BYTES or time.monotonic() - self._synced_at >= _SYNC_EVERY_S

    def _sync(self) -> None:
        with self._lock:
            self._synced_at = time.monotonic()
            for lane in self._lanes.values():
                if (refused := lane.sync()) is None:
                    continue
                self._ledger.spool_errors.next()
                self._complain("the disk refuses to keep what was written to it; it is written to a new file")
                self._count_refused(refused)
                for batch in refused.batches:
                    self._keep(batch)
                if (refused := lane.sync()) is not None:
                    self._disk_failed(OSError(errno.EIO, os.strerror(errno.EIO)))
                    self._count_refused(refused)
                    for batch in refused.batches:
                        self._keep_in_memory(batch)

    # ---- the disk ------------------------------------------------------------------------------------------------------

    def _is_disk_usable(self) -> bool:
        now = time.monotonic()
        if self._folder is None:
            if now < self._try_disk_at:
                return False
            self._try_disk_at = now + _TRY_DISK_EVERY_S
            try:
                self._open_folder()
            except OSError as error:
                self._complain(f"no spool on disk ({_reason(error)}): events wait in memory, in at most 32 MB of it")
                return False
        if now >= self._look_at_disk_at:
            self._look_at_disk_at = now + _LOOK_AT_DISK_EVERY_S
            self._has_space = self._look_at_disk()
        return self._has_space

    def _open_folder(self) -> None:
        spool_dir = self._settings.spool_dir
        destination = Destination(Path(spool_dir).expanduser() if spool_dir else default_spool_dir(), self._url)
        destination.make()
        folder = destination.claim_new(self._writer.writer_id)
        if self._left is None:
            self._left = Leftovers(destination, self._damaged_left)
        self._destination, self._folder = destination, folder
        self._lanes = {kind: Lane(folder.path, kind, self._damaged, self._lost) for kind in ("predictions", "labels")}
        self._has_space = True
        self._look_at_disk_at = 0.0

    def _look_at_disk(self) -> bool:
        """Whether the folder is still there, with enough free space around it."""
        if self._folder is None:
            return False
        try:
            found = os.statvfs(self._folder.path)
        except OSError as error:
            self._disk_failed(error)
            return False
        floor = min(self._settings.spool_keep_free_bytes, found.f_blocks * found.f_frsize * _LARGEST_FLOOR_SHARE)
        has_space = found.f_bavail * found.f_frsize > floor
        if not has_space:
            self._complain("the disk is nearly full: events wait in memory, in at most 32 MB of it")
        return has_space

    def _disk_failed(self, error: OSError) -> None:
        """Stop writing to this folder; what can still be read of it is sent from there, or moved to memory."""
        self._ledger.spool_errors.next()
        self._complain(f"the spool cannot be written ({_reason(error)}): events wait in memory, in at most 32 MB of it")
        self._has_space = False
        self._look_at_disk_at = time.monotonic() + _TRY_DISK_EVERY_S
        if self._folder is not None and not self._folder.path.exists():
            self._rescue()

    def _rescue(self) -> None:
        """The folder was deleted: what its open files still hold goes to memory, and a new folder is made."""
        if self._taken is not None and isinstance(self._taken[1], Lane):
            self._taken[1].done()
            self._taken = self._taken[0], None  # from now on in the sender's hands alone
        for lane in self._lanes.values():
            if (refused := lane.sync()) is not None:
                self._count_refused(refused)
            while (rest := lane.take(self._settings.batch_max_events, self._settings.batch_max_bytes)) is not None:
                self._count_unwritten(rest)
                self._keep_in_memory(rest)
                lane.done()
            for batch in refused.batches if refused is not None else ():
                self._keep_in_memory(batch)
            lane.close()
        if self._folder is not None:
            self._folder.close()
        self._folder = None
        self._lanes = {}
        self._try_disk_at = time.monotonic() + _TRY_DISK_EVERY_S

    # ---- from disk to the sender -----------------------------------------------------------------------------------------

    def take(self) -> Batch | None:
        """See `Outbox`. Brings what is queued to disk first, so that a flush waits for no other thread."""
        self._pump()
        limits = self._settings.batch_max_events, self._settings.batch_max_bytes
        with self._lock:
            for lane in self._lanes.values():
                if (batch := lane.take(*limits)) is not None:
                    self._taken = batch, lane
                    with self._ledger.lock:
                        self._ledger.spooled -= batch.n_events
                        self._ledger.in_flight += batch.n_events
                    return batch
            if self._memory:
                batch = self._memory.popleft()
                self._memory_bytes -= len(batch.payload)
                self._taken = batch, None
                with self._ledger.lock:
                    self._writer.n_held -= batch.n_events
                    self._ledger.in_flight += batch.n_events
                return batch
        return None

    def take_left(self) -> Batch | None:
        """See `Outbox`."""
        if self._left is None:
            return None
        try:
            if time.monotonic() >= self._look_for_left_at:
                self._look_for_left_at = time.monotonic() + _LOOK_FOR_LEFT_EVERY_S
                self._left.look()
            batch = self._left.take(self._settings.batch_max_events, self._settings.batch_max_bytes)
        except OSError as error:
            self._complain(f"what former processes left in the spool cannot be read ({_reason(error)})")
            return None
        if batch is not None:
            self._taken = batch, self._left
            with self._ledger.lock:
                self._ledger.recovered += batch.n_events
                self._ledger.in_flight += batch.n_events
        return batch

    def done(self) -> None:
        """See `Outbox`."""
        with self._lock:
            taken, self._taken = self._taken, None
            if taken is not None and taken[1] is not None:
                taken[1].done()

    def give_back(self, n_events: int) -> None:
        """See `Outbox`: they stay on disk, or go back to memory."""
        with self._lock:
            if self._taken is None:
                return
            (batch, source), self._taken = self._taken, None
            with self._ledger.lock:
                self._ledger.in_flight -= n_events
                if isinstance(source, Leftovers):
                    self._ledger.recovered -= n_events
                elif source is None:
                    self._writer.n_held += n_events
                else:
                    self._ledger.spooled += n_events
            if isinstance(source, Lane):
                source.give_back()
            elif source is None:
                self._memory.appendleft(batch)
                self._memory_bytes += len(batch.payload)

    # ---- the end -----------------------------------------------------------------------------------------------------------

    def close(self) -> int:
        """Stop; what is on disk stays there for the next process. Returns how many events are lost."""
        self._closing = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(0.5)
        if not self._lock.acquire(timeout=0.5):  # the disk hangs: what it holds is there or not, we cannot wait
            return self._writer.queued()
        try:
            self._pump()
            self._sync()
            with self._ledger.lock:
                n_lost = self._writer.queued()
                for _, buffer in self._writer.buffers():
                    buffer.clear()
                self._memory.clear()
                self._writer.n_held = 0
                self._ledger.dropped["close"] += n_lost
            for lane in self._lanes.values():
                lane.close()
            self._lanes = {}
            if self._left is not None:
                self._left.close()
                self._left = None
            if self._folder is not None:
                self._folder.close()
            self._folder = None
            self._try_disk_at = float("inf")
        finally:
            self._lock.release()
        return n_lost

    def close_descriptors(self) -> None:
        """See `Outbox`. Takes no lock: the copy of it may be held for ever."""
        for lane in self._lanes.values():
            with contextlib.suppress(OSError):
                lane.close_descriptors()
        for holder in (self._left, self._folder):
            if holder is not None:
                with contextlib.suppress(OSError):
                    holder.close_descriptors()

    # ---- damage ------------------------------------------------------------------------------------------------------------

    def _damaged(self, segment: Segment, damage: Damage) -> None:
        self._ledger.spool_damaged.next()
        self._complain("a part of the spool was damaged and is skipped; its bytes are kept in the folder 'damaged'")
        if self._destination is None or self._aside_bytes + damage.end - damage.start > _MAX_ASIDE_BYTES:
            return
        self._aside_bytes += damage.end - damage.start
        with contextlib.suppress(OSError):
            name = f"{segment.path.parent.name}-{segment.path.stem}-{damage.start}.bin"
            self._destination.move_aside(name, segment.bytes_of(damage))

    def _damaged_left(self, segment: Segment, damage: Damage) -> None:
        if damage.is_tail:
            self._ledger.spool_torn.next()
        self._damaged(segment, damage)

    def _lost(self, n_events: int) -> None:
        """So many events of our own were in damaged bytes."""
        with self._ledger.lock:
            self._ledger.spooled -= n_events
            self._ledger.dropped["spool_damaged"] += n_events

    def _complain(self, text: str) -> None:
        self._writer.complaints.note("spool disk", text)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
