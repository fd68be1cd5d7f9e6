"""The attributor: labels that name an entity find the predictions of that entity.

After each group of events it is told the keys of entities that were touched, by a label or by a prediction, and attributes
everything anew that is known of them (``attribution.py``). What differs from what was attributed before is written with a stamp:
where a label goes now, and where it goes no more. So it does not matter what came first, how often it is told, or that it fell
behind; and what was attributed as of any moment stays known. The requests concerned are then the joiner's.

The stamp is given, and the rows are written, between two groups of the one writer: a reader as of T finds all that was stamped
up to T. Rows go to ``attributions`` first and then, the same, to ``attributed_events``; a crash between the two is mended from
the first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import EPOCH, MICROSECOND, Stamper, from_micros, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.intake.check import scalar_from_parts, scalar_parts
from upshot_joiner.join.attributed import NEVER
from upshot_joiner.join.attribution import Attributed, EntityEvent, EntityPrediction, attribute, window_of
from upshot_joiner.store import progress
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.keys import Keys, key_bytes, key_column, key_number
from upshot_joiner.store.rows import KEY, TEXT_MAP, TIME
from upshot_joiner.store.served import ServedTables

_log = logging.getLogger("upshot.join")

TASK = "attribute"
MAX_BATCH_KEYS = 10_000
REST_S = 0.05
"""How long it rests after a batch: what comes in quick succession is attributed together."""
RETRY_S = 1.0
NOTE_EVERY_S = 5.0

NEVER_WITHDRAWN = datetime.fromisoformat(f"{NEVER}+00:00")

_EVENTS = """
SELECT entity_key, entity_type, entity_id, label_id, toString(name), toString(op), toString(value_kind), value_text, item_id,
  toString(model), toUnixTimestamp64Micro(observed_at), toUnixTimestamp64Micro(received_at), toString(source), tags
FROM entity_label_events FINAL
WHERE entity_key IN ($keys)
"""
_PREDICTIONS = """
SELECT entity_key, toString(model), of_request, request_id, item_id, toUnixTimestamp64Micro(predicted_at),
  toUnixTimestamp64Micro(received_at)
FROM entity_predictions
WHERE entity_key IN (
    SELECT entity_key FROM entity_label_events WHERE entity_key IN ($keys))
  AND predicted_at >= fromUnixTimestamp64Micro({first:Int64}, 'UTC')
  AND predicted_at <= fromUnixTimestamp64Micro({last:Int64}, 'UTC')
