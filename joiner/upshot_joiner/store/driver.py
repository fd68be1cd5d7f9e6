"""The one place where clickhouse-connect is used: connections to an engine in this process or to a server, and their errors.

A connection serves one call at a time (``client.py`` keeps a pool of them). ``$keys`` in a statement stands for a subquery that
gives the request keys of the call: embedded a memory table that belongs to the connection, on a server a table sent along.

clickhouse-connect sends a statement once more, silently, when the connection is reset while it waits for the answer. It does so
for statements that only read; were an insert repeated, the rows would be the same to the last byte: they have the same key and
version in every ReplacingMergeTree, and ``quarantine``, the one table of events that is none, forgets a repeated block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver import exceptions as clickhouse
from clickhouse_connect.driver.external import ExternalData
from urllib3.exceptions import HTTPError

from upshot_joiner.errors import StoreError, StoreUnavailable
from upshot_joiner.store.keys import Keys

Params = Mapping[str, object] | None

FEW_KEYS = 500
"""Up to so many go with a statement to the engine in this process: to fill a table takes two statements more."""
_FEW = "SELECT arrayJoin({few_keys:Array(UInt128)}) AS request_key"

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 300
"""How long a server may be silent within a statement. It sends its progress meanwhile, so a long one is not cut off."""

SESSION_SETTINGS: dict[str, int] = {
    # Servers buffer inserts by default and may acknowledge before they are written; we batch ourselves.
    "async_insert": 0,
    # Compiling an expression takes 0.5 s at the fourth run of a big statement, longer than the statement.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    # A block of ours holds each key once, so looking for repeated ones costs two thirds of an insert and finds none; where one does
    # hold a key twice, the rows are merged like those of two blocks.
    "optimize_on_insert": 0,
    # An unmatched row of an outer join is NULL, not 0 or "": 0 is a label.
    "join_use_nulls": 1,
}
_EMBEDDED_SETTINGS = {**SESSION_SETTINGS, "max_threads": max(1, min(4, os.cpu_count() or 1))}
SERVER_SETTINGS: dict[str, int | str] = {
    **SESSION_SETTINGS,
    # What was answered is on every shard and on the disk of the replica that answered.
    "distributed_foreground_insert": 1,
    # A subquery over another distributed table means the rows of the same shard: everything about a request is on one.
    "distributed_product_mode": "local",
    "prefer_localhost_replica": 1,
    "load_balancing": "first_or_random",
    # INSERT ... SELECT between distributed tables runs where it was asked, not on every shard apart.
    "parallel_distributed_insert_select": 0,
    # What was written is seen by the next statement, also where that is answered by another replica.
    "select_sequential_consistency": 0,
    "mutations_sync": 1,
    "allow_nondeterministic_mutations": 1,  # intake/verdict.py asks, in a DELETE, whether another row stands
    "alter_sync": 1,
}

_PASSING_CODES = frozenset(
    {
        16,  # NO_SUCH_COLUMN_IN_TABLE, and
        60,  # UNKNOWN_TABLE, and
        81,  # UNKNOWN_DATABASE: a schema that is not there (yet): no row is to blame
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        452,  # SETTING_CONSTRAINT_VIOLATION: a profile made read-only
        774,  # TABLE_IS_PERMANENTLY_READ_ONLY: until somebody changes the table's setting
        999,  # KEEPER_EXCEPTION
    }
)
_COMPRESSIONS: dict[str, str | bool] = {"lz4": "lz4", "zstd": "zstd", "none": False}
_CUT_OFF = (clickhouse.OperationalError, clickhouse.InterfaceError)
"""Without a code of ClickHouse's: the server was not reached, or went away within the answer."""


