"""The balance of a writer: every number it gave out is in exactly one place, and the loss of one is never explained away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot.wire import WriterReport
from upshot_joiner.writers.books import Books, balance
from upshot_joiner.writers.seqs import Seqs

PLACES = (
    "arrived",
    "rejected",
    "full",
    "close",
    "queued",
    "spooled",
    "in_flight",
    "lost",
    "close_arrived",
    "in_flight_arrived",
)


def report(next_seq: int, *, is_last: bool = False, **counters: int) -> WriterReport:
    """What a writer says of itself."""
    return WriterReport(
        writer_id="w", next_seq=next_seq, reported_at=0, started_at=0, counters=counters, is_last=is_last
    )


def seqs(*numbers: int) -> Seqs:
    """A set of numbers."""
    made = Seqs()
    made.add(numbers)
    return made


def kept(books: Books) -> bool:
    """Whether every number is in exactly one place."""
    accounted = sum(books.explained.values()) + sum(books.waiting.values()) + books.unexplained
    return (
        books.next_seq == books.received + accounted and books.missing == accounted and books.rejected <= books.received
    )


@given(st.lists(st.sampled_from(PLACES), max_size=60), st.booleans(), st.booleans())
def test_every_number_is_in_one_place_and_no_loss_is_explained_away(
    places: list[str], is_silent: bool, is_last: bool
) -> None:
    """A simulated writer knows what became of each of its numbers; the balance finds out as much as can be known."""
    count = {place: places.count(place) for place in PLACES}
    arrived = [n for n, place in enumerate(places) if place in ("arrived", "rejected") or place.endswith("_arrived")]
    said = report(
        len(places),
        is_last=is_last,
        stored=count["arrived"] + count["lost"],  # the server said that it has the lost ones: it lies
        rejected=count["rejected"],
        dropped=count["full"] + count["close"] + count["close_arrived"],
        dropped_full=count["full"],
        dropped_close=count["close"] + count["close_arrived"],
        queued=count["queued"],
        spooled=count["spooled"],
        in_flight=count["in_flight"] + count["in_flight_arrived"],
    )
    rejected = seqs(*(n for n, place in enumerate(places) if place == "rejected"))
    books = balance(seqs(*arrived), rejected, said, len(places), is_silent=is_silent)
    assert kept(books)
    assert books.explained.get("full", 0) == count["full"]
    is_over = is_silent or is_last
    not_coming = count["lost"] + (count["queued"] + count["in_flight"] if is_over else 0)
    may_hide = count["close_arrived"] + (0 if is_over else count["in_flight_arrived"])
    assert not_coming - may_hide <= books.unexplained <= not_coming
    if not may_hide:
        assert books.state == ("lossy" if not_coming else "waiting" if books.waiting else "complete")
        assert books.explained.get("close", 0) == count["close"]
        assert books.waiting.get("spooled", 0) == count["spooled"]


@pytest.mark.parametrize(
    ("arrived", "said", "due", "is_silent", "expected"),
    [
        ((), None, 0, False, ("complete", {}, {}, 0)),
        ((0, 1, 2), None, 0, False, ("complete", {}, {}, 0)),
        ((0, 2), None, 0, False, ("waiting", {}, {"recent": 1}, 0)),
        ((0, 2), None, 3, False, ("lossy", {}, {}, 1)),
        ((0, 2), None, 0, True, ("lossy", {}, {}, 1)),
        ((0, 2), report(3, is_last=True), 0, False, ("lossy", {}, {}, 1)),
        ((0, 2), report(3, is_last=True, spooled=1), 0, True, ("waiting", {}, {"spooled": 1}, 0)),
        ((0,), report(3, dropped=2, dropped_http_400=1, dropped_full=1), 3, False, ("complete", {"full": 1, "http_400": 1}, {}, 0)),
        ((0,), report(3, dropped=2, dropped_full=1), 3, True, ("complete", {"full": 1, "other": 1}, {}, 0)),
        ((0,), report(4, queued=2), 4, False, ("lossy", {}, {"queued": 2}, 1)),
        ((0,), report(4, queued=2), 0, False, ("waiting", {}, {"queued": 2, "recent": 1}, 0)),
        ((0,), report(3, rejected=2), 3, True, ("complete", {"rejected": 2}, {}, 0)),
        ((0,), report(3, rejected=2, recovered=2), 3, True, ("lossy", {}, {}, 2)),
        ((0, 1), report(1, dropped=5, dropped_full=5), 1, False, ("complete", {}, {}, 0)),
        ((0, 9), report(1, dropped=5, dropped_full=5), 10, False, ("lossy", {}, {}, 8)),  # dropped later than reported
    ],
)  # fmt: skip
def test_what_is_known_of_the_missing_numbers(
    arrived: tuple[int, ...], said: WriterReport | None, due: int, is_silent: bool, expected: tuple[Any, ...]
) -> None:
    """By the report, by their age, and by silence."""
    books = balance(seqs(*arrived), seqs(), said, due, is_silent=is_silent)
    assert kept(books)
    assert (books.state, books.explained, books.waiting, books.unexplained) == expected
