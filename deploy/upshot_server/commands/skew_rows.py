"""``upshot skew rows``: a table of recomputed values against what was served, as a person and as a pipeline want to know it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from upshot_server.client import ServerClient, ServerRefused
from upshot_server.commands.labels_told import print_json
from upshot_server.commands.options import DEFAULT_URL, AsJson, Url
from upshot_server.commands.waiting import wait_for

skew = typer.Typer(help="What was served against what was recomputed.", no_args_is_help=True)

DIFFERS = 3
"""Exit status where a feature differs: neither an error (1) nor a wrong option (2)."""
MOST_FEATURES = 40
_WORDS = ("equal", "mismatch", "kind_mismatch", "missing", "extra")

_out = Console()


@skew.callback()
def _group() -> None:
    """What was served against what was recomputed."""


@skew.command("rows")
def rows(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="Parquet, CSV or Arrow stream with request_id and features."),
    ],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str | None, typer.Option(help="Only what this version served.")] = None,
    absolute: Annotated[float, typer.Option(min=0, help="Difference up to which numbers are equal.")] = 0.0,
    relative: Annotated[float, typer.Option(min=0, help="The same as a share of the larger number.")] = 0.0,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ABSOLUTE[,RELATIVE]", help="Tolerance of one feature, instead of those for all."),
    ] = None,
    same_numbers: Annotated[
        bool, typer.Option("--same-numbers", help="3 and 3.0 are equal (of CSV they always are).")
    ] = False,
    allowed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of different rows up to which a feature does not differ.")
    ] = 0.0,
    examples: Annotated[
        int, typer.Option(min=0, max=20, help="Examples of each kind of difference of each feature.")
    ] = 5,
    as_of: Annotated[
        str | None, typer.Option(help="Only what had been received by then (RFC 3339 with offset).")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Compare recomputed feature values with those that were served, row by row. Ends with 3 when a feature differs."""
    from upshot_monitoring.row_skew.table import SUFFIXES  # loads pyarrow: only where it is needed

    media_type = SUFFIXES.get(file.suffix.lower())
    if media_type is None:
        raise ServerRefused(f"a table is one of {', '.join(SUFFIXES)}, by its name")
    asked = {
        "version": version, "absolute": absolute, "relative": relative, "tolerance": tolerance or None,
        "same_numbers": same_numbers, "allowed": allowed, "examples": examples, "as_of": as_of,
    }  # fmt: skip
    with ServerClient(url) as server:
        job = server.upload(f"/v1/models/{model}/row-skews", file, asked, media_type)
        found = wait_for(server, f"/v1/row-skews/{job['id']}", "comparing", quiet=as_json)
    if as_json:
        print_json(found)
    if found["status"] != "done":
        raise ServerRefused(found["error"] or f"status: {found['status']}")
    if not as_json:
        _print(found["result"])
    if found["result"]["differing"]:
        sys.exit(DIFFERS)


def _print(result: dict[str, Any]) -> None:
    counts = result["rows"]
    _out.print(
        f"{counts['compared']:,} rows compared; {counts['not_served']:,} were not served, {counts['repeated']:,} repeated, "
        f"{counts['without_request_id']:,} without a request ID"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("feature")
    for word in (*_WORDS, "max difference"):
        table.add_column(word.replace("_", " "), justify="right")
    for one in result["features"][:MOST_FEATURES]:
        largest = one["differences"]["absolute"]["max"]
        cells = [f"{one[word]:,}" for word in _WORDS]
        table.add_row(plain(one["feature"]), *cells, "" if largest is None else f"{largest:.6g}")
    _out.print(table)
    if len(result["features"]) > MOST_FEATURES:
        _out.print(f"and {len(result['features']) - MOST_FEATURES:,} more (--json has all)")
    if result["not_recomputed"]:
        _out.print(f"served and not in the table: {len(result['not_recomputed']):,} features")
    _out.print(f"{result['differing']:,} of {len(result['features']):,} features differ")


def plain(name: str) -> str:
    """A name as it may stand on a terminal: no markup, no control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name).replace(
        "[", r"\["
    )
