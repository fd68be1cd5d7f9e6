"""The joiner's parts over the shared store, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from upshot.wire import LabelEvent, Prediction, WriterReport
from upshot_joiner.activity import Activity
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import FixedClock, Stamper
from upshot_joiner.config import ConfigStore
from upshot_joiner.coverage import Coverage
from upshot_joiner.delays.label_hours import LabelHours
from upshot_joiner.delays.watched import Asked
from upshot_joiner.entity_story import EntityStories
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.check import check_label, check_prediction, check_report
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.group import GroupWriter
from upshot_joiner.join.attributor import Attributor
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.line import Line as ServedLine
from upshot_joiner.processes import Processes, StoreClock
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.last_stamp import last_stamp
from upshot_joiner.store.served import ServedTables, table_name
from upshot_joiner.story import Stories
from upshot_joiner.writers.answers import WriterAnswers
from upshot_joiner.writers.arrivals import Arrivals

PATIENCE_S = 120
"""What a test gives a busy machine; none waits so long where all is well."""

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Line(ServedLine):
    """Intake, store and join, put together as the server does, but with a clock that tests set."""

    clock: FixedClock
    label_hours: LabelHours
    uptime: list[float]
    """Holds one number: the uptime in seconds that the writers are judged by."""

    def stamp_with(self, stamper: Stamper) -> None:
        """Go on with another stamper, as after a start with another clock."""
        for part in (self.committer, self.committer._writer, self.joiner, self.configs):
            part._stamper = stamper

    @classmethod
    def open(
        cls, store: Store, touched: Callable[[Iterable[int], datetime], None] | None = None, max_active: int = 1000
    ) -> Line:
        """Start them; ``touched`` instead of the joiner's own makes a joiner that is not told."""
        clock = FixedClock(NOW)
        served = ServedTables(store)
        processes = Processes(store, StoreClock(store)) if store.is_shared else None
        after = last_stamp(store, served.tables())
        stamper = Stamper(clock, after, processes.hold) if processes else Stamper(clock, after)
        configs = ConfigStore(store, stamper)
        activity = Activity(store)
        changes = ChangedHours()
        label_hours = LabelHours(store, served, configs, activity, changes.twin())
        entities = EntityTypes(store, stamper)
        joiner = Joiner(store, configs, stamper, changes, entities)
        attributor = Attributor(store, served, entities, configs, stamper, touched or joiner.touched)
        uptime = [0.0]
        arrivals = Arrivals(store, served, stamper, lambda: uptime[0], max_active)
        writer = GroupWriter(
            *(store, served, configs, stamper, changes, activity, arrivals, touched or joiner.touched),
            *(entities, attributor.touched),
        )
        committer = Committer(store, served, stamper, activity, writer)
        committer.start()
        joiner.start()
        attributor.start(committer.run)
        opened = cls(
            *(store, clock, processes, served, stamper, configs, activity, changes, entities, joiner, attributor),
            *(arrivals, committer, label_hours, uptime),
        )
        if processes is not None:
            opened._take_part(processes, None)
        return opened

    def close(self, *, killed: bool = False) -> None:
        """Stop them; the store stays open. ``killed``: nobody has noted that this was the end, or finished what was cut off."""
        if killed:
            self.committer._recover_own = lambda: None
        self.attributor.close()
        if self.processes is not None:
            self.processes.close(is_whole=self.committer.is_whole and self.attributor.is_whole and not killed)
        self.committer.close()
        self.joiner.close()

    def predict(self, *events: dict[str, Any]) -> Answer:
        """Store predictions."""
        checked = [check_prediction(Prediction(**event)) for event in events]
        return self.committer.submit_predictions(list(enumerate(checked)), []).result(PATIENCE_S)

    def label(self, *events: dict[str, Any]) -> Answer:
        """Store label events."""
        checked = [check_label(LabelEvent(**event)) for event in events]
        return self.committer.submit_labels(list(enumerate(checked)), []).result(PATIENCE_S)

    def report(self, *reports: dict[str, Any]) -> Answer:
        """Store reports of writers."""
        checked = [check_report(WriterReport(**report)) for report in reports]
        return self.committer.submit_reports(list(enumerate(checked)), []).result(PATIENCE_S)

    def writer(self, writer_id: str) -> dict[str, Any]:
        """The answer about one writer."""
        return WriterAnswers(self.store, self.arrivals).one(writer_id)

    def settle(self) -> None:
        """Wait until everything stored is attributed and joined."""
        assert self.attributor.wait_until_idle(PATIENCE_S)
        assert self.joiner.wait_until_idle(PATIENCE_S)

    def outcomes(self, request_id: str) -> list[tuple[Any, ...]]:
        """What the joiner has stored of a request: version, item, label, state and value."""
        assert self.attributor.wait_until_idle(PATIENCE_S)
        assert self.joiner.wait_until_idle(PATIENCE_S)
        return self.store.query(
            "SELECT toString(model_version), item_id, toString(name), toString(state), value_text FROM outcomes FINAL "
            "WHERE request_id = {r:String} ORDER BY ALL",
            {"r": request_id},
        )

    def coverage(self, model: str, name: str = "label", asked: Asked | None = None) -> dict[str, Any]:
        """The answer about one of its labels; orphans that name no model are listed with every model."""
        assert self.attributor.wait_until_idle(PATIENCE_S)
        assert self.joiner.wait_until_idle(PATIENCE_S)
        told = self.labels(model, asked)
        [label] = [label for label in told["labels"] if label["name"] == name]
        return dict(label)

    def labels(self, model: str, asked: Asked | None = None) -> dict[str, Any]:
        """The whole answer about the labels of a model."""
        assert self.joiner.wait_until_idle(PATIENCE_S)
        coverage = Coverage(self.store, self.served, self.activity, self.configs, self.clock, self.label_hours)
        return coverage.labels(model, asked)

    def story(self, request_id: str) -> dict[str, Any]:
        """The story of a request."""
        entities = EntityStories(self.store, self.entities, self.configs)
        return Stories(self.store, self.served, self.configs, self.clock, entities).tell(request_id)

    def entity(self, entity_type: str, entity_id: str) -> dict[str, Any]:
        """The story of an entity."""
        self.settle()
        return EntityStories(self.store, self.entities, self.configs).tell(entity_type, entity_id)


