"""Promise 2 at every instant: a reader polls ten times a second while labels are revised and the server is killed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.faults.books import assert_books_balance
from tests.running import RunningServer
from tests.waiting import eventually

PREDICTIONS = 60
KILLS = int(os.environ.get("UPSHOT_TEST_KILLS", "4"))
POLL_S = 0.1


class Reader:
    """Looks at everything that shows predictions, and notes what may not be."""

    def __init__(self, server: RunningServer) -> None:
        self.looks: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seen: set[Any] = set()
        self._server = server
        self._stop = threading.Event()
        self._rng = random.Random(7)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    @property
    def n_looks(self) -> int:
        """How often something was seen."""
        return self.looks.total() - self.looks["away"]

    def end(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        looks = (self._story, self._coverage, self._models, self._performance, self._export)
        number = 0
        with httpx.Client(base_url=self._server.url, timeout=10) as http:
            while not self._stop.is_set():
                began = time.monotonic()
                look = looks[number % len(looks)] if number % 3 else self._story
                number += 1
                try:
                    look(http)
                    self.looks[look.__name__] += 1
                except httpx.TransportError:
                    self.looks["away"] += 1
                self._stop.wait(max(0.0, POLL_S - (time.monotonic() - began)))

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def _story(self, http: httpx.Client) -> None:
        number = self._rng.randrange(PREDICTIONS)
        told = http.get(f"/v1/predictions/r{number}").json()
        self._check(len(told["predictions"]) == 1, f"story: {len(told['predictions'])} predictions")
        outcomes = told["outcomes"]
        self._check(len(outcomes) <= 1, f"story: {len(outcomes)} outcomes")
        for outcome in outcomes:
            self._check(outcome["state"] in ("pending", "labelled", "retracted"), f"story: {outcome['state']}")
            self._check(outcome["value"] in (None, *range(1000)), f"story: {outcome['value']}")
            self.seen.add((number, outcome["value"]))

    def _coverage(self, http: httpx.Client) -> None:
        for label in http.get("/v1/models/m/labels").json()["labels"]:
            states = [label[state] for state in ("labelled", "defaulted", "pending", "retracted", "censored")]
            self._check(label["predictions"] == PREDICTIONS, f"coverage: {label['predictions']} predictions")
            self._check(sum(states) == PREDICTIONS and min(states) >= 0, f"coverage: {states}")

    def _models(self, http: httpx.Client) -> None:
        [model] = http.get("/v1/models").json()["models"]
        self._check(model["predictions"] == PREDICTIONS, f"models: {model['predictions']} predictions")

    def _performance(self, http: httpx.Client) -> None:
        told = http.get("/v1/models/m/performance").json()
        rows = sum(window["rows"] for window in told["windows"])
        matured = sum(window["matured"] for window in told["windows"])
        self._check(matured <= rows <= PREDICTIONS, f"performance: {rows} rows, {matured} matured")

    def _export(self, http: httpx.Client) -> None:
        asked = http.post("/v1/exports", json={"model": "m"}).json()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = http.get(f"/v1/exports/{asked['id']}").json()
            if found["status"] not in ("queued", "running"):
                break
            time.sleep(0.02)
        if found["status"] != "done":
            return  # a kill ended it, or ended the request that would have started it
        ids = pq.read_table(f"{found['location']}/part-00000.parquet", columns=["request_id"])["request_id"].to_pylist()
        self._check(len(ids) == len(set(ids)) == PREDICTIONS, f"export: {len(ids)} rows, {len(set(ids))} requests")


@pytest.mark.timeout(1800)  # every kill is followed by a start, which takes long on a busy machine
def test_one_row_per_prediction_at_every_instant(server: RunningServer) -> None:
    """Story, coverage, models, performance, export, through revisions and four kills: never a row too many or too few."""
    assert (
        server.http.put("/v1/models/m", json={"task": "regression", "labels": {"label": {"window": "1h"}}}).status_code
        == 200
    )
    predictions = [
        {"request_id": f"r{n}", "model": "m", "prediction": n, "predicted_at": time.time() - 7200 + n * 120}
        for n in range(PREDICTIONS)
    ]
    assert server.post("/v1/predictions", predictions).json()["accepted"] == PREDICTIONS
    reader = Reader(server)
    stop = threading.Event()
    latest: dict[int, int] = {}

    def revise() -> None:
        rng = random.Random(3)
        number = 0
        with httpx.Client(base_url=server.url, timeout=10) as http:
            while not stop.is_set():
                number += 1
                of = rng.sample(range(PREDICTIONS), 8)
                batch = [
                    {"request_id": f"r{n}", "value": number % 1000, "observed_at": time.time(), "label_id": f"{number}"}
                    for n in of
                ]
                while True:  # until it is answered, as every sender does
                    try:
                        if http.post("/v1/labels", json=batch).status_code == 200:
                            break
                    except httpx.TransportError:
                        time.sleep(0.02)
                latest.update(dict.fromkeys(of, number % 1000))

    thread = threading.Thread(target=revise)
    thread.start()
    rng = random.Random(5)
    try:
        for _ in range(KILLS):
            looked = reader.n_looks
            eventually(lambda looked=looked: reader.n_looks >= looked + 12, 300)
            time.sleep(rng.uniform(0.0, 1.0))  # a moment of no account
            server.kill()
            server.start()
        looked = reader.n_looks
        eventually(lambda: reader.n_looks >= looked + 12, 300)
    finally:
        stop.set()
        thread.join()
        reader.end()
    assert reader.wrong == []
    assert reader.looks["_story"] > 10, reader.looks
    assert min(reader.looks[name] for name in ("_coverage", "_models", "_performance", "_export")) >= 1, reader.looks
    assert len(reader.seen) > 10, "the reader must have seen outcomes change"
    server.until_joined()
    for n, value in latest.items():
        [outcome] = server.story(f"r{n}")["outcomes"]
        assert outcome["value"] == value
    books = assert_books_balance(server)
    assert (books["stored"]["predictions"], books["stored"]["orphans"]) == (PREDICTIONS, 0)
