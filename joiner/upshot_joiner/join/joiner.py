"""The joiner: after each group of events, the outcomes of the requests it touched are folded anew.

It is told request keys, not events, and always folds everything that is known of a key. So it does not matter whether the label
or the prediction came first, how often it is told, or that it fell behind: the result is the same. After a crash it looks up
every key that was touched since the moment it had noted as done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import EPOCH, Stamper, from_micros, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import StoreError
from upshot_joiner.join import few, fold, knowledge, orphans, singles
from upshot_joiner.join.attributed import both
from upshot_joiner.join.lag import JoinLag
from upshot_joiner.store import progress, rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.keys import Keys

_log = logging.getLogger("upshot.join")

MAX_BATCH_KEYS = 50_000
FEW_KEYS = 2_000
"""Up to so many, the fold in Python is the faster one."""
REST_S = 0.1
"""How long the joiner rests after a batch, so that what comes in quick succession is joined together."""
RETRY_S = 1.0
NOTE_EVERY_S = 5.0
"""How often the progress is written down: what a restart looks up again is what came in this time."""

_ANY_ATTRIBUTED = "SELECT 1 FROM attributed_events WHERE request_key IN ($keys) LIMIT 1"
_TOUCHED_SINCE = """
SELECT DISTINCT request_key FROM label_events WHERE received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
UNION DISTINCT
SELECT DISTINCT request_key FROM predictions
WHERE received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC') AND request_key IN (SELECT request_key FROM label_events)
UNION DISTINCT
SELECT DISTINCT request_key FROM attributed_events WHERE version > {since:UInt64}
"""


class Joiner:
    """Keeps ``outcomes`` equal to the fold of the ledger. ``touched`` may be called from any thread."""

    def __init__(
        self, store: Store, configs: ConfigStore, stamper: Stamper, changes: ChangedHours, entities: EntityTypes
    ) -> None:
        self._store = store
        self._configs = configs
        self._stamper = stamper
        self._changes = changes
        self._entities = entities
        self._lock = threading.Lock()
        self._keys: set[int] = set()
        self._in_hand = 0
        self._until = EPOCH
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._closed = False
        self._closing = threading.Event()
        self._noted = 0.0
        self.failed = 0
        """Requests that could not be folded, for a reason that trying again does not mend."""
        self.lag = JoinLag()
        self._fold_lock = threading.Lock()
        self._joined = stamper.last
        if not store.is_shared:
            self._recover()
        self._thread = threading.Thread(target=self._work, name="upshot-joiner", daemon=True)

    def start(self) -> None:
        """Begin to join."""
        self._thread.start()

    def touched(self, keys: Iterable[int], received: datetime) -> None:
        """Events of these requests were stored, with this stamp."""
        keys = set(keys)
        with self._lock:
            self._keys |= keys
            self.lag.stored(len(keys))
            self._until = max(self._until, received)
            self._idle.clear()
        self._wake.set()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until everything touched so far is joined; False after the timeout."""
        return self._idle.wait(timeout_s)

    @property
    def behind(self) -> int:
        """Requests that were touched and are not joined yet."""
        with self._lock:
            return len(self._keys) + self._in_hand

    @property
    def joined_until(self) -> datetime:
        """Everything touched with a stamp at or before this is joined."""
        with self._lock:
            if not self._keys and not self._in_hand:
                self._joined = max(self._joined, self._until)
            return self._joined

    def look_again(self, since: datetime) -> None:
        """Join anew what was stored after a moment, by whomever."""
        keys = [key for (key,) in self._store.query(_TOUCHED_SINCE, {"since": to_micros(since)})]
        if keys:
            _log.info("looking up the outcomes of %d requests again", len(keys))
            self.touched(keys, since)

    @property
    def is_far_behind(self) -> bool:
        """Whether labels that came minutes ago may not be joined yet."""
        return self.behind > MAX_BATCH_KEYS

    def refold(self, model: str) -> int:
        """Fold a whole model anew, after its label rules changed; returns the number of outcomes written."""
        with self._fold_lock:
            events = self._events(fold.EVENTS_OF_MODEL, fold.ATTRIBUTED_OF_MODEL)
            return sum(
                self._write(self._fold_in_sql(fold.SPINE_OF_MODEL, events, {"model": model}, of=shard))
                for shard in self._store.shards
            )

    def close(self) -> None:
        """Join what is waiting, note the progress, stop."""
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _recover(self) -> None:
        [(until_us,)] = self._store.query("SELECT max(until_us) FROM progress WHERE task = 'join'")
        self.look_again(from_micros(until_us))
        [(newest,)] = self._store.query(
            "SELECT greatest((SELECT max(received_at) FROM label_events), (SELECT max(received_at) FROM predictions))"
        )
        self.touched([], newest)

    def _work(self) -> None:
        while True:
            self._wake.wait(timeout=NOTE_EVERY_S)
            self._wake.clear()
            while self._join_some():
                pass
            if self._closed:
                self._note(force=True)
                return
            self._closing.wait(REST_S)

    def _join_some(self) -> bool:
        with self._lock:
            keys = set(list(self._keys)[:MAX_BATCH_KEYS]) if len(self._keys) > MAX_BATCH_KEYS else self._keys
            self._keys = self._keys - keys
            until = self._until
            more = bool(self._keys)
            self._in_hand = len(keys)
            if not more:
                self.lag.taken()
        try:
            if keys:
                with self._fold_lock:
                    self._join(keys)
        except StoreError as error:
            _log.error("%d requests could not be joined (code %d); trying again", len(keys), error.code)
            with self._lock:
                self._keys |= keys
                self._in_hand = 0
            self._closing.wait(RETRY_S)
            self._wake.set()
            return False
        if not more:
            self._note(until=until)
        with self._lock:
            self._in_hand = 0
            if not more:
                self.lag.joined()
            if not self._keys:
                self._idle.set()
            return bool(self._keys)

    def _join(self, keys: set[int]) -> None:
        try:
            self._join_batch(keys)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  # one request that cannot be folded must not hold up all others
            if len(keys) == 1:
                self.failed += 1
                _log.exception("a request cannot be joined")
                return
            half = sorted(keys)
            self._join(set(half[: len(half) // 2]))
            self._join(set(half[len(half) // 2 :]))

    def _join_batch(self, touched: set[int]) -> None:
        keys = Keys(touched)
        if self._store.is_shared:
            self._configs.refresh()  # another process may have put new rules in force
            self._entities.refresh()  # or have got the first label that names an entity
        folded = self._fold(keys)
        self._write(folded.outcomes)
        orphans.update(self._store, folded.events, keys)

    def _fold(self, keys: Keys) -> few.Folded:
        if len(keys) <= FEW_KEYS:
            return few.fold_few(self._store, self._configs.get, keys, attributed=self._entities.any)
        if self._entities.any and self._store.query(_ANY_ATTRIBUTED, keys=keys):
            return few.Folded(self._fold_batch_in_sql(keys), orphans.events_of_batch(self._store, keys))
        return singles.fold_batch(self._store, keys, self._configs.get, self._fold_batch_in_sql)

    def _fold_batch_in_sql(self, keys: Keys) -> pa.Table:
        events = self._events(fold.EVENTS_OF_BATCH, fold.ATTRIBUTED_OF_BATCH)
        return self._fold_in_sql(fold.SPINE_OF_BATCH, events, {}, keys)

    def _events(self, of_requests: str, of_entities: str) -> str:
        return both(of_requests, of_entities) if self._entities.any else of_requests

    def _fold_in_sql(
        self, spine: str, events: str, params: dict[str, object], keys: Keys | None = None, of: Store | None = None
    ) -> pa.Table:
        configs = fold.models_of((model, self._configs.get(model)) for model in self._configs.models())
        return fold.fold(of or self._store, spine, events, configs, params, keys)

    def _write(self, outcomes: pa.Table) -> int:
        if outcomes.num_rows == 0:
            return 0
        folded_at = pa.array([self._stamper.next()] * outcomes.num_rows, rows.TIME)
        versions = knowledge.versions(outcomes["model"], outcomes["events"], self._configs.changed_at)
        self._store.insert(
            "outcomes",
            outcomes.drop_columns(["events"]).append_column("folded_at", folded_at).append_column("version", versions),
        )
        hours: defaultdict[str, set[datetime]] = defaultdict(set)
        floored = pc.floor_temporal(outcomes["predicted_at"].cast(pa.timestamp("us", "UTC")), unit="hour")
        touched = pa.table({"model": outcomes["model"].cast(pa.string()), "hour": floored})
        for one in touched.group_by(["model", "hour"]).aggregate([]).to_pylist():
            hours[one["model"]].add(one["hour"].astimezone(UTC))
        for model, of_model in hours.items():
            self._changes.outcomes(model, of_model)
        return int(outcomes.num_rows)

    def _note(self, until: datetime | None = None, *, force: bool = False) -> None:
        """Write down how far we are; a moment late is safe, a moment early is not."""
        until = until or self._until
        if self._store.is_shared:
            return  # every process has a note of its own, see processes.py
        if not force and time.monotonic() - self._noted < NOTE_EVERY_S:
            return
        if self._keys and force:
            return
        self._noted = time.monotonic()
        try:
            progress.note(self._store, "join", to_micros(until))
        except StoreError as error:  # the next note says the same, and until then a restart looks up more than it must
            _log.warning("how far the joiner is could not be noted (code %d)", error.code)
