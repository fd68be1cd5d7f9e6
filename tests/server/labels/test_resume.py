"""A load that was stopped goes on where it was; whatever happens on the way, the ledger is that of an undisturbed run."""

from __future__ import annotations

import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.proxy import Proxy
from tests.running import RunningServer
from tests.server.labels.commands import Commands, counts, kill, ledger, rejected_lines
from tests.waiting import eventually
from upshot_server.labels.resume import key_of

ROWS = 30_000
"""Three requests."""
BAD = ROWS // 1000
OPTIONS = ("--column", "request_id=order_ref", "--set", "name=paid", "--timezone", "UTC")


def write(path: Path, rows: int = ROWS) -> None:
    """A file in which every thousandth row is refused."""
    ids = [f"order-{n}" if n % 1000 else "" for n in range(rows)]
    times = [f"2026-11-01 10:00:{n % 60:02d}" for n in range(rows)]
    if path.suffix == ".parquet":
        table = {"order_ref": ids, "value": [n % 3 for n in range(rows)], "observed_at": times}
        pq.write_table(pa.table(table), path, row_group_size=7000)
        return
    with path.open("w") as file:
        file.write("order_ref,value,observed_at,note\n")
        for n, id_ in enumerate(ids):
            note = "of one line" if n % 7 else "of\ntwo lines"
            file.write(f'{id_},{n % 3},{times[n]},"{note}"\n')


def undisturbed(rows: int = ROWS) -> list[list[str]]:
    """The ledger that the file stands for."""
    times = [f"2026-11-01 10:00:{n % 60:02d}.000000" for n in range(rows)]
    return sorted(
        [f"order-{n}", "", "", "paid", "set", "int", str(n % 3), times[n], ""] for n in range(rows) if n % 1000
    )


def noted(labels: Commands) -> int:
    """How many events a load that is under way has noted as done."""
    found = [json.loads(file.read_text()) for file in labels.state_folder.glob("*.json")]
    return max((one["books"]["read"] for one in found), default=0)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_load_killed_again_and_again_leaves_the_ledger_of_an_undisturbed_run(
    own_server: RunningServer, tmp_path: Path, name: str
) -> None:
    """kill -9 of the loader within its second and its third request: every event once, every rejected row listed once."""
    rng = random.Random(7)
    labels = Commands(own_server.url, tmp_path)
    write(tmp_path / name)
    for read in (10_000, 20_000):
        process = labels.start("load", name, *OPTIONS)
        eventually(lambda read=read: noted(labels) >= read, 120)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.05))
        kill(process)
    last = labels.run("load", name, *OPTIONS, "--json")
    own_server.end()
    [file] = last.json["files"]
    assert last.status == 1
    assert file["resumed_at"] >= 20_000
    assert file["read"] == ROWS
    assert file["accepted"] + file["duplicates"] == ROWS - BAD
    assert not list(labels.state_folder.glob("*")), "a load that is complete leaves nothing behind"
    assert sorted(ledger(tmp_path / "data")) == undisturbed()
    listed = [one["line" if name == "a.csv" else "row"] for one in rejected_lines(tmp_path / f"{name}.rejected.ndjson")]
    assert len(listed) == len(set(listed)) == BAD


@pytest.mark.timeout(400)
def test_a_server_that_is_killed_under_a_load_loses_nothing(own_server: RunningServer, tmp_path: Path) -> None:
    """The loader waits for the server to come back, sends its batch again, and the events are there once."""
    labels = Commands(own_server.url, tmp_path)
    write(tmp_path / "a.csv")
    process = labels.start("load", "a.csv", *OPTIONS, "--json")
    eventually(lambda: noted(labels) > 0, 120)
    own_server.kill()
    own_server.start()
    out, _ = process.communicate(timeout=150)
    found = json.loads(out)
    assert found["accepted"] + found["duplicates"] == ROWS - BAD
    own_server.end()
    assert sorted(ledger(tmp_path / "data")) == undisturbed()


