"""``upshot labels``: labels that live in files and in databases. What the commands do is imported when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upshot_server.commands import options

labels = typer.Typer(help="Labels that live in files and databases.", no_args_is_help=True)


@labels.command("load")
def load_files(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="CSV, NDJSON (.gz, .zst too) or Parquet; - is standard input."),
    ],
    column: options.Column = None,
    set_: options.Set = None,
    value_column: options.ValueColumn = None,
    value_type: options.ValueType = "auto",
    time_format: options.TimeFormat = "iso",
    timezone: options.Timezone = "",
    null: options.Null = None,
    empty: options.Empty = "skip",
    id_by: Annotated[
        str,
        typer.Option(
            "--id", metavar="BY", help="content or line: whether two equal rows of a file are one event or two."
        ),
    ] = "content",
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="csv, ndjson or parquet (default: by name).", show_default=False
        ),
    ] = "",
    delimiter: Annotated[str, typer.Option(help="Of CSV (default: a comma; a tab for .tsv).", show_default=False)] = "",
    encoding: Annotated[str, typer.Option(help="Of CSV.")] = "utf-8",
    rejected: Annotated[
        Path | None, typer.Option(help="Where rejected rows are listed (default: FILE.rejected.ndjson).")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the beginning, whatever an earlier run had done.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be stored, and send nothing.")] = False,
    show: options.Show = 5,
    patience: options.Patience = 300.0,
    url: options.Url = options.DEFAULT_URL,
    api_key: options.ApiKey = "",
    as_json: options.AsJson = False,
) -> None:
    """Send the labels in files to the running server.

    A run that was stopped goes on where it was; running it again changes nothing. Exit status: 0 everything is stored, 1 some rows
    were rejected, 2 wrong options, 3 the server was not there to the end (run it again).
    """
    from upshot_server.commands.labels_load import FileOptions, run  # loads pyarrow: only where it is needed

    rules = options.RuleOptions(
        column or [], set_ or [], value_column or [], value_type, time_format, timezone, null or [], empty, id_by
    )
    run(
        FileOptions(files, rules, format_, delimiter, encoding, rejected, restart),
        options.ServerOptions(url, api_key, patience),
        show if dry_run else None,
        as_json,
    )


@labels.command("pull")
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="The pull; with --config, which of the file (default: all)."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with a `pulls:` section.")] = None,
    database: Annotated[
        str,
        typer.Option(
            envvar="UPSHOT_PULL_DATABASE",
            metavar="URL",
            help="SQLAlchemy URL; better in the variable than here.",
            show_default=False,
            show_envvar=True,
        ),
    ] = "",
    query: Annotated[
        str, typer.Option(metavar="SQL", help="SELECT ... WHERE x > :watermark ORDER BY x", show_default=False)
    ] = "",
    table: Annotated[str, typer.Option(help="Every row of this table, instead of a query.", show_default=False)] = "",
    schema: Annotated[str, typer.Option(help="Of the table.", show_default=False)] = "",
    watermark_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Grows with every change of a row.", show_default=False)
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Where the first turn begins: a time or a number.", show_default=False)
    ] = "",
    overlap: Annotated[
        str,
        typer.Option(
            metavar="LENGTH",
            help="How far before the watermark a turn begins (default: 1h, or 1000).",
            show_default=False,
        ),
    ] = "",
    every: Annotated[
        str, typer.Option(metavar="LENGTH", help="Keep going: a turn every 5m, say.", show_default=False)
    ] = "",
    column: options.Column = None,
    set_: options.Set = None,
    value_column: options.ValueColumn = None,
    value_type: options.ValueType = "auto",
    time_format: options.TimeFormat = "iso",
    timezone: options.Timezone = "",
    null: options.Null = None,
    empty: options.Empty = "skip",
    id_by: Annotated[
        str,
        typer.Option("--id", metavar="BY", help="content or watermark: whether a row that was touched is a new event."),
    ] = "content",
    rejected: Annotated[
        Path | None, typer.Option(help="Where rejected rows are listed (default: NAME.rejected.ndjson).")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="From --since, whatever watermark is noted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be stored, and send nothing.")] = False,
    show: options.Show = 5,
    patience: options.Patience = 300.0,
    url: options.Url = options.DEFAULT_URL,
    api_key: options.ApiKey = "",
    as_json: options.AsJson = False,
) -> None:
    """Send what is new in a database: the rows of a query past a watermark, which the server keeps.

    Exit status: 0 everything is stored, 1 some rows were rejected, 2 wrong options or query, 3 the server or the database was not
    there to the end (run it again).
    """  # fmt: skip
    from upshot_server.commands.labels_pull import PullOptions, run  # loads pyarrow: only where it is needed

    rules = options.RuleOptions(
        column or [], set_ or [], value_column or [], value_type, time_format, timezone, null or [], empty, id_by
    )
    run(
        PullOptions(
            names or [],
            config,
            database,
            query,
            table,
            schema,
            watermark_column,
            since,
            overlap,
            every,
            rules,
            rejected,
            restart,
        ),
        options.ServerOptions(url, api_key, patience),
        show if dry_run else None,
        as_json,
    )
