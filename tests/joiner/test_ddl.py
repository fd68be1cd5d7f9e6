"""The statements of the .sql files, as a cluster gets them."""

from __future__ import annotations

import re
from importlib import resources

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot_joiner.store import ddl
from upshot_joiner.store.keys import Keys
from upshot_joiner.store.served import _CREATE
from upshot_joiner.store.sharded import shard_of
from upshot_server.parts import SCHEMAS

PLAIN = ddl.Cluster("c1", 2)
KEEPER = ddl.Cluster("c1", 3, has_keeper=True)


def all_statements() -> list[str]:
    """Every statement of every migration, and that of a model's table."""
    found = [_CREATE.format(table="served_0123456789abcdef")]
    for package in SCHEMAS:
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".sql"):
                text = re.sub(r"--[^\n]*", "", file.read_text("utf-8"))
                found += [one.strip() for one in re.split(r";\s*\n", text) if one.strip().rstrip(";")]
    return found


@pytest.mark.parametrize("statement", all_statements(), ids=lambda text: " ".join(text.split()[:6]))
def test_every_statement_of_the_schema_has_its_form_for_a_cluster(statement: str) -> None:
    """The tables of each shard by their names, replicated and ON CLUSTER where there is Keeper, and the tables over all shards."""
    plain, keeper = ddl.of_cluster(statement, PLAIN), ddl.of_cluster(statement, KEEPER)
    assert plain is not None, "a statement that changes tables, but is not recognised, would run on one shard only"
    assert keeper is not None
    assert "ON CLUSTER" not in plain.local + plain.distributed
    assert " ON CLUSTER `c1`" in keeper.local
    if statement.startswith("CREATE"):
        assert re.search(r"ENGINE = (Replacing|Summing)?MergeTree", plain.local)
        assert re.search(
            r"ENGINE = Replicated(Replacing|Summing)?MergeTree\('/clickhouse/tables/\{uuid\}/\{shard\}', '\{replica\}'",
            keeper.local,
        )
        assert " AS upshot." in plain.distributed
        assert "ENGINE = Distributed(`c1`, upshot, " in plain.distributed
    assert (keeper.distributed == "") == (plain.distributed == "")


def test_a_statement_in_all_its_forms() -> None:
    """As it is written out."""
    statement = """CREATE TABLE IF NOT EXISTS t (
  request_key UInt128, -- the key
  v UInt64
) ENGINE = ReplacingMergeTree(v)
ORDER BY request_key"""
    made = ddl.of_cluster(statement, KEEPER)
    assert made is not None
    assert " ".join(made.local.split()) == (
        "CREATE TABLE IF NOT EXISTS upshot.t ON CLUSTER `c1` ( request_key UInt128, v UInt64 ) "
        "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', v) ORDER BY request_key"
    )
    assert made.distributed == (
        "CREATE TABLE IF NOT EXISTS upshot_all.t ON CLUSTER `c1` AS upshot.t "
        "ENGINE = Distributed(`c1`, upshot, t, bitShiftRight(toUInt64(request_key % 2147483647) * 2654435769, 32) % 3)"
    )
    small = ddl.of_cluster("CREATE TABLE s (name String) ENGINE = MergeTree ORDER BY name", PLAIN)
    assert small == ddl.Statements(
        "CREATE TABLE upshot.s (name String) ENGINE = MergeTree ORDER BY name",
        "CREATE TABLE upshot_all.s AS upshot.s ENGINE = Distributed(`c1`, upshot, s, 0)",
    )
    assert ddl.of_cluster("DELETE FROM t WHERE x = 1", PLAIN) == ddl.Statements("DELETE FROM upshot.t WHERE x = 1")
    assert ddl.of_cluster("INSERT INTO t SELECT 1", PLAIN) is None
    dropped = ddl.of_cluster("DROP TABLE IF EXISTS t SYNC", PLAIN)
    assert dropped == ddl.Statements(
        "DROP TABLE IF EXISTS upshot.t SYNC", "DROP TABLE IF EXISTS upshot_all.t SYNC", distributed_first=True
    )


@given(st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=50), st.integers(1, 7))
def test_every_way_to_find_the_shard_of_a_key_is_the_same(numbers: list[int], n: int) -> None:
    """A batch split for reading, a block split for writing, and the expression in SQL (tried on a real cluster elsewhere)."""
    keys = Keys(numbers)
    column = pa.chunked_array([keys.column()])
    of_block = dict(zip(keys.numbers, shard_of(column, n).tolist(), strict=True))
    assert of_block == {key: ddl.shard_number(key, n) for key in keys.numbers}
    for number, part in enumerate(keys.split(n, ddl.shard_number)):
        assert set(part.numbers) == {key for key, shard in of_block.items() if shard == number}


@pytest.mark.parametrize("step", [1, 2, 2**31 - 1 + 1, 2**48, 2**64, 2**96])
def test_ids_in_steps_are_on_all_shards(step: int) -> None:
    """UUIDs with a constant node, counters, and times in the upper bits: no pattern puts everything in one place."""
    for n in (2, 3, 4):
        keys = [(start * step + 12345) % 2**128 for start in range(3000)]
        counts = np.bincount([ddl.shard_number(key, n) for key in keys], minlength=n)
        assert counts.min() > 3000 / n / 3
