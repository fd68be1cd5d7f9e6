"""Processes that copy themselves (rows F08 and F09): a child writes under its own name; nothing is sent twice or hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.faults.judging import is_empty
from tests.logger.collector import Collector, eventually
from tests.ports import free_port
from upshot.wire import Prediction


def run(script: str, *args: str, timeout_s: float = 120) -> dict[str, int]:
    """A script in an interpreter of its own; what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def once_each(predictions: list[Prediction], *, may_repeat: str = "never") -> dict[str, list[Prediction]]:
    """The predictions by writer; no event is there twice, and no number of a writer is missing.

    Whoever ends by ``os._exit`` while its events are on their way leaves them in the spool as well; they are sent again, and it is
    the server that knows them (``may_repeat``: how the request IDs of such events begin).
    """
    again = {event.request_id: event for event in predictions if event.request_id.startswith(may_repeat)}
    assert all(again[event.request_id] == event for event in predictions if event.request_id in again)
    predictions = [*again.values(), *(event for event in predictions if event.request_id not in again)]
    assert len({event.request_id for event in predictions}) == len(predictions)
    by_writer: dict[str, list[Prediction]] = {}
    for event in predictions:
        by_writer.setdefault(event.writer_id, []).append(event)
    for events in by_writer.values():
        assert sorted(event.seq for event in events) == list(range(len(events)))
    return by_writer


FORKS = """
    import json, os, signal, sys, threading, time, upshot
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.05)
    n_forks, ending = int(sys.argv[2]), sys.argv[3]
    stop = threading.Event()
    def work(number):
        i = 0
        while not stop.is_set():
            upshot.log_prediction({"x": 1.5}, 0, request_id=f"parent-{number}-{i}", tags={"t": 1})
            i += 1
            if i % 50 == 0:
                upshot.flush(0.001, to="disk" if i % 100 else "server")
            time.sleep(0.002)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads: thread.start()
    hung = 0
    running = {}
    def reap(block):
        global hung
        while running:
            pid, status = os.waitpid(-1, 0 if block else os.WNOHANG)
            if pid == 0: return
            code = os.waitstatus_to_exitcode(status)
            hung += code == -signal.SIGALRM
            assert code in (0, -signal.SIGALRM), (code, running[pid])
            del running[pid]
            if len(running) < 8: return
    for k in range(n_forks):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            for i in range(3):
                upshot.log_prediction({"k": k}, 0, request_id=f"child-{k}-{i}")
            if ending == "delivers":
                assert upshot.flush(25)
            elif ending == "spools":
                assert upshot.flush(25, to="disk")
            os._exit(0)
        running[pid] = k
        reap(len(running) >= 8)
    while running: reap(True)
    stop.set()
    for thread in threads: thread.join()
    assert upshot.flush(60)
    print(json.dumps({"hung": hung, **upshot.stats()}))
"""


@pytest.mark.parametrize("ending", ["delivers", "spools"])
def test_two_hundred_forks_under_load_lose_and_repeat_nothing(
    ending: str, collector: Collector, spool_dir: Path
) -> None:
    """F08: four threads log all the while, so that a fork hits every lock; half the children deliver, half only spool."""
    stats = run(FORKS, collector.url, "100", ending)
    assert stats["hung"] == 0
    if ending == "spools":  # the parent looks for what children left every half minute; the next process at once
        run(HEIR, collector.url)
    eventually(lambda: is_empty(spool_dir), 30)
    by_writer = once_each(
        [event for event in collector.predictions if event.request_id != "heir"],
        may_repeat="child" if ending == "spools" else "never",
    )
    children = {event.request_id for event in collector.predictions if event.request_id.startswith("child")}
    assert children == {f"child-{k}-{i}" for k in range(100) for i in range(3)}
    n_parent = sum(event.request_id.startswith("parent") for event in collector.predictions)
    assert n_parent == stats["accepted"] > 100
    assert len(by_writer) == 101


HEIR = """
    import json, sys, time, upshot
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.02)
    upshot.log_prediction({}, 0, request_id="heir")
    before, quiet_since = -1, time.monotonic()
    while time.monotonic() - quiet_since < 1:
        if (now := upshot.stats()["recovered"]) != before:
            before, quiet_since = now, time.monotonic()
        time.sleep(0.01)
    assert upshot.flush(30)
    upshot.close()
    print(json.dumps(upshot.stats()))
"""


