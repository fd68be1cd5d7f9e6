"""The one place where SQLAlchemy is used: a connection, a statement, rows in the order of their watermark.

Nothing is ever written: the transaction of a turn is rolled back at its end, whatever the statement was. Rows are not kept in
memory: drivers that can are asked for a cursor on the server's side (``stream_results``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from upshot_server.labels.errors import LabelsError, NotNow, WrongInput, printable
from upshot_server.labels.pull.watermark import Mark, of_text

try:
    import sqlalchemy as sa
    from sqlalchemy import exc
except ModuleNotFoundError as error:
    raise WrongInput(
        "SQLAlchemy is not installed: pip install 'upshot[pull]', and the driver of your database"
    ) from error

FETCH_ROWS = 1000
"""Rows that the driver hands over at once."""


class Database:
    """One database. Raises errors of :mod:`upshot_server.labels.errors`, with nothing of the URL's password in them."""

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.make_url(url)
            self._engine = sa.create_engine(self._url, hide_parameters=True, poolclass=sa.NullPool)
        except (exc.NoSuchModuleError, ModuleNotFoundError) as error:
            raise WrongInput(f"the driver of this database is not installed: {error}") from None
        except exc.ArgumentError:
            raise WrongInput("--database is no URL as SQLAlchemy has them: dialect://user@host/database") from None
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        path = self._url.database or ""
        if self._is_sqlite and not path.startswith("file:") and path != ":memory:" and not Path(path).is_file():
            raise WrongInput(f"no SQLite database is at {printable(path)}")

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    def since(self, text: str) -> Mark:
        """Where a first turn begins, in the form in which this database compares. SQLite keeps times as text."""
        mark = of_text(text)
        return text if self._is_sqlite and isinstance(mark, datetime | date) else mark

    def query(self, sql: str, after: Mark) -> sa.Executable:
        """A user's own statement, with its ``:watermark`` filled in by the driver."""
        statement = sa.text(sql)
        if "watermark" not in statement.compile().params:
            raise WrongInput("the query must say which rows are new, with :watermark, and be ordered by it")
        return statement.bindparams(_bound(after))

    def table(self, name: str, schema: str, watermark: str, after: Mark | None) -> sa.Executable:
        """Rows of a table from a watermark on. Every name is one that the database gave, or is quoted by SQLAlchemy, or both."""
        source = sa.table(name, schema=schema or None)
        nothing: sa.Select[Any] = (
            sa.select(sa.literal_column("*")).select_from(source).where(sa.literal(1) == sa.literal(0))
        )
        with self.rows(nothing) as (names, _):
            pass
        if watermark not in names:
            raise WrongInput(
                f"the table has no column {printable(watermark)}; its columns are: {', '.join(map(printable, names))}"
            )
        # Columns without their types: a value is what the driver gives, whatever SQLAlchemy would make of it.
        columns: list[sa.ColumnElement[Any]] = [sa.column(one) for one in names]
        statement = sa.select(*columns).select_from(source)
        if after is not None:
            statement = statement.where(sa.column(watermark) >= _bound(after))
        return statement.order_by(sa.column(watermark))

    @contextmanager
    def rows(self, statement: sa.Executable) -> Iterator[tuple[Sequence[str], Iterator[Sequence[Any]]]]:
        """The names of the columns, and rows in bounded memory."""
        with self._errors(), self._engine.connect().execution_options(yield_per=FETCH_ROWS) as connection:
            result = connection.execute(statement)
            if not result.returns_rows:
                raise WrongInput("the statement returns no rows; a pull reads, with SELECT")
            yield list(result.keys()), self._fetched(result)

    def _fetched(self, result: sa.CursorResult[Any]) -> Iterator[Sequence[Any]]:
        with self._errors():
            for part in result.partitions(FETCH_ROWS):
                yield from part

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except LabelsError:
            raise
        except exc.DBAPIError as error:
            message = self._said(error)
            passing = isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated
            if self._is_sqlite:
                passing = "locked" in message or "busy" in message
            raise (NotNow if passing else WrongInput)(f"the database says: {message}") from None
        except exc.SQLAlchemyError as error:
            raise WrongInput(f"the statement cannot be run: {self._clean(str(error))}") from None

    def _said(self, error: exc.DBAPIError) -> str:
        return self._clean(str(error.orig))

    def _clean(self, message: str) -> str:
        line = " ".join(message.split())[:500]
        return printable(line.replace(self._url.password, "***") if self._url.password else line)


def _bound(mark: Mark) -> sa.BindParameter[Any]:
    """A mark as a parameter. PostgreSQL's drivers write its type into the statement: a time with an offset must keep it."""
    type_: sa.types.TypeEngine[Any] | None = None
    if isinstance(mark, datetime) and mark.tzinfo is not None:
        type_ = sa.DateTime(timezone=True)
    elif isinstance(mark, int):
        type_ = sa.BigInteger()
    return sa.bindparam("watermark", mark, type_)
