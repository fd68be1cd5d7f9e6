"""``upshot check`` and ``upshot alerts ...``: whether rules hold, what fires, whether a channel works."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from upshot_monitoring.alerts.message import moment, printable, shown
from upshot_server.client import ServerClient, ServerRefused
from upshot_server.commands.labels_told import fail, out, print_json
from upshot_server.commands.options import DEFAULT_URL, AsJson, Url

FIRES = 1
CANNOT_SAY = 2
"""Exit statuses of `upshot check`; 0: no rule fires."""

alerts = typer.Typer(help="What fires, and who is told.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="Name of the model.")]


def check(
    model: Model,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", help='A rule such as "drift.share > 0.3" [default: those of the configuration].'),
    ] = None,
    min_rows: Annotated[
        int | None, typer.Option(min=0, help="With --rule: below so many rows a value is not known.")
    ] = None,
    unknown_is_ok: Annotated[
        bool, typer.Option("--unknown-is-ok", help="End with 0 where nothing fires and something cannot be said.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say whether alert rules hold now, as an exit status for pipelines. Changes nothing and tells nobody.

    Exit status: 0 no rule fires, 1 a rule fires, 2 it cannot be said (no verdict, too few rows, no rule, no such model, no server).
    """
    try:
        with ServerClient(url) as server:
            asked: dict[str, Any] = {"rules": rule or [], "min_rows": min_rows}
            found = server.post(f"/v1/models/{model}/alerts/check", asked)
    except ServerRefused as error:
        fail(str(error), CANNOT_SAY)
    if as_json:
        print_json(found)
    else:
        for one in found["rules"]:
            out.print(_sentence(one))
        if not found["rules"]:
            out.print("no rule: give one with --rule, or configure the model's alerts")
    status = {"ok": 0, "fires": FIRES, "unknown": CANNOT_SAY}[found["verdict"]]
    if status == CANNOT_SAY and unknown_is_ok and found["rules"]:
        status = 0
    raise typer.Exit(status)


@alerts.command("list")
def list_alerts(
    model: Annotated[str | None, typer.Option(help="All rules of this model [default: what fires anywhere].")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List what fires, or where every rule of a model stands."""
    with ServerClient(url) as server:
        found = server.get(f"/v1/models/{model}/alerts" if model is not None else "/v1/alerts")
    if as_json:
        print_json(found)
        return
    rules = found["rules"] if model is not None else [*found["alerts"], *found["unknown_rules"]]
    for one in rules:
        since = f" since {_moment(one['since'])}" if one["since"] else ""
        muted = f" (muted until {_moment(one['muted_until'])})" if one["muted_until"] else ""
        value = f": {shown(one['value'])}" if one["value"] is not None else ""
        why = f" ({printable(one['reason'])})" if one["reason"] else ""
        out.print(f"{one['state']:8} {printable(one['model'])}: {printable(one['rule'])}{value}{since}{why}{muted}")
    if not rules:
        out.print("no rule is configured" if model is not None else "nothing fires")
    if model is None and found["late"]:
        out.print(f"evaluation is late: the rules were looked at last at {_moment(found['evaluated_at'])}")


@alerts.command("test")
def try_channel(
    channel: Annotated[str, typer.Argument(help="Name of the channel in the server's settings.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Have the server send a test message to a channel. Ends with 1 when it was not taken."""
    with ServerClient(url) as server:
        found = server.post("/v1/alerts/test", {"channel": channel})
    if as_json:
        print_json(found)
    elif found["delivered"]:
        out.print("delivered")
    else:
        kind = "it may pass" if found["passing"] else "it will not pass by itself"
        out.print(f"not delivered: {found['error']} ({kind})")
    if not found["delivered"]:
        raise typer.Exit(1)


@alerts.command("mute")
def mute_rule(
    model: Model,
    rule: Annotated[str, typer.Option(help="Name (or text) of the rule.")],
    length: Annotated[str, typer.Option("--for", metavar="LENGTH", help="Such as 4h; 0s: hear of it again.")],
    reason: Annotated[str, typer.Option(help="For whoever asks later.")] = "",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Tell nobody of a rule for a while."""
    with ServerClient(url) as server:
        said = {"rule": rule, "for": length, "reason": reason}
        found = server.post(f"/v1/models/{model}/alerts/mute", said)
    if as_json:
        print_json(found)
    else:
        out.print(f"muted until {_moment(found['muted_until'])}" if found["muted_until"] else "not muted")


def _sentence(one: dict[str, Any]) -> str:
    parts = []
    for found in one["comparisons"]:
        value = f"is {shown(found['value'])}" if found["value"] is not None else f"is not known ({found['reason']})"
        rows = f", {found['rows']:,} rows" if found["rows"] is not None else ""
        parts.append(f"{found['name']} {value}{rows}")
    why = "; ".join(parts) or one["reason"] or ""
    return f"{one['verdict']:8} {printable(one['rule'])}: {printable(why, 500)}"


def _moment(text: str | None) -> str:
    return moment(datetime.fromisoformat(text)) if text else "never"
