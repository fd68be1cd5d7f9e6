"""``upshot hooks ...``: secrets and keys of those who send labels."""

from __future__ import annotations

import typer

from upshot_joiner.intake.webhooks.access import hash_of, new_key
from upshot_joiner.intake.webhooks.standard import new_secret

hooks = typer.Typer(help="Labels that other systems send.", no_args_is_help=True)


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
