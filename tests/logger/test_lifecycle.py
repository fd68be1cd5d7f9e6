"""Threads, fork, exit, close and garbage collection."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref

import pytest

import upshot
from tests.logger.collector import Reply, balance, eventually


def sender_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "upshot-sender"]


def run(script: str, *args: str, timeout_s: float = 30) -> tuple[subprocess.CompletedProcess[str], float]:
    """A script in an interpreter of its own; the result and how long it took after the script's last line."""
    end = "\nimport atexit as _a, time as _t\nprint('MAIN ENDS AT', _t.monotonic(), flush=True)\n"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script) + end, *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    ended = time.monotonic()
    started = [line for line in done.stdout.splitlines() if line.startswith("MAIN ENDS AT")]
    return done, ended - float(started[-1].split()[-1]) if started else float("nan")


def test_the_thread_starts_at_the_first_event(collector):
    """Neither importing nor configuring nor asking starts one."""
    logger = upshot.Logger(url=collector.url, model="m")
    logger.stats()
    logger.flush(1)
    assert logger._sender is None
    logger.log_prediction({}, 0)
    assert logger._sender._thread.is_alive()
    logger.close()
    assert not logger._sender._thread.is_alive()


def test_close_sends_what_is_queued_and_later_events_are_counted(collector, caplog):
    """The loss after close has a counter of its own and is said once."""
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=60)
    for i in range(1500):
        logger.log_prediction({"i": i}, 0)
    logger.close()
    assert len(collector.stored) == 1500
    for _ in range(3):
        assert len(logger.log_prediction({}, 0)) == 36
    logger.log_label("r", 1)
    assert logger.flush(1)
    stats = logger.stats()
    assert (stats["stored"], stats["dropped_after_close"]) == (1500, 4)
    assert balance(stats) == 0
    assert caplog.text.count("after close") == 1


def test_a_logger_closed_before_its_first_event_stays_closed(collector):
    """close() is final until configured anew."""
    logger = upshot.Logger(url=collector.url, model="m")
    logger.close()
    logger.log_prediction({}, 0)
    assert logger.stats()["dropped_after_close"] == 1
    logger.reconfigure(url=collector.url, model="m", flush_interval_s=0.02)
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    assert len(collector.stored) == 1
    logger.close()


def test_close_ends_in_time_when_the_server_hangs(collector):
    """What could not be sent is counted as dropped; what is on its way stays in flight until it is known."""
    collector.always = Reply(hang_s=30)
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, request_timeout_s=0.5, spool=False)
    logger.log_prediction({}, 0)
    eventually(lambda: collector.requests)
    for _ in range(10):
        logger.log_prediction({}, 0)
    started = time.monotonic()
    logger.close(timeout=0.2)
    assert time.monotonic() - started < 0.45
    stats = logger.stats()
    assert (stats["dropped_close"], stats["in_flight"]) == (10, 1)
    assert balance(stats) == 0
    eventually(lambda: logger.stats()["in_flight"] == 0)
    assert logger.stats()["dropped_close"] == 11


def test_a_forgotten_logger_sends_its_events_and_ends_its_thread(collector):
    """Without close(): the thread does not keep the logger alive, and goes when its work is done."""
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02)
    logger.log_prediction({}, 0)
    thread = logger._sender._thread
    gone = weakref.ref(logger)
    del logger
    gc.collect()
    assert gone() is None
    eventually(lambda: not thread.is_alive())
    assert len(collector.stored) == 1


def in_child(work) -> int:
    """Fork, run ``work`` in the child, and return its exit code (0: it returned; 1: it raised)."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(code)
    for _ in range(1000):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


def test_a_forked_child_writes_under_its_own_name(collector):
    """Its queue is empty (the parent sends its own), its sequence starts at 0, and its events arrive."""
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=60)
    for i in range(3):
        logger.log_prediction({}, 0, request_id=f"parent-{i}")

    def child() -> None:
        assert set(logger.stats().values()) == {0}
        logger.log_prediction({}, 0, request_id="child-0")
        logger.log_label("child-0", 1)
        assert logger.flush(10)
        assert logger.stats()["stored"] == 2

    assert in_child(child) == 0
    assert logger.flush(10)
    assert logger.stats()["stored"] == 3
    logger.close()
    by_parent = [event for event in collector.predictions if event.request_id.startswith("parent")]
    by_child = [event for event in collector.stored if event.request_id == "child-0"]
    assert [event.seq for event in by_parent] == [0, 1, 2]
    assert sorted(event.seq for event in by_child) == [0, 1]
    assert len({event.writer_id for event in by_parent}) == len({event.writer_id for event in by_child}) == 1
    assert by_parent[0].writer_id != by_child[0].writer_id
    assert len(collector.stored) == 5


def test_request_ids_made_after_a_fork_differ_from_the_parents(collector):
    """The child does not go on with a copy of the parent's generator."""
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02)
    logger.log_prediction({}, 0)

    def child() -> None:
        logger.log_prediction({}, 0)
        assert logger.flush(10)

    for _ in range(2):
        assert in_child(child) == 0
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    logger.close()
    tails = [event.request_id[-12:] for event in collector.predictions]
    assert len(tails) == len(set(tails)) == 4


