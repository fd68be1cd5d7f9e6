"""``upshot demo``: the command's options, and its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended before it was done."""


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the report instead of serving on.")] = False,
    flights: Annotated[
        int, typer.Option(min=1000, help="How many flights of April to December to replay, evenly spread.")
    ] = 100_000,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard and the API on 127.0.0.1.")] = 8750,
    data: Annotated[Path, typer.Option(help="Folder of the demo; emptied first if an earlier demo made it.")] = Path(
        ".demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the sample, the models and the feed's mistakes.")] = 2013,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON; everything else goes to standard error.")
    ] = False,
) -> None:
    """Replay a year of real flights through the whole loop: serve, label, join, watch, export, train again, compare."""
    # Heavy parts (pandas, scikit-learn) are imported only when the demo really runs: `upshot --help` stays quick.
    from rich.console import Console
    from rich.markup import escape

    from upshot_server.demo.dataset import NotInstalledError
    from upshot_server.demo.processes import DemoError

    # scikit-learn's threads wait for each other by spinning. Beside a server and a service on two cores, one is faster.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console = Console(stderr=as_json)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as running:
            try:
                from upshot_server.demo.story import Options, Story
            except ModuleNotFoundError as error:
                raise NotInstalledError(str(error.name)) from error
            report = Story(Options(data, port, flights, seed), console, running).tell()
            console.print(f"Took {report.seconds['in all']:.0f} s. Dashboard: [bold]{report.dashboard}[/]")
            if as_json:
                json.dump(report.as_json(), sys.stdout, indent=2, default=str)
                print(flush=True)  # noqa: T201  the answer of a command belongs on standard output
            if not once:
                console.print("Serving until Ctrl-C.")
                threading.Event().wait()
    except (DemoError, NotInstalledError) as error:
        console.print(f"[red]The demo stopped:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("Ended.")
        raise typer.Exit(0 if not once else INTERRUPTED) from None


def main(arguments: list[str]) -> int:
    """Run ``upshot demo`` with these arguments; its exit code."""
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(demo)
    try:
        command(arguments, prog_name="upshot demo")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
