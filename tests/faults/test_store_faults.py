"""What is done to a ClickHouse server under two real `upshot serve` processes (fault row F23), and that the two are one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import RunningServer
from tests.running_clickhouse import RunningClickHouse
from tests.waiting import eventually
from upshot_joiner.store.client import Store

pytestmark = pytest.mark.timeout(600)

PATIENCE_S = 120
ROWS = 12


class ServerOver(RunningServer):
    """`upshot serve` over a ClickHouse server."""

    def __init__(self, data: Path, clickhouse: str) -> None:
        super().__init__(data)
        self._clickhouse = clickhouse

    def command(self) -> list[str]:
        """What is run."""
        serve = [sys.executable, "-m", "upshot_server", "serve", "--data", str(self.data), "--port", str(self.port)]
        return [*serve, "--clickhouse", self._clickhouse]


@pytest.fixture(scope="module")
def clickhouse_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClickHouse]:
    from tests.running_clickhouse import require_clickhouse

    require_clickhouse()
    running = RunningClickHouse(tmp_path_factory.mktemp("store-faults") / "clickhouse")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def two(clickhouse_of_two: RunningClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerOver]]:
    servers = [ServerOver(tmp_path_factory.mktemp("server") / "data", clickhouse_of_two.url) for _ in range(2)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.end()


@pytest.fixture
def store(clickhouse_of_two: RunningClickHouse) -> Iterator[Store]:
    """What an administrator does to the server."""
    opened = Store.open_server(clickhouse_of_two.url)
    yield opened
    opened.close()


def known(server: ServerOver, model: str) -> list[Any]:
    """What a server says of a model, but for what depends on the moment of the question."""
    told = server.http.get(f"/v1/models/{model}/labels").json()
    labels = [
        {name: one[name] for name in ("name", "predictions", "labelled", "defaulted", "pending", "orphans")}
        for one in told["labels"]
    ]
    stories = [server.story(f"{model}-{n}") for n in range(ROWS)]
    return [labels, *((one["predictions"], one["label_events"], one["outcomes"]) for one in stories)]


def test_two_servers_answer_alike_while_labels_come_to_both(two: list[ServerOver], fresh: str) -> None:
    """Predictions at one, labels and revisions at both, at once: the same sums, and every answer the same."""
    assert two[0].http.put(f"/v1/models/{fresh}", json={"labels": {"label": {"combine": "sum"}}}).status_code == 200
    counts = {"accepted": 0, "duplicates": 0}
    lock = threading.Lock()

    def send(number: int) -> None:
        with httpx.Client(base_url=two[number].url, timeout=60) as http:
            for k in range(10):
                of = range(ROWS) if k % 2 else range(ROWS - 1, -1, -1)
                labels = [{"request_id": f"{fresh}-{n}", "value": k, "observed_at": 1.7e9 + k} for n in of]
                answers = [http.post("/v1/labels", json=labels).json()]
                if k == 3 * (1 + number):
                    events = [{"request_id": f"{fresh}-{n}", "model": fresh, "features": {"n": n}} for n in of]
                    http.post("/v1/predictions", json=events)
                with lock:
                    for answer in answers:
                        for name in counts:
                            counts[name] += answer[name]

    threads = [threading.Thread(target=send, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Both sent the same statements: of each pair, one was new (or, at the same instant, both took part in one row).
    assert counts["accepted"] + counts["duplicates"] == 2 * 10 * ROWS
    for server in two:
        server.until_joined(PATIENCE_S)
    sums = [sum(range(10))] * ROWS

    def values(server: ServerOver) -> list[Any]:
        return [server.story(f"{fresh}-{n}")["outcomes"][0]["value"] for n in range(ROWS)]

    eventually(lambda: [values(server) for server in two] == [sums, sums], PATIENCE_S, every_s=0.5)
    eventually(lambda: known(two[0], fresh) == known(two[1], fresh), PATIENCE_S, every_s=0.5)
    assert known(two[0], fresh)[0][0]["labelled"] == ROWS


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (
            "ALTER TABLE label_events MODIFY SETTING table_readonly = 1",
            "ALTER TABLE label_events MODIFY SETTING table_readonly = 0",
        ),
        ("RENAME TABLE label_events TO label_events_away", "RENAME TABLE label_events_away TO label_events"),
    ],
    ids=["read-only", "schema missing"],
)
def test_a_store_that_takes_nothing_refuses_and_blames_no_row(
    two: list[ServerOver], store: Store, fresh: str, break_it: str, mend_it: str
) -> None:
    """503 with Retry-After at both servers, nothing in quarantine, and the same events are taken once it is mended."""
    two[0].post("/v1/predictions", [{"request_id": f"{fresh}-{n}", "model": fresh} for n in range(4)])
    labels = [{"request_id": f"{fresh}-{n}", "model": fresh, "value": n} for n in range(4)]
    store.command(break_it)
    try:
        for server in two:
            answer = server.post("/v1/labels", labels)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in answer.headers
            assert server.http.get("/healthz").status_code == 200
    finally:
        store.command(mend_it)
    refused = "SELECT count() FROM quarantine WHERE model = {m:String}"
    assert store.query(refused, {"m": fresh}) == [(0,)]
    answers = [server.post("/v1/labels", labels).json() for server in two]
    assert [(one["accepted"], one["duplicates"], one["rejected"]) for one in answers] == [(4, 0, 0), (0, 4, 0)]
    for server in two:
        server.until_joined(PATIENCE_S)
        assert [server.story(f"{fresh}-{n}")["outcomes"][0]["value"] for n in range(4)] == [0, 1, 2, 3]
        eventually(lambda server=server: server.http.get("/readyz").status_code == 200, PATIENCE_S)  # type: ignore[misc]


def test_a_store_that_stands_still_makes_senders_wait_and_loses_nothing(
    two: list[ServerOver], clickhouse_of_two: RunningClickHouse, fresh: str
) -> None:
    """SIGSTOP: nothing is acknowledged while it lasts, the servers live, and each label is stored once when it goes on."""
    two[0].post("/v1/predictions", {"request_id": fresh, "model": fresh})
    assert two[0].http.put(f"/v1/models/{fresh}", json={"labels": {"label": {"combine": "sum"}}}).status_code == 200
    answers: list[httpx.Response] = []

    def send(number: int) -> None:
        label = {"request_id": fresh, "value": 1 + number, "observed_at": 1.7e9 + number}
        with httpx.Client(base_url=two[number].url, timeout=PATIENCE_S) as http:
            while True:
                answer = http.post("/v1/labels", json=label)
                if answer.status_code == 200:
                    answers.append(answer)
                    return

    clickhouse_of_two.pause()
    threads = [threading.Thread(target=send, args=(number,)) for number in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(5):
            for server in two:
                assert server.http.get("/healthz").status_code == 200
            threads[0].join(1)
        assert answers == []
    finally:
        clickhouse_of_two.resume()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(answer.json()["accepted"] + answer.json()["duplicates"] for answer in answers) == [1, 1]
    for server in two:
        server.until_joined(PATIENCE_S)
        eventually(lambda server=server: server.story(fresh)["outcomes"][0]["value"] == 3, PATIENCE_S)  # type: ignore[misc]
        assert len(server.story(fresh)["label_events"]) == 2
