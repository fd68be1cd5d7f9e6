"""kill -9 of the server at random moments, again and again: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import random
import threading
import time

import httpx
import pyarrow.parquet as pq

from tests.faults.books import assert_books_balance
from tests.running import RunningServer

KILLS = 6


def test_acknowledged_events_survive_kill_9_at_any_moment(server: RunningServer) -> None:
    """A writer and a labeller note what was acknowledged; after six kills the export holds all of it, once."""
    rng = random.Random(11)
    acknowledged: set[str] = set()
    labelled: dict[str, int] = {}
    sent: set[str] = set()
    stop = threading.Event()

    def write() -> None:
        number = 0
        with httpx.Client(base_url=server.url, timeout=5) as http:
            while not stop.is_set():
                ids = [f"r{number + i}" for i in range(20)]
                number += 20
                events = [{"request_id": id_, "model": "m", "features": {"n": int(id_[1:])}} for id_ in ids]
                sent.update(ids)
                labels = [{"request_id": id_, "value": int(id_[1:]) % 2} for id_ in ids]
                try:
                    if http.post("/v1/predictions", json=events).status_code == 200:
                        acknowledged.update(ids)
                    if http.post("/v1/labels", json=labels).status_code == 200:
                        labelled.update({id_: int(id_[1:]) % 2 for id_ in ids})
                except httpx.TransportError:
                    time.sleep(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.2, 0.6))
        server.kill()
        server.start()
    stop.set()
    thread.join()
    server.until_joined()
    found = server.export(model="m")
    rows = pq.read_table(f"{found['location']}/part-00000.parquet").to_pylist()
    stored = {row["request_id"]: row for row in rows}
    assert len(rows) == len(stored), "no prediction is there twice"
    assert acknowledged, "the run must have acknowledged something"
    assert acknowledged <= set(stored) <= sent
    for request_id, row in stored.items():
        assert row["feature__n"] == int(request_id[1:])
        if request_id in labelled:
            assert row["label__label"] == labelled[request_id]
    assert server.http.get("/v1/models").json()["models"][0]["predictions"] == len(rows)
    [label] = server.http.get("/v1/models/m/labels").json()["labels"]
    assert label["labelled"] == sum(row["label_state__label"] == "labelled" for row in rows)
    books = assert_books_balance(server)
    assert books["stored"]["predictions"] == len(rows)