_MODELS = "SELECT DISTINCT model FROM shapes"
_NOT_EMPTY = r"""
SELECT name FROM system.tables WHERE database = currentDatabase() AND match(name, '^served_[0-9a-f]{16}$') AND total_rows > 0
"""
_OF_EVENTS = (
    *("predictions", "label_events", "outcomes", "orphans"),
    *("entity_predictions", "entity_label_events", "attributions", "attributed_events"),
)


@pytest.fixture
def store(any_store: Store) -> Iterator[Store]:
    """These suites run against the embedded engine and against a real server. A test's models go with it: every start asks each
    typed table for what it holds, and hundreds of them make hundreds of tests slow."""
    before = set(any_store.query(_MODELS))
    yield any_store
    models = [model for (model,) in set(any_store.query(_MODELS)) - before]
    if models:
        for model in models:
            any_store.command(f"DROP TABLE IF EXISTS {table_name(model)} SYNC")
        # All of them, and what other suites left in typed tables: the books of a store are of everything in it.
        left = [table for shard in any_store.shards for (table,) in shard.query(_NOT_EMPTY)]
        for table in (*_OF_EVENTS, *dict.fromkeys(left)):
            any_store.command(f"TRUNCATE TABLE {table}")
        for table in ("feature_columns", "shapes"):
            any_store.command(f"DELETE FROM {table} WHERE model IN {{models:Array(String)}}", {"models": models})


@pytest.fixture
def line(store: Store) -> Iterator[Line]:
    opened = Line.open(store)
    yield opened
    opened.close()
