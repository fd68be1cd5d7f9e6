"""Servers that are away, stopped or unreachable, and networks that mangle (rows F14, F16, F18 and F19)."""

from __future__ import annotations

import pyarrow.parquet as pq

import upshot
from tests.faults.proxy import Proxy
from tests.logger.collector import balance
from tests.running import RunningServer


def test_lost_answers_make_duplicates_that_nobody_sees(server: RunningServer) -> None:
    """F18: fifty times the server stores a batch and the answer is lost; each event is there once, in every read."""
    with (
        Proxy(server.url) as proxy,
        upshot.Logger(url=proxy.url, model="m", flush_interval_s=60, batch_max_events=10) as logger,
    ):
        logger.log_prediction({}, 0, request_id="warm")
        assert logger.flush(30)
        for k in range(50):
            for i in range(10):
                logger.log_prediction({"n": k * 10 + i}, 0, request_id=f"r{k}-{i}")
            proxy.reset_answers += 1
            assert logger.flush(30)
            assert proxy.reset_answers == 0
        stats = logger.stats()
        assert (stats["accepted"], stats["duplicates"], stats["stored"]) == (501, 500, 1)
        assert (balance(stats), stats["dropped"], stats["rejected"]) == (0, 0, 0)
    found = server.export(model="m")
    rows = pq.read_table(f"{found['location']}/part-00000.parquet").to_pylist()
    expected = {f"r{k}-{i}": k * 10 + i for k in range(50) for i in range(10)} | {"warm": None}
    assert len(rows) == 501
    assert {row["request_id"]: row["feature__n"] for row in rows} == expected
    [model] = server.http.get("/v1/models").json()["models"]
    assert model["predictions"] == 501
    for request_id, n in (("r0-0", 0), ("r25-5", 255), ("r49-9", 499)):
        [told] = server.story(request_id)["predictions"]
        assert told["features"] == {"n": n}