def test_forks_while_threads_log_and_the_server_is_slow_do_not_hang(collector):
    """Whatever lock the parent's threads held at that moment, the child has its own."""
    collector.always = Reply(hang_s=0.01)
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02)
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            logger.log_prediction({"a": 1.5}, 0, request_id="parent", tags={"x": 1})
            logger.stats()
            logger.flush(0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()

    def child() -> None:
        logger.log_prediction({}, 0, request_id="child")
        assert logger.flush(10)
        assert logger.stats()["stored"] == 1

    try:
        for _ in range(20):
            assert in_child(child) == 0
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert logger.flush(10)
    logger.close()
    stats = logger.stats()
    assert balance(stats) == 0
    assert sum(event.request_id == "child" for event in collector.predictions) == 20
    assert sum(event.request_id == "parent" for event in collector.predictions) == stats["stored"]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_multiprocessing_child_sends_its_events_at_its_end(collector, how, tmp_path):
    """A forked one ends without atexit handlers; its events arrive all the same."""
    script = tmp_path / "service.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing, sys, upshot
        def work():
            upshot.configure(url=sys.argv[1], model="m", flush_interval_s=60)
            upshot.log_prediction({}, 0, request_id="child")
        if __name__ == "__main__":
            upshot.configure(url=sys.argv[1], model="m", flush_interval_s=60)
            upshot.log_prediction({}, 0, request_id="parent")
            process = multiprocessing.get_context(sys.argv[2]).Process(target=work)
            process.start()
            process.join()
            assert process.exitcode == 0
    """)
    )
    subprocess.run([sys.executable, str(script), collector.url, how], check=True, timeout=30)
    assert sorted(event.request_id for event in collector.predictions) == ["child", "parent"]


EXIT = """
    import sys, upshot
    upshot.configure(url=sys.argv[1], model="m", flush_interval_s=60)
    for i in range(100):
        upshot.log_prediction({"i": i}, 0)
"""


def test_the_end_of_the_interpreter_sends_what_is_queued(collector):
    """Without close() or flush()."""
    done, _ = run(EXIT, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(collector.stored) == 100


@pytest.mark.parametrize("server", ["refuses", "hangs", "fails"])
def test_a_dead_server_does_not_hold_up_the_end_of_the_interpreter(collector, server, monkeypatch):
    """Two seconds for the attempt, one or two lines on standard error that say what was lost, and no traceback."""
    monkeypatch.setenv("UPSHOT_SPOOL", "off")
    url = collector.url
    if server == "refuses":
        url = "http://127.0.0.1:9"
    elif server == "hangs":
        collector.always = Reply(hang_s=60)
    else:
        collector.always = Reply(503)
    done, took_s = run(EXIT, url)
    assert done.returncode == 0
    assert took_s < 4.0
    assert "100 events unsent" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_events_logged_in_an_exit_handler_are_sent(collector):
    """Also when it is the first event of the process, at which Python 3.12 refuses to start a thread."""
    done, _ = run(
        """
        import atexit, sys, upshot
        upshot.configure(url=sys.argv[1], model="m", flush_interval_s=60)
        @atexit.register
        def last():
            upshot.log_prediction({}, 0, request_id="last")
            assert upshot.flush(5)
        """,
        collector.url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [event.request_id for event in collector.predictions] == ["last"]


def test_where_no_thread_can_be_started_the_caller_sends(collector, monkeypatch):
    """As at the end of the interpreter from Python 3.12 on."""

    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "upshot-sender":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with upshot.Logger(url=collector.url, model="m") as logger:
        logger.log_prediction({}, 0, request_id="a")
        assert [event.request_id for event in collector.stored] == ["a"]
        logger.log_label("a", 1)
        assert logger.flush(1)
        assert logger.stats()["stored"] == 2


def test_a_system_that_refuses_a_thread_for_a_while_loses_nothing(collector, monkeypatch):
    """Events wait in the queue, and a later call starts the thread."""
    start = threading.Thread.start
    refused = []

    def refuse(self: threading.Thread) -> None:
        if self.name == "upshot-sender" and not refused:
            refused.append(self)
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:
        logger.log_prediction({}, 0, request_id="a")
        logger.log_prediction({}, 0, request_id="b")
        assert (logger.stats()["queued"], len(refused)) == (2, 1)
        logger._sender._start_again_at = 0.0
        logger.log_prediction({}, 0, request_id="c")
        eventually(lambda: len(collector.stored) == 3)
    assert [event.request_id for event in collector.predictions] == ["a", "b", "c"]


def test_a_signal_handler_may_log(collector):
    """Also one that interrupts a logging call of the same thread: there is no lock to wait for."""
    done, _ = run(
        """
        import signal, sys, upshot
        upshot.configure(url=sys.argv[1], model="m")
        handled = 0
        def handler(*_):
            global handled
            handled += 1
            upshot.log_prediction({"from": "handler"}, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while handled < 200:
            upshot.log_prediction({"from": "main"}, 0, tags={"a": 1})
            upshot.flush(0.001)
        signal.setitimer(signal.ITIMER_REAL, 0, 0)
        assert upshot.flush(10)
        stats = upshot.stats()
        assert stats["accepted"] == stats["stored"] + stats["dropped"], stats
        """,
        collector.url,
    )
    assert done.returncode == 0, done.stderr
    assert sum(event.features == {"from": "handler"} for event in collector.predictions) >= 150


def test_a_subinterpreter_is_refused_when_it_imports_the_package(tmp_path):
    """Clearly, and before anything of it is used; the main interpreter goes on."""
    script = """
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        refused = '''
        import sys
        try:
            import upshot
        except ImportError as error:
            open(sys.executable and {path!r}, "w").write(str(error))
        '''.replace("\\n        ", "\\n").format(path=sys.argv[1])
        made = interpreters.create()
        interpreters.run_string(made, refused)
        interpreters.destroy(made)
        import upshot
        upshot.stats()
    """
    said = tmp_path / "said"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(said)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "subinterpreter" in said.read_text()
