"""A flywheel in small: what the writer and the joiner would store, and the roll-up over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from upshot.wire import LabelEvent, Prediction
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import FixedClock, Stamper, to_micros
from upshot_joiner.config import ConfigStore, ModelConfig, read_config
from upshot_joiner.intake.check import check_label, check_prediction
from upshot_joiner.intake.group import hour_of
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.monitor import Monitor

START = datetime(2024, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Flywheel:
    """Stores predictions and labels of one model with the real blocks and the real fold, without threads."""

    model: str
    store: Store
    served: ServedTables
    configs: ConfigStore
    stamper: Stamper
    changes: ChangedHours
    joiner: Joiner
    clock: FixedClock
    monitor: Monitor
    stored: dict[str, datetime] = field(default_factory=dict)

    def configure(self, **config: Any) -> ModelConfig:
        """Put a configuration in force."""
        read = read_config(config)
        self.configs.put(self.model, read)
        return read

    def serve(
        self, predictions: Iterable[Mapping[str, Any]], *, version: str = "1", at: datetime | None = None
    ) -> None:
        """Store predictions, each with ``request_id``, ``features``, ``prediction`` ... and ``at`` (default: START)."""
        checked = []
        for one in predictions:
            event = {"model": self.model, "model_version": version, "at": at or START, **one}
            moment = event.pop("at")
            self.stored[event["request_id"]] = moment
            checked.append(check_prediction(Prediction(**event, predicted_at=moment.timestamp())))
        for start in range(0, len(checked), 20_000):
            block = checked[start : start + 20_000]
            stamp = to_micros(self.stamper.next())
            cells = rows.feature_cells(block)
            self.served.grow(self.model, cells.kinds, cells.shapes)
            config = self.configs.get(self.model)
            table = self.served.table(self.model)
            assert table is not None
            self.store.insert(table, rows.served_block(block, cells, self.served.columns(self.model), config, stamp))
            self.store.insert("predictions", rows.spine_block(block, stamp))
            self.changes.served(self.model, {hour_of(one.predicted_us, stamp) for one in block})

    def label(self, values: Mapping[str, Any], *, name: str = "y", op: str = "set") -> None:
        """Store a label event for each request ID, and fold."""
        self.label_items({(request_id, ""): value for request_id, value in values.items()}, name=name, op=op)

    def label_items(
        self,
        values: Mapping[tuple[str, str], Any],
        *,
        name: str = "y",
        op: str = "set",
        received_at: datetime | None = None,
        fold: bool = True,
    ) -> None:
        """The same for items of slates: (request ID, item ID). ``received_at``: the stamp, if not the next one."""
        stamp = to_micros(received_at or self.stamper.next())
        events = [
            check_label(
                LabelEvent(
                    request_id=request_id,
                    item_id=item_id,
                    name=name,
                    op=op,
                    value=value,
                    model=self.model,
                    label_id=f"{request_id}-{item_id}-{stamp}",
                )
            )
            for (request_id, item_id), value in values.items()
        ]
        for start in range(0, len(events), 20_000):
            self.store.insert("label_events", rows.label_block(events[start : start + 20_000], stamp))
        if fold:
            self.joiner.refold(self.model)

    def roll(self) -> int:
        """Roll up what is due."""
        return self.monitor.roll()


@pytest.fixture(scope="session")
def parts(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One set of parts for the one store of this process."""
    clock = FixedClock(START + 60 * DAY)
    stamper = Stamper(clock)
    changes = ChangedHours()
    configs = ConfigStore(store, stamper)
    served = ServedTables(store)
    joiner = Joiner(store, configs, stamper, changes, EntityTypes(store, stamper))
    monitor = Monitor(
        store=store,
        served=served,
        configs=configs,
        changes=changes,
        clock=clock,
        data_dir=tmp_path_factory.mktemp("data"),
    )
    return {
        "store": store, "served": served, "configs": configs, "stamper": stamper, "changes": changes,
        "joiner": joiner, "clock": clock, "monitor": monitor,
    }  # fmt: skip


@pytest.fixture(scope="session")
def two_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A migrated store on a cluster of two shards."""
    from tests.running_clickhouse import RunningClickHouse, cluster_of, require_clickhouse
    from upshot_joiner.store.sharded import open_scaled_out

    require_clickhouse()
    folder = tmp_path_factory.mktemp("two-shards")
    shards = [RunningClickHouse(folder / f"shard-{n}") for n in range(2)]
    for shard in shards:
        shard.settings = cluster_of(shards)
        shard.start()
    store = open_scaled_out([shard.url for shard in shards])
    store.migrate("upshot_joiner.store.schema")
    store.migrate("upshot_monitoring.schema")
    yield store
    store.close()
    for shard in shards:
        shard.stop()


def flywheel_on(store: Store, model: str, data_dir: Path) -> Flywheel:
    """A flywheel of its own on any store."""
    clock = FixedClock(START + 60 * DAY)
    stamper, changes, served = Stamper(clock), ChangedHours(), ServedTables(store)
    configs = ConfigStore(store, stamper)
    joiner = Joiner(store, configs, stamper, changes, EntityTypes(store, stamper))
    monitor = Monitor(store=store, served=served, configs=configs, changes=changes, clock=clock, data_dir=data_dir)
    return Flywheel(model, store, served, configs, stamper, changes, joiner, clock, monitor)


@pytest.fixture
def flywheel(parts: dict[str, Any], fresh: str) -> Flywheel:
    """A model of its own in the shared store; the clock stands 60 days after START."""
    parts["clock"].set(START + 60 * DAY)
    return Flywheel(model=fresh, **parts)


def requests(prefix: str, features: Sequence[Mapping[str, Any]], **common: Any) -> list[dict[str, Any]]:
    """Predictions with these features and running request IDs."""
    return [{"request_id": f"{prefix}-{i}", "features": dict(one), **common} for i, one in enumerate(features)]
