"""``upshot labels pull`` with a real database and a real server: what is read, and what is read again; nothing is passed over."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import psycopg

from tests.running import RunningServer
from tests.server.labels.commands import Commands, counts, kill, rejected_lines
from tests.waiting import eventually
from upshot_server.labels.pull.database import Database
from upshot_server.labels.pull.watermark import Mark

QUERY = "SELECT ref, bad, updated_at FROM orders WHERE updated_at > :watermark ORDER BY updated_at"
COLUMNS = (
    "--column",
    "request_id=ref",
    "--column",
    "value=bad",
    "--column",
    "observed_at=updated_at",
    "--timezone",
    "UTC",
)


class Orders:
    """A SQLite database with a table of orders."""

    def __init__(self, folder: Path, kind: str = "TIMESTAMP") -> None:
        self.path = folder / "orders.db"
        self.url = f"sqlite:///{self.path}"
        self.run(f"CREATE TABLE orders (ref TEXT, bad, updated_at {kind})")

    def run(self, sql: str, rows: Iterable[Sequence[Any]] | None = None) -> list[Any]:
        """Run a statement, once or for each row, and commit."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            if rows is not None:
                connection.executemany(sql, rows)
                return []
            return connection.execute(sql).fetchall()

    def add(self, *rows: Sequence[Any]) -> None:
        """Commit rows."""
        self.run("INSERT INTO orders VALUES (?, ?, ?)", rows)


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path)


def pull(labels: Commands, orders: Orders, name: str, *words: str) -> dict[str, Any]:
    """One turn of the query."""
    source = ("--database", orders.url, "--query", QUERY, "--watermark-column", "updated_at", "--since", "1970-01-01")
    done = labels.run("pull", name, *source, *COLUMNS, "--json", *words)
    assert done.status == 0, done.out + done.err
    return done.json


def noted(server: RunningServer, name: str) -> str | None:
    """The watermark that the server keeps."""
    answer = server.http.get(f"/v1/pulls/{name}")
    return answer.json()["watermark"]["value"] if answer.status_code == 200 else None


def stored(server: RunningServer, request_id: str) -> list[Any]:
    """Values of a request's label events, in the order of their receipt."""
    answer = server.http.get(f"/v1/predictions/{request_id}")
    return [event["value"] for event in answer.json()["label_events"]] if answer.status_code == 200 else []


