"""Servers that are away, stopped or unreachable, and networks that mangle (rows F14, F16, F18 and F19)."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import upshot
from tests.faults.books import assert_books_balance
from tests.faults.logger_service import Board
from tests.faults.proxy import Proxy
from tests.logger.collector import Collector, Reply, balance, eventually
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
    books = assert_books_balance(server)
    assert books["stored"]["predictions"] == books["writers"]["received"] == 501


# ---- F14 -----------------------------------------------------------------------------------------------------------------

PASSES = "wait and are sent again"
HAS_TO_BE_MENDED = "until that is mended"


def certificate(folder: Path) -> ssl.SSLContext:
    """Of a server that nobody knows."""
    command = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@contextlib.contextmanager
def unreachable(how: str, folder: Path) -> Iterator[str]:
    """An address where no events can be delivered."""
    if how == "unknown host":
        yield "http://upshot.invalid:8750"
    elif how == "unknown certificate":
        with Collector(tls=certificate(folder)) as server:
            yield server.url
    elif how == "refused":
        with socket.socket() as bound:  # bound, and not listening
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    elif how == "another protocol":
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def greet() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        talking, _ = listening.accept()
                        talking.sendall(b"220 mail.example ESMTP\r\n")
                        talking.close()

            thread = threading.Thread(target=greet)
            thread.start()
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                thread.join()
    else:
        with Collector() as server:
            server.always = Reply(int(how))
            yield server.url


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("refused", PASSES),
        ("unknown host", PASSES),
        ("another protocol", PASSES),
        ("unknown certificate", PASSES),
        ("503", PASSES),
        ("401", HAS_TO_BE_MENDED),
        ("403", HAS_TO_BE_MENDED),
        ("404", HAS_TO_BE_MENDED),
    ],
)
def test_no_caller_waits_for_a_server_that_cannot_be_reached(how: str, said: str, tmp_path: Path, caplog) -> None:
    """F14: from the first call on; the log tells what passes from what somebody has to mend, once, and nothing is lost."""
    board = Board(tmp_path / "board")
    with unreachable(how, tmp_path) as url:
        logger = upshot.Logger(url=url, model="m", api_key="s3cret", flush_interval_s=0.02)
        for i in range(3000):
            called = time.perf_counter()
            logger.log_prediction({"x": 1.5}, 0)
            board.note(i, time.monotonic(), time.perf_counter() - called)
            if i % 10 == 0:
                time.sleep(0.002)
        assert (
            board.calm_p999_s(0, 3000, 300) <= 0.01
        )  # the figure is the benchmark's; here only: no call waits for I/O
        eventually(lambda: [record for record in caplog.records if record.name == "upshot"])
        logger.close(timeout=1)
        stats = logger.stats()
    assert (stats["accepted"], stats["spooled"], stats["dropped"]) == (3000, 3000, 0)
    lines = [record.getMessage() for record in caplog.records if record.name == "upshot"]
    assert len(lines) == 1
    assert said in lines[0]
    assert "s3cret" not in lines[0]


# ---- F16 -----------------------------------------------------------------------------------------------------------------


STOPPED_FOR_S = [5.0] if not os.environ.get("UPSHOT_TEST_LONG") else [5.0, 30.0, 120.0]


@pytest.mark.parametrize("stopped_for_s", STOPPED_FOR_S)
def test_a_server_that_was_stopped_is_not_run_over_when_it_goes_on(stopped_for_s: float, server: RunningServer) -> None:
    """F16: SIGSTOP; the backlog comes at no more than twice the usual number of requests a second, and all of it."""
    with (
        Proxy(server.url) as proxy,
        upshot.Logger(
            url=proxy.url, model="m", flush_interval_s=0.2, batch_max_events=20, request_timeout_s=1.0
        ) as logger,
    ):
        n = 0
        ending = threading.Event()

        def work() -> None:
            nonlocal n
            while not ending.is_set():
                logger.log_prediction({"n": n}, 0, request_id=f"r{n}")
                n += 1
                time.sleep(0.005)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(6)  # so long it takes the pace to know what is usual
        n_before = len(proxy.requests_at)
        usual_per_s = len([at for at in proxy.requests_at if at > time.monotonic() - 4]) / 4
        server.suspend()
        time.sleep(stopped_for_s)
        n_waiting = logger.stats()["spooled"] + logger.stats()["in_flight"]
        server.resume()
        went_on = time.monotonic()
        ending.set()  # else a slow machine may never get to the end of it
        thread.join()
        eventually(lambda: logger.stats()["spooled"] < 200, 150)
        after = [at for at in proxy.requests_at[n_before:] if at > went_on]
        assert logger.flush(150)
        stats = logger.stats()
        assert (stats["accepted"], balance(stats), stats["dropped"]) == (n, 0, 0)
    assert n_waiting > 300, "nothing piled up: the run says nothing"
    busiest = max(sum(1 for at in after if start <= at < start + 2) for start in after) / 2
    assert busiest <= 2 * usual_per_s + 2, (busiest, usual_per_s)
    server.until_joined()
    [model] = server.http.get("/v1/models").json()["models"]
    assert model["predictions"] == n
    assert assert_books_balance(server)["writers"]["next_seq"] == n


# ---- F19 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "for_s"),
    [
        ({"is_black_hole": True}, 3.0),
        ({"loses_answers": True}, 3.0),
        ({"break_share": 0.5}, 2.0),
        ({"break_share": 0.5, "half_closes": True}, 2.0),
        ({"piece_bytes": 1}, 1.0),
        ({"bytes_per_s": 125_000.0}, 2.0),
        ({"delay_s": 0.3}, 2.0),
    ],
    ids=["partition", "one way", "resets", "half-closed", "bytes", "1 Mbit/s", "slow"],
)
def test_bad_networks_lose_nothing(
    network: dict[str, float], for_s: float, collector: Collector, tmp_path: Path
) -> None:
    """F19: while it lasts no call waits, and when it is over everything is there."""
    board = Board(tmp_path / "board")
    with (
        Proxy(collector.url) as proxy,
        upshot.Logger(url=proxy.url, model="m", flush_interval_s=0.05, request_timeout_s=1.0) as logger,
    ):
        logger.log_prediction({}, 0, request_id="before")
        assert logger.flush(10)
        for name, value in network.items():
            setattr(proxy, name, value)
        proxy.drop_connections()
        until, i = time.monotonic() + for_s, 0
        while time.monotonic() < until:
            called = time.perf_counter()
            logger.log_prediction({"n": i}, 0, request_id=f"r{i}")
            board.note(i, time.monotonic(), time.perf_counter() - called)
            i += 1
            time.sleep(0.001)
        for name in network:
            setattr(proxy, name, Proxy.GOOD[name])
        assert board.calm_p999_s(0, i, 100) <= 0.01  # the figure is the benchmark's; here only: no call waits for I/O
        eventually(lambda: logger.flush(10), 30)
        stats = logger.stats()
        assert (stats["accepted"], stats["dropped"], balance(stats)) == (i + 1, 0, 0)
    assert {event.request_id for event in collector.predictions} == {"before", *(f"r{k}" for k in range(i))}
