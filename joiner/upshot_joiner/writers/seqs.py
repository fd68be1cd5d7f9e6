"""A set of sequence numbers, kept as runs: a million numbers without a gap cost as much as one."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

MAX_RUNS = 20_000
"""Runs kept of one set, 16 bytes each. A writer that counts has a run per gap, so more come only from one that does not count."""

Run = tuple[int, int]


class Seqs:
    """Numbers from 0, added in any order and as often as one likes.

    Above ``max_runs`` runs the lower half is forgotten but for its size: numbers below ``floor`` count as known from then on, so
    that one which comes late is not counted. The set never claims a number that did not come.
    """

    __slots__ = ("_firsts", "_lasts", "_max_runs", "_size", "floor", "size_below_floor")

    def __init__(
        self, runs: Iterable[Run] = (), *, floor: int = 0, size_below_floor: int = 0, max_runs: int = MAX_RUNS
    ) -> None:
        self._firsts = array("Q")
        self._lasts = array("Q")
        self._max_runs = max_runs
        self._size = size_below_floor
        self.floor = floor
        self.size_below_floor = size_below_floor
        for first, last in runs:
            self.add_run(first, last)

    def __len__(self) -> int:
        """How many numbers it holds."""
        return self._size

    def __contains__(self, number: int) -> bool:
        """Whether a number is known; every number below ``floor`` is."""
        at = bisect_right(self._firsts, number) - 1
        return number < self.floor or (at >= 0 and number <= self._lasts[at])

    @property
    def end(self) -> int:
        """One more than the largest number; 0 when there is none."""
        return max(self._lasts[-1] + 1 if self._lasts else 0, self.floor)

    def runs(self) -> Iterator[Run]:
        """First and last number of every run from ``floor`` on, in order."""
        return zip(self._firsts, self._lasts, strict=True)

    def add(self, numbers: Iterable[int]) -> None:
        """Add numbers in any order; one that is known changes nothing."""
        for first, last in runs_of(numbers):
            self.add_run(first, last)

    def add_run(self, first: int, last: int) -> None:
        """Add every number from ``first`` to ``last``, both included."""
        first = max(first, self.floor)
        if first > last:
            return
        firsts, lasts = self._firsts, self._lasts
        begin = bisect_left(lasts, first - 1) if first else 0  # the first run that it touches,
        end = bisect_right(firsts, last + 1)  # and the first that lies wholly behind it
        if begin < end:
            first, last = min(first, firsts[begin]), max(last, lasts[end - 1])
            self._size -= sum(lasts[i] - firsts[i] + 1 for i in range(begin, end))
        firsts[begin:end] = array("Q", (first,))
        lasts[begin:end] = array("Q", (last,))
        self._size += last - first + 1
        if len(firsts) > self._max_runs:
            self._forget(len(firsts) // 2)

    def size_below(self, limit: int) -> int:
        """How many of its numbers are smaller than ``limit`` (which is not below ``floor``)."""
        size = self._size
        for i in range(len(self._firsts) - 1, -1, -1):
            if self._lasts[i] < limit:
                break
            size -= self._lasts[i] - max(self._firsts[i], limit) + 1
        return size

    def gaps(self, end: int) -> Iterator[Run]:
        """First and last number of every gap between ``floor`` and ``end`` (excluded), in order."""
        at = self.floor
        for first, last in self.runs():
            if at < first:
                yield at, min(first, end) - 1
            at = last + 1
            if at >= end:
                return
        if at < end:
            yield at, end - 1

    def _forget(self, runs: int) -> None:
        self.floor = self._lasts[runs - 1] + 1
        self.size_below_floor += sum(self._lasts[i] - self._firsts[i] + 1 for i in range(runs))
        del self._firsts[:runs], self._lasts[:runs]


def runs_of(numbers: Iterable[int]) -> list[Run]:
    """The numbers as runs, in order; repeated numbers count once."""
    ordered = sorted(numbers)
    if not ordered:
        return []
    if ordered[-1] - ordered[0] == len(ordered) - 1 == len(set(ordered)) - 1:
        return [(ordered[0], ordered[-1])]
    runs = []
    first = last = ordered[0]
    for number in ordered:
        if number > last + 1:
            runs.append((first, last))
            first = number
        last = number
    runs.append((first, last))
    return runs
