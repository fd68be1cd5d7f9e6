"""A ClickHouse cluster as one store: everything about a request is on one shard, found by its key.

What is asked by keys, and what is inserted, goes to the shards that own it. What is asked of everything goes through the first
server, which asks the others (``Distributed`` tables). What is not about requests lives on the first shard.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from upshot_joiner.errors import StoreError
from upshot_joiner.intake.check import EARLIEST_US
from upshot_joiner.store import ddl
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys

T = TypeVar("T")

_CLUSTERS = """
SELECT cluster FROM system.clusters WHERE NOT match(cluster, '^(default|test_|all_groups)') OR cluster = {name:String}
GROUP BY cluster HAVING uniqExact(shard_num) = {shards:UInt32} AND ({name:String} = '' OR cluster = {name:String})
ORDER BY cluster
"""
_KEEPER = """
SELECT (SELECT count() FROM system.tables WHERE database = 'system' AND name = 'zookeeper'),
  (SELECT count() FROM system.macros WHERE macro IN ('shard', 'replica'))
"""
_SHARD = """
CREATE TABLE IF NOT EXISTS shard (number UInt32, of UInt32) ENGINE = ReplacingMergeTree ORDER BY number
"""
_MOMENT = re.compile(r"fromUnixTimestamp64Micro\((\{\w+:Int64\})\s*, 'UTC'\)")
_CANNOT_ASSIGN_ALTER = 517
ALTER_TRIES = 20


class ShardedStore(Store):
    """Every shard's store, and all of them as one. Every method may be called from any thread."""

    def __init__(self, shards: Sequence[Store], everything: Store, cluster: ddl.Cluster) -> None:
        super().__init__([])
        self._shards = tuple(shards)
        self._everything = everything
        self._cluster = cluster
        self._pool = ThreadPoolExecutor(max_workers=4 * len(shards), thread_name_prefix="upshot-shard")

    @property
    def shards(self) -> Sequence[Store]:
        """The stores that each hold a part of the requests, wholly; the first also holds what is not about requests."""
        return self._shards

    def query(
        self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of a SELECT over all shards; with ``keys``, of those of each shard that has some of them, one after the other."""
        if keys is None:
            return self._everything.query(_sendable(sql), params)
        found = self._at_owners(keys, lambda shard, of_shard: shard.query(sql, params, of_shard))
        return [row for rows in found for row in rows]

    def arrow(self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None) -> pa.Table:
        """The same as an Arrow table."""
        if keys is None:
            return self._everything.arrow(_sendable(sql), params)
        found = self._at_owners(keys, lambda shard, of_shard: shard.arrow(sql, params, of_shard))
        return pa.concat_tables(found, promote_options="permissive")

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows, one block for each shard they belong to; when this raises, some of them may be stored.

        What is inserted again is the same rows, and seen once.
        """
        if rows.num_rows == 0:
            return
        if "request_key" not in rows.column_names:
            self._shards[0].insert(table, rows)
            return
        numbers = shard_of(rows["request_key"], len(self._shards))
        self._at(
            [
                (shard, lambda shard, part: shard.insert(table, part), rows.filter(pa.array(numbers == number)))
                for number, shard in enumerate(self._shards)
                if (numbers == number).any()
            ]
        )

    def command(self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None) -> None:
        """Change tables on every shard; any other statement runs over all shards."""
        statements = ddl.of_cluster(sql, self._cluster)
        if statements is None:
            self._everything.command(_sendable(sql), params, keys)
            return
        if statements.distributed and statements.distributed_first:
            self._on_every_shard(statements.distributed, params)
        self._on_every_shard(statements.local, params)
        if statements.distributed and not statements.distributed_first:
            self._on_every_shard(statements.distributed, params)

    def close(self) -> None:
        """Close every connection."""
        self._pool.shutdown(wait=True)
        for store in (*self._shards, self._everything):
            store.close()

    def _on_every_shard(self, sql: str, params: Mapping[str, object] | None) -> None:
        shards = self._shards[:1] if self._cluster.has_keeper else self._shards  # ON CLUSTER reaches the others
        for shard in shards:
            _altered(lambda shard=shard: shard.command(sql, params))  # type: ignore[misc]

    def _at_owners(self, keys: Keys, ask: Callable[[Store, Keys], T]) -> list[T]:
        parts = keys.split(len(self._shards), ddl.shard_number)
        asked = [(shard, ask, part) for shard, part in zip(self._shards, parts, strict=True) if part]
        return self._at(asked or [(self._shards[0], ask, keys)])

    def _at(self, asked: Sequence[tuple[Store, Callable[[Store, Any], T], Any]]) -> list[T]:
        """Ask several shards at once; waits for all of them also when one fails."""
        if len(asked) == 1:
            [(shard, ask, part)] = asked
            return [ask(shard, part)]
        futures = [self._pool.submit(ask, shard, part) for shard, ask, part in asked]
        errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error
        return [future.result() for future in futures]


def _sendable(sql: str) -> str:
    """ClickHouse sends a constant moment to other servers as a number of seconds in text, and reads it there only if it has nine
    digits or more. No event is older than 1990; a bound below that means the beginning."""
    return _MOMENT.sub(rf"fromUnixTimestamp64Micro(greatest(\1, {EARLIEST_US}), 'UTC')", sql)


def shard_of(keys: pa.ChunkedArray, n: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The number of the shard of each key of an Arrow column, as `ddl.shard_number` gives it for one."""
    column = keys.combine_chunks()
    halves = np.frombuffer(column.buffers()[1], np.uint64, count=2 * len(column), offset=16 * column.offset)
    low, high = halves[0::2] % ddl.SHARD_PRIME, halves[1::2] % ddl.SHARD_PRIME
    of_64_bits = np.uint64(2**64 % ddl.SHARD_PRIME)
    remainder = (high * of_64_bits + low) % ddl.SHARD_PRIME
    return np.asarray((remainder * np.uint64(ddl.SHARD_FACTOR) >> np.uint64(32)) % np.uint64(n), np.uint64)


def open_scaled_out(urls: Sequence[str], cluster: str = "") -> Store:
    """The store on one server or on the cluster whose shards have these URLs, in the cluster's order.

    ``cluster``: its name in ``remote_servers``; found out where only one has as many shards. Raises StoreUnavailable when one of
    them does not answer, and StoreError when they are not what was said.
    """
    if len(urls) == 1 and not cluster:
        return Store.open_server(urls[0])
    shards = [Store.open_server(url) for url in urls]
    try:
        known = _cluster_of(shards[0], cluster, len(urls))
        for shard in shards:
            shard.command(f"CREATE DATABASE IF NOT EXISTS {ddl.ALL}")
        if known.has_keeper:
            for database in (ddl.LOCAL, ddl.ALL):
                shards[0].command(f"CREATE DATABASE IF NOT EXISTS {database}{known.on_cluster}")
        store = ShardedStore(shards, Store.open_server(urls[0], ddl.ALL), known)
        _check_order(store)
    except BaseException:
        for shard in shards:
            shard.close()
        raise
    return store


def _cluster_of(home: Store, name: str, shards: int) -> ddl.Cluster:
    found = [cluster for (cluster,) in home.query(_CLUSTERS, {"name": name, "shards": shards})]
    if len(found) != 1:
        which = f"the cluster {name}" if name else "exactly one cluster"
        raise StoreError(
            f"the first server knows {', '.join(found) or 'none'}: there must be {which} with {shards} shards"
        )
    if "`" in found[0]:
        raise StoreError("a cluster's name must not hold a backtick")
    [(keeper, macros)] = home.query(_KEEPER)
    return ddl.Cluster(found[0], shards, has_keeper=bool(keeper) and macros >= 2)


def _check_order(store: ShardedStore) -> None:
    """Each shard keeps its number: URLs in another order, or of other servers, would look for requests where they are not."""
    store.command(_SHARD)
    n = len(store.shards)
    for number, shard in enumerate(store.shards):
        kept = shard.query("SELECT number, of FROM shard FINAL")
        if kept and kept != [(number, n)]:
            raise StoreError(f"the URL in place {number + 1} of {n} is shard {kept[0][0] + 1} of {kept[0][1]}")
        if not kept:
            block = pa.table({"number": pa.array([number], pa.uint32()), "of": pa.array([n], pa.uint32())})
            shard.insert("shard", block)
    seen = store.query("SELECT _shard_num, number + 1 FROM shard ORDER BY number")
    if {tuple(map(int, row)) for row in seen} != {(number + 1, number + 1) for number in range(n)}:
        raise StoreError("the servers' order is not the order of the shards in the cluster")


def _altered(change: Callable[[], None]) -> None:
    """Two processes may change a replicated table at once: one of them has to ask again."""
    for tries in range(ALTER_TRIES):
        try:
            return change()
        except StoreError as error:
            if error.code != _CANNOT_ASSIGN_ALTER or tries == ALTER_TRIES - 1:
                raise
            time.sleep(0.1)
    return None