class Connection(Protocol):
    """One connection; its methods may be called by one thread at a time and raise StoreError and its children."""

    def query(self, sql: str, params: Params, keys: Keys | None) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        ...

    def arrow(self, sql: str, params: Params, keys: Keys | None) -> pa.Table:
        """The result of a SELECT as an Arrow table."""
        ...

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows as one block."""
        ...

    def command(self, sql: str, params: Params, keys: Keys | None) -> None:
        """Run a statement that returns nothing."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class EmbeddedConnection:
    """A connection to the engine in this process (chDB)."""

    def __init__(self, client: Any, number: int) -> None:
        self._client = client
        self._table = f"batch_keys_{number}"
        self._loaded: Keys | None = None
        with _mapped_errors():
            client.command(f"CREATE OR REPLACE TABLE {self._table} (request_key UInt128) ENGINE = Memory")

    def query(self, sql: str, params: Params, keys: Keys | None) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        with _mapped_errors():
            sql, given = self._with(sql, params, keys)
            return [tuple(row) for row in self._client.query(sql, parameters=given).result_rows]

    def arrow(self, sql: str, params: Params, keys: Keys | None) -> pa.Table:
        """The result of a SELECT as an Arrow table."""
        with _mapped_errors():
            sql, given = self._with(sql, params, keys)
            return self._client.query_arrow(sql, parameters=given, use_strings=True)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows as one block."""
        with _mapped_errors():
            self._client.insert_arrow(table, rows.combine_chunks())

    def command(self, sql: str, params: Params, keys: Keys | None) -> None:
        """Run a statement that returns nothing."""
        with _mapped_errors():
            sql, given = self._with(sql, params, keys)
            self._client.command(sql, parameters=given)

    def close(self) -> None:
        """Close it."""
        self._client.close()

    def _with(self, sql: str, params: Params, keys: Keys | None) -> tuple[str, dict[str, Any] | None]:
        given = _given(params)
        if keys is None:
            return sql, given
        if len(keys) <= FEW_KEYS:
            return sql.replace("$keys", _FEW), {**(given or {}), "few_keys": list(keys.numbers)}
        if keys is not self._loaded:  # a batch is asked about several times, usually on one connection
            self._loaded = None
            self._client.command(f"TRUNCATE TABLE {self._table}")
            if keys:
                self._client.insert_arrow(self._table, pa.table({"request_key": keys.column()}))
            self._loaded = keys
        return sql.replace("$keys", f"SELECT request_key FROM {self._table}"), given


class ServerConnection:
    """A connection to a server, over HTTP. It holds no session: every call may be answered by another server behind the URL."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def query(self, sql: str, params: Params, keys: Keys | None) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        with _mapped_errors(remote=True):
            answer = self._client.query(_named(sql, keys), parameters=_given(params), external_data=_sent(keys))
            return [tuple(row) for row in answer.result_rows]

    def arrow(self, sql: str, params: Params, keys: Keys | None) -> pa.Table:
        """The result of a SELECT as an Arrow table."""
        with _mapped_errors(remote=True):
            return self._client.query_arrow(
                _named(sql, keys), parameters=_given(params), use_strings=True, external_data=_sent(keys)
            )

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows as one block."""
        with _mapped_errors(remote=True):
            self._client.insert_arrow(table, rows.combine_chunks())

    def command(self, sql: str, params: Params, keys: Keys | None) -> None:
        """Run a statement that returns nothing."""
        with _mapped_errors(remote=True):
            self._client.command(_named(sql, keys), parameters=_given(params), external_data=_sent(keys))

    def close(self) -> None:
        """Close it."""
        self._client.close()


def connect_embedded(folder: Path, database: str, n: int) -> list[Connection]:
    """``n`` connections to the engine in this process, over the data in ``folder``."""
    with _mapped_errors():
        clients = [clickhouse_connect.get_client(interface="chdb", path=str(folder), tz_mode="aware") for _ in range(n)]
        clients[0].command(f"CREATE DATABASE IF NOT EXISTS {database}")
        for client in clients:
            client.command(f"USE {database}")
            for name, value in _EMBEDDED_SETTINGS.items():
                client.command(f"SET {name} = {value}")
    return [EmbeddedConnection(client, number) for number, client in enumerate(clients)]


def connect_server(url: str, database: str, n: int) -> list[Connection]:
    """``n`` connections to the server at ``url`` (http or https, with user and password if need be).

    ``?ca=FILE`` names the certificates to trust instead of the system's; ``?compression=lz4|zstd|none`` says how what travels is
    compressed: lz4, and not at all on this machine. Raises :class:`StoreUnavailable` when nobody answers.
    """
    parts = server_address(url)
    options = parse_qs(parts.query)
    given: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or (8443 if parts.scheme == "https" else 8123),
        "secure": parts.scheme == "https",
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "send_receive_timeout": ANSWER_TIMEOUT_S,
        "tz_mode": "aware",
        "autogenerate_session_id": False,
        "form_encode_query_params": True,  # parameters in the body: an address may not be as long as a list of names
        "settings": SERVER_SETTINGS,
        "compress": compression_to(parts.hostname or "", options.get("compression", [""])[0]),
    }
    if "ca" in options:
        given["ca_cert"] = options["ca"][0]
    with _mapped_errors(remote=True):
        first = clickhouse_connect.get_client(**given)
        first.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        first.close()
        return [ServerConnection(clickhouse_connect.get_client(**given, database=database)) for _ in range(n)]


def server_address(url: str) -> SplitResult:
    """The parts of a server's URL; a StoreError that does not repeat it (it may hold a password) when it is none."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0):
            return parts
    except ValueError:
        pass
    raise StoreError(
        "a ClickHouse server is named as http://USER:PASSWORD@HOST:PORT or https://USER:PASSWORD@HOST:PORT"
    )


def compression_to(host: str, asked: str) -> str | bool:
    """How what travels to a host is compressed; ``asked`` is what its address says, "" where it says nothing."""
    if asked in _COMPRESSIONS:
        return _COMPRESSIONS[asked]
    if asked:
        raise StoreError("?compression= of a ClickHouse server's address is lz4, zstd or none")
    is_here = host == "localhost" or host.startswith("127.") or host == "::1"
    return False if is_here else "lz4"


def _given(params: Params) -> dict[str, Any] | None:
    return dict(params) if params else None


def _named(sql: str, keys: Keys | None) -> str:
    return sql if keys is None else sql.replace("$keys", "SELECT request_key FROM batch_keys")


def _sent(keys: Keys | None) -> ExternalData | None:
    if keys is None:
        return None
    return ExternalData(file_name="batch_keys", data=keys.packed, fmt="RowBinary", structure="request_key UInt128")


@contextmanager
def _mapped_errors(*, remote: bool = False) -> Iterator[None]:
    try:
        yield
    except clickhouse.ClickHouseError as error:
        code = int(getattr(error, "code", 0) or 0)
        passes = code in _PASSING_CODES or (remote and not code and isinstance(error, _CUT_OFF))
        if passes and not code:
            raise StoreUnavailable("the ClickHouse server cannot be reached, or went away within an answer") from error
        kind = StoreUnavailable if passes else StoreError
        raise kind(str(error), code) from error
    except (OSError, HTTPError) as error:
        if not remote:
            raise
        raise StoreUnavailable(f"the store's answer was cut off ({type(error).__name__})") from error
