"""`log_frame` and `log_slate` through the real server: stored is what single calls would have stored, and labels find it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import upshot
from tests.running import RunningServer
from tests.waiting import eventually

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    running = RunningServer(tmp_path_factory.mktemp("frames") / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture
def logger(server: RunningServer):
    with upshot.Logger(url=server.url, model="frames", model_version="1", flush_interval_s=0.05) as made:
        yield made


def stored(server: RunningServer, request_id: str) -> list[dict[str, Any]]:
    """The predictions of a request, without what differs from one to the next."""
    answer = server.http.get(f"/v1/predictions/{request_id}")
    assert answer.status_code == 200, answer.text
    own = {"received_at", "writer_id", "seq", "model"}
    return [{name: value for name, value in one.items() if name not in own} for one in answer.json()["predictions"]]


def outcomes(server: RunningServer, request_id: str) -> dict[tuple[str, str], Any]:
    """(item ID, label) -> value."""
    found = server.http.get(f"/v1/predictions/{request_id}").json()["outcomes"]
    return {(one["item_id"], one["name"]): one["value"] for one in found if one["state"] == "labelled"}


ROWS: dict[str, list[Any]] = {
    "int": [1, None, -(2**63)],
    "float": [0.1, float("nan"), float("-inf")],
    "bool": [True, None, False],
    "text": ["x", None, ""],
    "moment": [AT, None, AT + dt.timedelta(days=1)],
    "naive": [AT.replace(tzinfo=None), None, dt.datetime(1969, 12, 31)],  # noqa: DTZ001
    "date": [dt.date(2026, 1, 2), None, dt.date(1900, 1, 1)],
    "time": [dt.time(1, 2, 3), None, dt.time(1, 2, 3, 4)],
    "duration": [dt.timedelta(days=1, seconds=2.5), None, -dt.timedelta(seconds=1)],
    "decimal": [Decimal("0.10"), None, Decimal("12.34")],
    "list": [[1.5, 2.5], None, []],
    "odd list": [[1, None], None, [2]],
    "texts": [["a"], None, ["b"]],
    "nested": [{"a": 1}, None, {"a": 2}],
    "bytes": [b"abc", None, b"\xff"],
}


def test_a_frame_is_stored_as_its_rows_would_be(server, logger):
    """Every kind of column, polars and pyarrow alike: features with type and value, flags, moments, entities, tags."""
    ids = ["a", "b", "c"]
    columns = {
        **ROWS,
        "prediction": [0.5, 0.25, 0.75],
        "user": [17, None, 18],
        "channel": ["web", None, "app"],
        "at": [AT, AT, AT + dt.timedelta(microseconds=1)],
    }
    for row, request_id in enumerate(ids):
        logger.log_prediction(
            {name: values[row] for name, values in ROWS.items()},
            columns["prediction"][row],
            request_id=f"row-{request_id}",
            predicted_at=columns["at"][row],
            entities={"user": columns["user"][row]},
            tags={"channel": columns["channel"][row]},
        )
    for name, table in (("arrow", pa.table(columns)), ("polars", pl.DataFrame(columns, strict=False))):
        frame_ids = pa.array([f"{name}-{request_id}" for request_id in ids])
        table = (
            table.append_column("rid", frame_ids)
            if name == "arrow"
            else table.with_columns(pl.Series("rid", frame_ids.to_pylist()))
        )
        logger.log_frame(
            table,
            request_id="rid",
            predicted_at="at",
            entities={"user": "user"},
            tags={"channel": "channel"},
            features=list(ROWS),
        )
    assert logger.flush(30)
    assert logger.stats()["stored"] == 9
    for request_id in ids:
        [alone] = stored(server, f"row-{request_id}")
        for name in ("arrow", "polars"):
            [of_frame] = stored(server, f"{name}-{request_id}")
            assert of_frame == alone


def test_labels_find_the_rows_of_a_frame(server, logger):
    """By the IDs that the call returned, as a column of the frame they came from."""
    frame = pd.DataFrame({"score": np.linspace(0, 1, 500), "x": range(500)})
    frame["request_id"] = logger.log_frame(frame, prediction="score", batch_rows=200)
    for request_id in frame["request_id"][::100]:
        logger.log_label(request_id, 1, name="click")
    assert logger.flush(30)
    assert logger.stats()["stored"] == 505
    for row in range(0, 500, 100):
        request_id = frame["request_id"][row]
        assert stored(server, request_id)[0]["features"] == {"x": row}
        eventually(lambda request_id=request_id: outcomes(server, request_id) == {("", "click"): 1}, 20)


def test_the_same_frame_again_is_harmless(server, logger):
    """A job that ran twice: duplicates, no conflicts. Other content under the same ID is one."""
    frame = pa.table({"rid": [f"again-{i}" for i in range(50)], "prediction": [0.5] * 50, "x": range(50)})
    for _ in range(2):
        logger.log_frame(frame, request_id="rid", predicted_at=AT)
    other = frame.set_column(2, "x", pa.array([7] * 50))
    logger.log_frame(other, request_id="rid", predicted_at=AT)
    assert logger.flush(30)
    stats = logger.stats()
    assert (stats["stored"], stats["duplicates"], stats["rejected_conflict"]) == (50, 51, 49)


def test_the_items_of_a_slate_have_labels_of_their_own(server, logger):
    """In the order they were served, with what was said of all of them."""
    request_id = logger.log_slate(
        [{"item_id": "a", "prediction": 0.9, "features": {"price": 5}}, {"prediction": 0.1, "propensity": 0.25}],
        features={"query": "shoes"},
        entities={"user": "u"},
    )
    logger.log_label(request_id, 1, name="click", item_id="1")
    assert logger.flush(30)
    first, second = sorted(stored(server, request_id), key=lambda one: one["tags"]["position"])
    assert (first["item_id"], first["features"]) == ("a", {"query": "shoes", "price": 5})
    assert (second["item_id"], second["features"], second["propensity"]) == ("1", {"query": "shoes"}, 0.25)
    assert first["predicted_at"] == second["predicted_at"]
    assert first["entities"] == second["entities"] == {"user": "u"}
    eventually(lambda: outcomes(server, request_id) == {("1", "click"): 1}, 20)
