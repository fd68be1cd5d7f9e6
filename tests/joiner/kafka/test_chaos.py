"""Everything at once, by a seed: members come, go and are taken for dead, broker and store are away, poison lies between."""

from __future__ import annotations

import random
import time
from typing import Any

import pyarrow as pa
import pytest

from tests.joiner.kafka.conftest import GROUP, Running, events_of
from upshot_joiner.errors import StoreUnavailable
from upshot_joiner.intake.kafka.contract import PREDICTIONS
from upshot_joiner.intake.kafka.lane import Bounds

N_MESSAGES = 60


@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_everything_is_stored_once_and_committed(
    running: Running, fresh: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss 0, visible duplicates 0, each poison in quarantine once; and the group ends at the end."""
    rng = random.Random(seed)
    expected: list[str] = []
    n_poison = 0
    for n in range(N_MESSAGES):
        partition = rng.randrange(4)
        if rng.random() < 0.1:
            running.send(PREDICTIONS, b"?", partition)
            n_poison += 1
            continue
        events = events_of(fresh, *range(10 * n, 10 * n + rng.randrange(1, 10)))
        expected += [event["request_id"] for event in events]
        if rng.random() < 0.2:
            events.insert(rng.randrange(len(events)), {"request_id": "", "model": fresh})
            n_poison += 1
        running.predict(*events, partition=partition)
    real = running.line.store.insert
    fails = [True]

    def insert(into: str, rows: pa.Table) -> None:
        if fails[0] and rng.random() < 0.15:
            raise StoreUnavailable("no space left on device", 243)
        real(into, rows)

    monkeypatch.setattr(running.line.store, "insert", insert)
    bounds = Bounds(lane_events=60, parcel_events=15, events=150)

    def disturb() -> None:
        what: Any = rng.choice(["start", "end", "expel", "away", "nothing"])
        if what == "start" and len(running.workers) < 3:
            running.work(bounds=bounds)
        elif what == "end" and len(running.workers) > 1:
            intake, _, thread = running.workers.pop(rng.randrange(len(running.workers)))
            intake.stop()
            thread.join(30)
        elif what == "expel":
            running.broker.expel(rng.choice(running.workers)[1])
        elif what == "away":
            running.broker.is_away = True
            time.sleep(0.05)
            running.broker.is_away = False

    running.work(bounds=bounds)
    for _ in range(12):
        time.sleep(rng.uniform(0, 0.15))
        disturb()
    fails[0] = False
    running.until_committed(60)
    running.stop()
    assert running.stored(fresh) == sorted(expected)
    assert len(running.quarantined()) == n_poison
    assert len({letter.key for letter in running.letters()}) == n_poison
    ends = {message.partition: message.offset + 1 for message in running.broker.messages(PREDICTIONS)}
    assert {p: n for p, n in running.broker.committed(GROUP).items() if p.topic == PREDICTIONS} == ends
