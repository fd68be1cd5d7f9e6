"""What is particular to a store on a real ClickHouse server."""

from __future__ import annotations

import contextlib
import os
import threading

import pyarrow as pa
import pytest

from tests.faults.proxy import Proxy
from tests.ports import free_port
from tests.running_clickhouse import RunningClickHouse
from upshot_joiner.errors import StoreError, StoreUnavailable
from upshot_joiner.store.client import Store
from upshot_joiner.store.driver import FEW_KEYS, compression_to
from upshot_joiner.store.keys import Keys
from upshot_server.parts import SCHEMAS

BIG = [1, 2**63, 2**64 - 1, 2**64, 2**127 + 1, 2**128 - 1]


@pytest.mark.parametrize("more", [0, FEW_KEYS - len(BIG), FEW_KEYS], ids=["few", "as many as go along", "many"])
def test_keys_of_a_batch_reach_a_statement_exactly(any_store: Store, more: int) -> None:
    """All 128 bits; each key once; an empty batch is nothing; parameters and keys go together."""
    keys = [*BIG, *range(10**30, 10**30 + more)]
    sql = "SELECT request_key FROM ($keys) WHERE request_key != {but:UInt128} ORDER BY request_key"
    assert any_store.query(sql, {"but": 2**64}, Keys([*keys, *BIG])) == [(k,) for k in sorted(keys) if k != 2**64]
    assert any_store.query(sql, {"but": 0}, Keys([])) == []
    assert any_store.arrow("SELECT count() AS n FROM ($keys)", keys=Keys(keys))["n"].to_pylist() == [len(keys)]
    assert any_store.query("SELECT count() FROM ($keys) AS a WHERE request_key IN ($keys)", keys=Keys(keys)) == [
        (len(keys),)
    ]


def test_batches_of_many_threads_do_not_mix(any_store: Store) -> None:
    """Each call asks about its own keys, whoever asks at the same moment."""
    answers: list[bool] = []

    def ask(number: int) -> None:
        keys = Keys(range(number * 1000, number * 1000 + 50))
        sql = "SELECT min(request_key), count() FROM ($keys)"
        answers.extend(any_store.query(sql, keys=keys) == [(number * 1000, 50)] for _ in range(10))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 80


def test_nobody_at_the_address_is_an_error_that_passes_and_tells_no_password() -> None:
    """The caller tries again later; the password stays where it is."""
    port = free_port()
    with pytest.raises(StoreUnavailable) as refused:
        Store.open_server(f"http://writer:secret-word@127.0.0.1:{port}")
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "asked", "compression"),
    [
        *[(host, "", False) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1")],
        ("clickhouse-1.example.org", "", "lz4"),
        ("127.0.0.1", "zstd", "zstd"),
        ("clickhouse-1", "none", False),
    ],
)
def test_what_travels_is_compressed_but_on_one_machine(host: str, asked: str, compression: str | bool) -> None:
    """There it would cost a third of an insert and save nothing; ``?compression=`` says otherwise."""
    assert compression_to(host, asked) == compression


def test_a_compression_that_is_not_known_is_said_before_anybody_is_asked() -> None:
    """A misspelt address is not an absent server."""
    with pytest.raises(StoreError, match="lz4, zstd or none"):
        Store.open_server(f"http://127.0.0.1:{free_port()}?compression=gzip")


@pytest.mark.parametrize(
    "url", ["localhost:8123", "tcp://u:secret-word@h:9000", "http://", "http://h:99999", "http://h:x"]
)
def test_what_is_no_address_of_a_server_is_said_without_repeating_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(StoreError, match="named as") as refused:
        Store.open_server(url)
    assert "secret-word" not in str(refused.value)


