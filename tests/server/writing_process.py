"""A process that logs through the SDK and tells what it did: the writers of ``test_writers``.

Run as ``python writing_process.py URL WHAT``; ``WHAT`` is also the model. Prints its counters as JSON; then ``killed`` waits for
its end.
"""

from __future__ import annotations

import json
import sys
import time

import upshot


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


def killed(url: str) -> None:
    """50 predictions that are sent, and 20 that are not."""
    upshot.configure(url=url, model="killed", flush_interval_s=3600.0)
    for number in range(50):
        upshot.log_prediction({"n": number}, 0.5)
    upshot.flush(60)
    for number in range(20):
        upshot.log_prediction({"n": number}, 0.5)


if __name__ == "__main__":
    {"interleaved": interleaved, "full": full, "killed": killed}[sys.argv[2]](sys.argv[1])
    print(json.dumps(upshot.stats()), flush=True)
    if sys.argv[2] == "killed":
        time.sleep(600)
