"""What both commands of ``upshot labels`` have in common: rules from options, and how things are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from upshot_server.client import ServerRefused
from upshot_server.commands.options import RuleOptions
from upshot_server.labels.books import Books
from upshot_server.labels.cells import TimeFormat, ValueType
from upshot_server.labels.errors import LabelsError, NotNow, WrongInput, printable
from upshot_server.labels.events import Empty
from upshot_server.labels.load import Preview
from upshot_server.labels.mapping import ColumnMap
from upshot_server.labels.rules import IdBy, Rules

REJECTED = 1
WRONG_INPUT = 2
NOT_NOW = 3
"""Exit statuses: something was rejected (or the file is damaged), the options are wrong, run it again later to go on."""

out = Console(soft_wrap=True, markup=False, highlight=False)
err = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


def rules_of(given: RuleOptions, *, place: str) -> Rules:
    """The rules that options stand for; ``place`` is what ``--id`` calls the other way. Raises WrongInput."""
    by = {"content": "content", place: "place"}
    if given.id_by not in by:
        raise WrongInput(f"--id must be one of content, {place}")
    id_by: IdBy = "place" if given.id_by == place else "content"
    return Rules(
        ColumnMap.parse(given.column, given.set_, given.value_column),
        one_of(given.value_type, ValueType, "--value-type"),
        one_of(given.time_format, TimeFormat, "--time-format"),
        given.timezone,
        tuple(given.null),
        one_of(given.empty, Empty, "--empty"),
        id_by,
    )


def one_of(given: str, choices: Any, option: str) -> Any:
    """A word of a Literal. Raises WrongInput for another one."""
    allowed = get_args(choices)
    if given not in allowed:
        raise WrongInput(f"{option} must be one of {', '.join(allowed)}")
    return given


def counts(books: Books) -> dict[str, int]:
    """The books as JSON."""
    return {name: getattr(books, name) for name in books.__struct_fields__}


def preview_document(found: Preview) -> dict[str, Any]:
    """A preview as JSON."""
    return {
        "rows": found.books.rows,
        "read": found.books.read,
        "events": found.events,
        "rejected": found.books.rejected,
        "skipped": found.books.skipped,
        "ignored_columns": found.ignored_columns,
        "first": found.first,
        "first_rejected": found.first_rejected,
    }


def tell_preview(found: Preview) -> None:
    """A preview as text."""
    for event in found.first:
        out.print(json.dumps(event))
    for refused in found.first_rejected:
        out.print(f"rejected: {json.dumps(refused)}")
    books = found.books
    out.print(
        f"{printable(found.file)}: {books.rows:,} rows, {books.read:,} events read: {found.events:,} would be sent, "
        f"{books.rejected:,} rejected, {books.skipped:,} skipped; nothing was sent"
    )
    tell_ignored(found.ignored_columns)


def tell_ignored(columns: Sequence[str]) -> None:
    """Columns that fed nothing: a misspelt one is among them."""
    if columns:
        out.print(f"columns not used: {', '.join(map(printable, columns[:50]))}")


def print_json(content: Any) -> None:
    """One document on standard output."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


@contextmanager
def ending_well() -> Iterator[None]:
    """Errors as one line on standard error, each with its exit status."""
    try:
        yield
    except WrongInput as error:
        fail(str(error), WRONG_INPUT)
    except NotNow as error:
        fail(f"{error}; run the same again later: it goes on where it was", NOT_NOW)
    except (ServerRefused, LabelsError) as error:
        fail(str(error), REJECTED)
    except KeyboardInterrupt:
        fail("stopped; run the same again: it goes on where it was", NOT_NOW)


def fail(message: str, status: int) -> NoReturn:
    """Say it and end."""
    err.print(f"upshot: {message}")
    raise typer.Exit(status)


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Callable[[Books, int], None]]:
    """On a terminal a bar on standard error, in a pipe nothing; gives what tells it how far things are."""
    if not sys.stderr.isatty():
        yield lambda books, consumed: None
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task(printable(what), total=total, rows="")

        def tell(books: Books, consumed: int) -> None:
            bar.update(task, completed=consumed, rows=f"{books.rows:,} rows, {books.rejected:,} rejected")

        yield tell