def test_a_server_that_went_away_is_an_error_that_passes_and_it_is_found_again(
    own_clickhouse: RunningClickHouse,
) -> None:
    """Killed between two calls and started again: the same store goes on, with everything that was acknowledged."""
    own_clickhouse.start()
    store = Store.open_server(own_clickhouse.url)
    try:
        store.migrate("upshot_joiner.store.schema")
        rows = pa.table({"task": ["t"], "until_us": pa.array([7], pa.int64()), "version": pa.array([1], pa.uint64())})
        store.insert("progress", rows)
        own_clickhouse.kill()
        with pytest.raises(StoreUnavailable):
            store.query("SELECT 1")
        with pytest.raises(StoreUnavailable):
            store.insert("progress", rows)
        own_clickhouse.start()
        assert store.query("SELECT until_us FROM progress FINAL") == [(7,)]
    finally:
        store.close()


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ("max_memory_usage = 1000", True),
        ("max_execution_time = 0.001, timeout_before_checking_execution_speed = 0", True),
        ("no_such_setting = 1", False),
    ],
)
def test_what_passes_is_told_from_what_does_not(server_store: Store, settings: str, passes: bool) -> None:
    """Too little memory or time is over one day; a wrong statement stays wrong."""
    with pytest.raises(StoreError) as failed:
        server_store.query(f"SELECT uniqExact(number) FROM numbers(50000000) SETTINGS {settings}")
    assert isinstance(failed.value, StoreUnavailable) == passes
    assert failed.value.code


def test_too_many_parts_pass(server_store: Store, fresh: str) -> None:
    """Backpressure of the server is backpressure of ours."""
    table = f"parts_{fresh.replace('-', '_')}"
    server_store.command(
        f"CREATE TABLE {table} (x UInt8) ENGINE = MergeTree ORDER BY x "
        "SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 1, max_delay_to_insert = 0"
    )
    server_store.command(f"SYSTEM STOP MERGES {table}")
    row = pa.table({"x": pa.array([1], pa.uint8())})
    server_store.insert(table, row)
    with pytest.raises(StoreUnavailable) as refused:
        server_store.insert(table, row)
    assert refused.value.code == 252


def test_an_answer_that_is_lost_after_the_rows_were_stored_makes_no_row_twice(
    clickhouse: str, server_store: Store, fresh: str
) -> None:
    """Fault row F25: the connection is reset when the server has the block; driver or caller send it again, any number of times."""
    [(database,)] = server_store.query("SELECT currentDatabase()")
    with Proxy(clickhouse) as proxy:
        store = Store.open_server(proxy.url, database)
        for n in range(20):
            moment = pa.array([n], pa.timestamp("us", "UTC"))
            refused = pa.table({"code": [fresh], "received_at": moment, "payload": [str(n)]})
            noted = pa.table(
                {"task": [f"{fresh}-{n}"], "until_us": pa.array([n]), "version": pa.array([1], pa.uint64())}
            )
            for table, rows in (("quarantine", refused), ("progress", noted)):
                proxy.reset_answers = 1 + n % 2
                for _ in range(3):
                    with contextlib.suppress(StoreUnavailable):
                        store.insert(table, rows)
                proxy.reset_answers = 0
                store.insert(table, rows)
        assert proxy.n_resets >= 40, "the fault must happen"
        seen = store.query("SELECT count(), uniqExact(payload) FROM quarantine WHERE code = {c:String}", {"c": fresh})
        assert seen == [(20, 20)]
        tasks = store.query("SELECT count() FROM progress FINAL WHERE startsWith(task, {t:String})", {"t": f"{fresh}-"})
        assert tasks == [(20,)]
        store.close()


def test_two_that_migrate_a_new_database_at_once_both_succeed_and_nothing_is_left_to_do(clickhouse: str) -> None:
    """As when several servers are started on an empty cluster."""
    database = f"upshot_migrated_{os.getpid()}"
    stores = [Store.open_server(clickhouse, database) for _ in range(2)]
    errors: list[Exception] = []
    ready = threading.Barrier(2)

    def migrate(store: Store) -> None:
        ready.wait()
        try:
            for package in SCHEMAS:
                store.migrate(package)
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=migrate, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [stores[0].migrate(package) for package in SCHEMAS] == [[], []]
    stores[0].command(f"DROP DATABASE {database} SYNC")
    for store in stores:
        store.close()
