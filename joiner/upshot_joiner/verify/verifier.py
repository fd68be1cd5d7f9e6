"""The verifier: walks everything that is stored, compares what was derived with what it follows from, and repairs.

Outcomes and orphans are repaired by telling the joiner the keys again: it folds all that is known of them, as it always does. Only
a row that stays wrong all the same (its version is higher than any that the joiner writes, or nothing is known that it could
follow from) is deleted first. What changes while it is looked at is looked at again, and left to the next round if need be.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import EPOCH, Clock, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.intake.committer import Committer
from upshot_joiner.join import fold, orphans
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.verify import outcomes, served
from upshot_joiner.verify.ranges import LAST_KEY, ranges

_log = logging.getLogger("upshot.verify")

SHARE_OF_TIME = 0.1
"""Of a round that nobody asked for: it rests nine times as long as it works."""
RECHECK_S = 2.0
"""What is wrong is looked at again after so long: a label that has just come is joined within this time."""
PATIENCE_S = 30.0
"""How long to wait for the joiner."""

_ANY_SINCE = """
SELECT 1 FROM label_events
WHERE request_key BETWEEN {first:UInt128} AND {last:UInt128} AND received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
UNION ALL
SELECT 1 FROM predictions
WHERE request_key BETWEEN {first:UInt128} AND {last:UInt128} AND received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
UNION ALL
SELECT 1 FROM attributed_events WHERE request_key BETWEEN {first:UInt128} AND {last:UInt128} AND version > {since:Int64}
LIMIT 1
"""
_DELETE_OUTCOME = """
DELETE FROM outcomes
WHERE model = {model:String} AND name = {name:String} AND request_key = {request_key:UInt128} AND request_id = {request_id:String}
  AND model_version = {model_version:String} AND item_id = {item_id:String}
  AND predicted_at = fromUnixTimestamp64Micro({predicted_at:Int64}, 'UTC')
