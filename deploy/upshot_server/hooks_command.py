"""``upshot hooks ...``: labels that other systems send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from upshot_joiner.errors import Problem
from upshot_joiner.intake.webhooks.access import hash_of, new_key
from upshot_joiner.intake.webhooks.standard import new_secret
from upshot_server.client import ServerClient
from upshot_server.settings import DEFAULT_PORT

hooks = typer.Typer(help="Labels that other systems send.", no_args_is_help=True)

Source = Annotated[str, typer.Option("--source", help="Name of the source.")]
Url = Annotated[str, typer.Option("--url", envvar="UPSHOT_URL", help="Address of the running server.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


@hooks.command("preview")
def preview(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A body as the source sends it (JSON).")],
    source: Source,
    mapping: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="YAML: a mapping, or a file with a `hooks:` section."),
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="A header of the delivery, as `name: value`.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the label events that a body would become, and store nothing."""
    request: dict[str, Any] = {"body": _read(file, json.loads), "headers": dict(map(_header, header or []))}
    if mapping is not None:
        request["mapping"] = _mapping(_read(mapping, yaml.safe_load), source)
    with ServerClient(url) as server:
        found = server.post(f"/v1/hooks/{source}/preview", request)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for event in found["events"]:
        typer.echo(json.dumps({name: value for name, value in event.items() if name != "index"}, ensure_ascii=False))
    for error in found["errors"]:
        number = f"event {error['index']}: " if "index" in error else ""
        typer.echo(f"not mapped: {number}{error['loc']}: {error['code']}", err=True)
    typer.echo(
        f"{len(found['events'])} label events, {found['filtered']} filtered out, {found['unmapped']} not mapped",
        err=True,
    )
    if found["unmapped"]:
        raise typer.Exit(1)


@hooks.command("replay")
def replay(source: Source, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Map again what could not be mapped, by the mapping in force now."""
    with ServerClient(url) as server:
        found = server.post(f"/v1/hooks/{source}/replay", {})
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(
            f"{found['replayed']} bodies mapped, {found['accepted']} label events new, {found['waiting']} still wait"
        )


@hooks.command("secret")
def secret() -> None:
    """Make a secret for signing labels (Standard Webhooks)."""
    typer.echo(new_secret())


@hooks.command("key")
def key() -> None:
    """Make a key that may send labels and nothing else, and its hash for UPSHOT_LABEL_KEYS."""
    made = new_key()
    typer.echo(f"key   {made}")
    typer.echo(f"hash  {hash_of(made)}")


def _read(file: Path, parse: Any) -> Any:
    try:
        return parse(file.read_text("utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise Problem(422, "invalid_file", f"{file.name} cannot be read as what it should be.") from error


def _mapping(content: Any, source: str) -> Any:
    """The mapping in a file: alone, of a source, or of one of several sources."""
    if isinstance(content, dict) and isinstance(content.get("hooks"), dict):
        content = content["hooks"].get(source)
    return content["mapping"] if isinstance(content, dict) and "mapping" in content else content


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip(), value.strip()
