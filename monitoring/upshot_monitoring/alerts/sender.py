"""Delivers what waits: one thread for each channel, so that one that hangs holds up no other.

At least once: a message is noted as sent after its receiver has taken it, so a server that is killed between the two sends it
again, under the same ID. Messages about one incident keep their order; a receiver that is away makes only its own messages wait.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from upshot_joiner.clock import Clock
from upshot_joiner.errors import StoreError
from upshot_monitoring.alerts.channels.contract import Channel, NotNow, Refused
from upshot_monitoring.alerts.deliveries import Deliveries, Delivery, Status, age
from upshot_monitoring.alerts.message import Message, together
from upshot_monitoring.alerts.settings import Alerting

_log = logging.getLogger("upshot.alerts")

LOOK_EVERY_S = 5.0
"""What another server queued before it ended is found so late; what this one queues is seen at once."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
"""Between two attempts, whatever the receiver asks for."""
ENOUGH_FAILURES = 3
"""In a row: then the receiver is taken to be away."""
STOPPED_S = 10.0
"""A thread that did not run for so long was stopped, with its server: others may have taken over meanwhile."""
HOUR = timedelta(hours=1)


def pause_s(attempts: int, retry_after_s: float | None, chance: Callable[[], float] = random.random) -> float:
    """How long to wait after so many attempts: doubling, half of it by chance, and no shorter than the receiver asked for."""
    most = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20))
    return min(LONGEST_PAUSE_S, max(most * (0.5 + chance() / 2), retry_after_s or 0.0))


@dataclass(frozen=True)
class Limits:
    """What holds for one channel."""

    max_per_hour: int
    give_up_after: timedelta


class Sender:
    """Every method may be called from any thread."""

    def __init__(
        self,
        deliveries: Deliveries,
        channels: Mapping[str, Channel],
        settings: Alerting,
        clock: Clock,
        is_first: Callable[[], bool],
    ) -> None:
        self._deliveries = deliveries
        self._channels = channels
        self._settings = settings
        self._clock = clock
        self._is_first = is_first
        self._closing = threading.Event()
        self._wakes = {name: threading.Event() for name in channels}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to deliver."""
        for name in self._channels:
            thread = threading.Thread(target=self._work, args=(name,), name=f"upshot-alerts-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop; what waits is delivered after the next start."""
        self._closing.set()
        self.wake()
        deadline = time.monotonic() + 15
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """Something was queued."""
        for wake in self._wakes.values():
            wake.set()

    def deliver(self, channel: str) -> float:
        """Send what is due to one channel; returns after how many seconds there is something to do again."""
        now = self._clock.now()
        limits = Limits(self._settings.channels[channel].max_per_hour, self._settings.give_up_after)
        waiting = self._deliveries.waiting(channel)
        old = [one for one in waiting if age(one, now) > limits.give_up_after]
        if old:
            _log.error("%d alerts to %s could not be delivered and are given up", len(old), channel)
            self._deliveries.write([replace(one, status="given_up", settled_at=now) for one in old], now)
        waiting = [one for one in waiting if age(one, now) <= limits.give_up_after]
        due = _due(waiting, now)
        if not due:
            return min([LOOK_EVERY_S, *((one.next_at - now).total_seconds() for one in waiting if one.next_at > now)])
        sent = self._deliveries.sent_since(channel, now - HOUR)
        free = limits.max_per_hour - len(sent)
        if free <= 0:
            return min(LOOK_EVERY_S, max(0.1, (sent[0] + HOUR - now).total_seconds()))
        if self._channels[channel].is_for_people and len(due) > free:
            due, rest = due[: free - 1], due[free - 1 :]  # the last one of the hour says everything that waits
            if not due:
                self._send(channel, rest)
                return 0.0
        failures, tried, held = 0, set[str](), set[str]()
        for one in due[:free]:
            tried.add(one.id)
            if one.incident in held:
                continue
            if self._closing.is_set() or not self._is_first():
                return LOOK_EVERY_S
            if self._send(channel, [one]):
                failures = 0
            else:
                failures += 1
                held.add(one.incident)  # what comes later of it waits
            if failures >= ENOUGH_FAILURES:
                # The receiver is away: the rest waits, too. One message that it cannot digest holds up no other.
                self._put_off(
                    channel, [one for one in due[:free] if one.id not in tried], "after_others", None, count=False
                )
                break
        return 0.0

    def _send(self, channel: str, due: Sequence[Delivery]) -> bool:
        """One attempt for one message, or for several as one; whether it was taken or refused, and not put off."""
        if not all(self._deliveries.still_waits(one) for one in due):
            return True  # another server has it
        messages = [Message.read(one.message) for one in due]
        now = self._clock.now()
        message = messages[0] if len(due) == 1 else together(messages, channel, now, self._settings.link)
        try:
            self._channels[channel].send(message)
        except Refused as refused:
            _log.error(
                "an alert was refused by %s (%s); what is wrong has to be mended there or here", channel, refused.code
            )
            self._settle(due, "refused", message.id, refused.code)
            return True
        except NotNow as reason:
            self._put_off(channel, due, reason.code, reason.retry_after_s)
            return False
        except Exception:  # noqa: BLE001  # a bug of a channel must not end its thread, nor lose what it holds
            _log.exception("sending an alert to %s failed", channel)
            self._put_off(channel, due, "internal_error", None)
            return False
        self._settle(due, "sent", message.id, "")
        return True

    def _settle(self, due: Sequence[Delivery], status: Status, sent_as: str, error: str) -> None:
        now = self._clock.now()
        rows = [
            replace(one, status=status, attempts=one.attempts + 1, settled_at=now, sent_as=sent_as, error=error)
            for one in due
        ]
        self._deliveries.write(rows, now)

    def _put_off(
        self, channel: str, due: Sequence[Delivery], code: str, retry_after_s: float | None, *, count: bool = True
    ) -> None:
        """Note when each is tried again; ``count``: this was an attempt."""
        now = self._clock.now()
        rows = []
        for one in due:
            attempts = one.attempts + 1 if count else one.attempts
            pause = timedelta(seconds=pause_s(max(1, attempts), retry_after_s))
            rows.append(replace(one, attempts=attempts, next_at=now + pause, error=code))
        self._deliveries.write(rows, now)
        if count:
            soonest = min((one.next_at - now).total_seconds() for one in rows)
            _log.warning("an alert could not be delivered to %s (%s); trying again in %d s", channel, code, soonest)

    def _work(self, channel: str) -> None:
        rest = 0.0
        while not self._closing.is_set():
            before = time.monotonic()
            self._wakes[channel].wait(rest)
            self._wakes[channel].clear()
            rest = LOOK_EVERY_S
            if time.monotonic() - before > rest + STOPPED_S or not self._is_first():
                continue  # look again before acting on what was known before
            try:
                rest = self.deliver(channel)
            except StoreError as error:
                _log.error("alerts cannot be delivered: the store does not answer (code %d); trying again", error.code)
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died
                _log.exception("delivering alerts failed; trying again")


def _due(waiting: Sequence[Delivery], now: datetime) -> list[Delivery]:
    """What may be sent now: of each incident only what nothing earlier of it waits before."""
    held: set[str] = set()
    due = []
    for one in waiting:
        # A next attempt that lies far ahead is of a clock that has jumped back since.
        is_due = one.next_at <= now or one.next_at - now > timedelta(seconds=LONGEST_PAUSE_S)
        if is_due and one.incident not in held:
            due.append(one)
        else:
            held.add(one.incident)
    return due
