"""Who has the store open: several processes (servers, workers) may write one store, and each says every second that it lives.

A process notes up to which stamp everything of it is stored and joined. From these notes follow

- *as of T*: nothing more can come at or before T once every living process is past T (:meth:`Processes.wait_until_stored`);
- what a process that was killed left behind is finished by the first of the others that sees its lease run out;
- what only one may do at a time (roll-ups, the books of writers) is done by the one that started first;
- what one of them holds and has not joined yet (:mod:`backlog`) is known to all (:meth:`Processes.is_held_up`).

All of them take stamps by one clock, the store's own (:class:`StoreClock`), whatever their machines say. A process that was
stopped for longer than its lease renews it before it stamps anything again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from upshot_joiner.backlog import Backlog
from upshot_joiner.clock import EPOCH, from_micros, to_micros
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.store.client import Store

_log = logging.getLogger("upshot.processes")

BEAT_S = 1.0
LEASE_S = 10.0
"""A process that was not heard of for so long is taken for dead: its part is finished, and nobody waits for it."""
HANDOVER_S = 300.0
"""For so long what a worker had left in Kafka counts after its end: until another worker owns its partitions and says so itself."""
REFRESH_DUTY = 0.05
"""The share of the time that learning what others wrote may take."""

_OF_THIS_PROCESS: set[str] = set()

_ALIVE = """
SELECT process, toString(role), host, pid, started_us, stored_us, joined_us,
  beat_at > now64(6) - toIntervalMillisecond({lease_ms:UInt32}) AS alive, to_store, to_join, in_kafka, until_us
FROM processes FINAL WHERE NOT ended ORDER BY role != 'serve', started_us, process
"""
_HELD_UP = """
SELECT 1 FROM processes FINAL
WHERE until_us < {moment:Int64} AND (
  NOT ended AND beat_at > now64(6) - toIntervalMillisecond({lease_ms:UInt32})
  OR in_kafka IS NOT NULL AND (in_kafka > 0 OR until_us = 0)
    AND beat_at > now64(6) - toIntervalMillisecond({handover_ms:UInt32}))
LIMIT 1
"""


class StoreClock:
    """The store's clock, as all who share it see it. Between two looks at it time is counted by this machine's uptime."""

    def __init__(self, store: Store) -> None:
        self._store = store.shards[0]
        self._offset = timedelta()
        self.measure()

    def measure(self) -> None:
        """Look at the store's clock."""
        before = time.monotonic()
        [(moment,)] = self._store.query("SELECT now64(6, 'UTC')")
        uptime = (before + time.monotonic()) / 2
        self._offset = moment - EPOCH - timedelta(seconds=uptime)

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return EPOCH + self._offset + timedelta(seconds=time.monotonic())


@dataclass(frozen=True)
class Process:
    """A process that has the store open, or was killed while it had."""

    id: str
    role: str
    host: str
    pid: int
    started_us: int
    stored_us: int
    joined_us: int
    alive: bool
    to_store: int
    to_join: int
    in_kafka: int | None
    until_us: int


