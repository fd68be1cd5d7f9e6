"""From the queue to the server: batches, answers, retries, and books that balance through all of it."""

from __future__ import annotations

import logging
import socket
import threading
import time

import msgspec
import pytest

import upshot
from tests.logger.collector import Reply, balance, eventually
from upshot.wire import PACKED_CONTENT_TYPE


def log(logger, n, **kwargs):
    for i in range(n):
        logger.log_prediction({"i": i}, 0.5, request_id=str(i), **kwargs)


def test_events_are_packed_and_sent_over_one_connection_with_the_key(collector):
    """Two flushes, one connection; the form is told by headers alone."""
    with upshot.Logger(url=collector.url, api_key="secret", model="m", flush_interval_s=0.02) as logger:
        log(logger, 3)
        assert logger.flush(10)
        log(logger, 2)
        assert logger.flush(10)
    assert {request.connection for request in collector.requests} == {collector.requests[0].connection}
    for request in collector.requests:
        assert request.path == "/v1/predictions"
        assert request.headers["content-type"] == PACKED_CONTENT_TYPE
        assert request.headers["authorization"] == "Bearer secret"
    assert len(collector.predictions) == 5


def test_a_path_in_front_of_the_routes_is_kept(collector):
    """A server behind a proxy: the collector's routing would refuse anything but this path."""
    from upshot.delivery.transport.http import HttpTransport

    assert HttpTransport("http://127.0.0.1:1/base", "")._path == "/base"


def test_a_batch_has_at_most_so_many_events(collector):
    """2,500 events are three requests; a flush sends them all."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:
        log(logger, 2500)
        assert logger.flush(10)
    sizes = [len(request.events) for request in collector.requests]
    assert sum(sizes) == 2500
    assert max(sizes) <= 1000


def test_a_batch_has_at_most_so_many_bytes(collector):
    """Ten events of 100 kB do not travel in one megabyte."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:
        for _ in range(15):
            logger.log_prediction({"text": "x" * 100_000}, 0)
        assert logger.flush(10)
    assert sum(len(request.events) for request in collector.requests) == 15
    assert all(len(msgspec.msgpack.encode(request.events)) <= 1024 * 1024 for request in collector.requests)


def test_events_are_sent_without_a_flush(logger, collector):
    """The thread looks by itself."""
    logger.log_prediction({}, 0)
    eventually(lambda: len(collector.stored) == 1)


def test_the_servers_counts_are_the_loggers_counts(logger, collector):
    """Stored, duplicates and rejections by code, as the server said."""
    errors = [{"index": 0, "loc": "features.a", "code": "conflict"}, {"index": 2, "loc": "model", "code": "too_long"}]
    collector.replies.append(Reply(200, {"accepted": 1, "duplicates": 2, "rejected": 2, "errors": errors}))
    logger._open()  # so that the five are sent as one batch
    with logger._sender._shipping:
        log(logger, 5)
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["stored"], stats["duplicates"], stats["rejected"]) == (1, 2, 2)
    assert (stats["rejected_conflict"], stats["rejected_too_long"]) == (1, 1)
    assert balance(stats) == 0


@pytest.mark.parametrize(
    ("body", "counters"),
    [
        (
            {"accepted": 0, "duplicates": 0, "rejected": 1, "errors": [{"index": 0, "code": "missing"}]},
            {"rejected_missing": 1},
        ),
        ({"accepted": 0, "duplicates": 0, "rejected": 1, "errors": []}, {"rejected_other": 1}),
        ({"accepted": 0, "duplicates": 0, "rejected": 1, "errors": [{}, {"loc": "a"}]}, {"rejected_other": 1}),
        ({"accepted": 0, "duplicates": 0, "rejected": 9}, {"rejected_unprocessable": 1}),
        ({"title": "no"}, {"rejected_unprocessable": 1}),
        (b"<html>", {"rejected_unprocessable": 1}),
    ],
    ids=["with codes", "without codes", "without places", "not adding up", "without counts", "not JSON"],
)
def test_all_rejected_is_final(logger, collector, body, counters):
    """422 is not sent again, however little the server says with it."""
    collector.replies.append(Reply(422, body))
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    stats = logger.stats()
    assert len(collector.requests) == 1
    assert stats["rejected"] == 1
    assert stats.items() >= counters.items()
    assert balance(stats) == 0


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(503),
        Reply(500, b"<html>"),
        Reply(429, headers={"Retry-After": "0"}),
        Reply(200, b"<html>a captive portal"),
        Reply(200, {"accepted": 99, "duplicates": 0, "rejected": 0}),
        Reply(drop=True),
    ],
    ids=["503", "500", "429", "200 of another server", "200 that does not add up", "connection lost"],
)
def test_a_passing_failure_is_tried_again_until_it_passes(logger, collector, reply):
    """Three times in a row; nothing is lost, and the labels come after."""
    collector.replies.extend([reply] * 3)
    log(logger, 10)
    logger.log_label("0", 1)
    assert logger.flush(10)
    stats = logger.stats()
    assert {event.request_id for event in collector.predictions} == {str(i) for i in range(10)}
    assert stats["stored"] == 11
    assert stats["retries"] >= 3
    assert balance(stats) == 0
    assert len(collector.labels) == 1


