"""What is done to a server that takes labels: lost answers, kills at any moment, a full disk (rows F15, F18, F21, F24)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.books import assert_books_balance
from tests.faults.proxy import Proxy
from tests.running import RunningServer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(1800)  # every kill is followed by a start, which takes long on a busy machine

N_KILLS = 60 if os.environ.get("UPSHOT_TEST_LONG") else 6


def until_answered(http: httpx.Client, path: str, events: list[dict[str, Any]], lost: Counter[str]) -> dict[str, Any]:
    """Send again until it is answered, as every sender does; ``lost`` counts the times it was not."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            answer = http.post(path, json=events)
        except httpx.TransportError:
            lost["answers"] += 1
            time.sleep(0.01)
            continue
        if answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            told: dict[str, Any] = answer.json()
            return told
        lost["refusals"] += 1
        time.sleep(0.02)
    raise AssertionError("never answered")


def test_labels_whose_answer_is_lost_count_once(server: RunningServer) -> None:
    """F18: fifty times the labels are stored and the answer is reset; the sender sends them again, and the sums are right."""
    assert server.http.put("/v1/models/m", json={"labels": {"label": {"combine": "sum"}}}).status_code == 200
    server.post("/v1/predictions", [{"request_id": f"r{n}", "model": "m"} for n in range(10)])
    lost: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    with Proxy(server.url) as proxy, httpx.Client(base_url=proxy.url, timeout=10) as http:
        for k in range(50):
            proxy.reset_answers += 1
            labels = [{"request_id": f"r{n}", "value": k, "observed_at": 1.7e9 + k} for n in range(10)]
            told = until_answered(http, "/v1/labels", labels, lost)
            answers.update({name: told[name] for name in ("accepted", "duplicates", "rejected")})
    assert lost["answers"] == 50
    assert answers == Counter(duplicates=500, accepted=0, rejected=0), "each was stored the first time"
    server.until_joined()
    for n in range(10):
        told = server.story(f"r{n}")
        assert (told["outcomes"][0]["value"], len(told["label_events"])) == (sum(range(50)), 50)
    books = assert_books_balance(server)
    assert books["stored"]["label_events"] == books["stored"]["joined"] == 500
    assert books["intake"]["label"] == {
        "received": 1000, "accepted": 500, "duplicates": 500, "rejected": 0, "not_stored": 0, "waiting": 0
    }  # fmt: skip


def test_sums_are_right_whenever_the_server_is_killed(server: RunningServer) -> None:
    """F15, F21: labels under `sum`, early ones among them, sent again until answered through kills at random moments."""
    assert server.http.put("/v1/models/m", json={"labels": {"label": {"combine": "sum"}}}).status_code == 200
    stop = threading.Event()
    lost: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    n_events = 0

    def send() -> None:
        nonlocal n_events
        rng = random.Random(15)
        with httpx.Client(base_url=server.url, timeout=10) as http:
            for number in range(100_000):
                if stop.is_set():
                    return
                ids = [f"r{number}-{n}" for n in range(5)]
                labels = [
                    {"request_id": id_, "value": k + 1, "observed_at": 1.7e9 + k} for id_ in ids for k in range(3)
                ]
                predictions = [{"request_id": id_, "model": "m", "features": {"n": number}} for id_ in ids]
                steps = [("/v1/predictions", predictions), ("/v1/labels", labels)]
                rng.shuffle(steps)
                for path, events in steps:
                    told = until_answered(http, path, events, lost)
                    answers.update({name: told[name] for name in ("accepted", "duplicates", "rejected")})
                expected.update(dict.fromkeys(ids, 6))
                n_events += len(labels)

    thread = threading.Thread(target=send)
    thread.start()
    rng = random.Random(21)
    for _ in range(N_KILLS):
        time.sleep(rng.uniform(0.05, 0.8))
        server.kill()
        server.start()
    stop.set()
    thread.join()
    assert lost["answers"] >= N_KILLS // 2, "the kills must have met requests"
    assert answers["accepted"] + answers["duplicates"] == n_events + len(expected)
    assert answers["rejected"] == 0
    server.until_joined()
    books = assert_books_balance(server)
    stored = books["stored"]
    assert (stored["predictions"], stored["label_events"], stored["orphans"]) == (len(expected), n_events, 0)
    [label] = server.http.get("/v1/models/m/labels").json()["labels"]
    assert (label["predictions"], label["labelled"]) == (len(expected), len(expected))
    for request_id in rng.sample(sorted(expected), min(30, len(expected))):
        [outcome] = server.story(request_id)["outcomes"]
        assert (outcome["state"], outcome["value"]) == ("labelled", 6)
    assert server.post("/v1/verify", {}).status_code == 202
    verified = eventually(lambda: server.http.get("/v1/verify").json()["last"], 60)
    for what, n in (("outcomes", len(expected)), ("predictions", len(expected))):
        assert verified[what] == {"checked": n, "wrong": 0, "repaired": 0}


