"""What ``upshot labels load`` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from upshot_server.commands import labels_told as told
from upshot_server.commands.options import RuleOptions, ServerOptions
from upshot_server.labels.books import Books
from upshot_server.labels.errors import WrongInput, printable
from upshot_server.labels.load import FileRules, Loaded, Preview, load, preview
from upshot_server.labels.read.opened import Format, Opened
from upshot_server.labels.resume import Bookmark, key_of
from upshot_server.labels.sender import LabelSender


@dataclass(frozen=True)
class FileOptions:
    """The options of the command that are about files."""

    files: Sequence[str]
    rules: RuleOptions
    format: str
    delimiter: str
    encoding: str
    rejected: Path | None
    restart: bool


def run(given: FileOptions, server: ServerOptions, n_shown: int | None, as_json: bool) -> None:
    """Load every file, or show what would be stored where ``n_shown`` is given. Raises typer.Exit."""
    done: list[Loaded] = []
    with told.ending_well():
        how = FileRules(
            told.rules_of(given.rules, place="line"),
            told.one_of(given.format, Format, "--format") if given.format else None,
            given.delimiter or None,
            given.encoding,
        )
        if given.rejected is not None and len(given.files) > 1:
            raise WrongInput("--rejected: a list for each file; give one file, or leave it out")
        if n_shown is not None:
            _show([_preview(file, how, n_shown) for file in given.files], as_json)
            return
        with LabelSender(server.url, server.api_key, patience_s=server.patience_s) as sender:
            for file in given.files:
                done.append(_load(file, how, sender, given, server.url))
                if not as_json:
                    _tell(done[-1])
    if as_json:
        told.print_json(_summary(done))
    if any(loaded.books.rejected or loaded.damage for loaded in done):
        raise typer.Exit(told.REJECTED)


def _load(file: str, how: FileRules, sender: LabelSender, given: FileOptions, url: str) -> Loaded:
    with _opened(file) as opened:
        bookmark = None
        if opened.path is not None:
            bookmark = Bookmark(
                key_of(opened.path, how.options() | {"url": url, "rejected": str(given.rejected or "")})
            )
            if given.restart:
                bookmark.clear()
        name = "stdin" if opened.path is None else str(opened.path)
        with told.progress_bar(name, opened.size) as tell:
            listed = given.rejected or Path(f"{name}.rejected.ndjson")
            return load(opened, how, sender, rejected_path=listed, bookmark=bookmark, tell=tell)


def _preview(file: str, how: FileRules, n_shown: int) -> Preview:
    with _opened(file) as opened, told.progress_bar(file, opened.size) as tell:
        return preview(opened, how, n_shown, tell)


def _opened(file: str) -> Opened:
    return Opened(sys.stdin.buffer, None) if file == "-" else Opened.file(Path(file))


def _tell(loaded: Loaded) -> None:
    name = printable(loaded.file)
    if loaded.resumed_at:
        told.out.print(f"{name}: went on behind {loaded.unit} {loaded.resumed_at:,}, where an earlier run had stopped")
    told.out.print(f"{name}: {loaded.books.sentence()}")
    told.tell_ignored(loaded.ignored_columns)
    if loaded.rejected_file is not None:
        told.out.print(f"rejected rows are listed in {printable(str(loaded.rejected_file))}")
    if not loaded.can_resume:
        told.err.print(
            "upshot: the state folder cannot be written; had this run been stopped, the next would have begun anew"
        )
    if loaded.damage:
        told.err.print(f"upshot: {name}: {loaded.damage}")


def _summary(done: Sequence[Loaded]) -> dict[str, Any]:
    total = sum((loaded.books for loaded in done), Books())
    return {
        "files": [
            {
                "file": loaded.file,
                **told.counts(loaded.books),
                "resumed_at": loaded.resumed_at,
                "rejected_file": str(loaded.rejected_file) if loaded.rejected_file is not None else None,
                "ignored_columns": loaded.ignored_columns,
                "complete": not loaded.damage,
            }
            for loaded in done
        ],
        **told.counts(total),
        "complete": not any(loaded.damage for loaded in done),
    }


def _show(found: Sequence[Preview], as_json: bool) -> None:
    if as_json:
        told.print_json({"dry_run": True, "files": [{"file": one.file, **told.preview_document(one)} for one in found]})
    else:
        for one in found:
            told.tell_preview(one)
    if any(one.books.rejected for one in found):
        raise typer.Exit(told.REJECTED)