"""
_CURRENT = f"""
SELECT * FROM attributions FINAL
WHERE entity_key IN ($keys) AND withdrawn_at = toDateTime64('{NEVER}', 6, 'UTC')
"""
_WRITTEN_SINCE = "SELECT * FROM attributions FINAL WHERE version > {since:UInt64}"
_WAITING = """
SELECT request_key, label_id FROM orphans FINAL
WHERE waiting AND request_id = '' AND request_key IN ($keys)
"""
_TOUCHED_SINCE = """
SELECT DISTINCT entity_key FROM entity_label_events WHERE received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
UNION DISTINCT
SELECT DISTINCT entity_key FROM entity_predictions
WHERE received_at > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND entity_key IN (SELECT entity_key FROM entity_label_events)
"""
_OF_TYPE = "SELECT DISTINCT entity_key FROM entity_label_events WHERE entity_type = {name:String}"
_OF_MODEL = "SELECT DISTINCT entity_key FROM entity_label_events WHERE model = '' OR model = {model:String}"

SCHEMA = pa.schema(
    [
        ("entity_key", KEY),
        ("entity_type", pa.string()),
        ("entity_id", pa.string()),
        ("request_key", KEY),
        ("request_id", pa.string()),
        ("label_id", pa.string()),
        ("name", pa.string()),
        ("op", pa.string()),
        ("value_kind", pa.string()),
        ("value_number", pa.float64()),
        ("value_text", pa.string()),
        ("item_id", pa.string()),
        ("model", pa.string()),
        ("observed_at", TIME),
        ("received_at", TIME),
        ("source", pa.string()),
        ("tags", TEXT_MAP),
        ("attributed_at", TIME),
        ("withdrawn_at", TIME),
        ("version", pa.uint64()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Label:
    """A label event of the ledger: what the rule looks at, and what is only carried along."""

    entity_key: int
    entity_type: str
    entity_id: str
    event: EntityEvent
    source: str
    tags: list[tuple[str, str]]


def derived_label_id(label_id: str, entity_key: int) -> str:
    """The ID of an attributed event within its request. No event of a request can have it, for a label ID holds no control
    character; and in the order of the fold it stands where the label ID stands."""
    return f"{label_id}\x1f{entity_key:032x}"


def original_label_id(derived: str) -> str:
    """The ID that the label event has itself."""
    return derived.partition("\x1f")[0]


class Attributor:
    """Keeps ``attributions`` equal to the rule. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        entities: EntityTypes,
        configs: ConfigStore,
        stamper: Stamper,
        touched: Callable[[Iterable[int], datetime], None],
    ) -> None:
        self._store = store
        self._home = store.shards[0]
        """Where the tables by entity are."""
        self._served = served
        self._entities = entities
        self._configs = configs
        self._stamper = stamper
        self._requests_touched = touched
        self._in_writers_thread: Callable[[Callable[[], None]], Future[None]] | None = None
        self._lock = threading.Lock()
        self._progressed = threading.Condition(self._lock)
        self._keys: set[int] = set()
        self._in_hand = 0
        self._until = self._done_until = EPOCH
        self._unfinished: list[int] = []
        """Versions: rows written later than any of these may be in the first of the two tables only."""
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._closed = False
        self._closing = threading.Event()
        self._noted = 0.0
        self.failed = 0
        """Entities whose labels could not be attributed, for a reason that trying again does not mend."""
        if entities.any and not store.is_shared:
            self.look_again(from_micros(progress.until(store, TASK)))
        self._thread = threading.Thread(target=self._work, name="upshot-attributor", daemon=True)

    def start(self, in_writers_thread: Callable[[Callable[[], None]], Future[None]]) -> None:
        """Begin to attribute; ``in_writers_thread`` runs something between two groups of the writer."""
        self._in_writers_thread = in_writers_thread
        self._thread.start()

    def touched(self, keys: Iterable[int], received: datetime) -> None:
        """Labels or predictions of these entities were stored, with this stamp."""
        with self._lock:
            self._keys.update(keys)
            self._until = max(self._until, received)
            self._idle.clear()
        self._wake.set()

    def attribute_again(self, model: str) -> None:
        """The label rules of a model changed."""
        if self._entities.any:
            self.touched([key for (key,) in self._store.query(_OF_MODEL, {"model": model})], self._stamper.last)

    def look_again(self, since: datetime) -> None:
        """Attribute anew what was stored after a moment, by whomever, and finish what was left half written."""
        if not self._entities.any:
            return
        with self._lock:
            self._unfinished.append(to_micros(since))
        keys = [key for (key,) in self._store.query(_TOUCHED_SINCE, {"since": to_micros(since)})]
        if keys:
            _log.info("attributing the labels of %d entities again", len(keys))
        self.touched(keys, self._stamper.last)

    def attributed_until(self, moment: datetime) -> datetime:
        """How much of what was stored up to a moment is attributed: up to the moment itself where nothing waits."""
        with self._lock:
            is_idle = not self._keys and not self._in_hand and not self._unfinished
            return moment if is_idle else min(moment, self._done_until)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until everything touched so far is attributed; False after the timeout."""
        return self._idle.wait(timeout_s)

    @property
    def behind(self) -> int:
        """Entities that were touched and whose labels are not attributed yet."""
        with self._lock:
            return len(self._keys) + self._in_hand

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be attributed, or half written."""
        with self._lock:
            return not self._keys and not self._in_hand and not self._unfinished

    def catch_up(self, timeout_s: float) -> bool:
        """Wait until what was touched before this call is attributed; False after the timeout."""
        with self._progressed:
            until = self._until
            return self._progressed.wait_for(lambda: self._done_until >= until, timeout_s)

    def close(self) -> None:
        """Attribute what is waiting, note the progress, stop. The writer must still run."""
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    # -- the attributor's thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._wake.wait(timeout=NOTE_EVERY_S)
            self._wake.clear()
            while self._attribute_some():
                pass
            if self._closed:
                self._note(self._until, force=True)
                return
            self._closing.wait(REST_S)

    def _attribute_some(self) -> bool:
        with self._lock:
            keys = set(list(self._keys)[:MAX_BATCH_KEYS])
            self._keys -= keys
            self._in_hand = len(keys)
            until, more = self._until, bool(self._keys)
        try:
            self._finish()
            self._fill()
            if keys:
                self._attribute_or_halve(keys)
        except (StoreError, Problem) as error:
            _log.error(
                "labels of %d entities could not be attributed (%s); trying again", len(keys), type(error).__name__
            )
            with self._lock:
                self._keys |= keys
                self._in_hand = 0
            self._closing.wait(RETRY_S)
            if not self._closed:
                self._wake.set()
            return False
        if keys and not more:
            self._note(until)
        with self._progressed:
            self._in_hand = 0
            if not more:
                self._done_until = until
                self._progressed.notify_all()
            if not self._keys:
                self._idle.set()
            return bool(self._keys)

    def _fill(self) -> None:
        """Index what was stored before a type of entity was known."""
        unfilled = self._entities.unfilled()
        if unfilled and self._store.is_shared:
            self._served.refresh()  # another process may have got the first prediction of a model
        for name in unfilled:
            models = self._served.models()
            self._entities.fill(name, [(model, self._served.table(model) or "") for model in models])
            self.touched([key for (key,) in self._store.query(_OF_TYPE, {"name": name})], self._stamper.last)

    def _attribute_or_halve(self, keys: set[int]) -> None:
        try:
            self._attribute(keys)
        except (StoreError, Problem):
            raise
        except Exception:  # noqa: BLE001  # one entity that cannot be attributed must not hold up all others
            if len(keys) == 1:
                self.failed += 1
                _log.exception("the labels of an entity cannot be attributed")
                return
            half = sorted(keys)
            self._attribute_or_halve(set(half[: len(half) // 2]))
            self._attribute_or_halve(set(half[len(half) // 2 :]))

    def _attribute(self, keys: set[int]) -> None:
        if self._store.is_shared:
            self._configs.refresh()
        batch = Keys(keys)
        labels = self._labels(batch)
        if not labels:
            return  # entities that no label named: most are that
        wanted = self._wanted(labels, batch)
        current = _by_request(self._home.arrow(_CURRENT, keys=batch))
        new, withdrawn = _difference(labels, wanted, current)
        if new or withdrawn:
            self._write(labels, new, current.take(pa.array(withdrawn, pa.int64())))
            if self._store.is_shared:
                # Another process may have attributed them at the same moment, by what it saw: whoever looks last sees everything.
                self.touched(keys, self._stamper.last)
        self._list_orphans(labels, wanted, batch)

    def _labels(self, keys: Keys) -> dict[tuple[int, str], _Label]:
        """The label events of the batch, by entity and derived label ID."""
        labels = {}
        for row in self._home.query(_EVENTS, keys=keys):
            key, type_, id_, label_id, name, op, kind, text, item, model, observed, received, source, tags = row
            value = scalar_from_parts(kind, text)
            event = EntityEvent(label_id, name, op, value, observed, model, item, received)
            labels[key, derived_label_id(label_id, key)] = _Label(key, type_, id_, event, source, list(tags.items()))
        return labels

    def _wanted(self, labels: dict[tuple[int, str], _Label], keys: Keys) -> dict[tuple[int, str], set[Attributed]]:
        """Where the labels go by the rule."""
        widest = max(window_of(rules) for rules in self._rules_of({one.event.name for one in labels.values()}))
        moments = [one.event.observed_us for one in labels.values()]
        params = {"first": min(moments) - widest // MICROSECOND, "last": max(moments)}
        predictions: defaultdict[int, list[EntityPrediction]] = defaultdict(list)
        for key, *prediction in self._home.query(_PREDICTIONS, params, keys):
            predictions[key].append(EntityPrediction(*prediction))
        events: defaultdict[int, list[EntityEvent]] = defaultdict(list)
        for one in labels.values():
            events[one.entity_key].append(one.event)
        wanted = {}
        for key, of_entity in events.items():
            found = attribute(
                predictions.get(key, ()), of_entity, lambda model, name: self._configs.get(model).label(name)
            )
            for label_id, where in found.items():
                wanted[key, derived_label_id(label_id, key)] = where
        return wanted

    def _rules_of(self, names: set[str]) -> Iterable[Any]:
        """The rules of these labels, of every model and of one that was never configured."""
        for model in ["", *self._configs.models()]:
            config = self._configs.get(model)
            for name in names:
                yield config.label(name)

    def _write(
        self, labels: dict[tuple[int, str], _Label], new: list[tuple[_Label, Attributed]], withdrawn: pa.Table
    ) -> None:
        """Write what changed, in the writer's thread, under a stamp of its own."""

        def write() -> None:
            stamp = self._stamper.next()
            us = to_micros(stamp)
            changes = pa.concat_tables([_new_rows(new, us), _withdrawn_rows(withdrawn, us)]).combine_chunks()
            with self._lock:
                self._unfinished.append(us - 1)
            self._store.insert("attributions", _by_entity(changes))
            self._store.insert("attributed_events", changes)
            with self._lock:
                self._unfinished.remove(us - 1)
            self._requests_touched({key_number(key) for key in changes["request_key"].to_pylist()}, stamp)

        self._run(write)

    def _finish(self) -> None:
        """Bring to the second table what a failure or a crash left in the first one only."""
        if not self._unfinished:
            return

        def finish() -> None:
            with self._lock:
                unfinished = list(self._unfinished)
            rows = _by_request(self._home.arrow(_WRITTEN_SINCE, {"since": min(unfinished)}))
            if rows.num_rows:
                self._store.insert("attributed_events", rows)
                keys = {key_number(key) for key in rows["request_key"].to_pylist()}
                self._requests_touched(keys, self._stamper.last)
            with self._lock:
                for one in unfinished:
                    self._unfinished.remove(one)

        self._run(finish)

    def _run(self, work: Callable[[], None]) -> None:
        if self._in_writers_thread is None:
            raise RuntimeError("the attributor was not started")
        self._in_writers_thread(work).result()

    def _list_orphans(
        self, labels: dict[tuple[int, str], _Label], wanted: dict[tuple[int, str], set[Attributed]], keys: Keys
    ) -> None:
        """Keep the list of labels that are attributed to nothing."""
        listed = set(self._store.query(_WAITING, keys=keys))
        changed = [
            (one, not wanted[identity])
            for identity, one in labels.items()
            if (not wanted[identity]) != ((one.entity_key, one.event.label_id) in listed)
        ]
        if not changed:
            return
        version = to_micros(self._stamper.next())
        rows = len(changed)
        self._store.insert(
            "orphans",
            pa.table(
                {
                    "request_key": key_column([one.entity_key for one, _ in changed]),
                    "request_id": [""] * rows,
                    "label_id": [one.event.label_id for one, _ in changed],
                    "name": [one.event.name for one, _ in changed],
                    "model": [one.event.model for one, _ in changed],
                    "received_at": pa.array([one.event.received_us for one, _ in changed], pa.int64()).cast(TIME),
                    "waiting": pa.array([int(waits) for _, waits in changed], pa.uint8()),
                    "version": pa.array([version] * rows, pa.uint64()),
                    "entity_type": [one.entity_type for one, _ in changed],
                    "entity_id": [one.entity_id for one, _ in changed],
                }
            ),
        )

    def _note(self, until: datetime, *, force: bool = False) -> None:
        """Write down how far we are; a moment late is safe, a moment early is not."""
        if not self._entities.any or (self._keys and force) or until == EPOCH:
            return
        if self._store.is_shared:
            return  # every process has a note of its own, see processes.py
        if not force and time.monotonic() - self._noted < NOTE_EVERY_S:
            return
        if self._unfinished:
            return
        self._noted = time.monotonic()
        try:
            progress.note(self._store, TASK, to_micros(until))
        except StoreError as error:
            _log.warning("the progress of attribution was not noted (code %d)", error.code)


def _by_entity(rows: pa.Table) -> pa.Table:
    """Rows of ``attributed_events`` as ``attributions`` has them: a table with a ``request_key`` would be spread by it."""
    return rows.rename_columns(["of_request" if name == "request_key" else name for name in rows.column_names])


def _by_request(rows: pa.Table) -> pa.Table:
    """The reverse."""
    rows = rows.rename_columns(["request_key" if name == "of_request" else name for name in rows.column_names])
    return rows.select(SCHEMA.names).cast(SCHEMA)


def _difference(
    labels: dict[tuple[int, str], _Label], wanted: dict[tuple[int, str], set[Attributed]], current: pa.Table
) -> tuple[list[tuple[_Label, Attributed]], list[int]]:
    """What is to be written: attributions that are not there, and the positions of rows that are wrong."""
    missing: dict[tuple[Any, ...], tuple[_Label, Attributed]] = {}
    for identity, where in wanted.items():
        for one in where:
            kind, _, text = scalar_parts(one.value)
            missing[*identity, one.model, one.request_id, kind, text] = (labels[identity], one)
    withdrawn = []
    columns = ["entity_key", "label_id", "model", "request_id", "value_kind", "value_text", "attributed_at"]
    rows = enumerate(zip(*(current[name].to_pylist() for name in columns), strict=True))
    for position, (key, *row, _) in sorted(rows, key=lambda one: one[1][-1]):  # of two alike, the earlier one stays
        if missing.pop((key_number(key), *row), None) is None:
            withdrawn.append(position)
    return list(missing.values()), withdrawn


def _new_rows(new: list[tuple[_Label, Attributed]], stamp_us: int) -> pa.Table:
    parts = [scalar_parts(one.value) for _, one in new]
    rows = len(new)
    columns: dict[str, list[Any]] = {
        "entity_key": [key_bytes(label.entity_key) for label, _ in new],
        "entity_type": [label.entity_type for label, _ in new],
        "entity_id": [label.entity_id for label, _ in new],
        "request_key": [key_bytes(one.request_key) for _, one in new],
        "request_id": [one.request_id for _, one in new],
        "label_id": [derived_label_id(one.label_id, label.entity_key) for label, one in new],
        "name": [label.event.name for label, _ in new],
        "op": [label.event.op for label, _ in new],
        "value_kind": [kind for kind, _, _ in parts],
        "value_number": [number for _, number, _ in parts],
        "value_text": [text for _, _, text in parts],
        "item_id": [label.event.item_id for label, _ in new],
        "model": [one.model for _, one in new],
        "observed_at": [from_micros(label.event.observed_us) for label, _ in new],
        "received_at": [from_micros(one.known_us) for _, one in new],
        "source": [label.source for label, _ in new],
        "tags": [label.tags for label, _ in new],
        "attributed_at": [from_micros(stamp_us)] * rows,
        "withdrawn_at": [NEVER_WITHDRAWN] * rows,
        "version": [stamp_us] * rows,
    }
    return pa.Table.from_arrays([pa.array(columns[one.name], one.type) for one in SCHEMA], schema=SCHEMA)


def _withdrawn_rows(withdrawn: pa.Table, stamp_us: int) -> pa.Table:
    ends = {
        "withdrawn_at": pa.array([from_micros(stamp_us)] * withdrawn.num_rows, TIME),
        "version": pa.array([stamp_us] * withdrawn.num_rows, pa.uint64()),
    }
    return pa.Table.from_arrays([ends.get(one.name, withdrawn[one.name]) for one in SCHEMA], schema=SCHEMA)
