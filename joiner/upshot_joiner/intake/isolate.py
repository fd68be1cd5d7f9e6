"""One row that the store does not take must not cost the rows that came with it.

ClickHouse takes a block or refuses it, and does not say which row it was. So a refused group is divided until the rows that are
refused by themselves are alone. A block that is taken costs two or three times what a refused one costs (synced writes), so few
are written: the first part of a division is the larger one, which is refused more often; where it is taken, the second need not be
tried to know that it is refused; and once a row is found, all that is left is tried as one. One row of 10,000 is found with at most
10 blocks that are taken or 19 that are refused, in 21 tries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from upshot_joiner.errors import StoreUnavailable

T = TypeVar("T")

MAX_POISON = 16
"""Rows of one group that may be refused by themselves. Where more are, it is not the rows: a store that refuses everything must
not empty a topic into quarantine."""

FIRST_SHARE = 0.6
"""How much of a refused block is tried first. With halves, a row at the end would cost 14 blocks that are taken; with more than
this, a row at the beginning would cost many tries of nearly all rows."""


class NotTheRowsError(Exception):
    """The fault is not one of a few rows: nothing more is tried. ``reason`` is what the store said last."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Part(Generic[T]):
    """Rows that are to be stored. ``is_first``: the first part of rows that were refused together."""

    rows: list[T]
    is_first: bool


def isolate(
    items: Sequence[T],
    store: Callable[[Sequence[T]], None],
    is_well: Callable[[], None],
    max_poison: int = MAX_POISON,
) -> list[tuple[T, Exception]]:
    """Store all items but those that are refused even alone, in order; returns these, each with the store's reason.

    ``items`` were refused together. ``store`` stores some of them, or raises; ``is_well`` raises StoreUnavailable unless the store
    takes other writes: asked before a row is given the blame. Raises StoreUnavailable and NotTheRowsError, also those of ``store``;
    what was stored by then stays stored.
    """
    poison: list[tuple[T, Exception]] = []
    left = [_Part(list(items), is_first=False)]  # the last one is the next
    is_refused = True  # whether that is known of the next one
    while left:
        part = left.pop()
        if len(part.rows) > 1 and is_refused:
            left += _divided(part.rows)
            is_refused = False
            continue
        error = _refusal(store, part.rows)  # one row is always tried: it gets the blame for nothing but its own refusal
        if error is None:
            is_refused = part.is_first  # the next one is the rest of what was refused
            continue
        is_refused = False
        if len(part.rows) > 1:
            left += _divided(part.rows)
            continue
        is_well()
        poison.append((part.rows[0], error))
        if len(poison) > max_poison:
            raise NotTheRowsError(error) from error
        # All the rest at once, at the first row that was found, the second, the fourth ...: where there are many, that is in vain.
        if left and len(poison).bit_count() == 1:
            if _refusal(store, [row for part in reversed(left) for row in part.rows]) is None:
                break
            is_refused = len(left) == 1
    return poison


def _refusal(store: Callable[[Sequence[T]], None], rows: Sequence[T]) -> Exception | None:
    """Why the rows were not stored; None when they were."""
    try:
        store(rows)
    except (StoreUnavailable, NotTheRowsError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is: a part without the row that causes it can be stored
        return error
    return None


def _divided(rows: list[T]) -> list[_Part[T]]:
    """The second part first: a list is emptied from its end."""
    n_first = min(len(rows) - 1, math.ceil(len(rows) * FIRST_SHARE))
    return [_Part(rows[n_first:], is_first=False), _Part(rows[:n_first], is_first=True)]
