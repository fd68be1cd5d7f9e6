"""How soon a label can be seen as joined by whoever asks the API."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.bench.join_events import MODEL

LOOK_S = 0.02
COUNT_S = 0.1


@dataclass
class Look:
    """``answered`` is told each request and when it was answered; ``delays`` gives the seconds until it was seen."""

    answered: Callable[[str, float], None]
    delays: Callable[[list[float]], list[float]]


@contextmanager
def in_stories(url: str, _: int) -> Iterator[Look]:
    """Follows one request after the other, each time the newest that was answered, until its story has the outcome."""
    newest: queue.LifoQueue[tuple[str, float]] = queue.LifoQueue()
    delays: list[float] = []
    done = threading.Event()

    def follow() -> None:
        with httpx.Client(base_url=url, timeout=30) as http:
            while not done.is_set():
                try:
                    request_id, at = newest.get(timeout=0.1)
                except queue.Empty:
                    continue
                while True:
                    outcomes = http.get(f"/v1/predictions/{request_id}").json()["outcomes"]
                    if any(one["state"] == "labelled" for one in outcomes):
                        break
                    time.sleep(LOOK_S)
                delays.append(time.perf_counter() - at)

    thread = threading.Thread(target=follow)
    thread.start()
    yield Look(lambda request_id, at: newest.put((request_id, at)), lambda _: delays)
    done.set()
    thread.join()


@contextmanager
def in_counts(url: str, n_labels: int) -> Iterator[Look]:
    """Counts the labelled predictions of the model until all are: the n-th label was seen at the latest when n were counted."""
    counted: list[tuple[float, int]] = []
    done = threading.Event()

    def labelled(http: httpx.Client) -> int:
        found = http.get(f"/v1/models/{MODEL}/labels").json()["labels"]
        return sum(one["labelled"] for one in found)

    with httpx.Client(base_url=url, timeout=30) as http:
        before = labelled(http)

    def watch() -> None:
        with httpx.Client(base_url=url, timeout=30) as http:
            while not done.is_set():
                counted.append((time.perf_counter(), labelled(http) - before))
                time.sleep(COUNT_S)

    def delays(answered: list[float]) -> list[float]:
        looks = iter(counted)
        at, seen = next(looks)
        found = []
        for number, answer in enumerate(answered, 1):
            while seen < number:
                at, seen = next(looks)
            found.append(max(0.0, at - answer))
        return found

    thread = threading.Thread(target=watch)
    thread.start()
    yield Look(lambda *_: None, delays)
    while not counted or counted[-1][1] < n_labels:
        time.sleep(COUNT_S)
    done.set()
    thread.join()
