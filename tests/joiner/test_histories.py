"""Promise 1 at scale: whatever is delivered in whatever order, outcomes in the store are those of ``rule.py``.

A few hundred histories here, in a process and a store of their own; `make soak` plays ten thousand and more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.joiner.histories import Delivery, Oracle, make_world
from upshot_joiner.config import LabelConfig, ModelConfig

HISTORIES = int(os.environ.get("UPSHOT_TEST_HISTORIES", "200"))


def played(*options: str) -> dict[str, int]:
    """Play histories in a process of its own; returns the totals."""
    seed = os.environ.get("UPSHOT_TEST_SEED", str(int.from_bytes(os.urandom(3), "big")))
    command = [
        sys.executable,
        "-m",
        "tests.joiner.soak",
        "--json",
        "--seed",
        seed,
        "--histories",
        str(HISTORIES),
        "--per-pass",
        str(min(500, HISTORIES // 2)),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stdout[-8000:]}{done.stderr[-2000:]}"
    totals: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return totals


def bit(totals: dict[str, int]) -> bool:
    """Whether the run met what it is about: repeats, conflicts, orphans, and every state."""
    needed = ("duplicates", "rejected", "orphans", "state_labelled", "state_pending", "state_retracted")
    return totals["histories"] == HISTORIES and all(totals[name] > HISTORIES // 20 for name in needed)


@pytest.mark.timeout(900)
def test_generated_histories_become_what_the_rule_says() -> None:
    """Shuffled, repeated, delayed, split anywhere, across midnight and restarts: outcomes, orphans, counts, coverage, stories."""
    assert bit(played())


@pytest.mark.timeout(900)
def test_generated_histories_become_what_the_rule_says_on_a_server(clickhouse: str) -> None:
    """The same on a real ClickHouse server."""
    assert bit(played("--clickhouse", clickhouse))


def test_the_oracle_tells_what_is_new_from_what_is_repeated() -> None:
    """The first content of an identity is kept; 1, 1.0 and true are different contents."""
    oracle = Oracle({"m": ModelConfig(labels={"a": LabelConfig()})})
    [batch] = [b for b in make_world("w", 40).batches if any(one.kind == "label" for one in b)][:1]
    label = next(one for one in batch if one.kind == "label" and one.event.get("op") != "retract")
    one = Delivery("label", label.event | {"label_id": "x", "value": 1})
    for value in (1, 1, 1.0, True):
        oracle.deliver(Delivery("label", one.event | {"value": value}))
    assert oracle.counts == {"accepted": 1, "duplicates": 1, "rejected": 2}