class ServerOnASmallDisk(RunningServer):
    """Its data folder is a tmpfs of its own, which only the server's process sees."""

    def __init__(self, folder: Path, size: str) -> None:
        super().__init__(folder / "disk" / "data")
        self._size = size
        self._log_folder = folder
        (folder / "disk").mkdir()

    def command(self) -> list[str]:
        """The server, in a mount namespace with the small disk."""
        mounted = f'mount -t tmpfs -o size={self._size} upshot-test "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounted, str(self.data.parent), *super().command()]

    @property
    def log_file(self) -> Path:
        """Not on the disk that is full."""
        return self._log_folder / "server.log"

    def grow(self, size: str) -> None:
        """Give it more room, as its administrator does."""
        assert self._process is not None
        command = ["nsenter", "-t", str(self._process.pid), "-m", "mount", "-o", f"remount,size={size}"]
        subprocess.run([*command, str(self.data.parent)], check=True)


@pytest.fixture
def may_mount(tmp_path: Path) -> None:
    """Skips where this system lets nobody mount."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "upshot-test", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")


@pytest.mark.usefixtures("may_mount")
def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """F24: 503 and not ready while it is full; what was answered is there; with room again it goes on by itself."""
    server = ServerOnASmallDisk(tmp_path, "64m")
    server.start()
    answered: set[str] = set()
    number = 0
    try:
        rng = random.Random(24)
        for number in range(400):
            ids = [f"r{number}-{n}" for n in range(20)]
            noise = {"noise": rng.randbytes(20_000).hex()}
            answer = server.post(
                "/v1/predictions", [{"request_id": id_, "model": "m", "features": noise} for id_ in ids]
            )
            if answer.status_code == 503:
                break
            assert answer.status_code == 200
            answered.update(ids)
        assert answer.status_code == 503, "the disk did not become full"
        assert answer.headers["retry-after"]
        assert len(answered) >= 100

        def is_not_ready() -> bool:
            # Where something large finds no room the small write of the check still may, or a merge has just made some.
            nonlocal number
            ids = [f"r{number}-{n}" for n in range(20)]
            events = [{"request_id": id_, "model": "m", "features": noise} for id_ in ids]
            if server.post("/v1/predictions", events).status_code == 200:
                answered.update(ids)
                number += 1
                return False
            ready = server.http.get("/readyz")
            return (ready.status_code, ready.json()["reasons"]) == (503, ["the store does not take writes"])

        eventually(is_not_ready, 60)
        assert server.http.get("/v1/models").json()["models"][0]["predictions"] >= len(answered)
        server.grow("600m")
        eventually(lambda: server.http.get("/readyz").status_code == 200, 30)
        lost: Counter[str] = Counter()
        ids = [f"r{number}-{n}" for n in range(20)]
        told = until_answered(
            server.http, "/v1/predictions", [{"request_id": i, "model": "m", "features": noise} for i in ids], lost
        )
        assert told["accepted"] + told["duplicates"] == 20
        answered.update(ids)
        labels = [{"request_id": id_, "value": 1} for id_ in sorted(answered)]
        assert until_answered(server.http, "/v1/labels", labels, lost)["accepted"] == len(answered)
        server.until_joined()
        stored = assert_books_balance(server)["stored"]
        assert (stored["predictions"], stored["joined"], stored["orphans"]) == (len(answered), len(answered), 0)
    finally:
        server.end()
