"""Sets of sequence numbers kept as runs: the same as a plain set, whatever the order, repetition and batching."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from upshot_joiner.writers.seqs import Seqs, runs_of

NUMBERS = st.integers(0, 60) | st.integers(0, 2**63 - 1)
ADDED = st.lists(
    st.lists(NUMBERS, max_size=30) | st.builds(lambda at, n: list(range(at, at + n)), NUMBERS, st.integers(0, 30))
)


def numbers_of(seqs: Seqs) -> set[int]:
    """Every number from ``floor`` on."""
    return {number for first, last in seqs.runs() for number in range(first, last + 1)}


@given(ADDED, NUMBERS)
def test_runs_hold_exactly_what_a_set_holds(added: list[list[int]], limit: int) -> None:
    """Size, end, membership, how many lie below a number, and the gaps, after any numbers in any batches."""
    seqs, plain = Seqs(), set()
    for numbers in added:
        seqs.add(numbers)
        plain |= set(numbers)
    assert numbers_of(seqs) == plain
    assert (len(seqs), seqs.end) == (len(plain), max(plain, default=-1) + 1)
    assert seqs.size_below(limit) == sum(number < limit for number in plain)
    for number in (*plain, limit, limit + 1):
        assert (number in seqs) == (number in plain)
    runs = list(seqs.runs())
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(runs)), "runs that touch are one"


@given(st.sets(st.integers(0, 200)), st.integers(0, 250))
def test_gaps_are_the_numbers_that_are_not_there(numbers: set[int], end: int) -> None:
    """The gaps up to a number and the set make every number up to it, each once."""
    seqs = Seqs()
    seqs.add(numbers)
    missing = [number for first, last in seqs.gaps(end) for number in range(first, last + 1)]
    assert missing == [number for number in range(end) if number not in numbers]


@given(ADDED, st.integers(1, 8))
def test_a_set_of_too_many_runs_forgets_where_but_never_claims_too_much(added: list[list[int]], max_runs: int) -> None:
    """Memory is bounded; below the floor the size is exact for what had come, and what comes there later is not counted."""
    seqs, plain, below = Seqs(max_runs=max_runs), set(), 0
    for numbers in added:
        for run in runs_of(numbers):
            before = seqs.floor
            seqs.add_run(*run)
            plain |= {number for number in range(run[0], run[1] + 1) if number >= before}
            if seqs.floor != before:
                below = sum(number < seqs.floor for number in plain)
    assert len(list(seqs.runs())) <= max_runs
    assert seqs.size_below_floor == below
    assert numbers_of(seqs) == {number for number in plain if number >= seqs.floor}
    assert len(seqs) == len(plain)
    again = Seqs(seqs.runs(), floor=seqs.floor, size_below_floor=seqs.size_below_floor)
    assert (len(again), again.end, list(again.runs())) == (len(seqs), seqs.end, list(seqs.runs()))


def test_a_million_numbers_in_order_are_one_run() -> None:
    """The usual case costs nothing: batches one after the other."""
    seqs = Seqs()
    for start in range(0, 1_000_000, 1000):
        seqs.add(range(start, start + 1000))
    assert list(seqs.runs()) == [(0, 999_999)]