"""
_DELETE_ORPHAN = """
DELETE FROM orphans WHERE request_key = {request_key:UInt128} AND request_id = {request_id:String} AND label_id = {label_id:String}
"""


@dataclass
class Round:
    """One walk over everything, or over what was asked for."""

    id: int
    started_at: datetime
    model: str = ""
    since: datetime | None = None
    status: str = "queued"
    """``queued``, ``running``, ``done``, ``failed``, ``cancelled``."""
    progress: float = 0.0
    ended_at: datetime | None = None
    checked: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    error: str = ""

    def told(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "id": self.id,
            "status": self.status,
            "progress": round(self.progress, 4),
            "model": self.model or None,
            "since": self.since,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            **{
                what: {"checked": self.checked[what], "wrong": self.wrong[what], "repaired": self.repaired[what]}
                for what in ("outcomes", "orphans", "predictions")
            },
            "error": self.error or None,
        }


class Verifier:
    """Runs a round every ``every_s`` seconds and whenever it is asked. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        served_tables: ServedTables,
        configs: ConfigStore,
        joiner: Joiner,
        committer: Committer,
        changes: ChangedHours,
        clock: Clock,
        every_s: float = 3600.0,
        recheck_s: float = RECHECK_S,
    ) -> None:
        self._store = store
        self._served = served_tables
        self._configs = configs
        self._joiner = joiner
        self._committer = committer
        self._changes = changes
        self._clock = clock
        self._every_s = every_s
        self._recheck_s = recheck_s
        self._lock = threading.Lock()
        self._round_lock = threading.Lock()
        self._asked: list[Round] = []
        self._numbers = itertools.count(1)
        self._known: deque[Round] = deque(maxlen=100)
        self._rounds = 0
        self._running: Round | None = None
        self._last: Round | None = None
        self._totals: Counter[str] = Counter()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upshot-verifier", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes after ``every_s``."""
        self._thread.start()

    def close(self) -> None:
        """Stop, in the middle of a round if need be."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def ask(self, model: str = "", since: datetime | None = None) -> Round:
        """Have a round made soon, without rests; returns it, to be looked at again."""
        asked = self._new_round(model, since)
        with self._lock:
            if len(self._asked) >= 10:
                raise Problem(503, "overloaded", "Ten rounds are waiting already; try again later.", retry_after_s=10)
            self._asked.append(asked)
        self._wake.set()
        return asked

    def one(self, id_: int) -> Round:
        """One of the last hundred rounds; raises a 404 :class:`Problem` for any other."""
        with self._lock:
            found = next((round_ for round_ in self._known if round_.id == id_), None)
        if found is None:
            raise Problem(404, "unknown_round", "No such round is known any more, or yet.")
        return found

    def told(self) -> dict[str, Any]:
        """What is under way, the last round, and the sums since the start."""
        with self._lock:
            running, last, totals, rounds = self._running, self._last, Counter(self._totals), self._rounds
            waiting = len(self._asked)
        return {
            "rounds": rounds,
            "waiting": waiting,
            **{name: totals[name] for name in ("checked", "wrong", "repaired")},
            "running": running.told() if running else None,
            "last": last.told() if last else None,
        }

    def run(self, round_: Round | None = None, share_of_time: float = 1.0) -> Round:
        """Make a round now, in this thread; returns it, done or failed. It never raises."""
        round_ = round_ or self._new_round("", None)
        with self._round_lock:
            round_.status = "running"
            with self._lock:
                self._running = round_
            try:
                self._walk(round_, share_of_time)
                round_.status = "cancelled" if self._closing.is_set() else "done"
                round_.progress = 1.0
            except (StoreError, Problem, TimeoutError) as error:
                round_.status, round_.error = "failed", type(error).__name__
                _log.warning("a verification ended early (%s)", type(error).__name__)
            except Exception as error:  # noqa: BLE001  # a bug here must not end the task: it is said
                round_.status, round_.error = "failed", type(error).__name__
                _log.exception("a verification failed")
            finally:
                round_.ended_at = self._clock.now()
                with self._lock:
                    self._running, self._last = None, round_
                    self._rounds += 1
                    for name in ("checked", "wrong", "repaired"):
                        self._totals[name] += getattr(round_, name).total()
        if round_.wrong.total():
            _log.warning(
                "of %d things %d were not what they should be; %d are repaired",
                round_.checked.total(), round_.wrong.total(), round_.repaired.total(),
            )  # fmt: skip
        return round_

    # -- the verifier's thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        due = time.monotonic() + self._every_s
        while not self._closing.is_set():
            self._wake.wait(max(0.0, due - time.monotonic()) if self._every_s else None)
            self._wake.clear()
            while not self._closing.is_set():
                with self._lock:
                    asked = self._asked.pop(0) if self._asked else None
                if asked is None:
                    break
                self.run(asked)
            if self._every_s and time.monotonic() >= due and not self._closing.is_set():
                self.run(share_of_time=SHARE_OF_TIME)
                due = time.monotonic() + self._every_s

    def _new_round(self, model: str, since: datetime | None) -> Round:
        made = Round(next(self._numbers), self._clock.now(), model, since)
        with self._lock:
            self._known.append(made)
        return made

    def _walk(self, round_: Round, share_of_time: float) -> None:
        self._joiner.wait_until_idle(PATIENCE_S)
        for progress, step in self._steps(round_):
            began = time.monotonic()
            step()
            round_.progress = progress
            if self._closing.wait((time.monotonic() - began) * (1 / share_of_time - 1)):
                return

    def _steps(self, round_: Round) -> Iterator[tuple[float, Callable[[], None]]]:
        """All the steps of a round, each with the share that is done after it."""
        models = [model for model in self._served.models() if round_.model in ("", model)]
        for number, model in enumerate(models):
            yield 0.3 * (number + 1) / len(models), partial(self._predictions, round_, model)
        shards = self._store.shards
        for number, shard in enumerate(shards):
            for first, last in ranges(shard):
                done = (number + last / LAST_KEY) / len(shards)
                yield 0.3 + 0.7 * done, partial(self._range, round_, shard, first, last)

    def _predictions(self, round_: Round, model: str) -> None:
        """Typed rows that a crash left without their spine are finished; then both must be as many."""
        table = self._served.table(model)
        if table is None:
            return
        # What was stamped before this moment is stored wholly.
        until = to_micros(self._committer.barrier().result(PATIENCE_S))
        since = to_micros(round_.since or EPOCH)
        for shard in self._store.shards:
            for hours in served.hours_of(shard, model, table, since, until):
                if self._closing.is_set():
                    return
                checked, missing = served.compare(shard, hours)
                round_.checked["predictions"] += checked
                if missing:
                    round_.wrong["predictions"] += len(missing)
                    self._committer.run(partial(served.finish, shard, hours)).result(PATIENCE_S)
                    self._joiner.touched(missing, EPOCH)
                    self._changes.served(model, _hours_between(hours.start, hours.end))
                    round_.repaired["predictions"] += len(missing) - len(served.compare(shard, hours)[1])
            round_.wrong["predictions"] += served.unmatched(shard, model, table, until)

    def _range(self, round_: Round, shard: Store, first: int, last: int) -> None:
        params: dict[str, object] = {"first": first, "last": last}
        if round_.since is not None and not shard.query(_ANY_SINCE, {**params, "since": to_micros(round_.since)}):
            return
        found = self._look(shard, first, last, round_.model)
        round_.checked.update(outcomes=found.n_outcomes, orphans=found.n_orphans)
        if not found.wrong and not found.orphans:
            return
        # What is new may not be joined yet. Whatever is the same after a while is wrong.
        self._joiner.wait_until_idle(PATIENCE_S)
        self._closing.wait(self._recheck_s)
        again = self._look(shard, first, last, round_.model)
        wrong = {identity: one for identity, one in again.wrong.items() if one.like(found.wrong.get(identity))}
        wrong_orphans = found.orphans & again.orphans
        if wrong or wrong_orphans:
            left, left_orphans = self._repair(shard, first, last, round_.model, wrong, wrong_orphans)
            round_.wrong.update(outcomes=len(wrong), orphans=len(wrong_orphans))
            round_.repaired.update(outcomes=len(wrong) - left, orphans=len(wrong_orphans) - left_orphans)

    def _repair(
        self,
        shard: Store,
        first: int,
        last: int,
        model: str,
        wrong: Mapping[outcomes.Identity, outcomes.Wrong],
        wrong_orphans: set[orphans.Identity],
    ) -> tuple[int, int]:
        """Join the keys again; what is wrong even then is deleted, and joined once more. Returns how many are wrong still."""
        keys = {one.key for one in wrong.values()} | {key for key, _, _ in wrong_orphans}
        for may_delete in (True, False):
            self._joiner.touched(keys, EPOCH)
            self._joiner.wait_until_idle(PATIENCE_S)
            now = self._look(shard, first, last, model)
            left = [one for identity, one in now.wrong.items() if identity in wrong]
            left_orphans = now.orphans & wrong_orphans
            if not may_delete or not (left or left_orphans):
                break
            self._delete(shard, left)
            for key, request_id, label_id in left_orphans:
                shard.command(_DELETE_ORPHAN, {"request_key": key, "request_id": request_id, "label_id": label_id})
        return len(left), len(left_orphans)

    def _delete(self, shard: Store, rows: Iterable[outcomes.Wrong]) -> None:
        for one in rows:
            if one.stored is None:
                continue
            params: dict[str, object] = {
                name: one.stored[name] for name in ("model", "name", "request_id", "model_version", "item_id")
            }
            moment = one.stored["predicted_at"]
            shard.command(_DELETE_OUTCOME, params | {"request_key": one.key, "predicted_at": to_micros(moment)})
            self._changes.outcomes(one.stored["model"], _hours_between(moment, moment))

    def _look(self, shard: Store, first: int, last: int, model: str) -> _Found:
        configs = fold.models_of((name, self._configs.get(name)) for name in self._configs.models())
        n_outcomes, wrong = outcomes.compare(shard, first, last, configs, model)
        waiting, listed = orphans.waiting_and_listed(shard, first, last)
        return _Found(n_outcomes, wrong, len(waiting), waiting ^ listed)


@dataclass(frozen=True)
class _Found:
    """What a look at a range of keys found."""

    n_outcomes: int
    wrong: dict[outcomes.Identity, outcomes.Wrong]
    n_orphans: int
    orphans: set[orphans.Identity]
    """Those that wait and are not listed, or the reverse."""


def _hours_between(start: datetime, end: datetime) -> list[datetime]:
    """The starts of the hours, in UTC, from that of ``start`` to that of ``end``."""
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    found = [hour]
    while (hour := hour + timedelta(hours=1)) < end:
        found.append(hour)
    return found
