"""Stores that fail by script or by chance: over a real one, so that everything else is real."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pyarrow as pa

from upshot_joiner.errors import StoreUnavailable
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys

T = TypeVar("T")


class FailingStore(Store):
    """A store over another one; `_may` decides about each call, and may raise before or after it was done."""

    def __init__(self, store: Store) -> None:
        self.real = store

    @property
    def shards(self) -> list[Store]:
        """The parts fail as the whole does."""
        return [self]

    @property
    def is_shared(self) -> bool:
        """As the real one."""
        return self.real.is_shared

    def query(
        self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None
    ) -> list[tuple[Any, ...]]:
        """As of the real one."""
        return self._may(lambda: self.real.query(sql, params, keys))

    def arrow(self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None) -> pa.Table:
        """As of the real one."""
        return self._may(lambda: self.real.arrow(sql, params, keys))

    def insert(self, table: str, rows: pa.Table) -> None:
        """As of the real one."""
        self._may(lambda: self.real.insert(table, rows))

    def command(self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None) -> None:
        """As of the real one."""
        self._may(lambda: self.real.command(sql, params, keys))

    def close(self) -> None:
        """The real one stays open."""

    def _may(self, call: Callable[[], T]) -> T:
        return call()


class DyingStore(FailingStore):
    """Once armed, dies at its n-th call, before it is done or right after: from then on nothing reaches the real store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._left: int | None = None
        self._after = False
        self.is_dead = False

    def arm(self, at_call: int, *, after: bool) -> None:
        """Die at this call, counted from 1 from now on."""
        self._left, self._after = at_call, after

    @property
    def is_armed(self) -> bool:
        """Whether it is to die."""
        return self._left is not None

    def _may(self, call: Callable[[], T]) -> T:
        if self.is_dead:
            raise StoreUnavailable("the process is dead")
        if self._left is None:
            return call()
        self._left -= 1
        if self._left > 0:
            return call()
        if self._after:
            call()
        self.is_dead = True
        raise StoreUnavailable("the process died")


class FlakyStore(FailingStore):
    """Some calls fail: half of those before they are done, half after."""

    def __init__(self, store: Store, rng: random.Random, share: float) -> None:
        super().__init__(store)
        self._rng = rng
        self.share = share
        self.failed = 0

    def _may(self, call: Callable[[], T]) -> T:
        if self._rng.random() >= self.share:
            return call()
        self.failed += 1
        if self._rng.random() < 0.5:
            call()
        raise StoreUnavailable("not now")
