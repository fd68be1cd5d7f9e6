"""Labels that name an entity where several servers share a cluster: requests are spread over shards, entities are not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from tests.running_clickhouse import RunningClickHouse, cluster_of, require_clickhouse
from tests.waiting import eventually
from upshot.wire import LabelEvent, Prediction
from upshot_joiner.clock import SystemClock
from upshot_joiner.config import read_config
from upshot_joiner.intake.check import check_label, check_prediction
from upshot_joiner.store.client import Store
from upshot_server.parts import Parts
from upshot_server.settings import Settings

NOW = datetime.now(UTC)
ORDERS = 40

pytestmark = pytest.mark.timeout(900)


def at(**ago: float) -> str:
    """A moment before now."""
    return (NOW - timedelta(**ago)).isoformat()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Parts, Parts]]:
    """Two servers over a cluster of two shards."""
    require_clickhouse()
    folder = tmp_path_factory.mktemp("entities")
    shards = [RunningClickHouse(folder / "shard-1"), RunningClickHouse(folder / "shard-2")]
    for shard in shards:
        shard.settings = cluster_of(shards)
        shard.start()
    cluster = SecretStr(",".join(shard.url for shard in shards))
    parts = [Parts.open(Settings(data_dir=folder / name, clickhouse=cluster), SystemClock()) for name in ("a", "b")]
    yield parts[0], parts[1]
    for one in parts:
        one.close()
    for shard in shards:
        shard.stop()


def predict(parts: Parts, *events: dict[str, Any]) -> None:
    """Store predictions by this server."""
    checked = [check_prediction(Prediction(**event)) for event in events]
    assert parts.line.committer.submit_predictions(list(enumerate(checked)), []).result(120).accepted == len(events)


def label(parts: Parts, *events: dict[str, Any]) -> None:
    """Store label events by this server."""
    checked = [check_label(LabelEvent(**event)) for event in events]
    assert parts.line.committer.submit_labels(list(enumerate(checked)), []).result(120).accepted == len(events)


def outcomes(store: Store, model: str) -> dict[str, tuple[str, float | None]]:
    """State and value of each request's outcome."""
    rows = store.query(
        "SELECT request_id, toString(state), value_number FROM outcomes FINAL WHERE model = {m:String}", {"m": model}
    )
    found = {request_id: (state, value) for request_id, state, value in rows}
    assert len(found) == len(rows), "one row per prediction"
    return found


def test_labels_of_entities_find_requests_on_every_shard(two: tuple[Parts, Parts]) -> None:
    """What one server got before the other knew the type of entity, what comes at once by both, and what comes late."""
    a, b = two
    model = "m"
    a.configure(model, read_config({"labels": {"label": {"window": "1d", "attribution": "last"}}}))
    of = [{"order": f"o-{n}"} for n in range(ORDERS)]
    predict(
        a,
        *(
            {"request_id": f"r-{n}-early", "model": model, "predicted_at": at(hours=5), "entities": of[n]}
            for n in range(ORDERS)
        ),
    )
    late = [
        {"request_id": f"r-{n}-late", "model": model, "predicted_at": at(hours=3), "entities": of[n]}
        for n in range(0, ORDERS, 2)
    ]
    labels = [{"entity": of[n], "value": n, "observed_at": at(hours=1)} for n in range(ORDERS)]
    threads = [threading.Thread(target=label, args=(b, *labels)), threading.Thread(target=predict, args=(a, *late))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected: dict[str, tuple[str, float | None]] = {}
    for n in range(ORDERS):
        expected[f"r-{n}-{'early' if n % 2 else 'late'}"] = ("labelled", float(n))

    def labelled() -> bool:
        found = {id_: one for id_, one in outcomes(a.store, model).items() if one[0] != "pending"}
        assert found == expected
        return True

    eventually(labelled, 120, every_s=0.3)
    shards = a.store.shards
    assert len(shards) == 2
    counted = [shard.query("SELECT uniqExact(request_id) FROM attributed_events FINAL")[0][0] for shard in shards]
    assert min(counted) > 0
    assert sum(counted) >= ORDERS
    assert [shard.query("SELECT count() FROM entity_predictions")[0][0] > 0 for shard in shards] == [True, False]
    story = b.stories.tell("r-0-late")
    assert story["label_events"][0]["attributed"]["entity"] == {"order": "o-0"}
    assert [one["request_id"] for one in story["label_events"][0]["attributed"]["competed"]] == [
        "r-0-late",
        "r-0-early",
    ]
    books = a.conservation.books()
    assert (books["stored"]["entity_label_events"], books["stored"]["attributed"]) == (ORDERS, ORDERS)
    round_ = a.verifier.run()
    assert (round_.status, round_.wrong.total()) == ("done", 0)

    b.configure(model, read_config({"labels": {"label": {"window": "1d", "attribution": "shared"}}}))

    def shared() -> bool:
        found = outcomes(a.store, model)
        assert {found.get(id_) for id_ in ("r-4-early", "r-4-late")} == {("labelled", 2.0)}
        assert sum(value or 0 for _, value in found.values()) == sum(range(ORDERS))
        return True

    eventually(shared, 120, every_s=0.3)