def test_retry_after_is_honoured(logger, collector):
    """A server that names a time gets that time, also from a flush."""
    collector.replies.append(Reply(503, headers={"Retry-After": "1"}))
    started = time.monotonic()
    logger.log_prediction({}, 0)
    eventually(lambda: logger.stats()["retries"] == 1)  # it now waits, and the flush finds it waiting
    assert logger.flush(10)
    assert time.monotonic() - started >= 1.0
    assert len(collector.requests) == 2


def test_a_flush_does_not_wait_for_a_back_off_that_nobody_asked_for(logger, collector, monkeypatch):
    """The server is back; whoever flushes wants to know now, not after the pause that was drawn at random."""
    monkeypatch.setattr("upshot.delivery.sender._FIRST_BACKOFF_S", 60.0)
    monkeypatch.setattr("upshot.delivery.sender._LONGEST_BACKOFF_S", 60.0)
    collector.replies.append(Reply(503))
    logger.log_prediction({}, 0)
    eventually(lambda: logger.stats()["retries"] == 1)
    assert logger.flush(10)
    assert logger.stats()["stored"] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 415, 301])
def test_a_permanent_failure_is_counted_and_said_once(collector, caplog, status):
    """A wrong key does not pass on the second attempt; the log names neither key nor features."""
    collector.always = Reply(status)
    with upshot.Logger(url=collector.url, api_key="s3cret", model="m", flush_interval_s=0.02, spool=False) as logger:
        for _ in range(3):
            logger.log_prediction({"a": "s3cret"}, 0)
            assert logger.flush(10)
        stats = logger.stats()
    assert stats["dropped"] == stats[f"dropped_http_{status}"] == 3
    assert balance(stats) == 0
    said = [record.getMessage() for record in caplog.records if record.name == "upshot"]
    assert len(said) == 1
    assert str(status) in said[0]
    assert "s3cret" not in said[0]


def test_a_batch_too_large_for_the_server_is_halved_until_it_fits(collector):
    """A proxy that takes four events at a time gets them four at a time; an event that never fits is counted."""
    accept = collector.answer

    def small_only(handler, body):
        from tests.logger.collector import decode

        headers = {name.lower(): value for name, value in handler.headers.items()}
        events = decode(handler.path, headers, body)
        if len(events) > 4 or any(event.request_id == "9" for event in events):
            collector.replies.appendleft(Reply(413))
        accept(handler, body)

    collector.answer = small_only
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:
        log(logger, 20)
        assert logger.flush(10)
        stats = logger.stats()
    assert [event.request_id for event in collector.predictions] == [str(i) for i in range(20) if i != 9]
    assert (stats["stored"], stats["dropped_too_large_for_server"]) == (19, 1)
    assert balance(stats) == 0


def test_integers_beyond_64_bits_travel_in_a_batch_of_their_own(logger, collector):
    """MessagePack cannot hold them; the events around them stay packed, and the books count them together."""
    logger.log_prediction({"n": 1}, 0, request_id="a")
    logger.log_prediction({"n": 2**80}, 0, request_id="b")
    logger.log_prediction({"n": 2}, 0, request_id="c")
    assert logger.flush(10)
    assert {event.request_id: event.features["n"] for event in collector.predictions} == {"a": 1, "b": 2**80, "c": 2}
    assert logger.stats()["stored"] == 3


