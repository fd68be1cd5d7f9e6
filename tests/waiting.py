"""Waiting for a fact instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout_s: float = 30.0, every_s: float = 0.02) -> T:
    """The first true answer of ``check``; an AssertionError in it counts as not yet. Fails after ``timeout_s``: the default is what
    a busy machine may need; whoever waits for something that must not take long says so."""
    deadline = time.monotonic() + timeout_s
    while True:
        problem: object
        try:
            answer = check()
            if answer:
                return answer
            problem = answer
        except AssertionError as error:
            problem = error
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {problem!r}")
        time.sleep(every_s)
