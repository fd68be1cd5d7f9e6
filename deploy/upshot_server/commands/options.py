"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from upshot_server.settings import DEFAULT_PORT

DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"

Url = Annotated[str, typer.Option("--url", envvar="UPSHOT_URL", help="Address of the running server.")]
ApiKey = Annotated[
    str,
    typer.Option(
        "--api-key", envvar="UPSHOT_API_KEY", help="Key of the server, where it asks for one.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="FIELD=COLUMN", help="Which column feeds a field, where they are not named alike."
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=TEXT", help="A field that is the same for every event.")
]
ValueColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--value-column", metavar="COLUMN", help="A column with the values of the label of its name; one event each."
    ),
]
ValueType = Annotated[
    str, typer.Option(metavar="TYPE", help="auto, int, float, bool or str: how a value is read. Empty is no value.")
]
TimeFormat = Annotated[str, typer.Option(metavar="FORMAT", help="iso, epoch or epoch_ms: how observed_at is written.")]
Timezone = Annotated[
    str, typer.Option(metavar="ZONE", help="Zone of times without an offset, such as Europe/Berlin (default: refuse them).",
                      show_default=False),
]  # fmt: skip
Null = Annotated[
    list[str] | None, typer.Option("--null", metavar="TEXT", help="A text that stands for an empty cell, such as NULL.")
]
Empty = Annotated[str, typer.Option(metavar="WHAT", help="skip or retract: what an empty value means.")]
Show = Annotated[int, typer.Option(min=0, help="With --dry-run: how many events and refused rows to show.")]
Patience = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="For how long a server that is busy or away is asked again.")
]


@dataclass(frozen=True)
class RuleOptions:
    """How rows become events, as it was typed."""

    column: Sequence[str]
    set_: Sequence[str]
    value_column: Sequence[str]
    value_type: str
    time_format: str
    timezone: str
    null: Sequence[str]
    empty: str
    id_by: str


@dataclass(frozen=True)
class ServerOptions:
    """Where the server is and how long it is waited for."""

    url: str
    api_key: str
    patience_s: float