@contextmanager
def busy(url: str, refusals: int) -> Iterator[tuple[str, list[float]]]:
    """A relay before the server that answers 503 at first, with ``Retry-After: 1``; gives its address and when it was asked."""
    asked: list[float] = []

    class Relay(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked.append(time.monotonic())
            body = self.rfile.read(int(self.headers["content-length"]))
            if len(asked) <= refusals:
                self.send_response(503)
                self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            kept = {name: self.headers[name] for name in ("content-type", "content-encoding")}
            answer = httpx.post(url + self.path, content=body, headers=kept, timeout=60)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    relay = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    thread = threading.Thread(target=relay.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{relay.server_address[1]}", asked
    relay.shutdown()
    thread.join()
    relay.server_close()


def test_a_busy_server_is_asked_again_when_it_says(labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value\n{fresh},1\n")
    with busy(labels.url, 2) as (url, asked):
        done = labels.run("load", "a.csv", "--json", url=url)
    assert counts(done.json)["accepted"] == 1
    assert len(asked) == 3
    assert min(asked[1] - asked[0], asked[2] - asked[1]) >= 1


def test_a_server_that_stays_busy_ends_the_run_which_can_go_on(labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value\n{fresh},1\n")
    with busy(labels.url, 10**6) as (url, _):
        done = labels.run("load", "a.csv", "--patience", "0", url=url)
    assert done.status == 3
    assert "answers 503" in done.err
    assert counts(labels.run("load", "a.csv", "--json").json)["accepted"] == 1


def test_an_answer_that_is_lost_is_asked_for_again(labels: Commands) -> None:
    """The events were stored and their answer never came: the second time they are duplicates, and each is counted once."""
    write(labels.folder / "a.csv", 20_000)
    with Proxy(labels.url) as proxy:
        process = labels.start("load", "a.csv", *OPTIONS, "--json", url=proxy.url)
        eventually(lambda: noted(labels) > 0, 120)
        proxy.reset_answers = 1
        out, err = process.communicate(timeout=150)
    found = json.loads(out)
    assert found["read"] == found["accepted"] + found["duplicates"] + found["rejected"] == 20_000, err
    assert found["rejected"] == 20


def test_another_file_or_mapping_does_not_go_on_where_this_one_was(tmp_path: Path) -> None:
    """What is gone on with is the same file loaded in the same way to the same server."""
    path = tmp_path / "a.csv"
    path.write_text("request_id,value\nr,1\n")
    first = key_of(path, {"value_type": "auto"})
    assert key_of(path, {"value_type": "auto"}) == first
    assert key_of(path, {"value_type": "int"}) != first
    os.utime(path, (1, 1))
    assert key_of(path, {"value_type": "auto"}) != first


def test_a_state_folder_that_cannot_be_written_costs_only_the_going_on(labels: Commands, fresh: str) -> None:
    (labels.folder / "a.csv").write_text(f"request_id,value\n{fresh},1\n")
    (labels.folder / "file").write_text("in the way")
    done = labels.run("load", "a.csv", XDG_STATE_HOME=str(labels.folder / "file"))
    assert done.status == 0
    assert "would have begun anew" in done.err


MEASURE = """
import re, sys
from pathlib import Path
from upshot_server.cli import app
try:
    app(sys.argv[1:])
finally:
    # Not getrusage: its peak is that of the process which started this one, where that was larger.
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("suffix", ["csv", "ndjson", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    """A file twenty times as large takes as good as no more memory; its events alone would take 100 MB."""
    value = "x" * 500

    def peak_mb(rows: int) -> float:
        path = tmp_path / f"{rows}.{suffix}"
        ids = [f"order-{n}" for n in range(rows)]
        if suffix == "parquet":
            values = [f"{value}{n}" for n in range(rows)]
            pq.write_table(pa.table({"request_id": ids, "value": values}), path, row_group_size=10_000)
        elif suffix == "csv":
            path.write_text("request_id,value\n" + "".join(f"{id_},{value}\n" for id_ in ids))
        else:
            path.write_text("".join(f'{{"request_id": "{id_}", "value": "{value}"}}\n' for id_ in ids))
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, "labels", "load", path, "--dry-run", "--show", "0"],
            capture_output=True,
            text=True,
            timeout=190,
            check=False,
        )
        assert f"{rows:,} would be sent" in done.stdout, done.stderr
        return int(done.stderr.split()[-1]) / 1024

    small, large = peak_mb(10_000), peak_mb(200_000)
    assert large < small + 60
