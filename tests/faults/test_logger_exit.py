"""How a process may end while events wait (rows F10 and F11): in time, and with everything on disk."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import upshot
from tests.faults.judging import is_empty
from tests.logger.collector import Collector, Reply, eventually

EXIT_S = 2.2
"""The promise is 2.0 s; the rest is for a busy machine."""


def ended(script: str, *args: str, signalled: int | None = None) -> tuple[int, str, float]:
    """Run a script; its exit code, what it said on standard error, and how long it took to end once it began to."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    began = time.monotonic()
    if signalled is not None and said:
        process.send_signal(signalled)
    _, error = process.communicate(timeout=60)
    return process.returncode, error, time.monotonic() - began


LOGS = """
    import sys, threading, upshot
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.05)
    for i in range(500):
        upshot.log_prediction({"i": i}, 0, request_id=f"{sys.argv[2]}-{i}")
    threading.Event().wait(float(sys.argv[3]))
    print("ends", flush=True)
"""


@pytest.mark.parametrize("server", ["refuses", "hangs", "is slow"])
def test_the_end_is_in_time_and_the_next_start_sends_everything(server: str, spool_dir: Path) -> None:
    """F10: seven processes each; nothing is lost, at most a line is said, and the exit takes at most two seconds."""
    with Collector() as collector:
        replies = {"refuses": Reply(503), "hangs": Reply(hang_s=60), "is slow": Reply(hang_s=1.0)}
        collector.always = replies[server]
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda k: ended(LOGS, collector.url, f"p{k}", str(0.1 * (k % 3))), range(7)))
        for code, error, took_s in runs:
            assert (code, "Traceback" in error) == (0, False), error
            assert len(error.splitlines()) <= 1, error
            assert took_s <= EXIT_S + 0.5, "half a second is for a machine that does something else"
        assert sorted(took_s for _, _, took_s in runs)[3] <= EXIT_S
        sent = {event.request_id for event in collector.stored}
        collector.always = Reply()
        collector.requests.clear()
        with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as heir:
            heir.log_prediction({}, 0, request_id="heir")
            eventually(lambda: is_empty(spool_dir), 30)
            assert heir.flush(30)
        arrived = {event.request_id for request in collector.requests for event in request.events} | sent
        assert arrived >= {f"p{k}-{i}" for k in range(7) for i in range(500)}


ENDS = """
    import os, signal, sys, threading, time, upshot
    how = sys.argv[3]
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.05)
    mine = lambda *_: sys.exit(7)
    if how == "handled":
        signal.signal(signal.SIGTERM, mine)
    def hooks():
        numbers = signal.SIGTERM, signal.SIGINT, signal.SIGABRT
        return [signal.getsignal(n) for n in numbers], sys.excepthook, threading.excepthook
    before = hooks()
    stop = threading.Event()
    logged = [0, 0, 0]
    def work(number):
        while not stop.is_set():
            upshot.log_prediction({"x": 1}, 0, request_id=f"{sys.argv[2]}.{number}-{logged[number]}")
            logged[number] += 1
            time.sleep(0.001)
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(3)]
    for thread in threads: thread.start()
    time.sleep(0.15)
    assert before == hooks()
    if how in ("exit", "exception"):
        stop.set()
        for thread in threads: thread.join()
    counts = list(logged)
    assert upshot.flush(10, to="disk")
    os.write(1, (" ".join(map(str, counts)) + "\\n").encode())
    if how == "exit": sys.exit(3)
    if how == "exception": raise RuntimeError("mine")
    if how == "abort": os.abort()
    time.sleep(30)
"""


@pytest.mark.parametrize("how", ["SIGTERM", "handled", "SIGINT", "exit", "exception", "abort"])
def test_whatever_ends_the_process_takes_nothing_that_was_spooled(how: str, spool_dir: Path) -> None:
    """F11: five times each, under load; the service's own handlers are what they were."""
    signals = {"SIGTERM": signal.SIGTERM, "handled": signal.SIGTERM, "SIGINT": signal.SIGINT}
    codes = {"SIGTERM": -15, "handled": 7, "SIGINT": -2, "exit": 3, "exception": 1, "abort": -6}
    with Collector() as collector:
        collector.always = Reply(503)
        promised: dict[str, int] = {}

        def one(k: int) -> None:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", textwrap.dedent(ENDS), collector.url, f"p{k}", how],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            counts = process.stdout.readline().split()
            if how in signals:
                process.send_signal(signals[how])
            _, error = process.communicate(timeout=60)
            assert process.returncode == codes[how], error
            promised.update({f"p{k}.{number}": int(n) for number, n in enumerate(counts)})

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(one, range(5)))
        collector.always = Reply()
        with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as heir:
            heir.log_prediction({}, 0, request_id="heir")
            eventually(lambda: is_empty(spool_dir), 30)
            assert heir.flush(30)
        arrived = {event.request_id for event in collector.stored}
        assert len(promised) == 15
        assert sum(promised.values()) > 200
        assert arrived >= {f"{name}-{i}" for name, n in promised.items() for i in range(n)}