def test_a_child_that_ends_at_once_keeps_what_it_had_spooled(collector: Collector, spool_dir: Path) -> None:
    """F09: os._exit runs no handler; what was still in memory is lost, and nothing else. Twenty children."""
    stats = run(FORKS, collector.url, "20", "ends")
    assert stats["hung"] == 0
    run(HEIR, collector.url)
    eventually(lambda: is_empty(spool_dir), 30)
    once_each([event for event in collector.predictions if event.request_id != "heir"], may_repeat="child")
    n_parent = sum(event.request_id.startswith("parent") for event in collector.predictions)
    assert n_parent == stats["accepted"]


def test_a_fork_in_a_signal_handler(collector: Collector) -> None:
    """F09: the handler interrupts a logging call or a flush, and forks; twenty times."""
    stats = run(
        """
        import json, os, signal, sys, time, upshot
        upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.02)
        pids = []
        def handler(*_):
            if len(pids) >= 20: return
            pid = os.fork()
            if pid == 0:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(30)
                upshot.log_prediction({}, 0, request_id=f"child-{os.getpid()}")
                os._exit(0 if upshot.flush(25) else 1)
            pids.append(pid)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        i = 0
        while len(pids) < 20:
            upshot.log_prediction({"x": 1}, 0, request_id=f"parent-{i}", tags={"a": 1})
            i += 1
            upshot.flush(0.001)
        signal.setitimer(signal.ITIMER_REAL, 0)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert set(codes) == {0}, codes
        assert upshot.flush(30)
        print(json.dumps({"forks": len(pids), **upshot.stats()}))
        """,
        collector.url,
    )
    by_writer = once_each(collector.predictions)
    assert len(by_writer) == stats["forks"] + 1 >= 21  # a handler may be interrupted as well
    assert sum(event.request_id.startswith("parent") for event in collector.predictions) == stats["accepted"]


POOLS = """
import json, multiprocessing, os, sys, threading, upshot

def score(number):
    upshot.log_prediction({"n": number}, number, request_id=f"task-{number}")
    return os.getpid()

if __name__ == "__main__":
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=0.05)
    upshot.log_prediction({}, 0, request_id="parent")
    context = multiprocessing.get_context(sys.argv[2])
    if sys.argv[2] != "fork":
        os.environ["UPSHOT_URL"] = sys.argv[1]
        os.environ["UPSHOT_MODEL"] = "m"
    with context.Pool(4, maxtasksperchild=10) as pool:
        pids = set(pool.map(score, range(200), chunksize=1))
        pool.close()
        pool.join()
    assert upshot.flush(30)
    print(json.dumps({"workers": len(pids)}))
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_that_are_replaced_delivers_every_task(
    how: str, collector: Collector, tmp_path: Path
) -> None:
    """F08, F09: as Celery's workers: forked before and after events, each ends after ten tasks."""
    script = tmp_path / "pool.py"
    script.write_text(POOLS)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), collector.url, how],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["workers"] >= 4
    once_each(collector.predictions)
    assert {event.request_id for event in collector.predictions} == {"parent", *(f"task-{n}" for n in range(200))}


APP = """
import os
import upshot

upshot.configure(model="m", flush_interval_s=0.05)
upshot.log_prediction({}, 0, request_id="while loading")

def app(environ, start_response):
    upshot.log_prediction({"path": environ["PATH_INFO"]}, 1, request_id=environ["PATH_INFO"][1:])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_gunicorn_with_a_preloaded_app(collector: Collector, tmp_path: Path) -> None:
    """F08: the app is imported, and logs, in the master; four workers are forked of it, one is killed, all end by SIGTERM."""
    (tmp_path / "served.py").write_text(APP)
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "--preload", "--workers", "4", "--bind", address]
    with (tmp_path / "log").open("wb") as log:
        master = subprocess.Popen(
            [*command, "--no-control-socket", "served:app"],
            cwd=tmp_path,
            env={**os.environ, "UPSHOT_URL": collector.url},
            stdout=log,
            stderr=log,
        )
    n_requests = 0
    workers: Counter[int] = Counter()

    def asks(n: int) -> None:
        nonlocal n_requests
        for _ in range(n):
            with httpx.Client(base_url=f"http://{address}", timeout=20) as http:
                workers[int(http.get(f"/r{n_requests}").text)] += 1
                n_requests += 1

    def listens() -> bool:
        assert master.poll() is None, (tmp_path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0

    try:
        eventually(listens, 30)
        asks(200)
        os.kill(next(iter(workers)), signal.SIGTERM)
        asks(100)
    finally:
        master.terminate()
        assert master.wait(30) == 0
    eventually(lambda: len(collector.predictions) >= n_requests + 1)
    by_writer = once_each(collector.predictions)
    assert {event.request_id for event in collector.predictions} == {"while loading", *(f"r{n}" for n in range(300))}
    assert len(by_writer) == len(workers) + 1 >= 3