@pytest.mark.usefixtures("quick_retries")
def test_a_server_that_is_away_loses_nothing_but_what_does_not_fit():
    """Refused connections first; then the server comes up at that address, and gets every event that was not dropped."""
    from tests.logger.collector import Collector

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    logger = upshot.Logger(url=f"http://127.0.0.1:{port}", model="m", flush_interval_s=0.02, queue_max_events=50)
    log(logger, 20)
    eventually(lambda: logger.stats()["retries"] > 2)
    assert logger.stats()["in_flight"] > 0
    log(logger, 100)
    before = logger.stats()
    assert before["dropped_full"] > 0
    assert balance(before) == 0
    server = Collector(port)
    try:
        assert logger.flush(10)
        stats = logger.stats()
        assert stats["stored"] == len(server.stored) == 120 - before["dropped_full"]
        assert (stats["queued"], stats["in_flight"], balance(stats)) == (0, 0, 0)
    finally:
        logger.close()
        server.close()


def test_a_server_that_hangs_holds_up_no_caller(collector):
    """Calls return at once while a request waits for its answer; a flush gives up at its timeout and says so."""
    collector.always = Reply(hang_s=30)
    logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, queue_max_events=1000, spool=False)
    logger.log_prediction({}, 0)
    eventually(lambda: collector.requests)
    started = time.monotonic()
    assert logger.flush(0.1) is False
    assert 0.1 <= time.monotonic() - started < 5
    calls = []
    for _ in range(3000):
        started = time.monotonic()
        logger.log_prediction({}, 0)
        calls.append(time.monotonic() - started)
    assert max(calls) < 1
    stats = logger.stats()
    assert (stats["queued"], stats["in_flight"], stats["dropped_full"]) == (1000, 1, 2000)
    assert balance(stats) == 0
    logger.close(timeout=0)


@pytest.mark.usefixtures("quick_retries")
def test_a_request_that_times_out_is_sent_again(collector):
    """The server did store it, which the second time makes a duplicate: harmless, and seen."""
    collector.replies.append(Reply(hang_s=1))
    collector.replies.append(Reply(200, {"accepted": 0, "duplicates": 1, "rejected": 0}))
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, request_timeout_s=0.1) as logger:
        logger.log_prediction({}, 0)
        assert logger.flush(10)
        assert logger.stats()["duplicates"] == 1


def test_an_idle_connection_that_the_server_closed_is_not_a_failure(logger, collector):
    """Servers close idle keep-alive connections; the next batch opens a new one, without back-off or retry."""
    collector.replies.append(Reply(headers={"X": "1"}))
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    logger._sender._transport._connection.sock.shutdown(socket.SHUT_RDWR)
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    assert len(collector.stored) == 2
    assert logger.stats()["retries"] == 0


def test_threads_log_at_once_and_every_event_arrives_once(collector):
    """Eight threads, 4,000 calls, predictions and labels; the sequence has no gap."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:

        def work(name):
            for i in range(250):
                logger.log_prediction({"i": i}, 0, request_id=f"{name}-{i}")
                logger.log_label(f"{name}-{i}", 1)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert logger.flush(10)
        stats = logger.stats()
    assert stats["accepted"] == stats["stored"] == 4000
    assert sorted(event.seq for event in collector.stored) == list(range(4000))


def test_the_books_balance_at_every_moment_while_events_move(collector):
    """Read 300 times while the sender moves 3,000 events from the queue through its hands to stored."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, batch_max_events=10) as logger:
        log(logger, 3000)
        for _ in range(300):
            assert balance(logger.stats()) == 0
        assert logger.flush(10)
        assert logger.stats()["stored"] == 3000


def test_a_broken_log_handler_of_the_host_does_not_stop_the_sender(collector):
    """The handler raises; events still arrive."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError

    handler = Broken()
    logging.getLogger("upshot").addHandler(handler)
    try:
        collector.replies.append(Reply(401))
        with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, spool=False) as logger:
            logger.log_prediction({}, 0)
            assert logger.flush(10)
            logger.log_prediction({}, 0)
            assert logger.flush(10)
            assert logger.stats()["stored"] == 1
    finally:
        logging.getLogger("upshot").removeHandler(handler)


def test_a_bug_in_a_transport_ends_in_a_counter(logger, collector):
    """Neither an endless loop nor silence."""

    class Broken:
        def send(self, batch, *, timeout_s):
            raise ZeroDivisionError

        def close(self):
            pass

    logger._open()
    logger._sender._transport = Broken()
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    stats = logger.stats()
    assert stats["dropped_transport_failed"] == 1
    assert balance(stats) == 0
