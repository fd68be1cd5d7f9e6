"""The same events through an embedded server, through two servers over one ClickHouse, and over two shards: the same answers."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr

from tests.running import RunningServer
from tests.running_clickhouse import RunningClickHouse, cluster_of, require_clickhouse
from tests.waiting import eventually
from upshot_joiner.clock import SystemClock
from upshot_server.app import create_app
from upshot_server.parts import Parts
from upshot_server.settings import Settings

BASE = datetime(2026, 3, 1, tzinfo=UTC)
MODEL = "scale"
ROWS = 600


class ServerHere(RunningServer):
    """A server over a shared store, in this process: such a store is nobody's alone."""

    def __init__(self, data: Path, clickhouse: str) -> None:
        super().__init__(data)
        self._clickhouse = clickhouse

    def start(self) -> None:
        """Open it."""
        settings = Settings(data_dir=self.data, clickhouse=SecretStr(self._clickhouse))
        app = create_app(Parts.open(settings, SystemClock()))
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="warning", access_log=False))
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)
        self._thread.start()
        eventually(lambda: self._uvicorn.started, 60)

    def end(self) -> None:
        """Close it."""
        self.http.close()
        self._uvicorn.should_exit = True
        self._thread.join(60)


def predictions() -> list[dict[str, Any]]:
    """Two versions, a slate, a feature of two kinds, some that come late, IDs of every kind, in three hours."""
    rng = random.Random(5)
    made = []
    for n in range(ROWS):
        key = rng.getrandbits(128)
        ids = (f"text-{n}", f"{key >> 96:08x}-{key >> 80 & 0xFFFF:04x}-7abc-8def-{key & (1 << 48) - 1:012x}")
        features: dict[str, Any] = {"x": n / 7, "mixed": n if n % 3 else f"text {n}", "colour": ["red", "green"][n % 2]}
        if n % 5 == 0:
            features["sometimes"] = None
        made.append(
            {
                "request_id": ids[n % 2],
                "item_id": str(n % 3) if n % 4 == 0 else "",
                "model": MODEL,
                "model_version": str(1 + n % 2),
                "predicted_at": (BASE + timedelta(seconds=n * 17 % 10_000)).isoformat(),
                "features": features,
                "prediction": (n * 37 % 101) / 101,
                "tags": {"channel": ["web", "app"][n % 2]},
                "writer_id": MODEL,
                "seq": n,
            }
        )
    return made


