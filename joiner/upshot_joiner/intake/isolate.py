"""One row that the store does not take must not cost the rows that came with it.

ClickHouse takes a block or refuses it, and does not say which row it was. So a refused group is halved until the rows that are
refused by themselves are alone: one of 10,000 is found with about 28 writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from upshot_joiner.errors import StoreUnavailable

T = TypeVar("T")

MAX_POISON = 16
"""Rows of one group that may be refused by themselves. Where more are, it is not the rows: a store that refuses everything must
not empty a topic into quarantine."""


class NotTheRowsError(Exception):
    """So many rows are refused that the fault is elsewhere: nothing more is tried."""


def isolate(
    items: Sequence[T],
    store: Callable[[Sequence[T]], None],
    is_well: Callable[[], None],
    max_poison: int = MAX_POISON,
) -> list[tuple[T, Exception]]:
    """Store all items but those that are refused even alone; returns these, each with the store's reason.

    ``items`` were refused together. ``store`` stores some of them, or raises; ``is_well`` raises StoreUnavailable unless the store
    takes other writes: asked before a row is given the blame. Raises StoreUnavailable and NotTheRowsError; what was stored by then
    stays stored.
    """
    poison: list[tuple[T, Exception]] = []
    left = _halves(items)
    while left:
        some = left.pop()
        try:
            store(some)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(some) > 1:
                left += _halves(some)
                continue
            is_well()
            poison.append((some[0], error))
            if len(poison) > max_poison:
                raise NotTheRowsError from error
    return poison


def _halves(items: Sequence[T]) -> list[Sequence[T]]:
    """The second half first: a list is emptied from its end."""
    middle = len(items) // 2
    return [half for half in (items[middle:], items[:middle]) if half]
