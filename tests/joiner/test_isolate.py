"""A row that the store does not take costs no other row: found by division, by itself, and only when the store is well."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot_joiner.errors import StoreError, StoreUnavailable
from upshot_joiner.intake.isolate import MAX_POISON, NotTheRowsError, isolate


class Refusing:
    """A store that takes no block with one of some rows in it."""

    def __init__(self, poison: set[int]) -> None:
        self.poison = poison
        self.stored: list[int] = []
        self.writes = 0
        self.taken = 0

    def store(self, rows: Sequence[int]) -> None:
        """All of them, or none."""
        self.writes += 1
        if self.poison & set(rows):
            raise StoreError("refused", 6)
        self.taken += 1
        self.stored += rows


def well() -> None:
    """Other writes are taken."""


@given(
    st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=MAX_POISON)))
)
def test_all_rows_but_the_poison_are_stored_once(case: tuple[int, set[int]]) -> None:
    """Wherever it lies, in the order given."""
    n, poison = case
    store = Refusing(poison)
    found = isolate(range(n), store.store, well)
    assert [row for row, _ in found] == sorted(poison)
    assert store.stored == [row for row in range(n) if row not in poison]


@pytest.mark.parametrize("place", [0, 1, 3_333, 5_000, 9_998, 9_999])
def test_one_row_of_10_000_is_found_with_few_writes(place: int) -> None:
    """What it costs, wherever it lies: refused blocks are cheap, those that are taken are synced."""
    store = Refusing({place})
    isolate(range(10_000), store.store, well)
    assert store.taken <= 10
    assert store.writes <= 21


def test_two_rows_do_not_cost_twice_as_many_writes_as_blocks_of_halves() -> None:
    """What is left after a row was found is tried as one."""
    store = Refusing({2_000, 8_000})
    isolate(range(10_000), store.store, well)
    assert store.writes <= 50


def test_a_refusal_that_passes_gives_no_row_the_blame() -> None:
    """A row is in quarantine for what the store says of it alone, not for what follows from what it said of others."""
    store = Refusing({7})

    def once(rows: Sequence[int]) -> None:
        try:
            store.store(rows)
        finally:
            if len(rows) < 5:
                store.poison = set()

    assert isolate(range(10), once, well) == []
    assert store.stored == list(range(10))


def test_a_store_that_refuses_everything_gives_no_row_the_blame() -> None:
    """After a few the fault is elsewhere."""
    store = Refusing(set(range(10_000)))
    with pytest.raises(NotTheRowsError):
        isolate(range(10_000), store.store, well)
    assert store.writes < 100


def test_a_store_that_is_away_gives_no_row_the_blame() -> None:
    """Whether it says so, or other writes show it."""

    def away(_: Sequence[int]) -> None:
        raise StoreUnavailable("no space left", 243)

    def ill() -> None:
        raise StoreUnavailable("no space left", 243)

    with pytest.raises(StoreUnavailable):
        isolate(range(10), away, well)
    with pytest.raises(StoreUnavailable):
        isolate(range(10), Refusing({3}).store, ill)
