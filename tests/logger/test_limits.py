"""What is bounded, and that every loss at a bound is counted under its cause."""

from __future__ import annotations

import threading
import time

import pytest

import upshot
from tests.logger.collector import Reply, balance, eventually


@pytest.fixture
def stuck(collector):
    """Makes loggers whose first batch hangs at the server, so that their queues only fill."""
    made = []
    collector.replies.append(Reply(hang_s=30))

    def make(**options):
        logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02, spool=False, **options)
        made.append(logger)
        logger.log_prediction({}, 0)
        eventually(lambda: collector.requests)
        return logger

    yield make
    collector.ending.set()
    for logger in made:
        logger.close(timeout=5)


def test_a_full_queue_drops_the_newest_and_counts_it(stuck, collector, caplog):
    """What came first is kept; predictions do not push out labels, nor the reverse."""
    logger = stuck(queue_max_events=10)
    for i in range(15):
        logger.log_prediction({}, 0, request_id=str(i))
    for i in range(12):
        logger.log_label(str(i), 1)
    stats = logger.stats()
    assert (stats["queued"], stats["dropped_full"], stats["in_flight"]) == (20, 7, 1)
    assert balance(stats) == 0
    collector.ending.set()
    assert logger.flush(10)
    assert [event.request_id for event in collector.predictions[1:]] == [str(i) for i in range(10)]
    assert len(collector.labels) == 10
    assert caplog.text.count("the queue is full") == 1


def test_a_loss_is_a_gap_in_the_sequence(stuck, collector):
    """Dropped events have used their number, so the server can count what it never saw."""
    logger = stuck(queue_max_events=10)
    for _ in range(15):
        logger.log_prediction({}, 0)
    collector.ending.set()
    assert logger.flush(10)
    logger.log_prediction({}, 0)
    assert logger.flush(10)
    assert sorted(event.seq for event in collector.predictions) == [*range(11), 16]


def test_the_queue_is_bounded_in_bytes_too(stuck):
    """Ten events of 10 kB where 50 kB are allowed."""
    logger = stuck(queue_max_bytes=50_000)
    for _ in range(10):
        logger.log_prediction({"text": "x" * 10_000}, 0)
    stats = logger.stats()
    assert (stats["queued"], stats["dropped_full"]) == (4, 6)
    assert balance(stats) == 0


def test_room_in_bytes_comes_back(collector):
    """What was sent no longer counts."""
    with upshot.Logger(url=collector.url, model="m", queue_max_bytes=50_000, flush_interval_s=60) as logger:
        for _ in range(5):
            for _ in range(4):
                logger.log_prediction({"text": "x" * 10_000}, 0)
            assert logger.flush(10)
        assert logger.stats()["dropped"] == 0
        assert logger._writer.predictions.size_bytes == 0


@pytest.mark.parametrize(
    "log",
    [
        lambda logger: logger.log_prediction({"text": "x" * 300_000}, 0),
        lambda logger: logger.log_prediction({"text": "x" * 300_000}, 0, tags={"a": 1}),
        lambda logger: logger.log_label("r", "x" * 300_000),
    ],
    ids=["plain prediction", "full prediction", "label"],
)
def test_an_event_that_is_too_large_is_dropped_and_counted(logger, collector, log):
    """A quarter of a megabyte is no event but a mistake."""
    log(logger)
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["accepted"], stats["dropped_too_large"]) == (1, 1)
    assert balance(stats) == 0
    assert collector.requests == []


def test_block_waits_for_room(stuck, collector):
    """With ``on_full="block"`` a call waits, and goes on as soon as there is room."""
    logger = stuck(queue_max_events=5, on_full="block", block_timeout_s=10)
    for _ in range(5):
        logger.log_prediction({}, 0)
    waiting = threading.Thread(target=logger.log_prediction, args=({}, 0), kwargs={"request_id": "waited"})
    waiting.start()
    assert logger.stats()["dropped"] == 0
    collector.ending.set()
    waiting.join(10)
    assert logger.flush(10)
    assert collector.predictions[-1].request_id == "waited"
    assert logger.stats()["dropped"] == 0


def test_a_loop_with_block_loses_nothing(collector):
    """5,000 events through a queue of 100: each wait wakes the sender, so none lasts a flush interval."""
    with upshot.Logger(
        url=collector.url, model="m", flush_interval_s=60, queue_max_events=100, on_full="block", block_timeout_s=10
    ) as logger:
        for i in range(5000):
            logger.log_prediction({"i": i}, 0)
        assert logger.flush(10)
        assert logger.stats()["stored"] == 5000


def test_block_gives_up_at_its_timeout(stuck):
    """And then drops, counted, as always."""
    logger = stuck(queue_max_events=5, on_full="block", block_timeout_s=0.05)
    for _ in range(5):
        logger.log_prediction({}, 0)
    started = time.monotonic()
    logger.log_label("r", 1)  # its own queue has room
    assert time.monotonic() - started < 0.05
    logger.log_prediction({}, 0)
    assert time.monotonic() - started >= 0.05
    stats = logger.stats()
    assert stats["dropped_full"] == 1
    assert balance(stats) == 0
