"""From the statements of the ``.sql`` files, made for one engine, to those of a cluster.

A table with the column ``request_key`` is spread over the shards by it; any other is small and lives on the first shard. Every
shard has the table itself in the database ``upshot``, and a ``Distributed`` table over all of them, with the same name and columns,
in ``upshot_all``. Where there is Keeper, tables are ``Replicated…`` and statements run ``ON CLUSTER``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOCAL = "upshot"
ALL = "upshot_all"
SHARD_PRIME = 2**31 - 1
SHARD_FACTOR = 2_654_435_769
"""How the shard of a request follows from its key: modulo the prime, so that every bit counts; times the factor (2^32 over the
golden ratio), whose upper half has no pattern where keys come in steps; modulo the number of shards."""

_REPLICA = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
_COMMENT = re.compile(r"--[^\n]*")
_STATEMENT = re.compile(
    r"\s*(?P<verb>CREATE(?: OR REPLACE)? TABLE(?: IF NOT EXISTS)?|ALTER TABLE|TRUNCATE TABLE(?: IF EXISTS)?|"
    r"DROP TABLE(?: IF EXISTS)?|DELETE FROM)\s+(?P<table>\w+)(?P<rest>.*)\Z",
    re.DOTALL,
)
_ENGINE = re.compile(r"\bENGINE\s*=\s*(\w*MergeTree)\b(\s*\(([^)]*)\))?")
_COLUMNS_CHANGE = re.compile(r"\s*(ADD|DROP|RENAME|MODIFY) COLUMN\b")


@dataclass(frozen=True)
class Cluster:
    """What the servers call the cluster, how many shards it has, and whether Keeper coordinates their replicas."""

    name: str
    shards: int
    has_keeper: bool = False

    @property
    def on_cluster(self) -> str:
        """The clause that makes a statement run on every replica."""
        return f" ON CLUSTER `{self.name}`" if self.has_keeper else ""

    def sharding(self, *, is_sharded: bool) -> str:
        """The expression that says to which shard a row of a distributed table goes."""
        if not is_sharded:
            return "0"
        return f"bitShiftRight(toUInt64(request_key % {SHARD_PRIME}) * {SHARD_FACTOR}, 32) % {self.shards}"


def shard_number(key: int, n: int) -> int:
    """The shard of a key among ``n``, from 0: what `Cluster.sharding` says in SQL."""
    return (key % SHARD_PRIME * SHARD_FACTOR >> 32) % n


@dataclass(frozen=True)
class Statements:
    """A statement as a cluster needs it: in the database of each shard, and for the tables over all shards."""

    local: str
    distributed: str = ""
    distributed_first: bool = False


def of_cluster(sql: str, cluster: Cluster) -> Statements | None:
    """What becomes of a statement that changes tables; None for any other, which runs over all shards as it is."""
    found = _STATEMENT.match(_COMMENT.sub("", sql))
    if found is None:
        return None
    verb, table, rest = found["verb"], found["table"], found["rest"]
    local = f"{verb} {LOCAL}.{table}{cluster.on_cluster}{rest}"
    everywhere = f"{ALL}.{table}{cluster.on_cluster}"
    if verb.startswith("CREATE"):
        if cluster.has_keeper:
            local = _ENGINE.sub(_replicated, local)
        is_sharded = re.search(r"\brequest_key\b", rest) is not None
        engine = f"Distributed(`{cluster.name}`, {LOCAL}, {table}, {cluster.sharding(is_sharded=is_sharded)})"
        return Statements(local, f"{verb} {everywhere} AS {LOCAL}.{table} ENGINE = {engine}")
    if verb.startswith("DROP"):
        return Statements(local, f"{verb} {everywhere}{rest}", distributed_first=True)
    if verb == "ALTER TABLE" and _COLUMNS_CHANGE.match(rest):
        return Statements(local, f"{verb} {everywhere}{rest}")
    return Statements(local)


def _replicated(engine: re.Match[str]) -> str:
    name, arguments = engine[1], (engine[3] or "").strip()
    return f"ENGINE = Replicated{name}({', '.join(filter(None, (_REPLICA, arguments)))})"
