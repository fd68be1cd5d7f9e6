"""``upshot multivariate``: all features of a window together against its baseline, for a person and for a pipeline."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from upshot_server.client import ServerClient, ServerRefused
from upshot_server.commands.labels_told import print_json
from upshot_server.commands.options import DEFAULT_URL, AsJson, Url
from upshot_server.commands.skew_rows import plain
from upshot_server.commands.waiting import wait_for

DRIFTS = 3
"""Exit status where a method says drift: neither an error (1) nor a wrong option (2)."""
MOST_FEATURES = 10

_out = Console()


def multivariate(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="domain_classifier or pca_reconstruction [default: as configured, else both]."),
    ] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="FEATURE", help="Do not look at this feature.")] = None,
    start: Annotated[str | None, typer.Option(help="Served at or after (RFC 3339 with offset).")] = None,
    end: Annotated[str | None, typer.Option(help="Served before (RFC 3339 with offset).")] = None,
    window: Annotated[str | None, typer.Option(help="Length of the window, such as 1d.")] = None,
    version: Annotated[str | None, typer.Option(help="Only what this version served.")] = None,
    baseline: Annotated[str | None, typer.Option(help="reference, previous or last_week.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of either side, at most [default: 5000].")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the result, or only ask for it.")] = True,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Do all features together differ from the baseline? Ends with 3 when a method says drift."""
    asked = {
        "methods": method or None, "without": without or None, "start": start, "end": end, "window": window,
        "version": version, "baseline": baseline, "rows": rows,
    }  # fmt: skip
    with ServerClient(url) as server:
        wanted = {name: value for name, value in asked.items() if value is not None}
        job = server.post(f"/v1/models/{model}/multivariate-drifts", wanted)
        address = f"/v1/multivariate-drifts/{job['id']}"
        if not wait:
            if as_json:
                print_json(job)
            else:
                _out.print(f"{url}{address}", soft_wrap=True, markup=False)
            return
        found = wait_for(server, address, "comparing", quiet=as_json)
    if as_json:
        print_json(found)
    if found["status"] != "done":
        raise ServerRefused(found["error"] or f"status: {found['status']}")
    if not as_json:
        _print(found["result"])
    if found["result"]["drifted"]:
        sys.exit(DRIFTS)


def _print(result: dict[str, Any]) -> None:
    counts = result["rows"]
    window = f"{result['window']['start']} to {result['window']['end']}"
    _out.print(
        f"{counts['current']:,} rows of {window} against {counts['reference']:,} of the baseline "
        f"({result['baseline'].replace('_', ' ')}), {result['counts']['compared']:,} features"
    )
    table = Table(box=None, pad_edge=False)
    for word in ("verdict", "method", "statistic", "threshold", "p"):
        table.add_column(word)
    for one in result["methods"]:
        figures = ["" if one[name] is None else f"{one[name]:.4g}" for name in ("statistic", "threshold", "p_value")]
        table.add_row(one["verdict"], one["method"], *figures)
    _out.print(table)
    for one in result["methods"]:
        if one["reason"]:
            _out.print(f"{one['method']}: {one['reason']}", markup=False)
        told = [f"{plain(other['feature'])} ({other['fall']:.3f})" for other in one.get("importance", [])]
        if told:
            _out.print(f"told apart by: {', '.join(told[:MOST_FEATURES])}")
    if result["counts"]["left_out"]:
        _out.print(f"left out, wholly or in part: {result['counts']['left_out']:,} features (--json says why)")
