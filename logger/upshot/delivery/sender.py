"""The thread that takes events from the outbox and delivers them, batch by batch.

It looks on its own (a caller never wakes it: that costs the caller 6 µs) and hands what it finds to the transport. What
it holds in its hands is *in flight*: it stays so through every retry, and ends as stored, duplicate, rejected or dropped, or
goes back to the spool. Nothing here holds the logger itself, so that a forgotten logger can be collected.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

from upshot.buffer import Buffer
from upshot.delivery.batch import Batch
from upshot.delivery.outbox import Outbox
from upshot.delivery.pace import Pace
from upshot.delivery.report import ReportSchedule
from upshot.delivery.transport.contract import Receipt, Transport
from upshot.errors import InvalidBatchError, PermanentError, TransientError
from upshot.writer import Writer

__all__ = ["Sender"]

_SHORTEST_POLL_S = 0.02
_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 30.0
_LONGEST_RETRY_AFTER_S = 600.0
_HELD_FOR_S = 60.0
"""After a refusal that somebody has to mend, spooled events are tried again so often."""
_ABANDONED_GRACE_S = 30.0
"""How long the events of a logger that was garbage-collected are still tried for."""
_SHUTDOWN_GRACE_S = 2.0
"""How long events logged at the very end of the interpreter may hold it up, all together."""
_GIVE_BACK_GRACE_S = 0.15
"""How long the thread may take, once its time is up, to put back what it holds."""
_REPORT_TIMEOUT_S = 5.0
_BUGS_PER_BATCH = 3
_NEVER = float("inf")


class Sender:
    """Delivers one writer's events. `start` it once; `flush` and `close` may be called from any thread."""

    def __init__(self, writer: Writer, transport: Transport, outbox: Outbox) -> None:
        self._writer = writer
        self._transport = transport
        self._outbox = outbox
        self._settings = writer.settings
        self._ledger = writer.ledger
        self._reports = ReportSchedule(writer)
        self._random = random.Random(os.urandom(16))  # noqa: S311  # jitter; the module's own generator is the host's
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._flushed = threading.Condition()
        self._flush_asked = 0
        self._flush_done = 0
        self._shipping = threading.RLock()  # re-entrant: a finaliser may log while its thread ships at shutdown
        self._closing = False
        self._is_over_said = False
        self._deadline = _NEVER
        self._start_again_at = 0.0
        self._held_until = 0.0
        self._is_failing = False
        self._pace = Pace(writer)
        self._poll_s = min(_SHORTEST_POLL_S, self._settings.flush_interval_s)

    # ---- called by the logger ------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the thread. False when the system refuses one: events wait, and every second a call tries again.

        When the interpreter is already shutting down (from Python 3.12 on it then starts none), the caller sends its
        events itself.
        """
        if self._thread is not None:  # several threads made the first call at once
            return True
        if time.monotonic() < self._start_again_at:
            return False
        thread = threading.Thread(target=self._run, name="upshot-sender", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if "shutdown" in str(error):
                self._deadline = time.monotonic() + _SHUTDOWN_GRACE_S
                for _, buffer in self._writer.buffers():
                    buffer.append = self._appending_at_shutdown(buffer)
                return True
            self._start_again_at = time.monotonic() + 1.0
            self._writer.complaints.note("thread", "the system refuses a thread to send events with; they wait")
            self._writer.complaints.say()
            return False
        self._thread = thread
        self._outbox.start()
        return True

    def put(self, batch: Batch) -> bool:
        """Take over a batch that was made elsewhere. False when there is no room for it now."""
        return self._outbox.put(batch)

    def nudge(self) -> None:
        """Look at the queues now: a caller waits for room. Costs the caller some 10 µs; it was going to wait anyway."""
        self._wake.set()

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until everything queued before this call is settled. False when the time ran out first."""
        if not self._is_running():
            self._ship_here(timeout_s)
            return self._outstanding() == 0
        with self._flushed:
            self._held_until = 0.0  # whoever asks may have mended it
            self._flush_asked += 1
            ticket = self._flush_asked
            self._wake.set()
            self._flushed.wait_for(
                lambda: self._flush_done >= ticket or not self._is_running() or self._is_holding(), timeout_s
            )
            return self._flush_done >= ticket or self._outstanding() == 0

    def secure(self, timeout_s: float | None) -> bool:
        """Wait until everything logged before this call is on disk, or settled. False when it is not."""
        return self._outbox.secure(threading.TIMEOUT_MAX if timeout_s is None else timeout_s)

    def begin_close(self, deadline: float) -> None:
        """Take no more events, and try for those that are queued until ``deadline`` (monotonic seconds)."""
        self._writer.refuse("after_close")
        self._deadline = min(self._deadline, deadline)
        self._closing = True
        self._wake.set()

    def finish_close(self) -> None:
        """Wait for the end of the thread, at most until the deadline; then say and count what is lost."""
        left_s = max(0.0, self._deadline - time.monotonic())
        if self._outbox.secure(left_s) and self._is_failing:
            self._deadline = 0.0  # all is on disk, and nobody listens: why wait
            self._wake.set()
            left_s = 0.0
        else:
            left_s = max(0.0, self._deadline - time.monotonic())
        if self._thread is None:
            self._ship_here(left_s)
            self._transport.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(left_s + _GIVE_BACK_GRACE_S)
        self._close_outbox()
        self._writer.complaints.say()

    def abandon(self) -> None:
        """Its logger is gone. Sets plain attributes only: a finaliser may run inside any lock. The next poll looks."""
        self._deadline = time.monotonic() + _ABANDONED_GRACE_S
        self._closing = True

    def forget_parent(self) -> None:
        """In a forked child: this sender's files and connections are the parent's."""
        self._outbox.close_descriptors()

    # ---- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over():
            if self._flush_asked == self._flush_done and not self._closing:
                self._wake.wait(self._poll_s)
            elif self._is_holding() and not self._closing:
                self._wake.wait(_FIRST_BACKOFF_S)
            self._wake.clear()
            self._round()
            self._report()
        self._report(is_last=True)
        self._close_outbox()
        self._transport.close()
        self._writer.complaints.say()
        with self._flushed:
            self._flush_done = self._flush_asked
            self._flushed.notify_all()

    def _is_over(self) -> bool:
        if not self._closing:
            return False
        if self._outbox.keeps_refused and self._is_failing:
            return True
        return self._outstanding() == 0 or time.monotonic() >= self._deadline or self._is_holding()

    def _is_holding(self) -> bool:
        """Whether the other side refuses us for a reason that somebody has to mend first."""
        return time.monotonic() < self._held_until

    def _round(self) -> None:
        """Deliver what waits now, then some of what former processes left."""
        ticket = self._flush_asked
        n_events = self._outstanding()
        with self._shipping:
            try:
                self._deliver_outbox(n_events)
                if not self._closing and not self._is_failing:
                    self._deliver_left(time.monotonic() + self._settings.flush_interval_s)
            except Exception as error:  # noqa: BLE001  # the thread must survive whatever happens
                self._writer.complaints.note("sender", f"the sender failed ({type(error).__name__}) and goes on")
                with self._ledger.lock:
                    self._ledger.dropped["sender_failed"] += self._ledger.in_flight
                    self._ledger.in_flight = 0
                self._outbox.done()  # counted as dropped, it must not come again
        if not self._outstanding():
            self._pace.caught_up()
        self._poll_s = self._next_poll_s(n_events)
        self._writer.complaints.say()
        # When the deadline has come, the end of the thread settles the rest.
        if ticket > self._flush_done and time.monotonic() < self._deadline and not self._is_holding():
            with self._flushed:
                self._flush_done = ticket
                self._flushed.notify_all()

    def _next_poll_s(self, n_events: int) -> float:
        """Look again, at the latest, when at this rate a quarter of the queue would be full."""
        interval_s = self._settings.flush_interval_s
        if not n_events:
            return min(interval_s, self._poll_s * 2)
        quarter_full_s = self._poll_s * self._settings.queue_max_events / 4 / n_events
        return min(interval_s, max(_SHORTEST_POLL_S, quarter_full_s))

    def _deliver_outbox(self, n_events: int) -> None:
        while n_events > 0 and time.monotonic() < self._deadline and not self._is_holding():
            batch = self._outbox.take()
            if batch is None:
                return
            n_events -= batch.n_events
            self._deliver(batch)

    def _deliver_left(self, until: float) -> None:
        while time.monotonic() < until and not self._closing and not self._is_failing and not self._is_holding():
            batch = self._outbox.take_left()
            if batch is None:
                return
            self._deliver(batch)

    def _deliver(self, taken: Batch) -> None:
        """Settle every event of what was taken, or give the rest of it back."""
        waiting = [taken]
        while waiting:
            batch = waiting.pop(0)
            parts = self._attempt(batch)
            if parts is None:
                self._outbox.give_back(batch.n_events + sum(rest.n_events for rest in waiting))
                return
            waiting[:0] = parts
        self._outbox.done()

    def _attempt(self, batch: Batch) -> list[Batch] | None:
        """Send one batch until it is settled: an empty list. Its halves when it was refused; None to give it back."""
        failures = bugs = 0
        while True:
            timeout_s = min(self._settings.request_timeout_s, self._deadline - time.monotonic())
            if timeout_s <= 0:
                return None
            if self._flush_asked == self._flush_done and not self._closing:
                self._pace.wait(self._wake)
            try:
                receipt = self._transport.send(batch, timeout_s=timeout_s)
            except InvalidBatchError as error:  # too large, or something in it: find out what
                self._is_failing = False
                if batch.n_events > 1:
                    return batch.halves()
                self._complain_of_loss(error, 1)
                self._settle(batch, dropped=error.reason)
                return []
            except PermanentError as error:
                if self._outbox.keeps_refused:
                    self._hold(error)
                    return None
                self._complain_of_loss(error, batch.n_events)
                self._settle(batch, dropped=error.reason)
                return []
            except TransientError as error:
                failures += 1
                self._writer.complaints.note("transient", f"{error}; events wait and are sent again")
                retry_after_s = error.retry_after_s
            except Exception as error:  # noqa: BLE001  # a transport's own bug: not for ever, and not in silence
                failures, bugs, retry_after_s = failures + 1, bugs + 1, None
                self._writer.complaints.note("transport", f"the transport failed: {type(error).__name__}")
                if bugs >= _BUGS_PER_BATCH:
                    self._settle(batch, dropped="transport_failed")
                    return []
            else:
                self._is_failing = False
                self._held_until = 0.0
                self._settle(batch, receipt=receipt)
                return []
            asked = self._flush_asked, self._closing  # whoever asks from now on does not know of this attempt
            self._is_failing = True
            self._pace.after_outage()
            with self._ledger.lock:
                self._ledger.retries += 1
            self._writer.complaints.say()
            if self._closing and self._outbox.keeps_refused:
                return None  # it is on disk: the next process will find a better moment
            if self._back_off(failures, retry_after_s, asked):
                failures = 0

    def _hold(self, error: PermanentError) -> None:
        """Somebody has to mend a setting: keep what is spooled, ask again in a while, and wake who waits in a flush."""
        self._writer.complaints.note(error.reason, f"{error}; events are kept in the spool until that is mended")
        self._is_failing = True
        self._held_until = time.monotonic() + _HELD_FOR_S
        with self._flushed:
            self._flushed.notify_all()

    def _back_off(self, failures: int, retry_after_s: float | None, asked: tuple[int, bool]) -> bool:
        """Wait before the next attempt. True when a flush or close cut it short, which begins the back-off anew.

        ``asked``: the flushes that had been asked for, and whether the end had, when the last attempt failed.
        """
        if retry_after_s is None:
            longest_s = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures, 10))
            wait_s = longest_s * self._random.uniform(0.5, 1.0)
        else:
            wait_s = min(retry_after_s, _LONGEST_RETRY_AFTER_S) * self._random.uniform(1.0, 1.1) + 0.01
        until = time.monotonic() + wait_s
        while (left_s := min(until, self._deadline) - time.monotonic()) > 0:
            # A server that named a time gets that time, unless we must end before.
            if retry_after_s is None and asked != (self._flush_asked, self._closing):
                return True
            if self._wake.wait(left_s):
                self._wake.clear()
        return False

    # ---- the books ---------------------------------------------------------------------------------------------------

    def _settle(self, batch: Batch, *, receipt: Receipt | None = None, dropped: str = "") -> None:
        with self._ledger.lock:
            self._ledger.in_flight -= batch.n_events
            if receipt is None:
                self._ledger.dropped[dropped] += batch.n_events
            else:
                self._ledger.stored += receipt.stored
                self._ledger.duplicates += receipt.duplicates
                self._ledger.converted += receipt.converted
                self._ledger.rejected.update(receipt.rejected)
        if receipt is not None and receipt.rejected:
            for code, n in receipt.rejected.items():
                self._writer.complaints.note(f"rejected {code}", f"the server rejected {n} {batch.kind}: {code}")

    def _complain_of_loss(self, error: PermanentError, n_events: int) -> None:
        self._writer.complaints.note(error.reason, f"{error}; {n_events} dropped (stats() counts all)")

    def _report(self, *, is_last: bool = False) -> None:
        """Send our own books to the server, now and then. A report that gets lost is no loss: the next one says it all."""
        if self._is_failing or not self._reports.is_due(is_last=is_last):
            return
        timeout_s = min(_REPORT_TIMEOUT_S, self._deadline - time.monotonic())
        if timeout_s <= 0:
            return
        try:
            self._transport.send(self._reports.batch(is_last=is_last), timeout_s=timeout_s)
        except Exception:  # noqa: BLE001  # an older server knows no reports; the events have passed
            self._reports.failed()

    def _close_outbox(self) -> None:
        """The time is up, in the thread or where somebody waits for it: whoever comes first says what is lost."""
        n_lost = self._outbox.close()
        with self._ledger.lock:
            is_first, self._is_over_said = not self._is_over_said, True
            n_unsent = self._ledger.dropped["close"] + (0 if self._outbox.keeps_refused else self._ledger.in_flight)
        if (n_lost or n_unsent) and is_first:
            self._writer.complaints.note(
                "close", f"closed with {n_unsent} events unsent: the time to send them ran out"
            )

    def _outstanding(self) -> int:
        with self._ledger.lock:
            return self._writer.queued() + self._ledger.spooled + self._ledger.in_flight

    # ---- without the thread ------------------------------------------------------------------------------------------

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _appending_at_shutdown(self, buffer: Buffer) -> Callable[[bytes], None]:
        def append(event: bytes) -> None:
            buffer.events.append(event)
            self._ship_here(self._deadline - time.monotonic())

        return append

    def _ship_here(self, timeout_s: float | None) -> None:
        """Deliver in the calling thread what is queued, in at most this time."""
        if not self._outstanding():
            return
        kept = self._deadline
        if timeout_s is not None:
            self._deadline = min(kept, time.monotonic() + timeout_s)
        self._round()
        self._deadline = kept
