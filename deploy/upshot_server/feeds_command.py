"""``upshot labels feed``: what an operator knows of the feed that brings a label."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from upshot_server.client import ServerClient
from upshot_server.settings import DEFAULT_PORT


def feed(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="open (silent), close (well again) or void (it was well).")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    label: Annotated[str, typer.Option(help="Name of the label.")],
    since: Annotated[str | None, typer.Option(help="From when on (RFC 3339 with offset).")] = None,
    until: Annotated[str | None, typer.Option(help="Until when (RFC 3339 with offset) [default: further notice].")] = None,
    reason: Annotated[str, typer.Option(help="For whoever asks later.")] = "",
    url: Annotated[str, typer.Option("--url", envvar="UPSHOT_URL", help="Address of the running server.")]
    = f"http://127.0.0.1:{DEFAULT_PORT}",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:  # fmt: skip
    """Say when a label feed was silent: windows that closed then give no default."""
    said = {"action": action, "since": since, "until": until, "reason": reason}
    with ServerClient(url) as server:
        path = f"/v1/models/{model}/labels/{label}/feed"
        told = server.post(path, {name: value for name, value in said.items() if value})
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    typer.echo(f"silent since {told['since']}" if told["state"] == "open" else "not silent")
    for one in told["intervals"]:
        typer.echo(f"{one['since']} to {one['until'] or 'further notice'}")