def test_what_is_new_is_sent_and_what_is_read_again_is_a_duplicate(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    orders.add((f"{fresh}-1", 0, "2026-11-20 10:00:00"), (f"{fresh}-2", 1.5, "2026-11-20 12:00:00"))
    first = pull(labels, orders, fresh)
    assert (first["accepted"], first["watermark"]) == (2, "2026-11-20 12:00:00")
    orders.add((f"{fresh}-3", 1, "2026-11-20 12:30:00"))
    elsewhere = Commands(labels.url, labels.folder / "another machine")
    elsewhere.folder.mkdir()
    second = pull(elsewhere, orders, fresh)
    assert second["after"] == "2026-11-20 11:00:00"
    assert counts(second) == {"read": 2, "accepted": 1, "duplicates": 1, "rejected": 0, "skipped": 0}
    assert noted(server, fresh) == "2026-11-20 12:30:00"
    assert [stored(server, f"{fresh}-{n}") for n in (1, 2, 3)] == [[0], [1.5], [1]]


def test_a_row_that_is_committed_late_is_not_passed_over(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    """It was written before the watermark and committed after it had moved."""
    orders.add((f"{fresh}-1", 1, "2026-11-20 12:00:00"))
    pull(labels, orders, fresh)
    orders.add((f"{fresh}-late", 0, "2026-11-20 11:15:00"), (f"{fresh}-too-late", 0, "2026-11-20 09:00:00"))
    assert pull(labels, orders, fresh)["accepted"] == 1
    assert stored(server, f"{fresh}-late") == [0]
    assert pull(labels, orders, fresh, "--overlap", "4h")["accepted"] == 1


def test_a_row_at_the_very_watermark_is_not_passed_over(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    """Without any overlap, and though the query says ``>``."""
    orders.add((f"{fresh}-1", 1, "2026-11-20 12:00:00"))
    pull(labels, orders, fresh, "--overlap", "0s")
    orders.add((f"{fresh}-2", 0, "2026-11-20 12:00:00"))
    again = pull(labels, orders, fresh, "--overlap", "0s")
    assert (again["accepted"], again["duplicates"]) == (1, 1)
    assert stored(server, f"{fresh}-2") == [0]


@pytest.mark.timeout(400)
def test_a_pull_killed_between_two_batches_loses_nothing(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    """The border of the batches lies within rows of one time: the note stays before them, and the next turn reads them all."""
    n_rows = 25_000
    orders.add(
        *((f"{fresh}-{n}", n % 2, f"2026-11-{1 + n // 1000:02d} 10:00:{(n % 1000) // 17:02d}") for n in range(n_rows))
    )
    source = ("--database", orders.url, "--query", QUERY, "--watermark-column", "updated_at", "--since", "1970-01-01")
    process = labels.start("pull", fresh, *source, *COLUMNS, "--overlap", "0s")
    watermark = eventually(lambda: noted(server, fresh), 120)
    kill(process)
    assert watermark is not None
    assert watermark < orders.run("SELECT max(updated_at) FROM orders")[0][0]
    rest = pull(labels, orders, fresh, "--overlap", "0s")
    assert rest["read"] < n_rows
    assert rest["watermark"] == "2026-11-25 10:00:58"
    everything = pull(labels, orders, fresh, "--restart")
    assert counts(everything) == {
        "read": n_rows, "accepted": 0, "duplicates": n_rows, "rejected": 0, "skipped": 0,
    }  # fmt: skip


def test_numbers_are_watermarks_too(server: RunningServer, labels: Commands, tmp_path: Path, fresh: str) -> None:
    orders = Orders(tmp_path, "INTEGER")
    orders.add(*((f"{fresh}-{n}", n, n) for n in range(5)))
    words = ["--since", "-1", "--overlap", "2", "--set", "observed_at=2026-11-01T00:00:00Z"]
    source = ("--database", orders.url, "--query", QUERY, "--watermark-column", "updated_at")
    mapped = ("--column", "request_id=ref", "--column", "value=bad")
    first, second = (labels.run("pull", fresh, *source, *mapped, *words, "--json").json for _ in range(2))
    assert (first["accepted"], first["after"], first["watermark"]) == (5, "-1", "4")
    assert (second["after"], second["duplicates"]) == ("2", 2)


def test_a_touched_row_is_a_new_event_where_that_is_asked(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    """1, 0, and 1 again, without a time in the event: by content the third says what the first said."""
    source = ("--database", orders.url, "--table", "orders", "--watermark-column", "updated_at", "--json")
    mapped = ("--column", "request_id=ref", "--column", "value=bad")
    for name, expected in (("content", [1, 0]), ("watermark", [1, 0, 1])):
        request = f"{fresh}-{name}"
        orders.run("DELETE FROM orders")
        for hour, value in ((10, 1), (11, 0), (12, 1)):
            orders.run("DELETE FROM orders")
            orders.add((request, value, f"2026-11-20 {hour}:00:00"))
            assert labels.run("pull", request, *source, *mapped, "--id", name).status == 0
        assert stored(server, request) == expected


def test_names_of_tables_and_columns_are_only_names(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    table, column = 'x"; DROP TABLE orders; --', "when'?:watermark %s `"
    quoted = column.replace('"', '""')
    orders.run(f'CREATE TABLE "{table.replace(chr(34), chr(34) * 2)}" (request_id TEXT, value INT, "{quoted}" TEXT)')
    orders.run(
        f'INSERT INTO "{table.replace(chr(34), chr(34) * 2)}" VALUES (?, 0, ?)', [(fresh, "2026-11-20T10:00:00Z")]
    )
    source = ("--database", orders.url, "--table", table, "--watermark-column", column)
    for accepted in (1, 0):
        done = labels.run("pull", fresh, *source, "--json")
        assert done.status == 0, done.err
        assert (done.json["accepted"], done.json["read"]) == (accepted, 1)
    assert noted(server, fresh) == "2026-11-20T10:00:00Z"
    assert orders.run("SELECT count(*) FROM orders") == [(0,)]


def test_a_row_from_a_far_future_does_not_end_the_pull(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    orders.add((f"{fresh}-1", 1, "2026-11-20 10:00:00"), (f"{fresh}-typo", 1, "9026-11-20 10:00:00"))
    source = ("--database", orders.url, "--table", "orders", "--watermark-column", "updated_at", "--json")
    mapped = ("--column", "request_id=ref", "--column", "value=bad")
    first = labels.run("pull", fresh, *source, *mapped).json
    assert (first["accepted"], first["in_the_future"], first["watermark"]) == (2, 1, "2026-11-20 10:00:00")
    orders.add((f"{fresh}-2", 1, "2026-11-20 11:00:00"))
    assert labels.run("pull", fresh, *source, *mapped).json["accepted"] == 1


def test_rows_that_are_refused_are_listed_with_their_watermark(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    orders.add((fresh, 1, "2026-11-20 10:00:00"), ("", 1, "2026-11-20 11:00:00"), ("a\0b", 1, "2026-11-20 12:00:00"))
    source = ("--database", orders.url, "--query", QUERY, "--watermark-column", "updated_at", "--since", "1970-01-01")
    done = labels.run("pull", fresh, *source, *COLUMNS, "--json")
    assert done.status == 1
    assert counts(done.json) == {"read": 3, "accepted": 1, "duplicates": 0, "rejected": 2, "skipped": 0}
    assert rejected_lines(labels.folder / f"{fresh}.rejected.ndjson") == [
        {"row": 2, "code": "empty", "loc": "request_id", "column": "ref", "watermark": "2026-11-20 11:00:00"},
        {
            "row": 3,
            "code": "control_character",
            "loc": "request_id",
            "column": "ref",
            "watermark": "2026-11-20 12:00:00",
        },
    ]
    assert noted(server, fresh) == "2026-11-20 12:00:00"


def test_a_dry_run_shows_events_and_moves_nothing(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    orders.add((f"{fresh}-1", 0, "2026-11-20 10:00:00"), (f"{fresh}-2", None, "2026-11-20 10:00:00"))
    found = pull(labels, orders, fresh, "--dry-run")
    assert (found["events"], found["skipped"]) == (1, 1)
    assert found["first"][0]["value"] == 0
    assert noted(server, fresh) is None
    assert stored(server, f"{fresh}-1") == []


def test_a_pull_keeps_going_until_it_is_told_to_stop(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    """Rows are sent as they come; what fails in one turn is told, and tried again in the next."""
    orders.add((f"{fresh}-1", 1, "2026-11-20 10:00:00"))
    source = ("--database", orders.url, "--query", QUERY, "--watermark-column", "updated_at", "--since", "1970-01-01")
    process = labels.start("pull", fresh, *source, *COLUMNS, "--every", "200ms", "--json")
    eventually(lambda: stored(server, f"{fresh}-1"), 90)
    locked = sqlite3.connect(orders.path, isolation_level=None)
    locked.execute("BEGIN EXCLUSIVE")
    locked.execute("INSERT INTO orders VALUES (?, 0, '2026-11-20 10:00:01')", (f"{fresh}-2",))
    locked.execute("COMMIT")
    locked.close()
    eventually(lambda: stored(server, f"{fresh}-2") == [0], 60)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM orders WHERE updated_at > :watermark RETURNING ref, bad, updated_at",
        "UPDATE orders SET bad = 7 WHERE updated_at > :watermark",
    ],
)
def test_nothing_is_ever_written_to_the_database(labels: Commands, orders: Orders, fresh: str, statement: str) -> None:
    orders.add((fresh, 1, "2026-11-20 10:00:00"))
    source = (
        "--database",
        orders.url,
        "--query",
        statement,
        "--watermark-column",
        "updated_at",
        "--since",
        "1970-01-01",
    )
    labels.run("pull", fresh, *source, *COLUMNS)
    assert orders.run("SELECT * FROM orders") == [(fresh, 1, "2026-11-20 10:00:00")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--query": "SELECT 1 AS updated_at"}, "with :watermark"),
        ({"--query": "SELECT ref FROM orders WHERE updated_at > :watermark"}, "gives no column updated_at"),
        ({"--query": "SELEC :watermark"}, "the database says: near"),
        ({"--query": "", "--table": "absent"}, "the database says: no such table: absent"),
        ({"--query": "", "--table": "orders", "--watermark-column": "x"}, "its columns are: ref, bad, updated_at"),
        ({"--query": ""}, "either a query or a table"),
        ({"--since": ""}, "say where with --since"),
        ({"--database": "sqlite:////no/such.db"}, "no SQLite database is at"),
        ({"--database": "what://u:secret@h/d"}, "driver of this database is not installed"),
        ({"--database": "secret"}, "no URL"),
        ({"--database": "${NOT_SET_ANYWHERE}"}, "NOT_SET_ANYWHERE is not set"),
        ({"--overlap": "often"}, "--overlap"),
        ({"--watermark-column": ""}, "--watermark-column COLUMN"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_without_a_secret(
    labels: Commands, orders: Orders, fresh: str, change: dict[str, str], said: str
) -> None:
    words = {
        "--database": orders.url, "--query": QUERY, "--watermark-column": "updated_at", "--since": "1970-01-01",
    } | change  # fmt: skip
    done = labels.run("pull", fresh, *(word for pair in words.items() for word in pair if pair[1]), *COLUMNS)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "secret" not in done.err
    assert done.err.count("\n") == 1


def test_rows_out_of_order_are_an_error_and_not_a_loss(
    server: RunningServer, labels: Commands, orders: Orders, fresh: str
) -> None:
    orders.add((f"{fresh}-1", 1, "2026-11-20 12:00:00"), (f"{fresh}-2", 1, "2026-11-20 10:00:00"))
    query = "SELECT * FROM orders WHERE updated_at > :watermark ORDER BY updated_at DESC"
    source = ("--database", orders.url, "--query", query, "--watermark-column", "updated_at", "--since", "1970-01-01")
    done = labels.run("pull", fresh, *source, *COLUMNS)
    assert done.status == 1
    assert "ORDER BY it" in done.err
    assert noted(server, fresh) is None


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (datetime(2026, 11, 1, tzinfo=UTC), "TIMESTAMP WITH TIME ZONE"),
        (datetime(2026, 11, 1), "TIMESTAMP WITHOUT TIME ZONE"),  # noqa: DTZ001  # a column without a zone gives such
        (7, "BIGINT"),
    ],
)
def test_postgresql_compares_a_watermark_in_its_own_type(mark: Mark, expected: str) -> None:
    """Another type would move a time by the offset of the session, or cut a number off."""
    statement = Database("sqlite:///:memory:").query("SELECT 1 WHERE a > :watermark", mark)
    assert f"::{expected}" in str(statement.compile(dialect=psycopg.dialect()))


def test_rows_are_taken_as_they_come_and_not_all_at_once() -> None:
    """From a query that never ends."""
    endless = "WITH RECURSIVE n(x) AS (SELECT :watermark UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    database = Database("sqlite:///:memory:")
    with database.rows(database.query(endless, 5)) as (columns, rows):
        assert list(columns) == ["x"]
        assert [next(rows)[0] for _ in range(3)] == [5, 6, 7]
    database.close()