def labels(predicted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Most have a label; some are revised, some are taken back, some wait for a prediction that never comes."""
    made = []
    for n, one in enumerate(predicted):
        said = {
            "request_id": one["request_id"],
            "item_id": one["item_id"],
            "name": "click",
            "observed_at": (BASE + timedelta(hours=4, seconds=n)).isoformat(),
        }
        if n % 10:
            made.append(said | {"value": int((n * 37 % 101) / 101 > 0.4) ^ (n % 7 == 0)})
        if n % 25 == 3:
            made.append(said | {"op": "retract", "observed_at": (BASE + timedelta(hours=9)).isoformat()})
        if n % 50 == 1:
            made.append(said | {"request_id": f"nobody-{n}", "value": 1})
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale-out")


@pytest.fixture(scope="module")
def shards(folder: Path) -> Iterator[list[RunningClickHouse]]:
    """A cluster of two shards."""
    require_clickhouse()
    servers = [RunningClickHouse(folder / "shard-1"), RunningClickHouse(folder / "shard-2")]
    for server in servers:
        server.settings = cluster_of(servers)
        server.start()
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def kinds(folder: Path, shards: list[RunningClickHouse]) -> Iterator[dict[str, list[RunningServer]]]:
    """For each kind of store the servers over it, which took the events between them; the same moment closes all of them."""
    alone = RunningClickHouse(folder / "one")
    alone.start()
    cluster = ",".join(shard.url for shard in shards)
    started: dict[str, list[RunningServer]] = {
        "embedded": [RunningServer(folder / "embedded/data")],
        "one server": [ServerHere(folder / f"one-{n}/data", alone.url) for n in range(2)],
        "two shards": [ServerHere(folder / f"two-{n}/data", cluster) for n in range(2)],
    }
    config = {
        "labels": {"click": {"window": "1d", "default": 0, "combine": "last"}},
        "primary_label": "click",
        "segments": ["tags.channel"],
    }
    predicted = predictions()
    said = labels(predicted)
    for number, servers in enumerate(started.values()):
        for server in servers:
            server.start()
        order = random.Random(number)
        assert servers[0].http.put(f"/v1/models/{MODEL}", json=config).status_code == 200
        blocks = [("/v1/predictions", predicted[at : at + 60]) for at in range(0, ROWS, 60)]
        blocks += [("/v1/labels", said[at : at + 60]) for at in range(0, len(said), 60)]
        order.shuffle(blocks)
        for at, (path, block) in enumerate([*blocks, blocks[0], blocks[-1]]):
            answer = servers[at % len(servers)].post(path, block).json()
            assert answer["accepted"] + answer["duplicates"] == len(block), answer
        for server in servers:
            server.until_joined()
    yield started
    for servers in started.values():
        for server in servers:
            server.end()
    alone.stop()


def everyone(kinds: dict[str, list[RunningServer]]) -> list[tuple[str, RunningServer]]:
    """Every server with the kind of its store; the embedded one first."""
    return [(kind, server) for kind, servers in kinds.items() for server in servers]


def test_requests_are_spread_over_the_shards_and_each_is_whole_on_one(
    kinds: dict[str, list[RunningServer]], shards: list[RunningClickHouse]
) -> None:
    """A prediction, its label events and its outcome are on the same shard."""
    from upshot_joiner.store.client import Store

    seen: list[set[int]] = []
    for shard in shards:
        store = Store.open_server(shard.url)
        found = [
            {key for (key,) in store.query(f"SELECT request_key FROM {table} FINAL")}
            for table in ("predictions", "outcomes")
        ]
        assert found[1] <= found[0]
        assert len(found[0]) > ROWS / 4
        orphaned = store.query(
            "SELECT count() FROM label_events WHERE request_key NOT IN (SELECT request_key FROM predictions)"
        )
        assert orphaned[0][0] < 15
        seen.append(found[0])
        store.close()
    assert not seen[0] & seen[1]


def test_an_export_is_the_same_bytes_on_every_kind_of_store(kinds: dict[str, list[RunningServer]]) -> None:
    """Embedded, on one server and merged from two shards, asked of any server; and again after more has come."""
    as_of = datetime.now(UTC).isoformat()
    made = {
        (kind, number): server.export(model=MODEL, as_of=as_of)
        for kind, servers in kinds.items()
        for number, server in enumerate(servers)
    }
    first = made["embedded", 0]
    assert first["manifest"]["rows"] == ROWS
    assert first["manifest"]["states"].keys() == {"labelled", "defaulted", "retracted"}
    for where, one in made.items():
        assert one["manifest"] == first["manifest"], where
        for file in first["manifest"]["files"]:
            assert (Path(one["location"]) / file["path"]).read_bytes() == (
                Path(first["location"]) / file["path"]
            ).read_bytes()
    late = [
        {"request_id": one["request_id"], "item_id": one["item_id"], "name": "late", "value": 1}
        for one in predictions()[:50]
    ]
    for kind, servers in kinds.items():
        assert servers[-1].post("/v1/labels", late).json()["accepted"] == len(late), kind
        assert servers[0].export(model=MODEL, as_of=as_of)["manifest"] == first["manifest"], kind


def test_every_answer_is_that_of_the_embedded_server(kinds: dict[str, list[RunningServer]]) -> None:
    """Each question about the model, asked of every server. Not the histograms: their scale is that of the first rows."""
    story = predictions()[7]["request_id"]
    questions = [
        f"/v1/models/{MODEL}",
        f"/v1/models/{MODEL}/labels",
        f"/v1/models/{MODEL}/traffic",
        f"/v1/models/{MODEL}/performance?label=click",
        f"/v1/models/{MODEL}/performance?label=click&segment=tags.channel",
        f"/v1/models/{MODEL}/performance?label=click&version=2",
        f"/v1/models/{MODEL}/compare?a=1&b=2&label=click",
        f"/v1/models/{MODEL}/drift?baseline=previous",
        f"/v1/predictions/{story}",
        f"/v1/writers/{MODEL}",
        "/v1/models",
    ]
    expected = kinds["embedded"][0]
    for question in questions:
        for _, server in everyone(kinds)[1:]:

            def same(question: str = question, server: RunningServer = server) -> bool:
                wanted, got = expected.http.get(question), server.http.get(question)
                assert wanted.status_code == got.status_code == 200, (question, got.text)
                assert lasting(got.json()) == lasting(wanted.json())
                return True

            eventually(same, 90, every_s=0.5)


TRANSIENT = {
    "received_at", "first_seen", "last_seen", "oldest_orphan", "health", "last_report_at", "version", "revision", "delay_s",
    "delay_curve", "delay_band", "arrival", "window_advice", "as_of", "computed_at", "exported",
}  # fmt: skip


def lasting(told: Any) -> Any:
    """An answer without when things were received; numbers to nine digits."""
    if isinstance(told, dict):
        return {name: lasting(value) for name, value in told.items() if name not in TRANSIENT}
    if isinstance(told, list):
        return [lasting(one) for one in told]
    if isinstance(told, float) and math.isfinite(told):
        return float(f"{told:.9g}")
    return told


def test_a_shard_that_is_down_refuses_writes_and_loses_nothing(
    kinds: dict[str, list[RunningServer]], shards: list[RunningClickHouse]
) -> None:
    """What is sent meanwhile is answered with 503 and taken when it is sent again; the servers need no restart."""
    server = kinds["two shards"][1]
    events = [
        {"request_id": f"down-{n}", "model": "down", "prediction": 0.5, "predicted_at": BASE.isoformat()}
        for n in range(40)
    ]
    assert server.post("/v1/predictions", events[:20]).json()["accepted"] == 20
    shards[1].kill()
    assert server.post("/v1/predictions", events).status_code == 503
    shards[1].start()

    def taken() -> bool:
        answer = server.post("/v1/predictions", events)
        assert answer.status_code == 200
        return bool(answer.json()["accepted"] + answer.json()["duplicates"] == 40)

    eventually(taken, 60, every_s=0.5)
    assert server.export(model="down")["manifest"]["rows"] == 40
