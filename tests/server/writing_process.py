"""A process that logs through the SDK and tells what it did: the writers of ``test_writers``.

Run as ``python writing_process.py URL WHAT``; ``WHAT`` is also the model. Prints its counters as JSON; then ``killed`` and
``spooling`` wait for their end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import upshot


def until(done: Callable[[], bool]) -> None:
    """Wait for something of the SDK's threads, at most a minute."""
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


def interleaved(url: str) -> None:
    """500 predictions, a label after each, and a label that the server refuses."""
    upshot.configure(url=url, model="interleaved")
    for number in range(500):
        request_id = upshot.log_prediction({"n": number}, 0.5)
        upshot.log_label(request_id, number % 2)
    upshot.log_label("x" * 1000, 1)
    upshot.close(60)


def full(url: str) -> None:
    """1,000 predictions faster than the queue can hold them, and one that it can."""
    upshot.configure(url=url, model="full", queue_max_events=100)
    for number in range(1000):
        upshot.log_prediction({"n": number}, 0.5)
    upshot.flush(60)
    upshot.log_prediction({"n": -1}, 0.5)
    upshot.close(60)


def killed(url: str, model: str = "killed") -> None:
    """50 predictions that are sent, and 20 that are not."""
    upshot.configure(url=url, model=model, flush_interval_s=3600.0)
    for number in range(50):
        upshot.log_prediction({"n": number}, 0.5)
    upshot.flush(60)
    for number in range(20):
        upshot.log_prediction({"n": number}, 0.5)


def spooling(url: str) -> None:
    """The same; the 20 are in the spool at the end."""
    killed(url, "spooling")
    until(lambda: upshot.stats()["queued"] == 0)


def heir(url: str) -> None:
    """One prediction; and what another left in the spool."""
    upshot.configure(url=url, model="heir")
    upshot.log_prediction({"n": 1}, 0.5)
    until(lambda: upshot.stats()["recovered"] == 20)
    upshot.flush(60)
    upshot.close(60)


def under_kills(url: str) -> None:
    """4,000 predictions in about three seconds, however often the server goes away."""
    upshot.configure(url=url, model="under_kills", flush_interval_s=0.05)
    for number in range(4000):
        upshot.log_prediction({"n": number}, 0.5)
        if number % 20 == 0:
            time.sleep(0.015)
    upshot.flush(120)
    upshot.close(60)


WRITERS = {one.__name__: one for one in (interleaved, full, killed, spooling, heir, under_kills)}

if __name__ == "__main__":
    WRITERS[sys.argv[2]](sys.argv[1])
    print(json.dumps(upshot.stats()), flush=True)
    if sys.argv[2] in ("killed", "spooling"):
        time.sleep(600)