class Processes:
    """This process among those that share the store. ``follow`` it before ``start``; every other method from any thread."""

    def __init__(self, store: Store, clock: StoreClock, role: str = "serve") -> None:
        self.id = uuid.uuid4().hex
        self._role = role
        self._store = store
        self._home = store.shards[0]
        self._clock = clock
        self._host = socket.gethostname()
        self._started_us = to_micros(clock.now())
        self._stored_us = self._joined_us = 0
        self._beaten = 0.0
        self._beat_lock = threading.Lock()
        self._version = self._started_us
        self._living: list[Process] = []
        self._stored: Callable[[], Future[datetime]] | None = None
        self._joined: Callable[[], datetime] = lambda: EPOCH
        self._backlog: Callable[[datetime, datetime], Backlog] = lambda _, stored: Backlog(0, 0, None, stored)
        self._held = Backlog(0, 0, None, from_micros(self._started_us))
        self._adopt: Callable[[Process], None] = lambda _: None
        self._refresh: Callable[[], None] = lambda: None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upshot-processes", daemon=True)
        self._learner = threading.Thread(target=self._learn, name="upshot-others", daemon=True)
        _OF_THIS_PROCESS.add(self.id)

    def follow(
        self,
        *,
        stored: Callable[[], Future[datetime]],
        joined: Callable[[], datetime],
        backlog: Callable[[datetime, datetime], Backlog],
        adopt: Callable[[Process], None],
        refresh: Callable[[], None],
    ) -> None:
        """Where to ask up to which stamp everything of this process is stored, and joined; what it holds now, given the present and
        the first of these; who finishes what a dead process left behind; and who learns what others wrote."""
        self._stored, self._joined, self._backlog = stored, joined, backlog
        self._adopt, self._refresh = adopt, refresh

    def start(self) -> None:
        """Take part. What was killed on this machine before is finished at once."""
        self._advance()
        self._beat()
        for one in self._look():
            if one.host == self._host and one.id not in _OF_THIS_PROCESS and _is_gone(one.pid):
                self._finish(one)
        self._thread.start()
        self._learner.start()

    def close(self, *, is_whole: bool) -> None:
        """Take part no more. Where not all is stored and joined (``is_whole``), another finishes it once our lease has run out."""
        self._closing.set()
        for thread in (self._thread, self._learner):
            if thread.is_alive():
                thread.join(timeout=30)
        _OF_THIS_PROCESS.discard(self.id)
        if not is_whole:
            return
        try:
            self._note(self._myself(), ended=True)
        except StoreError:
            _log.warning("that this process ends could not be noted; the others find out in %d s", LEASE_S)

    @property
    def started(self) -> datetime:
        """When this process began, by the store's clock."""
        return from_micros(self._started_us)

    def hold(self) -> None:
        """Before a stamp is taken: renew the lease if it may have run out. Raises StoreError when that fails."""
        if time.monotonic() - self._beaten > LEASE_S / 2:
            self._clock.measure()
            self._beat()

    def is_first(self) -> bool:
        """Whether this process does what only one may do: the server that started first, or the worker where there is no server."""
        living = [one for one in self._living if one.alive]
        return not living or living[0].id == self.id

    def settled_until(self) -> datetime:
        """What was stamped at or before is stored and can be seen, of whomever it is."""
        return self._clock.now() - timedelta(seconds=LEASE_S)

    def is_held_up(self, moment: datetime) -> bool:
        """Whether something that had come by a moment is not joined yet, with whomever it is."""
        params = {
            "moment": to_micros(moment),
            "lease_ms": int(LEASE_S * 1000),
            "handover_ms": int(HANDOVER_S * 1000),
        }
        return bool(self._home.query(_HELD_UP, params))

    def told(self) -> list[dict[str, Any]]:
        """Those that live and what they hold, as of the last second, for the API."""
        now_us = to_micros(self._clock.now())
        return [
            {
                "role": one.role,
                "host": one.host,
                "pid": one.pid,
                "to_store": one.to_store,
                "to_join": one.to_join,
                "in_kafka": one.in_kafka,
                "behind_s": max(0, now_us - one.until_us) / 1e6 if one.until_us else None,
            }
            for one in self._living
            if one.alive
        ]

    def living(self) -> list[Process]:
        """Those that live, the one that started first before the others."""
        return [one for one in self._look() if one.alive]

    def wait_until_stored(self, moment: datetime, timeout_s: float = 2 * LEASE_S) -> None:
        """Wait until nothing with a stamp at or before ``moment`` can come any more.

        Raises a 503 :class:`Problem` when a living process does not get past it in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            behind = [
                one for one in self._look() if one.alive and one.id != self.id and one.stored_us < to_micros(moment)
            ]
            if not behind:
                return
            if time.monotonic() > deadline:
                raise Problem(
                    503,
                    "writers_behind",
                    f"{len(behind)} other server or worker has not stored everything up to that moment yet; try again.",
                    retry_after_s=5,
                )
            self._closing.wait(BEAT_S / 5)

    # -- the thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing.wait(BEAT_S):
            try:
                self._clock.measure()
                self._advance()
                self._beat()
                for one in self._look():
                    if not one.alive and self.is_first():
                        self._finish(one)
            except StoreError as error:
                _log.warning("the store does not answer (code %d); trying again", error.code)
            except Exception:  # noqa: BLE001  # a process whose thread died would be taken for dead itself
                _log.exception("a turn of the processes' thread failed; trying again")

    def _learn(self) -> None:
        rest = BEAT_S
        while not self._closing.wait(rest):
            began = time.monotonic()
            try:
                self._refresh()
            except Exception:  # noqa: BLE001  # what others wrote is learnt at the next turn
                _log.exception("could not learn what others wrote; trying again")
            rest = max(BEAT_S, (time.monotonic() - began) / REFRESH_DUTY)

    def _advance(self) -> None:
        if self._stored is None:
            return
        try:
            self._stored_us = to_micros(self._stored().result(timeout=LEASE_S / 3))
            self._joined_us = to_micros(self._joined())
        except (NotInTime, Problem):
            pass  # a long group, or closing: we live, and are where we were
        self._held = self._backlog(self._clock.now(), from_micros(self._stored_us))

    def _beat(self) -> None:
        with self._beat_lock:
            began = time.monotonic()
            self._note(self._myself(), ended=False)
            self._beaten = began

    def _look(self) -> list[Process]:
        rows = self._home.query(_ALIVE, {"lease_ms": int(LEASE_S * 1000)})
        self._living = [Process(*row) for row in rows]
        return self._living

    def _finish(self, one: Process) -> None:
        _log.warning("process %d on %s was killed; finishing what it left", one.pid, one.host)
        self._adopt(one)
        self._note(one, ended=True)

    def _myself(self) -> Process:
        return Process(
            *(self.id, self._role, self._host, os.getpid(), self._started_us, self._stored_us, self._joined_us),
            alive=True,
            to_store=self._held.to_store,
            to_join=self._held.to_join,
            in_kafka=self._held.in_kafka,
            until_us=to_micros(self._held.until),
        )

    def _note(self, one: Process, *, ended: bool) -> None:
        self._version = max(self._version + 1, to_micros(self._clock.now()))
        self._home.insert(
            "processes",
            pa.table(
                {
                    "process": [one.id],
                    "role": [one.role],
                    "host": [one.host],
                    "pid": pa.array([one.pid], pa.uint32()),
                    "started_us": pa.array([one.started_us], pa.int64()),
                    "stored_us": pa.array([one.stored_us], pa.int64()),
                    "joined_us": pa.array([one.joined_us], pa.int64()),
                    "to_store": pa.array([one.to_store], pa.uint64()),
                    "to_join": pa.array([one.to_join], pa.uint64()),
                    "in_kafka": pa.array([one.in_kafka], pa.uint64()),
                    "until_us": pa.array([one.until_us], pa.int64()),
                    "ended": pa.array([int(ended)], pa.uint8()),
                    "version": pa.array([self._version], pa.uint64()),
                }
            ),
        )


def left_since(one: Process) -> datetime:
    """From where on a dead process may have left something unfinished. One that never noted anything: from its start on."""
    return from_micros(min(one.joined_us or one.started_us, one.stored_us or one.started_us)) - timedelta(
        seconds=LEASE_S
    )


def _is_gone(pid: int) -> bool:
    if pid == os.getpid():
        return True  # another process with our number was here before us
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
