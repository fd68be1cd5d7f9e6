"""The roll-up as a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.conftest import HOUR, START, Flywheel, requests
from tests.waiting import eventually
from upshot_joiner.changes import ChangedHours
from upshot_joiner.errors import StoreUnavailable
from upshot_monitoring.drift.baselines import Asked as DriftAsked
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.performance.answers import Asked


@pytest.fixture
def running(flywheel: Flywheel, tmp_path: Path) -> Iterator[Flywheel]:
    """A flywheel with changes and a started monitor of its own."""
    changes = ChangedHours()
    monitor = Monitor(
        store=flywheel.store,
        served=flywheel.served,
        configs=flywheel.configs,
        changes=changes,
        clock=flywheel.clock,
        data_dir=tmp_path,
    )
    monitor.start()
    yield Flywheel(**{**vars(flywheel), "changes": changes, "monitor": monitor})
    monitor.stop()


def rows(flywheel: Flywheel) -> int:
    return int(flywheel.monitor.performance(flywheel.model, Asked())["overall"]["rows"])


def test_what_is_served_and_labelled_is_seen_without_asking(running: Flywheel) -> None:
    """Rows, then more rows of the same hour, then labels, each within seconds."""
    running.configure(labels={"y": {"window": "1h"}})
    running.serve(requests(f"{running.model}-a", [{"x": 1.0}] * 5, prediction=0.7))
    eventually(lambda: rows(running) == 5, 60)
    running.serve(requests(f"{running.model}-b", [{"x": 1.0}] * 3, prediction=0.2, at=START + HOUR))
    eventually(lambda: rows(running) == 8, 60)
    running.label({f"{running.model}-a-{i}": 1 for i in range(5)})
    running.changes.outcomes(running.model, [START])
    eventually(lambda: running.monitor.performance(running.model, Asked())["overall"]["labelled"] == 5, 60)


def test_a_label_that_was_never_seen_before_gets_its_history(running: Flywheel) -> None:
    """The first event of a new label makes all hours known for it, those without an outcome too."""
    running.serve(requests(f"{running.model}-a", [{"x": 1.0}] * 5, prediction=0.7))
    running.serve(requests(f"{running.model}-b", [{"x": 1.0}] * 5, prediction=0.7, at=START + 3 * HOUR))
    eventually(lambda: running.monitor.drift(running.model, DriftAsked())["features"], 60)
    running.label({f"{running.model}-a-0": 1}, name="brand new")
    running.changes.outcomes(running.model, [START])
    eventually(
        lambda: running.monitor.performance(running.model, Asked(label="brand new"))["overall"]["rows"] == 10, 60
    )


def test_a_store_that_fails_for_a_while_delays_and_loses_nothing(
    running: Flywheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread survives, counts, and catches up."""
    running.configure(labels={"y": {"window": "1h"}})
    command = running.store.command
    failing = True

    def sometimes(sql: str, params: Any = None) -> None:
        if failing and sql.startswith("INSERT INTO profiles"):
            raise StoreUnavailable("no space", 243)
        command(sql, params)

    monkeypatch.setattr(running.store, "command", sometimes)
    running.serve(requests(running.model, [{"x": 1.0}] * 5, prediction=0.7))
    eventually(lambda: running.monitor.stats()["failures"] >= 2, 60)
    assert rows(running) == 0
    failing = False
    eventually(lambda: rows(running) == 5, 60)


def test_a_restart_finds_what_was_left(flywheel: Flywheel, tmp_path: Path) -> None:
    """Served while no monitor ran: rolled up by the next one, without being told."""
    flywheel.configure(labels={"y": {"window": "1h"}})
    flywheel.serve(requests(flywheel.model, [{"x": 1.0}] * 5, prediction=0.7))
    flywheel.changes.take()
    monitor = Monitor(
        store=flywheel.store,
        served=flywheel.served,
        configs=flywheel.configs,
        changes=ChangedHours(),
        clock=flywheel.clock,
        data_dir=tmp_path,
    )
    monitor.start()
    try:
        eventually(lambda: monitor.performance(flywheel.model, Asked())["overall"]["rows"] == 5, 60)
    finally:
        monitor.stop()
    assert monitor.stats()["failures"] == 0
