"""What ``upshot labels pull`` does: one turn of each pull, or turns until it is told to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from upshot_joiner.config import parse_duration
from upshot_server.client import ServerRefused
from upshot_server.commands import labels_told as told
from upshot_server.commands.options import RuleOptions, ServerOptions
from upshot_server.labels.errors import LabelsError, WrongInput, printable
from upshot_server.labels.pull import watermark
from upshot_server.labels.pull.definition import PullDefinition, define, read_definitions
from upshot_server.labels.pull.notes import Notes
from upshot_server.labels.pull.turn import Pull, Turned
from upshot_server.labels.sender import LabelSender


@dataclass(frozen=True)
class PullOptions:
    """The options of the command that are about databases."""

    names: Sequence[str]
    config: Path | None
    database: str
    query: str
    table: str
    schema: str
    watermark: str
    since: str
    overlap: str
    every: str
    rules: RuleOptions
    rejected: Path | None
    restart: bool


def run(given: PullOptions, server: ServerOptions, n_shown: int | None, as_json: bool) -> None:
    """Pull, or show what would be stored where ``n_shown`` is given. Raises typer.Exit."""
    with told.ending_well():
        definitions = _definitions(given)
        if given.rejected is not None and len(definitions) > 1:
            raise WrongInput("--rejected: a list for each pull; name one pull, or leave it out")
        every = {
            name: _duration(given.every) if given.every else definition.every
            for name, definition in definitions.items()
        }
        if n_shown is not None:
            any_rejected = [
                _show(name, one, server, given.restart, n_shown, as_json) for name, one in definitions.items()
            ]
        elif any(every.values()):
            _until_told(definitions, every, given, server, as_json)
            return
        else:
            any_rejected = [_turn(name, one, given, server, as_json) for name, one in definitions.items()]
    if any(any_rejected):
        raise typer.Exit(told.REJECTED)


def _definitions(given: PullOptions) -> Mapping[str, PullDefinition]:
    if given.config is not None:
        if given.database or given.query or given.table:
            raise WrongInput("--config: the database and the query are in the file")
        definitions = read_definitions(given.config)
        unknown = [name for name in given.names if name not in definitions]
        if unknown:
            raise WrongInput(f"{given.config} has no pull called {', '.join(map(printable, unknown))}")
        return {name: definitions[name] for name in given.names or definitions}
    if not given.database:
        raise WrongInput("say which database: --database URL (or UPSHOT_PULL_DATABASE), or --config FILE")
    if not given.watermark:
        raise WrongInput("say by which column rows are told to be new: --watermark-column COLUMN")
    names = list(given.names) or ([given.table] if given.table else [])
    if len(names) != 1:
        raise WrongInput("give the pull one name: its watermark is kept under it")
    rules = told.rules_of(given.rules, place="watermark")
    content: dict[str, Any] = {
        "database": given.database,
        "query": given.query,
        "table": given.table,
        "schema": given.schema,
        "watermark": given.watermark,
        "since": given.since,
        "overlap": given.overlap,
        "columns": dict(rules.columns.columns),
        "set": dict(rules.columns.constants),
        "value_columns": list(rules.columns.value_columns),
        "value_type": rules.value_type,
        "time_format": rules.time_format,
        "timezone": rules.timezone,
        "nulls": list(rules.nulls),
        "empty": rules.empty,
        "id": given.rules.id_by,
    }
    return {names[0]: define(names[0], content)}


def _turn(
    name: str,
    definition: PullDefinition,
    given: PullOptions,
    server: ServerOptions,
    as_json: bool,
    stopped: threading.Event | None = None,
) -> bool:
    """One turn; whether something was rejected."""
    pull = Pull(name, definition, stopped=stopped)
    notes = Notes(server.url, server.api_key, name)
    listed = given.rejected or Path(f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)}.rejected.ndjson")
    try:
        with (
            LabelSender(server.url, server.api_key, patience_s=server.patience_s, stopped=stopped) as sender,
            told.progress_bar(name, None) as tell,
        ):
            turned = pull.turn(sender, notes, listed, given.restart, tell)
    finally:
        notes.close()
        pull.close()
    if as_json:
        told.print_json(_document(turned))
    else:
        _tell(turned)
    return turned.books.rejected > 0


def _until_told(
    definitions: Mapping[str, PullDefinition],
    every: Mapping[str, timedelta | None],
    given: PullOptions,
    server: ServerOptions,
    as_json: bool,
) -> None:
    """Turn after turn. A turn that fails is told, and tried again when it is due; SIGTERM and Ctrl-C end it, with status 0."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        """The first signal ends it behind the batch that is under way, the second at once."""
        stopped.set()
        for number in signals:
            signal.signal(number, signal.SIG_DFL)

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        signal.signal(number, stop)
    due = dict.fromkeys(definitions, 0.0)
    while due:
        name = min(due, key=lambda one: due[one])
        if stopped.wait(max(0.0, due[name] - time.monotonic())):
            return
        began = time.monotonic()
        try:
            _turn(name, definitions[name], given, server, as_json, stopped)
        except WrongInput:
            raise
        except (LabelsError, ServerRefused) as error:
            told.err.print(f"upshot: {printable(name)}: {error}")
        pause = every[name]
        if pause is None:
            del due[name]
        else:
            due[name] = began + pause.total_seconds()


def _show(
    name: str, definition: PullDefinition, server: ServerOptions, restart: bool, n_shown: int, as_json: bool
) -> bool:
    pull = Pull(name, definition)
    notes = Notes(server.url, server.api_key, name)
    try:
        found = pull.preview(None if restart else notes.read(), n_shown)
    finally:
        notes.close()
        pull.close()
    if as_json:
        told.print_json({"dry_run": True, "name": name, **told.preview_document(found)})
    else:
        told.tell_preview(found)
    return found.books.rejected > 0


def _tell(turned: Turned) -> None:
    name = printable(turned.name)
    told.out.print(f"{name}: from {watermark.shown(turned.after)}: {turned.books.sentence()}")
    if turned.watermark is not None:
        told.out.print(f"watermark {watermark.shown(turned.watermark)}")
    if turned.in_the_future:
        told.out.print(f"{turned.in_the_future:,} rows are from later than tomorrow: they do not move the watermark")
    told.tell_ignored(turned.ignored_columns)
    if turned.rejected_file is not None:
        told.out.print(f"rejected rows are listed in {printable(str(turned.rejected_file))}")


def _document(turned: Turned) -> dict[str, Any]:
    return {
        "name": turned.name,
        **told.counts(turned.books),
        "after": watermark.encode(turned.after)["value"] if turned.after is not None else None,
        "watermark": watermark.encode(turned.watermark)["value"] if turned.watermark is not None else None,
        "in_the_future": turned.in_the_future,
        "rejected_file": str(turned.rejected_file) if turned.rejected_file is not None else None,
        "ignored_columns": turned.ignored_columns,
    }


def _duration(text: str) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise WrongInput(f"--every: {error}") from error
    if not isinstance(found, timedelta) or found <= timedelta(0):
        raise WrongInput("--every must be longer than nothing")
    return found
