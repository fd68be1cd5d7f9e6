"""The one place where clickhouse-connect is used: connections, parameters, errors.

Embedded, the ClickHouse engine runs in this process (chDB): one process per folder, one folder per process. A connection
serves one call at a time, so a small pool lets readers run beside the writer.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver import exceptions as clickhouse

from upshot_joiner.errors import StoreError, StoreLocked, StoreUnavailable

_log = logging.getLogger("upshot.store")

DATABASE = "upshot"
POOL_SIZE = 4
_SESSION_SETTINGS = {
    # Servers buffer inserts by default and may acknowledge before they are written; we batch ourselves.
    "async_insert": 0,
    # Compiling an expression takes 0.5 s at the fourth run of a big statement, longer than the statement.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    # An unmatched row of an outer join is NULL, not 0 or "": 0 is a label.
    "join_use_nulls": 1,
    "max_threads": max(1, min(4, os.cpu_count() or 1)),
}
# NOT_ENOUGH_SPACE, CANNOT_WRITE_TO_FILE_DESCRIPTOR, MEMORY_LIMIT_EXCEEDED, TOO_MANY_PARTS, TOO_MANY_SIMULTANEOUS_QUERIES
_PASSING_CODES = frozenset({243, 75, 241, 252, 202})

Row = Sequence[Any]


class Store:
    """A ClickHouse database, through a pool of connections. Every method may be called from any thread.

    Raises :class:`~upshot_joiner.errors.StoreError` and its children, never a driver's own error.
    """

    def __init__(self, connections: Sequence[Any], lock: IO[bytes] | None = None) -> None:
        self._all = list(connections)
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for connection in self._all:
            self._free.put(connection)
        self._lock_file = lock
        self._pid = os.getpid()
        self._closed = False
        self._close_lock = threading.Lock()

    @classmethod
    def open_embedded(cls, path: Path) -> Store:
        """Open (or make) the embedded store in the folder ``path``; raises StoreLocked when another process has it."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (path / "upshot.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StoreLocked(
                "another Upshot server has this data folder open; stop it, or choose another folder with --data"
            ) from error
        with _mapped_errors():
            first = clickhouse_connect.get_client(interface="chdb", path=str(path / "clickhouse"), tz_mode="aware")
            first.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
            connections = [first]
            connections += [
                clickhouse_connect.get_client(interface="chdb", path=str(path / "clickhouse"), tz_mode="aware")
                for _ in range(POOL_SIZE - 1)
            ]
            for connection in connections:
                connection.command(f"USE {DATABASE}")
                for name, value in _SESSION_SETTINGS.items():
                    connection.command(f"SET {name} = {value}")
        return cls(connections, lock)

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; ``params`` fill ``{name:Type}`` places on the server's side."""
        with self._connection() as connection:
            return [tuple(row) for row in connection.query(sql, parameters=_parameters(params)).result_rows]

    def arrow(self, sql: str, params: Mapping[str, object] | None = None) -> pa.Table:
        """The result of a SELECT as an Arrow table."""
        with self._connection() as connection:
            table: pa.Table = connection.query_arrow(sql, parameters=_parameters(params), use_strings=True)
            return table

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows as one block: all of them are on disk when this returns, or none are."""
        if rows.num_rows == 0:
            return
        with self._connection() as connection:
            connection.insert_arrow(table, rows.combine_chunks())

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        """Run a statement that returns nothing (DDL, INSERT ... SELECT)."""
        with self._connection() as connection:
            connection.command(sql, parameters=_parameters(params))

    def migrate(self, package: str) -> list[str]:
        """Apply the numbered ``.sql`` files of a package that were not applied yet; returns their names.

        Statements are separated by a semicolon at the end of a line and must be safe to run twice (``IF NOT EXISTS``): a crash
        between a file's last statement and its entry here runs the file again.
        """
        self.command(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now()) "
            "ENGINE = MergeTree ORDER BY name"
        )
        done = {name for (name,) in self.query("SELECT name FROM schema_migrations")}
        files = sorted((f for f in resources.files(package).iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
        applied = []
        for file in files:
            name = f"{package}/{file.name}"
            if name in done:
                continue
            for statement in re.split(r";\s*\n", file.read_text("utf-8")):
                if re.sub(r"--[^\n]*", "", statement).strip().rstrip(";"):
                    self.command(statement.strip().rstrip(";"))
            self.insert("schema_migrations", pa.table({"name": [name]}))
            applied.append(name)
        return applied

    def close(self) -> None:
        """Close every connection; the folder may then be opened by another process."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        for connection in self._all:
            connection.close()
        if self._lock_file is not None:
            self._lock_file.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        if os.getpid() != self._pid:
            # A forked child that touches the inherited engine hangs; say so instead.
            raise StoreError("the store was opened before this process was forked; open it in the process that uses it")
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = self._free.get()
        try:
            with _mapped_errors():
                yield connection
        finally:
            self._free.put(connection)


def _parameters(params: Mapping[str, object] | None) -> dict[str, Any] | None:
    return dict(params) if params else None


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except clickhouse.ClickHouseError as error:
        code = int(getattr(error, "code", 0) or 0)
        kind = StoreUnavailable if code in _PASSING_CODES else StoreError
        raise kind(str(error), code) from error
