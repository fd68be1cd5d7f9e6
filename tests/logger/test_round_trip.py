"""From the call to the real server and back: what was given is what is told, with its type; what must not leave is nowhere."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

import upshot
from tests.logger.collector import balance
from tests.logger.test_redaction import AWS, CARD, JWT, KEY, MAIL, Opaque, hashed
from tests.logger.test_values import same
from tests.running import RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests of this module, which keep apart by names of their own."""
    running = RunningServer(tmp_path_factory.mktemp("server") / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture
def log(server: RunningServer, fresh: str, tmp_path: Path) -> Iterator[upshot.Logger]:
    """A logger to that server, for a model of its own."""
    with upshot.Logger(url=server.url, model=fresh, spool_dir=str(tmp_path / "spool"), flush_interval_s=0.02) as logger:
        yield logger


@pytest.fixture
def told(server: RunningServer, log: upshot.Logger) -> Callable[..., dict[str, Any]]:
    """Log a prediction, and what the server then tells of it."""

    def tell(features: Any, prediction: Any = 0, **call: Any) -> dict[str, Any]:
        request_id = log.log_prediction(features, prediction, **call)
        assert log.flush(20)
        assert log.stats()["stored"] == log.stats()["accepted"]
        prediction_told: dict[str, Any] = server.story(request_id)["predictions"][0]
        # JSON has no NaN: the story tells it as text, and says where.
        for name in prediction_told.get("non_finite") or []:
            prediction_told["features"][name] = float(prediction_told["features"][name])
        return prediction_told

    return tell


BOTH_WAYS = [pytest.param({}, id="short way"), pytest.param({"inputs": {"way": "long"}}, id="long way")]


@pytest.mark.parametrize("call", BOTH_WAYS)
@pytest.mark.parametrize(
    "features",
    [
        pytest.param({"a": "x\0y", "nul\0name": "\0"}, id="NUL"),
        pytest.param({"nan": math.nan, "inf": math.inf, "low": -math.inf, "zero": -0.0, "small": 5e-324}, id="floats"),
        pytest.param(
            {"a": 2**53 + 1, "b": 2**63 - 1, "c": 2**63, "d": 2**64 - 1, "e": 2**64, "f": -1, "g": -(2**63) - 1},
            id="integers",
        ),
        pytest.param({"a": 10**400, "b": -(10**4000), "c": [1, 2**70]}, id="very large integers"),
        pytest.param(
            {"null": None, "zero": 0, "float zero": 0.0, "empty": "", "false": False, "none": []}, id="nothings"
        ),
        pytest.param({"a": True, "b": 1, "c": 1.0, "d": "1", "e": "1.5", "f": [1], "g": [1.0, True]}, id="types"),
        pytest.param(
            {
                "": 1,
                " ": 2,
                "n" * 512: 3,
                "line\nbreak": 4,
                "\u202egnp": 5,
                "😀": 6,
                "é": 7,
                "e\u0301": 8,
                "a.b": 9,
                "a": 10,
                "\r\n": 11,
                "\x1b[31m": 12,
            },
            id="names",
        ),
        pytest.param(
            dict.fromkeys(
                ("__proto__", "constructor", "toString", "event_id", "tenant", "_row_exists", "request_id"), "x"
            ),
            id="names with a meaning elsewhere",
        ),
    ],
)
def test_values_and_names_come_back_as_they_were_given(told, features, call):
    """Null is not absent, NaN is not null, 1 is not true; integers are exact; names are opaque; é is not é."""
    answer = told(features, **call)
    assert same(dict(sorted(answer["features"].items())), dict(sorted(features.items())))
    assert not answer.get("flags")


def test_null_absent_zero_and_empty_text_are_four_things_in_an_export(server, log, fresh):
    """As columns have them: a row each, of the same feature."""
    given = {"null": {"x": None, "y": 1}, "absent": {"y": 1}, "zero": {"x": 0, "y": 1}, "empty": {"x": "", "y": 1}}
    for request_id, features in given.items():
        log.log_prediction(features, 0.5, request_id=f"{fresh}-{request_id}")
    assert log.flush(20)
    for request_id, features in given.items():
        assert same(server.story(f"{fresh}-{request_id}")["predictions"][0]["features"], features)
    found = server.export(model=fresh)
    rows = pq.read_table(Path(found["location"]) / "part-00000.parquet").to_pylist()
    assert len(rows) == 4
    assert {row["feature__y"] for row in rows} == {1}


def test_a_feature_may_change_its_type(told):
    """An integer today, text tomorrow: both are kept as they were."""
    for value in (17, "seventeen", 17.5, True, None, [1, 7]):
        assert same(told({"changing": value, "other": 1})["features"], {"changing": value, "other": 1})


def test_what_becomes_text_is_flagged_whichever_side_made_it(told, log):
    """By the logger when it looked, by the server when it did not: the same text, the same flag, each counted once."""

    @dataclasses.dataclass
    class Address:
        zip: int
        since: datetime

    home = Address(5, datetime(2024, 1, 2, tzinfo=UTC))
    features = {"home": home, "pair": ("a", 1), "raw": b"\xff", "wait": timedelta(hours=25), "n": np.float32(0.5)}
    kept = {
        "home": "{'zip': 5, 'since': '2024-01-02T00:00:00+00:00'}",
        "pair": "['a', 1]",
        "raw": "b'\\xff'",
        "wait": "P1DT3600S",
    }
    short, long = told({**features, "n": 0.5}), told(features, inputs={})
    for answer in (short, long):
        assert same(dict(sorted(answer["features"].items())), dict(sorted({**kept, "n": 0.5}.items())))
        assert answer["flags"] == {f"features.{name}": "repr" for name in ("home", "pair", "raw")}
    assert log.stats()["converted_repr"] == 6


def test_text_that_is_no_unicode_is_mended_and_flagged(told):
    """U+FFFD stands where a lone surrogate stood."""
    answer = told({"a": "x\ud800y", "b\udfff": 1, "c": 2})
    assert answer["features"] == {"a": "x\ufffdy", "b\ufffd": 1, "c": 2}
    assert answer["flags"] == {"features.a": "sanitized", "features.b\ufffd": "sanitized"}


def test_a_dict_that_another_thread_changes_is_logged_as_it_was_at_one_moment(server, log, fresh):
    """Three thousand calls, while another thread adds and removes; each event holds a whole state, and none is lost."""
    features: dict[str, Any] = {f"f{i}": 0 for i in range(10)}
    is_over = threading.Event()

    def change() -> None:
        n = 0
        while not is_over.is_set():
            n += 1
            features[f"new{n % 50}"] = n
            features.pop(f"new{(n + 25) % 50}", None)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        ids = [log.log_prediction(features, 0, **({"inputs": {}} if i % 2 else {})) for i in range(3000)]
    finally:
        is_over.set()
        changing.join()
    assert log.flush(30)
    stats = log.stats()
    assert (stats["stored"], stats["dropped"], balance(stats)) == (3000, 0, 0)
    for request_id in ids[::500]:
        assert {f"f{i}" for i in range(10)} <= set(server.story(request_id)["predictions"][0]["features"])


# ---- what must not leave -----------------------------------------------------------------------------------------------

CANARY = "c4n4ry"
SECRETS = {"card": CARD, "jwt": JWT, "key": AWS, "email": f"{CANARY}@example.org"}


VISIBLE = "v1s1ble"
"""Not secret: were it not found either, the search would prove nothing."""


def unpacked(content: bytes) -> bytes:
    """A file's bytes, and what is in the zstd frames in it."""
    starts = [found.start() for found in re.finditer(rb"\x28\xb5\x2f\xfd", content)]
    frames = [zstandard.ZstdDecompressor().decompressobj().decompress(content[start:]) for start in starts]
    return b"".join([content, *frames])


def traces(folder: Path, *needles: str) -> list[Path]:
    """The files below a folder that hold one of these texts."""
    files = {path: unpacked(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    return [path for path, content in files.items() if any(needle.encode() in content for needle in needles)]


def test_a_secret_is_in_no_byte_that_leaves_the_call(tmp_path, fresh, caplog, monkeypatch):
    """Neither in the spool, which is written first, nor on the wire, in the store, in an answer, in a log, or in an error.

    The server is away at first, so that all goes through the disk.
    """
    running = RunningServer(tmp_path / "data")
    rules = "drop:password; hash:user; mask:~card,~jwt,~key,~email"
    monkeypatch.setenv("UPSHOT_REDACT_KEY", KEY)
    logger = upshot.Logger(
        url=running.url, model=fresh, redact=rules, spool_dir=str(tmp_path / "spool"), flush_interval_s=0.02
    )
    said = " and ".join(SECRETS.values())
    calls: dict[str, dict[str, Any]] = {
        "short": {"features": {"password": CANARY, "user": CANARY, "note": said, "x": VISIBLE}},
        "nested": {"features": {"a": {"password": CANARY, "b": [said]}, "o": Opaque(), "x": 1.5}},
        "everywhere": {
            "features": {SECRETS["email"]: 1, "x": 1.5},
            "inputs": {"password": CANARY},
            "entities": {"user": CANARY},
            "tags": {"note": said},
            "prediction": said,
            "action": said,
        },
        "mended": {"features": {"password": CANARY, "big": 2**80, "bad": "\ud800", "note": said, "x": 1.5}},
        "wrong": {"features": {"x": 1.5}, "propensity": said, "shown": Opaque()},
        "no event": {"features": CANARY},
    }
    for name, call in calls.items():
        logger.log_prediction(**{"prediction": 0.5, "request_id": f"{fresh}-{name}", **call})
        logger.log_label(f"{fresh}-{name}", said, name="comment", tags={"password": CANARY, "x": VISIBLE})
    assert not logger.flush(0.5)
    needles = (CANARY, "hunter2", KEY, MAIL, *SECRETS.values())
    assert len(traces(tmp_path / "spool", VISIBLE)) == 2  # predictions and labels
    assert traces(tmp_path / "spool", *needles) == []
    running.start()
    try:
        assert logger.flush(30)
        logger.close()
        told = running.story(f"{fresh}-short")["predictions"][0]
        assert told["features"] == {"user": hashed(CANARY), "note": " and ".join(["***"] * 4), "x": VISIBLE}
        assert told["flags"] == {f"features.{name}": "redacted" for name in ("password", "user", "note")}
        assert running.story(f"{fresh}-everywhere")["predictions"][0]["entities"] == {"user": hashed(CANARY)}
        stats = logger.stats()
        assert (stats["dropped_failed"], stats["rejected"]) == (1, 1)
        assert stats["redacted"] == 3 + 2 + 6 + 2 + 1 + len(calls) * 2
        everything = json.dumps([running.story(f"{fresh}-{name}") for name in ("nested", "everywhere", "mended")])
        for text in (caplog.text, everything, running.log, repr(logger), repr(logger._settings)):
            assert not any(needle in text for needle in needles)
        assert VISIBLE in json.dumps(told)
    finally:
        running.end()
    assert traces(tmp_path / "data", VISIBLE)
    assert traces(tmp_path, *needles) == []


def test_an_error_about_rules_does_not_say_the_key():
    """Nor does the object that holds the settings."""
    with pytest.raises(upshot.ConfigurationError) as raised:
        upshot.Logger(redact="hash:user; drip:x", redact_key=KEY, model="m")
    assert KEY not in str(raised.value)
    logger = upshot.Logger(redact="hash:user", redact_key=KEY, model="m")
    assert KEY not in repr(logger._settings)
