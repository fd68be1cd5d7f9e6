"""Logging from an event loop (row F12): nothing to await, nothing that holds the loop up, whatever becomes of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import uvloop

import upshot
from tests.logger.collector import Collector, Reply, balance, eventually

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())  # type: ignore[arg-type]


def test_coroutines_log_without_holding_up_the_loop(new_loop, collector: Collector, caplog) -> None:
    """F12: a hundred tasks at once; the loop's own detector stays silent, also while the server does not answer."""
    collector.replies.append(Reply(hang_s=3))
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:
        logger.log_prediction({}, 0, request_id="first")

        async def work(name: int) -> None:
            for i in range(50):
                logger.log_prediction({"i": i}, 0, request_id=f"{name}-{i}")
                await asyncio.sleep(0)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_debug(True)
            # A call takes 20 µs; one that waits for a silent server takes seconds, one that waits for the processor less.
            loop.slow_callback_duration = 1.0
            await asyncio.gather(*(work(name) for name in range(100)))

        with caplog.at_level(logging.WARNING, "asyncio"):
            run(new_loop, main)
        assert [record for record in caplog.records if record.name == "asyncio"] == []
        eventually(lambda: len(collector.stored) == 5001)
        assert balance(logger.stats()) == 0


def test_a_loop_that_ends_and_another_that_begins_lose_nothing(new_loop, collector: Collector) -> None:
    """F12: the logger belongs to no loop: two runs, a closed loop, and calls after it."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:

        async def main() -> None:
            logger.log_prediction({}, 0, request_id=None)

        run(new_loop, main)
        run(new_loop, main)
        logger.log_prediction({}, 0)
        assert logger.flush(10)
        assert len(collector.stored) == 3


def test_cancelled_tasks_keep_what_they_logged(new_loop, collector: Collector) -> None:
    """F12: cancelled in the middle; each call either was made or was not."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:
        made: list[str] = []

        async def work() -> None:
            while True:
                made.append(logger.log_prediction({}, 0))
                await asyncio.sleep(0.001)

        async def main() -> None:
            tasks = [asyncio.create_task(work()) for _ in range(20)]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run(new_loop, main)
        assert logger.flush(10)
        assert sorted(event.request_id for event in collector.predictions) == sorted(made)
        assert len(made) > 20


def test_a_flush_in_another_thread_lets_the_loop_go_on(new_loop, collector: Collector) -> None:
    """F12: ``asyncio.to_thread`` is how a service waits for a flush at its end."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60) as logger:

        async def main() -> None:
            logger.log_prediction({}, 0, request_id="a")
            assert await asyncio.to_thread(logger.flush, 10)

        run(new_loop, main)
        assert [event.request_id for event in collector.predictions] == ["a"]
