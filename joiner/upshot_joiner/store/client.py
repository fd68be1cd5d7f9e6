"""A ClickHouse database as the rest of the code sees it: rows and Arrow tables in and out, through a pool of connections.

Embedded, the ClickHouse engine runs in this process (chDB): one process per folder, one folder per process. Scaled out, it is a
server, or a cluster of them (``sharded.py``), that many processes read and write. The SQL is the same.
"""

from __future__ import annotations

import fcntl
import os
import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from upshot_joiner.errors import StoreError, StoreLocked, StoreUnavailable
from upshot_joiner.store.driver import Connection, connect_embedded, connect_server
from upshot_joiner.store.keys import Keys

DATABASE = "upshot"
POOL_SIZE = 4
SERVER_POOL_SIZE = 8

Row = Sequence[Any]


class Store:
    """A ClickHouse database, through a pool of connections. Every method may be called from any thread.

    Raises :class:`~upshot_joiner.errors.StoreError` and its children, never a driver's own error.
    """

    def __init__(self, connections: Sequence[Connection], lock: IO[bytes] | None = None) -> None:
        self._all = list(connections)
        self._free: queue.LifoQueue[Connection] = queue.LifoQueue()
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
        lock = (path / "upshot.lock").open("a+b")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = re.sub(rb"[^0-9]", b"", lock.read(20)).decode()
            lock.close()
            named = f" (process {owner})" if owner else ""
            raise StoreLocked(
                f"another Upshot server{named} has this data folder open; stop it, or choose another folder with --data"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        lock.flush()
        return cls(connect_embedded(path / "clickhouse", DATABASE, POOL_SIZE), lock)

    @classmethod
    def open_server(cls, url: str, database: str = DATABASE) -> Store:
        """Open (or make) the database on the ClickHouse server at ``url``: http(s)://USER:PASSWORD@HOST:PORT.

        Any number of processes may have it open. Raises :class:`~upshot_joiner.errors.StoreUnavailable` when nobody answers.
        """
        return cls(connect_server(url, database, SERVER_POOL_SIZE))

    @property
    def shards(self) -> Sequence[Store]:
        """The stores that each hold a part of the requests, wholly; the first also holds what is not about requests."""
        return (self,)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may read and write it too."""
        return self._lock_file is None

    def query(
        self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; ``params`` fill ``{name:Type}`` places on the server's side, ``keys`` fill ``IN ($keys)``."""
        with self._connection() as connection:
            return connection.query(sql, params, keys)

    def arrow(self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None) -> pa.Table:
        """The result of a SELECT as an Arrow table."""
        with self._connection() as connection:
            return connection.arrow(sql, params, keys)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows as one block: all of them are on disk when this returns, or none are."""
        if rows.num_rows == 0:
            return
        with self._connection() as connection:
            connection.insert(table, rows)

    def command(self, sql: str, params: Mapping[str, object] | None = None, keys: Keys | None = None) -> None:
        """Run a statement that returns nothing (DDL, INSERT ... SELECT)."""
        with self._connection() as connection:
            connection.command(sql, params, keys)

    def migrate(self, package: str) -> list[str]:
        """Apply the numbered ``.sql`` files of a package that were not applied yet; returns their names.

        Statements are separated by a semicolon at the end of a line and must be safe to run twice (``IF NOT EXISTS``): after
        a crash on the way all of them run again.
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
            applied.append(name)
        self.insert("schema_migrations", pa.table({"name": pa.array(applied, pa.string())}))
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
    def _connection(self) -> Iterator[Connection]:
        if os.getpid() != self._pid:
            # A forked child that touches the inherited engine hangs; say so instead.
            raise StoreError("the store was opened before this process was forked; open it in the process that uses it")
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = self._free.get()
        try:
            yield connection
        finally:
            self._free.put(connection)
